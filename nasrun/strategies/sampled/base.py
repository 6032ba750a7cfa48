"""Share what the searches have that train a sampled architecture per batch: the choice at the end.

Shapes: N candidates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.scorer import Scores
from nasrun.protocols.settings import AtMost, BatchImages, Count, plugin
from nasrun.strategies.finalists import ranked
from nasrun.strategies.supernet import SupernetSearch


@plugin
class SampledSearch(SupernetSearch):
    """A search that trains the shared weights on samples, and ends with the best of some more.

    A subclass says where the samples come from, and what it learns after an epoch.

    Args:
        num_candidates: samples at the end.
        candidate_images: of the validation half, behind the first score of each.
        num_finalists: the best of them, which are scored again.
        finalist_images, finalist_batches: images of a batch, and batches, behind the second score.
    """

    num_candidates: Count
    candidate_images: BatchImages
    num_finalists: Annotated[Count, AtMost("num_candidates")]
    finalist_images: BatchImages
    finalist_batches: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rng = self.context.streams.numpy("search")
        self.winner: Genotype | None = None

    @abstractmethod
    def draw(self) -> Genotype:
        """Sample an architecture."""

    def learn(self) -> dict[str, float]:
        """Change what samples come next, after an epoch of the weights; return metrics."""
        return {}

    def step(self) -> StepReport:
        """Train the weights for an epoch, each batch on a sample; the last epoch chooses."""
        trained = self.scorer.train_paths(self.draw)
        metrics = {f"train_{name}": value for name, value in trained.items()} | self.learn()
        self.epoch += 1
        if self.finished:
            metrics |= self.choose()
        metrics["scorings"] = float(self.scorer.num_scorings)
        return StepReport(metrics, incumbent=self.winner)

    def choose(self) -> dict[str, float]:
        """Take the best of the finalists among new samples; return its one-shot accuracy."""
        candidates = list(dict.fromkeys(self.draw() for _ in range(self.num_candidates)))
        finalists, _ = self.ranked(candidates, [self.candidate_images])
        images = [self.finalist_images] * self.finalist_batches
        best, scores = self.ranked(finalists[: self.num_finalists], images)
        self.winner = best[0]
        return scores.at(np.arange(1)).figures("final_")

    def ranked(
        self, candidates: Sequence[Genotype], images: Sequence[int]
    ) -> tuple[list[Genotype], Scores]:
        """Sort by the metric on batches of so many images, equals by the loss; the best first."""
        batches = [self.scorer.draw_batch(number) for number in images]
        return ranked(self.scorer, candidates, batches, self.context.progress)

    def best(self) -> tuple[Genotype, ...]:
        """Return the winner; a search that was stopped before its end chooses now."""
        if self.winner is None:
            self.choose()
        assert self.winner is not None
        return (self.winner,)

    def state_dict(self) -> dict[str, Any]:
        winner = None if self.winner is None else self.winner.to_json()
        return super().state_dict() | {"winner": winner}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        winner = state["winner"]
        self.winner = None if winner is None else Genotype.from_json(winner)
