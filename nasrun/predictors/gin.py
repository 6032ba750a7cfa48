"""Predict by a graph isomorphism network, as NPENAS-NP does (arXiv 2003.12857).

Layers as in K. Xu, W. Hu, J. Leskovec, S. Jegelka (ICLR 2019, arXiv 1810.00826, Eq. 4.1) with
epsilon 0, and the squared error as the loss:

    h_v <- BN(MLP(h_v + sum of h_u over the predecessors u of v))     three times, from one-hot h_v
    score = w' ReLU(W mean of h_v over all v + b) + b'

Deviations: the score is linear and its targets are standardised ranks (public code: accuracies, and
a sigmoid times a rate that differs from table to table): standardised accuracies ranked worse, and
a failure has a rank. Every step sees all labels. Fewer than its 300 epochs ranked worse, too.

Shapes: N graphs, V vertices of all graphs together, A arrows, O operations, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasrun.predictors.targets import standardised_ranks
from nasrun.protocols.predictor import Prediction, Predictor, Unlabelled
from nasrun.protocols.settings import Count, NotNegative, Positive, Width, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams
from nasrun.training.optimisers import Adam
from nasrun.training.update import require_finite

NUM_LAYERS = 3
BETAS = (0.0, 0.9)  # Adam's


@plugin
class GIN(Predictor):
    """The predictor of NPENAS-NP, a `protocols.predictor.Predictor`; see the module's docstring."""

    generator: torch.Generator = field(kw_only=False)  # draws the first weights of every fit
    width: Width  # F, features of each layer
    head_width: Width  # units of the layer behind the mean
    num_epochs: Count  # optimiser steps, each over all labels
    learning_rate: Positive  # Adam's; it falls to 0 along a half cosine
    weight_decay: NotNegative
    num_architectures: Count  # unlabelled; the operations are taken from them

    def __post_init__(self) -> None:
        self.operations: list[str] = []
        self._network: Network

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Collect the names of the operations: they are the same whatever the run's seed."""
        rng = RandomStreams(0).numpy("code")
        graphs, _ = unlabelled.draw(self.num_architectures, 0, rng)
        self.operations = sorted({label for graph in graphs for label in graph.labels})
        return {}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        union = united(graphs, self.operations)
        targets_N = torch.from_numpy(standardised_ranks(values_N)).float()
        network = self._new_network()
        optimiser = Adam(
            network.parameters(),
            lr=self.learning_rate,
            betas=BETAS,
            weight_decay=self.weight_decay,
            fused=True,  # the tensors are small and many
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.num_epochs)
        for epoch in range(1, self.num_epochs + 1):
            loss = functional.mse_loss(network(union), targets_N)
            require_finite(
                loss, f"loss of the predictor in epoch {epoch}", "predictor.learning_rate"
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        self._network = network.eval()

    def _new_network(self) -> Network:
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        with RandomStreams(seed).global_torch("network"):
            return Network(len(self.operations), self.width, self.head_width)

    @torch.no_grad()
    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        """Return scores without a deviation: there is one network."""
        score_N = self._network(united(graphs, self.operations)).double().numpy()
        return Prediction(score_N, np.zeros_like(score_N))

    def state_dict(self) -> dict[str, Any]:
        return {"operations": self.operations}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.operations = [str(name) for name in state["operations"]]


class Union(NamedTuple):
    """Several graphs as one graph of separate pieces."""

    operations_VO: Tensor  # float32, one-hot; zeros for an unknown operation
    sources_A: Tensor  # int64, vertices
    targets_A: Tensor
    graph_of_V: Tensor  # int64
    sizes_N: Tensor  # how many vertices each graph has


def united(graphs: Sequence[ArchGraph], operations: Sequence[str]) -> Union:
    """Join graphs into one; the vertices are numbered through."""
    sizes_N = np.array([len(graph.labels) for graph in graphs])
    # the number of each graph's first vertex in the union
    firsts_N = np.cumsum(sizes_N) - sizes_N
    arrows_2A = np.hstack(
        [
            np.stack(np.nonzero(graph.adjacency_VV)) + first
            for graph, first in zip(graphs, firsts_N, strict=True)
        ]
    )
    sources_A, targets_A = torch.from_numpy(arrows_2A)
    index = {name: i for i, name in enumerate(operations)}
    codes_V = np.array([index.get(label, -1) for graph in graphs for label in graph.labels])
    # -1 stands for an unknown operation, and equals no column
    operations_VO = codes_V[:, None] == np.arange(len(operations))
    return Union(
        torch.from_numpy(operations_VO).float(),
        sources_A,
        targets_A,
        torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes_N)),
        torch.from_numpy(sizes_N),
    )


class Network(nn.Module):
    """The network that scores graphs; see the module's docstring."""

    def __init__(self, num_operations: int, width: int, head_width: int) -> None:
        super().__init__()
        inputs = [num_operations, *[width] * (NUM_LAYERS - 1)]
        self.layers = nn.ModuleList(Layer(num_inputs, width) for num_inputs in inputs)
        self.head = nn.Sequential(nn.Linear(width, head_width), nn.ReLU(), nn.Linear(head_width, 1))

    def forward(self, union: Union) -> Tensor:
        """Return score_N."""
        features_VF = union.operations_VO
        for layer in self.layers:
            features_VF = layer(features_VF, union)
        zeros_NF = features_VF.new_zeros(len(union.sizes_N), features_VF.shape[1])
        sum_NF = zeros_NF.index_add(0, union.graph_of_V, features_VF)
        # a mean, so that the size of a graph alone gives no score
        return self.head(sum_NF / union.sizes_N[:, None]).squeeze(1)


class Layer(nn.Module):
    """One graph isomorphism layer. A vertex hears from its predecessors and from itself."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        first, second = nn.Linear(num_inputs, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.norm = nn.BatchNorm1d(width)

    def forward(self, features_VF: Tensor, union: Union) -> Tensor:
        # One row for each arrow, added to its target: h_v + sum of h_u over the predecessors u.
        messages_AF = features_VF.index_select(0, union.sources_A)
        return self.norm(self.mlp(features_VF.index_add(0, union.targets_A, messages_AF)))
