"""DARTS-PT: Rethinking Architecture Selection in Differentiable NAS.

R. Wang, M. Cheng, X. Chen, X. Tang, C.-J. Hsieh. ICLR 2021, arXiv 2108.04392.

The size of alpha says little of an operation's worth. What does is how much the accuracy of the
supernet falls without it (Algorithm 1, on a supernet trained as in DARTS):

    for each edge, in random order:
        keep the operation without which the supernet is least accurate on the validation half
        train w and alpha for a few epochs
    for each node of more edges than a cell keeps, in random order:
        drop the edge without which the supernet is most accurate, until enough are left
        train w and alpha for a few epochs

Deviations:
- The accuracy is that on some images of the validation half, the same for what is compared; of
  equals the one with the higher loss is kept. The public code goes through the whole half.
- After the last decision nothing is trained any more.
- The few epochs are the paper's 5 where the supernet has 50 or more before the first decision, and
  a tenth of these where it has fewer, so that a short search is short as a whole. Where that is
  less than one, several decisions are made at once; one epoch of tuning there is in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import BatchImages, Count, Positive, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import copied
from nasrun.strategies.gradient.stages import StagedSearch

TUNING_EPOCHS, TUNING_SHARE = 5.0, 0.1  # the paper's, and their share of its 50 epochs


@plugin
class DARTSPT(StagedSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    maximises_metric: ClassVar[bool] = True

    tuning_epochs: Positive | None  # after a decision; `None`: a tenth of num_epochs, at most 5
    tuning_learning_rate: Positive  # of the weights, where the tuning begins
    decision_images: BatchImages  # of the validation half, in each batch behind a decision
    decision_batches: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        edges, limit = self.space.edges, self.space.edges_per_node
        self.gates = {name: torch.ones(len(edges)) for name in self.space.alpha_shapes}
        entering = {node: [row for row, edge in enumerate(edges) if edge[1] == node]
                    for _, node in edges}  # fmt: skip
        self.nodes = [rows for rows in entering.values() if limit and len(rows) > limit]
        rng = self.context.streams.fresh("order of decisions")
        self.orders = {  # of the edges, then of the nodes, for each type of cell
            name: (rng.permutation(len(edges)).tolist(), rng.permutation(len(self.nodes)).tolist())
            for name in self.gates
        }

    @property
    def num_decisions(self) -> int:
        return len(self.space.edges) + len(self.nodes)

    @property
    def total_steps(self) -> int:
        return self.epoch_of(self.num_decisions - 1) + 1

    @property
    def plain_steps(self) -> int:
        return self.num_epochs  # each decision is there once, however many epochs there are

    def epoch_of(self, number: int) -> int:
        """Return the number of the epoch before which a decision is made, both counted from 0."""
        between = self.tuning_epochs
        if between is None:
            between = min(TUNING_EPOCHS, TUNING_SHARE * self.num_epochs)
            between = max(between, 1 / max(1, self.num_decisions - 1))
        # a product that rounding has left below a whole number stands for it
        return self.num_epochs + math.floor(number * between + 1e-9)

    @property
    def finished(self) -> bool:
        return self.epoch >= self.total_steps

    def stage_settings(self, stage: int) -> dict[str, Any]:
        """Go on with the weights of the supernet, and a learning rate of its own."""
        rate = self.tuning_learning_rate
        lowest = min(rate, self.training.learning_rate_min)
        return {
            "num_epochs": self.total_steps - self.num_epochs,
            "training": replace(self.training, learning_rate=rate, learning_rate_min=lowest),
            "inherited": self.scorer.named_weights(),
        }

    def step(self) -> StepReport:
        """Make an epoch, of the tuning with the decisions before it that are due."""
        if self.epoch < self.num_epochs:
            return super().step()
        if self.stage == 0:
            self.enter(1)
        self.decide([n for n in range(self.num_decisions) if self.epoch_of(n) == self.epoch])
        if self.epoch < self.total_steps - 1:
            return super().step()
        self.epoch += 1
        figures = {"scorings": float(self.num_scorings)}
        return StepReport(figures, incumbent=self.best()[0], weights=self.mixing_weights())

    def decide(self, numbers: Sequence[int]) -> None:
        """Decide, in each type of cell, on edges, then on the edges into nodes, as they are due."""
        num_edges = len(self.space.edges)
        due = [(number, *order) for number in numbers for order in self.orders.items()]
        for place, (number, name, (edges, nodes)) in enumerate(due, start=1):
            if number < num_edges:
                self.choose_operation(name, edges[number])
            else:
                self.choose_edges(name, self.nodes[nodes[number - num_edges]])
            self.context.progress(place, len(due))

    def choose_operation(self, name: str, edge: int) -> None:
        """Keep the operation without which the supernet is worst."""

        def without(operation: int) -> Mixture:
            weights = copied(self.mixing_weights())
            weights[name][edge, operation] = 0.0
            return Mixture(weights, self.mixture().gates)

        columns = [place for place, one in enumerate(self.space.operations)
                   if one != "none" or self.space.edges_per_node is None]  # fmt: skip
        worst = self.ranked([without(operation) for operation in columns])[0]
        self.kept[name][edge] = False
        self.kept[name][edge, columns[worst]] = True

    def choose_edges(self, name: str, edges: list[int]) -> None:
        """Drop edges, each time the one without which the supernet is best."""

        def without(edge: int) -> Mixture:
            gates = copied(self.gates)
            gates[name][edge] = 0.0
            return Mixture(self.mixing_weights(), gates)

        remaining = list(edges)
        while len(remaining) > (self.space.edges_per_node or len(edges)):
            best = self.ranked([without(edge) for edge in remaining])[-1]
            self.gates[name][remaining.pop(best)] = 0.0

    def ranked(self, candidates: list[Mixture]) -> list[int]:
        """Sort candidates by the metric, the lowest first; of equals the highest loss."""
        batches = (
            self.scorer.draw_batch(self.decision_images) for _ in range(self.decision_batches)
        )
        scores = [self.scorer.score(candidates, batch) for batch in batches]
        metric_N, loss_N = (
            np.mean(figures, axis=0)
            for figures in ([one.quality_N for one in scores], [one.loss_N for one in scores])
        )
        order: list[int] = np.lexsort((-loss_N, metric_N)).tolist()
        return order

    def mixture(self) -> Mixture:
        """Return the relaxation, with gates once edges have been dropped."""
        gone = any(not bool(gates_E.all()) for gates_E in self.gates.values())
        return Mixture(self.relaxed(), self.gates if gone else None)

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell, of the edges that are left."""
        return (self.space.discretise(self.mixing_weights(), self.gates),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"gates": copied(self.gates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.gates = copied(state["gates"])
