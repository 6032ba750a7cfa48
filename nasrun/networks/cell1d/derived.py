"""Build the network of a genotype of `space=cell1d`: the skeleton of NAS-Bench-201, on signals.

That of `space=cell1d_darts` is `nasrun.networks.darts.derived.DartsNetwork`, with layers for
signals. Shapes: B batch, C channels, H height, W width, L samples, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.networks.blocks.layers import SIGNALS
from nasrun.networks.blocks.operations import drop_paths, make_operation
from nasrun.networks.nasbench201.derived import Skeleton
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Statistics


class SummingCell(nn.Module):
    """A cell whose nodes sum up their edges.

    All operations exist, even those that no signal reaches.
    """

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.edges, self.num_nodes = cell.edges, len(cell.nodes)
        self.operations = nn.ModuleList(
            make_operation(edge.operation, channels, 1, SIGNALS) for edge in cell.edges
        )

    def forward(self, images_BCHW: Tensor, _: Statistics, drop_path: float) -> Tensor:
        """Return the last node; batch norm goes by the mode of the module."""
        states = [images_BCHW]
        for node in range(1, self.num_nodes):
            total_BCHW = images_BCHW.new_zeros(()).expand_as(images_BCHW)
            for edge, operation in zip(self.edges, self.operations, strict=True):
                if edge.target == node and edge.operation != "none":
                    output_BCHW = operation(states[edge.source])
                    if edge.operation != "skip_connect":
                        output_BCHW = drop_paths(output_BCHW, drop_path)
                    total_BCHW = total_BCHW + output_BCHW
            states.append(total_BCHW)
        return states[-1]


class StagedNetwork(Skeleton):
    """The network of a genotype. `forward` returns logits_BK."""

    def __init__(self, genotype: Genotype, shape: TaskShape, *, channels: int, cells: int) -> None:
        cell = genotype.cell("cell")
        super().__init__(
            shape,
            channels,
            cells,
            lambda width: SummingCell(cell, width),
            layers=SIGNALS,
            space="cell1d",
        )
        self.drop_path = 0.0  # the trainer sets it where a recipe asks

    def forward(self, signals_BCL: Tensor) -> Tensor:
        statistics: Statistics = "update" if self.training else "running"
        images_BCHW = self.layers.maps(signals_BCL)
        return self.logits(images_BCHW, statistics, self.drop_path if self.training else 0.0)

    def with_auxiliary(self, signals_BCL: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the skeleton has one head."""
        return self(signals_BCL), None
