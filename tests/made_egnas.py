"""EG-NAS on a landscape whose best cell is known, for its tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch

from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.protocols.scorer import Scores
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import MixingWeights, Mixture
from nasrun.randomness import RandomStreams
from nasrun.strategies.egnas.egnas import EGNAS

COST_EO = np.array([[0.9, 0.1, 0.5], [0.2, 0.7, 0.4]])  # loss of each operation on each edge
BEST = (1, 0)
TRAINING = WeightTraining(
    learning_rate=0.1, learning_rate_min=0.0, momentum=0.9, weight_decay=0.0, gradient_clip=5.0
)


class Space:
    """Two edges, three operations; the derived cell has the heaviest operation on each edge."""

    alpha_shapes: ClassVar = {"cell": (2, 3)}

    def discretise(self, weights: MixingWeights) -> Genotype:
        chosen = weights["cell"].argmax(1).tolist()
        edges = tuple(Edge(str(o), e, e + 1) for e, o in enumerate(chosen))
        return Genotype("test", (Cell("cell", ("in", "1", "out"), edges),))

    def sample(self, rng: np.random.Generator) -> Genotype:
        return self.discretise({"cell": torch.from_numpy(rng.random((2, 3)))})


class LandscapeScorer:
    """Loss is the cost of the mixture, accuracy 1 - loss / 2; remembers what it was asked."""

    def __init__(self, spoil: Callable[[int, int], bool] = lambda i, size: False) -> None:
        self.num_scorings = 0
        self.calls: list[np.ndarray] = []
        self.trained: list[np.ndarray] = []
        self.paths: list[Genotype] = []
        self.drawn: list[list[int]] = []  # the sizes of batches without a common image
        self.spoil = spoil

    def train_epoch(self, mixture: Callable[[], Mixture]) -> dict[str, float]:
        self.trained.append(mixture().weights["cell"].numpy())
        return {"loss": 1.0}

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        self.paths.append(draw())
        return {"loss": 1.0}

    def draw_batch(self, num_images: int) -> int:
        return self.draw_batches([num_images])[0]

    def draw_batches(self, sizes: Sequence[int]) -> list[int]:
        self.drawn.append(list(sizes))
        return list(sizes)

    def score(self, candidates: Sequence[Mixture], batch: int, statistics: str) -> Scores:
        weights_NEO = np.stack(
            [candidate.weights["cell"].double().numpy() for candidate in candidates]
        )
        loss_N = (weights_NEO * COST_EO).sum(axis=(1, 2))
        for i in range(len(loss_N)):
            if self.spoil(i, len(loss_N)):
                loss_N[i] = np.nan
        self.num_scorings += len(candidates)
        self.calls.append(weights_NEO)
        return Scores(loss_N, 1.0 - loss_N / 2)

    def state_dict(self) -> dict[str, Any]:
        return {"num_scorings": self.num_scorings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_scorings = state["num_scorings"]


def make(
    scorer: LandscapeScorer | None = None,
    seed: int = 0,
    kind: type[EGNAS] = EGNAS,
    **changes: Any,
) -> EGNAS:
    settings = {
        "num_epochs": 10, "warmup": 0.3, "num_starts": 3, "population_size": 4,
        "num_generations": 1, "sigma": 0.3, "sigma_start": 0.01, "xi": 0.6, "zeta": 1.0,
        "eta": 0.4, "similarity": "printed", "direction": "delta", "statistics": "batch",
        "sigma_schedule": "constant", "covariance": "full", "active": False, "weights": "mixture",
        "fitness_batches": 1, "fitness_images": 16, "selection_images": 16,
        "batch_size": None, "training": TRAINING,
    }  # fmt: skip
    return kind(context(scorer, seed), **{**settings, **changes})


def context(scorer: LandscapeScorer | None, seed: int) -> Any:
    return SimpleNamespace(
        allowed_space=Space(),
        limits=None,
        streams=RandomStreams(seed),
        progress=lambda *_, **__: None,
        scorer=lambda **_: scorer or LandscapeScorer(),
    )
