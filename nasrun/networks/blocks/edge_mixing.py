"""Express what a supernet's edges do to the outputs of their operations as small matrices.

Mixing by weights, gates, and the bypass of partial channels are linear: products with matrices that
are computed once in a pass. Shapes: B batch, C channels, M mixed channels (C / partial_channels), H
height, W width, E edges of a cell, O operations, P plain operations, N nodes that a state feeds,
S states that a node reads, R = B*H*W rows, Q columns of all that a cell's nodes consist of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import constant
from nasrun.networks.blocks.stacked import as_images, as_rows


def is_unparametrised(operation: str) -> bool:
    """Return whether an operation, at stride 1, computes the same on every edge."""
    return operation == "skip_connect" or "pool" in operation


class StateMixing(NamedTuple):
    """The mixing weights of the N edges that leave one state, each repeated for M channels."""

    scales: Mapping[str, Tensor]  # operation -> scale of the N*M output channels
    matrices: Mapping[str, Tensor]  # unparametrised -> (M, N*M), from M channels to all nodes


def state_mixings(
    weights_EO: Tensor,
    operations: Sequence[str],
    channels: int,
    edges_of_states: Sequence[Sequence[int]],
) -> list[StateMixing]:
    """Return the mixing weights of the edges that leave each state, in the order of the states.

    All that a pass needs is computed here, in a few calls for all states together. `channels` is M;
    `edges_of_states` lists the edges that leave each state.
    """
    by_state = [edge for edges in edges_of_states for edge in edges]
    sizes = [len(edges) for edges in edges_of_states]
    # The edges of a cell are ordered by the node that they enter. Here those that leave one state
    # must stand together, so that a split gives each state its own.
    device = weights_EO.device
    weights_OE = weights_EO.T.index_select(1, constant(by_state, device))
    # (O, E*M): every one of an edge's M channels has the edge's weight.
    scales = weights_OE.repeat_interleave(channels, dim=1)
    scales_of_states = torch.split(scales, [size * channels for size in sizes], dim=1)
    # Pools and the identity are computed once for all edges: M channels go to N*M.
    plain = [name for name in operations if is_unparametrised(name)]
    identity_MM = torch.eye(channels, dtype=weights_OE.dtype, device=device)
    rows = constant([operations.index(name) for name in plain], device)
    weights_PE = weights_OE.index_select(0, rows)
    matrices_PMEM = weights_PE[:, None, :, None] * identity_MM[:, None]
    return [
        StateMixing(
            dict(zip(operations, scales_ON.unbind(), strict=True)),
            # N nodes of M channels side by side: (M, N*M) for each operation
            dict(zip(plain, matrices_PMNM.flatten(2).unbind(), strict=True)),
        )
        for scales_ON, matrices_PMNM in zip(
            scales_of_states, torch.split(matrices_PMEM, sizes, dim=2), strict=True
        )
    ]


class PartialChannels(nn.Module):
    """Only the first M = C / k channels of a state are mixed; the others bypass the operations.

    An edge puts both together again and shuffles them (PC-DARTS, section 3.2), and a node sums its
    edges. That is linear in the bypasses of the cell's inputs and in the mixtures which the nodes
    receive, so that one product with a small matrix, the paths, computes all nodes. Edges are
    ordered by node, then by state.
    """

    ungated_paths: Tensor

    def __init__(
        self, channels: int, partial_channels: int, *, num_inputs: int, num_nodes: int
    ) -> None:
        super().__init__()
        self.num_inputs, self.num_nodes = num_inputs, num_nodes
        self.channels, self.mixed = channels, channels // partial_channels
        self.bypassing = channels - self.mixed
        ones_E = torch.ones(sum(num_inputs + node for node in range(num_nodes)))
        self.register_buffer("ungated_paths", self._paths(1, ones_E), persistent=False)

    def paths(self, gates_E: Tensor | None) -> Tensor:
        """Return the matrix (Q, nodes*C) that takes what the nodes consist of to the nodes.

        Its rows stand for the bypasses of the cell's inputs (without gates for their sum, with
        gates for each of them), then for the mixtures which the nodes receive.
        """
        return self.ungated_paths if gates_E is None else self._paths(self.num_inputs, gates_E)

    def _paths(self, num_bypasses: int, gates_E: Tensor) -> Tensor:
        """Compute all nodes for each of Q unit inputs: the matrix of a linear map."""
        sizes = [self.bypassing] * num_bypasses + [self.mixed] * self.num_nodes
        # The rows of a linear map's matrix are its outputs for unit inputs, so the identity goes
        # through the cell as if it were Q pixels.
        inputs_QQ = torch.eye(sum(sizes), dtype=gates_E.dtype, device=gates_E.device)
        parts = torch.split(inputs_QQ, sizes, dim=1)
        bypasses, mixtures = list(parts[:num_bypasses]), parts[num_bypasses:]
        nodes = []
        gates_of_nodes = torch.split(gates_E, [self.num_inputs + n for n in range(self.num_nodes)])
        for mixture_QM, gates_S in zip(mixtures, gates_of_nodes, strict=True):
            gates_S = gates_S[-len(bypasses) :]  # without gates, one for all inputs
            # Gates weigh the bypasses here; the mixtures have them in their mixing weights already.
            joined_QC = torch.cat([mixture_QM, torch.stack(bypasses, dim=-1) @ gates_S], dim=1)
            # The channel shuffle of PC-DARTS with k groups: channel g * M + m becomes m * k + g.
            # Then each k-th channel has been mixed, and the next mixture reads old and new ones.
            nodes.append(joined_QC.view(len(inputs_QQ), -1, self.mixed).transpose(1, 2).flatten(1))
            # Later nodes read this one as a state, whose channels from the M-th on bypass them.
            bypasses.append(nodes[-1][:, self.mixed :])
        return torch.cat(nodes, dim=1)

    def state(self, node: int, known_RQ: Tensor, paths: Tensor) -> Tensor:
        """Return the mixed channels of a node, rows_RM, from all that it consists of."""
        if not self.bypassing:
            return known_RQ[:, -self.mixed :]
        # Rows of `paths` beyond those known belong to later mixtures, which this node does not
        # have.
        first = node * self.channels
        return known_RQ @ paths[: known_RQ.shape[1], first : first + self.mixed]

    def nodes(self, known_RQ: Tensor, paths: Tensor) -> Tensor:
        """Return all nodes, rows_R(nodes*C), from all that they consist of."""
        return known_RQ @ paths if self.bypassing else known_RQ

    def last_node(self, known_RQ: Tensor, paths: Tensor) -> Tensor:
        """Return the last of the nodes, rows_RC, from all that the nodes consist of."""
        if not self.bypassing:
            return known_RQ[:, -self.channels :]
        return known_RQ @ paths[:, -self.channels :]

    def split(self, images_BCHW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Split a state into its mixed channels, and the bypass at the size of the nodes."""
        rows_RC = as_rows(images_BCHW)  # split as rows, so that the gradients are channels_last too
        mixed_BMHW, bypass_BCHW = (
            as_images(part, images_BCHW)
            for part in torch.split(rows_RC, [self.mixed, self.bypassing], dim=1)
        )
        if stride == 1:
            return mixed_BMHW, bypass_BCHW
        if not self.bypassing:
            # max pooling refuses images without channels; only their size matters
            return mixed_BMHW, bypass_BCHW[..., ::stride, ::stride]
        return mixed_BMHW, F.max_pool2d(bypass_BCHW, stride, ceil_mode=True)
