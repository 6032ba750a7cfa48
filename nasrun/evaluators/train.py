"""Evaluate by training the network of a genotype and counting its mistakes on held-out images.

Shapes: B batch, C channels, H height, W width, K classes, N images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from nasrun.compute.device import Load
from nasrun.compute.workers import Died
from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import Batch, MetricName
from nasrun.protocols.evaluation import Evaluation, Evaluator, error_of
from nasrun.protocols.labels import attempted, failed
from nasrun.protocols.settings import (
    BatchSize,
    Cells,
    Channels,
    NumEpochs,
    WeightTraining,
    WorkerCount,
)
from nasrun.protocols.space import Network, NetworkSize, as_module
from nasrun.protocols.state import Streams
from nasrun.training.balance import ClassLoss
from nasrun.training.loop import LossAndLogits, predict, train_epoch
from nasrun.training.quality import METRICS, measured
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate

LOAD = Load("training of a candidate", "evaluator", "evaluator.channels or evaluator.cells")


class TrainEvaluator(Evaluator):
    """True evaluation: training on one half of the training set, validation on the other.

    All draws of a training come from the run's seed and the canonical form of the architecture, so
    that its label does not depend on what was evaluated before, nor where. Processes of a group
    share the candidates.

    Args:
        workers: processes that train one candidate each; 1 trains them here, one after the other,
            and `None` takes as many as there are GPUs, or else CPU cores.
        epochs: of each training.
        channels, cells: size of the networks; `None` takes the space's own search size.
        batch_size: images per update; `None` takes the dataset's.
        training: SGD with a cosine schedule, see `training.update.WeightUpdate`.

    Raises:
        UsageError: a setting is out of range.
    """

    needs_images: ClassVar[bool] = True
    metrics: ClassVar[tuple[MetricName, ...]] = tuple(METRICS)

    def __init__(
        self,
        context: SearchContext,
        *,
        workers: WorkerCount | None,
        epochs: NumEpochs,
        channels: Channels | None,
        cells: Cells | None,
        batch_size: BatchSize | None,
        training: WeightTraining,
    ) -> None:
        self._workers = context.workers(workers)
        self._group = context.device.group
        allowed = "1 with torchrun, whose processes share the candidates"
        alone = self._workers.count == 1 or self._group.size == 1
        require(alone, "evaluator.workers", workers, allowed)
        self.at_once = self._workers.count * self._group.size
        self.epochs = epochs
        self.size = NetworkSize(channels=channels, cells=cells)
        self.batch_size = batch_size or context.dataset.batch_size
        self.weight_update = partial(
            WeightUpdate,
            num_epochs=epochs,
            training=training,
        )
        self.metric = context.metric
        self.objectives = (error_of(self.metric),)
        self.space = context.space
        self.dataset = context.dataset
        self.device = context.device.alone
        self.streams = context.streams
        self.progress = context.progress
        self.train_half, self.validation_half = halves(
            self.dataset.train, context.streams.fresh("halves")
        )

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Train and validate each genotype; the labels are in the order of the genotypes.

        A training that fails, or whose worker process dies twice, gives a label with an error.
        """
        if self.at_once == self._group.size:
            share = [genotypes[place] for place in self._group.share(len(genotypes))]
            own = [attempted(self._evaluate, one, self.objectives) for one in share]
            return [label for labels in self._group.collect(own) for label in labels]
        labels: dict[int, Evaluation] = {}
        known = self.device.parts
        tasks = [(genotype, known) for genotype in genotypes]
        self.progress(0, len(tasks))
        for place, answer in self._workers.answers(tasks):
            if isinstance(answer, Died):
                labels[place] = failed(genotypes[place], str(answer), 0.0, self.objectives)
            else:
                labels[place], parts = answer
                known |= {load: max(parts[load], known.get(load, 1)) for load in parts}
            self.progress(len(labels), len(tasks))
        return [labels[place] for place in range(len(tasks))]

    def _evaluate(self, genotype: Genotype) -> Evaluation:
        started = time.perf_counter()
        streams = self.streams.derived(f"label {self.space.canonical(genotype)}")
        with streams.global_torch("network"):
            network: Network = self.space.network(genotype, self.dataset.shape, self.size)
        self.device.place(as_module(network))
        training = self._train(network, streams)
        accuracy, score = self._validate(network)
        details = {"train_loss": training["loss"], "train_accuracy": training["accuracy"]}
        if self.metric != "accuracy":
            details["val_accuracy"] = accuracy
        return Evaluation(genotype, (1.0 - score,), time.perf_counter() - started, details)

    def _train(self, network: Network, streams: Streams) -> dict[str, float]:
        """Train the network; return the metrics of the last epoch."""
        update = self.weight_update(as_module(network).parameters())
        batches = BatchStream(
            self.dataset, self.train_half, self.device, streams.torch("batches"), augment=True
        )

        loss = ClassLoss(self.dataset, self.train_half)

        def forward(batch: Batch) -> LossAndLogits:
            images_BCHW, labels_B = batch
            logits_BK = network(images_BCHW)
            return loss(logits_BK, labels_B), logits_BK

        as_module(network).train()
        metrics: dict[str, float] = {}
        for epoch in range(1, self.epochs + 1):
            with streams.global_torch("dropout"):
                metrics = train_epoch(
                    batches.one_pass(self.batch_size), forward, update, self.device, load=LOAD
                )
            self.progress(epoch, self.epochs, loss=metrics["loss"])
        return metrics

    def _validate(self, network: Network) -> tuple[float, float]:
        """Return the accuracy on the validation half, and what the search maximises."""
        as_module(network).eval()
        found = predict(network, self.dataset, self.validation_half, self.device)
        return float(measured("accuracy", *found)), float(measured(self.metric, *found))
