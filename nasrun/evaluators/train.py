"""Evaluate by training the network of a genotype and counting its mistakes on held-out images.

Shapes: B batch, C channels, H height, W width, K classes, N images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from nasrun.compute.workers import Died
from nasrun.errors import require
from nasrun.evaluators.one_training import OneTraining, Stretch
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import MetricName
from nasrun.protocols.evaluation import Evaluation, Evaluator, error_of
from nasrun.protocols.halving import rungs, survivors
from nasrun.protocols.labels import attempted, failed, validation_error
from nasrun.protocols.settings import (
    AtMost,
    BatchSize,
    Cells,
    Channels,
    NumEpochs,
    WeightTraining,
    WorkerCount,
)
from nasrun.protocols.space import Network, NetworkSize, as_module
from nasrun.storage.tensor_files import packed, unpacked
from nasrun.training.balance import ClassLoss
from nasrun.training.loop import predict
from nasrun.training.quality import METRICS, measured
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate

Done = tuple[Evaluation, bytes | None]
"""The label as it is after a stretch of a training, and what the next stretch goes on from."""


class TrainEvaluator(Evaluator):
    """True evaluation: training on one half of the training set, validation on the other.

    All draws of a training come from the run's seed and the canonical form of the architecture, so
    that its label does not depend on what was evaluated before, nor where. Processes of a group
    share the candidates. A genotype that has its own learning rate or batch size is trained by it.

    Args:
        workers: processes that train one candidate each; 1 trains them here, one after the other,
            and `None` takes as many as there are GPUs, or else CPU cores.
        epochs: of each training.
        halving: eta of successive halving (`protocols.halving`): candidates that are asked for
            together compete, the best 1/eta of them go on from each rung to the next, and the label
            of the others is what they have reached. `None` trains all to the end.
        halving_from: epochs of the first rung, at least.
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
        halving: Annotated[int, Ge(2)] | None,
        halving_from: Annotated[NumEpochs, AtMost("epochs")],
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
        self.epochs, self.halving = epochs, halving
        self.rungs = (epochs,) if halving is None else rungs(halving_from, epochs, halving)
        if halving is not None and len(self.rungs) > 1:
            self.bracket = halving ** (len(self.rungs) - 1)  # of which one comes to the last rung
        self.size = NetworkSize(channels=channels, cells=cells)
        self.batch_size = batch_size or context.dataset.batch_size
        self.training = training
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

        A training that fails, or whose worker process dies twice, gives a label with an error. With
        halving the genotypes compete, and a label says under `epochs` how far it was trained.
        """
        if self.halving is None:
            done = self._trained([Stretch(genotype, self.epochs) for genotype in genotypes])
            return [label for label, _ in done]
        labels, left = dict[int, Evaluation](), dict[int, bytes | None]()
        places = list(range(len(genotypes)))
        for epochs in self.rungs if len(genotypes) > 1 else (self.epochs,):
            is_last = epochs == self.epochs
            done = self._trained(
                [Stretch(genotypes[one], epochs, left.get(one), is_last) for one in places]
            )
            for place, (label, state) in zip(places, done, strict=True):
                before_s = labels[place].cost_s if place in labels else 0.0
                details = {**label.details, "epochs": float(epochs)}
                labels[place] = replace(label, cost_s=before_s + label.cost_s, details=details)
                left[place] = state
            best = survivors([validation_error(labels[one]) for one in places], self.halving)
            places = [places[one] for one in best]
        return [labels[place] for place in range(len(genotypes))]

    def _trained(self, stretches: Sequence[Stretch]) -> list[Done]:
        """Train each of several candidates for a stretch, here or in other processes."""
        if self.at_once == self._group.size:
            share = [stretches[place] for place in self._group.share(len(stretches))]
            own = [self._attempted(one) for one in share]
            return [done for some in self._group.collect(own) for done in some]
        found: dict[int, Done] = {}
        known = self.device.parts
        self.progress(0, len(stretches))
        for place, answer in self._workers.answers([(one, known) for one in stretches]):
            if isinstance(answer, Died):
                genotype = stretches[place].genotype
                found[place] = failed(genotype, str(answer), 0.0, self.objectives), None
            else:
                found[place], parts = answer
                known |= {load: max(parts[load], known.get(load, 1)) for load in parts}
            self.progress(len(found), len(stretches))
        return [found[place] for place in range(len(stretches))]

    def work(self, task: Any) -> Any:
        """Train a candidate for a stretch: the task and the answer are `device.parts` besides."""
        stretch, parts = task
        self.device.parts.update(parts)  # what has run out of memory elsewhere is divided here
        return self._attempted(stretch), self.device.parts

    def _attempted(self, stretch: Stretch) -> Done:
        kept: list[bytes] = []

        def evaluate(genotype: Genotype) -> Evaluation:
            started = time.perf_counter()
            training = self._begun(genotype)
            if stretch.left is not None:
                training.load_state_dict(unpacked(stretch.left))
            hints = self.space.training_hints(genotype)
            batch_size = hints.batch_size or self.batch_size
            training.train_to(stretch.epochs, self.epochs, batch_size, self.device, self.progress)
            if not stretch.is_last:
                kept.append(packed(training.state_dict()))
            accuracy, score = self._validate(training.network)
            found = training.metrics
            details = {"train_loss": found["loss"], "train_accuracy": found["accuracy"]}
            if self.metric != "accuracy":
                details["val_accuracy"] = accuracy
            return Evaluation(genotype, (1.0 - score,), time.perf_counter() - started, details)

        label = attempted(evaluate, stretch.genotype, self.objectives)
        return label, kept[0] if kept else None

    def _begun(self, genotype: Genotype) -> OneTraining:
        """Build a network and all that its training takes, before the first epoch."""
        streams = self.streams.derived(f"label {self.space.canonical(genotype)}")
        with streams.global_torch("network"):
            network: Network = self.space.network(genotype, self.dataset.shape, self.size)
        self.device.place(as_module(network))
        update = WeightUpdate(
            as_module(network).parameters(),
            self.training.with_rate(self.space.training_hints(genotype).learning_rate),
            num_epochs=self.epochs,
        )
        batches = BatchStream(
            self.dataset, self.train_half, self.device, streams.torch("batches"), augment=True
        )
        loss = ClassLoss(self.dataset, self.train_half)
        return OneTraining(network, update, batches, loss, streams)

    def _validate(self, network: Network) -> tuple[float, float]:
        """Return the accuracy on the validation half, and what the search maximises."""
        as_module(network).eval()
        found = predict(network, self.dataset, self.validation_half, self.device)
        return float(measured("accuracy", *found)), float(measured(self.metric, *found))
