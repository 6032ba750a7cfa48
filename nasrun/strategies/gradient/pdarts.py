"""P-DARTS: Progressive Differentiable Architecture Search, bridging the depth gap.

X. Chen, L. Xie, J. Wu, Q. Tian. ICCV 2019, arXiv 1904.12760.

The supernet is shallow and the network that is trained in the end is deep. So the supernet grows in
stages, and operations are ruled out to make room; skip connections, which train fastest, are held
back by dropout in the search and by their number in the result (sections 3.2 and 3.3):

    for each of three stages:
        alpha and w begin anew, in a deeper supernet
        for each epoch of the stage: as DARTS, first w alone; dropout after skips, less and less
        rule out the weakest operations of each edge
    derive the cell from alpha
    while it has more than M skips: rule out the weakest of them and derive the cell again

Deviations:
- Depths and numbers of operations are shares of the space's, so that spaces of other sizes work.
- The epochs are those of all stages together.
- The gradient by alpha is not clipped.
"""

from __future__ import annotations

import math
from typing import Any

from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import CountOrNone, Fraction, NotNegative, Positive, plugin
from nasrun.strategies.gradient.stages import StagedSearch

NUM_STAGES = 3
SKIP = "skip_connect"


@plugin
class PDARTS(StagedSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    depths: list[Positive]  # of each stage's supernet, times space.cells
    kept_shares: list[Positive]  # of the operations of an edge, in each stage
    skip_dropouts: list[Fraction]  # where each stage begins
    skip_dropout_decay: NotNegative  # per epoch, as an exponent
    warmup: Fraction  # share of each stage's epochs that train weights only
    max_skips: CountOrNone  # M, in the first type of cell (the normal one)

    def __post_init__(self) -> None:
        for name in ("depths", "kept_shares", "skip_dropouts"):
            values = getattr(self, name)
            require(
                len(values) == NUM_STAGES, f"strategy.{name}", values, "a list of 3, one a stage"
            )
        self.ends = [(stage + 1) * self.num_epochs // NUM_STAGES for stage in range(NUM_STAGES)]
        super().__post_init__()

    def supernet_settings(self) -> dict[str, Any]:
        return self.stage_settings(0)

    def stage_settings(self, stage: int) -> dict[str, Any]:
        """Build a deeper supernet, of the operations that are left."""
        return {
            "num_epochs": max(1, self.ends[stage] - self.start(stage)),
            "cells": max(1, round(self.depths[stage] * self.space.cells)),
            "active": self.kept if stage > 0 else None,
            "skip_dropout": self.skip_dropouts[stage],
        }

    def start(self, stage: int) -> int:
        """Return the epoch with which a stage begins."""
        return self.ends[stage - 1] if stage > 0 else 0

    @property
    def epoch_of_stage(self) -> int:
        return self.epoch - self.start(self.stage)

    @property
    def num_warmup(self) -> int:
        """Return how many epochs of this stage train the weights only."""
        return int(self.warmup * (self.ends[self.stage] - self.start(self.stage)))

    @property
    def alpha_rests(self) -> bool:
        return self.epoch_of_stage < self.num_warmup

    def step(self) -> StepReport:
        """Make an epoch, of the next stage where one is due."""
        due = next(stage for stage, end in enumerate(self.ends) if self.epoch < end)
        if due > self.stage:
            number = round(self.kept_shares[due] * len(self.space.operations))
            self.keep_strongest(max(1, number))
            self.enter(due)
            self.begin_alpha()
        self.scorer.drop_skips(self.skip_dropout())
        return super().step()

    def skip_dropout(self) -> float:
        """Lower the dropout on a line in the warm-up; from its full height by e^-decay after it."""
        first, done = self.skip_dropouts[self.stage], self.epoch_of_stage
        if self.alpha_rests:
            num_epochs = self.ends[self.stage] - self.start(self.stage)
            return first * (num_epochs - done - 1) / num_epochs
        fallen = -self.skip_dropout_decay * (done - self.num_warmup)
        return first * math.exp(fallen)

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell, with at most M skips where other operations are left."""
        weights = {name: weights_EO.clone() for name, weights_EO in self.mixing_weights().items()}
        genotype = self.space.discretise(weights)
        if SKIP not in self.space.operations:
            return (genotype,)
        name, column = next(iter(weights)), self.space.operations.index(SKIP)
        while True:
            edges = genotype.cell(name).edges
            skips = [self.space.edges.index(edge[1:]) for edge in edges if edge.operation == SKIP]
            removable = [row for row in skips if (weights[name][row] > 0).sum() > 1]
            if len(skips) <= self.max_skips or not removable:
                return (genotype,)
            weights[name][min(removable, key=lambda row: weights[name][row, column]), column] = 0.0
            genotype = self.space.discretise(weights)
