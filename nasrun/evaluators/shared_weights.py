"""Share weights: one supernet in place of many trainings (Pham et al., ENAS, ICML 2018).

For strategies on alphas it makes supernets, which they train and score on as they please. For
strategies that buy labels it trains one itself, on one random architecture per batch (Guo et al.,
single path one-shot, ECCV 2020; Li, Talwalkar, UAI 2019), and labels are one-shot accuracies: a
supernet that was trained on mixtures ranks single architectures far worse.

Shapes: B batch, C channels, H height, W width, E edges, K classes, N images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from torch.nn import functional

from nasrun.errors import OutOfMemory, RunError, UsageError
from nasrun.evaluators.supernet_scorer import SupernetScorer
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import MetricName
from nasrun.protocols.evaluation import Evaluation, Evaluator, error_of
from nasrun.protocols.settings import BatchSize, NumEpochs, WeightTraining
from nasrun.protocols.space import DifferentiableSpace, Mixture
from nasrun.protocols.state import Progress
from nasrun.training.loop import predict
from nasrun.training.quality import METRICS, measured

MAX_BATCH = 512  # images that are normalised together when a label is measured


class SharedWeights(Evaluator):
    """Weight sharing, both for strategies on alphas and for strategies that buy labels.

    The settings are those of the supernet that it trains itself. That supernet depends on the seed
    alone, and is trained when the first label is asked for, at the cost of that label.

    Args:
        epochs: of the training; each batch trains one architecture.
        batch_size: images per update; `None` takes the dataset's.
        training: SGD with a cosine schedule, see `training.update.WeightUpdate`.

    Raises:
        UsageError: a setting is out of range, or the space has no supernet.
    """

    needs_images: ClassVar[bool] = True
    makes_scorers: ClassVar[bool] = True
    metrics: ClassVar[tuple[MetricName, ...]] = tuple(METRICS)
    labels_are_scores: bool = True

    def __init__(
        self,
        context: SearchContext,
        *,
        epochs: NumEpochs,
        batch_size: BatchSize | None,
        training: WeightTraining,
    ) -> None:
        if not context.space.differentiable:
            raise UsageError(
                f"evaluator=shared_weights is not possible with space={context.space.name}, whose "
                "architectures share no supernet: type evaluator=train, or choose another space"
            )
        self._context = context
        self.metric = context.metric
        self.objectives = (error_of(self.metric),)
        self.space: DifferentiableSpace = context.space
        self.epochs = epochs
        self.learning_rate = training.learning_rate
        self._supernet = partial(
            SupernetScorer,
            context,
            group="evaluator",
            num_epochs=epochs,
            batch_size=batch_size,
            training=training,
        )
        self._one_shot: SupernetScorer | None = None  # made and trained with the first label

    def scorer(self, **settings: Any) -> SupernetScorer:
        """Make a new supernet; the settings are those of `SupernetScorer`."""
        return SupernetScorer(self._context, **settings)

    @property
    def num_scorings(self) -> int:
        """Count the labels that were measured: they are scores, and no true evaluations."""
        return 0 if self._one_shot is None else self._one_shot.num_scorings

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Measure one-shot errors on the validation half.

        Raises:
            UsageError: the training of the supernet diverged, on which all labels depend.
        """
        return [self._evaluate(genotype) for genotype in genotypes]

    def _evaluate(self, genotype: Genotype) -> Evaluation:
        started = time.perf_counter()
        if self._one_shot is None:
            self._one_shot = self._trained()
        error, details = self._measure(self._one_shot, genotype)
        return Evaluation(genotype, (error,), time.perf_counter() - started, details)

    def _trained(self) -> SupernetScorer:
        """Train a supernet for `epochs` in which each batch trains one random architecture."""
        epoch = 0

        def show(done: int, total: int, **figures: float) -> None:
            self._context.progress(epoch * total + done, self.epochs * total, **figures)

        one_shot = self._untrained(show)
        rng = self._context.streams.derived("one-shot architectures").numpy("sample")
        for epoch in range(self.epochs):
            try:
                one_shot.train_paths(lambda: self.space.sample(rng))
            except OutOfMemory as error:
                raise UsageError(str(error)) from None
            except RunError as error:
                raise UsageError(
                    f"evaluator.learning_rate={self.learning_rate} is too high for the supernet: "
                    f"in its epoch {epoch + 1} {error}"
                ) from None
        return one_shot

    def _untrained(self, progress: Progress | None = None) -> SupernetScorer:
        streams = self._context.streams.derived("one-shot supernet")
        return self._supernet(streams=streams, progress=progress)

    def _measure(
        self, one_shot: SupernetScorer, genotype: Genotype
    ) -> tuple[float, dict[str, float]]:
        """Measure error and loss on the whole validation half.

        All genotypes are measured in the same batches. Processes of a group must not share these,
        since the statistics are those of a batch.
        """
        mixture = one_shot.on_device(Mixture.single(self.space, genotype))
        validation = one_shot.validation_stream.split
        network = partial(
            one_shot.supernet,
            mixture=mixture,
            statistics="batch",
        )
        num_batches = math.ceil(len(validation) / MAX_BATCH)
        logits_NK, labels_N = predict(
            network,
            self._context.dataset,
            validation,
            self._context.device.alone,
            batch_size=math.ceil(len(validation) / num_batches),
        )
        one_shot.num_scorings += 1
        loss = float(functional.cross_entropy(logits_NK, labels_N))
        details = {"val_loss": loss}
        if self.metric != "accuracy":
            details["val_accuracy"] = float(measured("accuracy", logits_NK, labels_N))
        return float(1.0 - measured(self.metric, logits_NK, labels_N)), details

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the supernet; empty until that is trained."""
        return {} if self._one_shot is None else self._one_shot.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._one_shot = None
        if state:
            self._one_shot = self._untrained()
            self._one_shot.load_state_dict(state)
