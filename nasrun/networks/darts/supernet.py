"""Build the DARTS supernet: every operation on every edge of every cell, with shared weights.

Liu et al., DARTS, 2019 (arXiv 1806.09055); partial channels: Xu et al., PC-DARTS, 2020 (arXiv
1907.05737). The textbook layout holds one module per edge and operation. This one is state-major:
all edges that leave a state read the same input, so their pools are computed once and their
convolutions are stacked in one call. Both compute the same function of the same parameters.

Shapes: B batch, C channels, H height, W width, K classes, E edges of a cell (14), O operations,
N nodes that a state feeds, R = B*H*W rows, M mixed channels (C / partial_channels) per node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nasrun.compute.transfers import upload
from nasrun.errors import closest, raise_together
from nasrun.genotypes import cell1d, darts
from nasrun.genotypes.darts import CELLS, reductions
from nasrun.networks.blocks.batch_norm import BatchNorm, fold
from nasrun.networks.blocks.edge_mixing import state_mixings
from nasrun.networks.blocks.layers import IMAGES, SIGNALS, Layers
from nasrun.networks.blocks.stacked import Convolution, Kernels, as_rows, compose
from nasrun.networks.blocks.stems import CifarStem, ImageNetStem
from nasrun.networks.darts.cell import Cell, CellInput, Preprocess
from nasrun.networks.darts.edges import (
    EDGES_OF_STATE,
    NUM_EDGES,
    NUM_NODES,
    CellMixing,
    Convolutions,
    StateEdges,
)
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, Statistics

KNOWN = {IMAGES: darts.KNOWN_OPERATIONS, SIGNALS: cell1d.KNOWN_OPERATIONS}
MOST_SHARED = 2**26
"""How many numbers (256 MB) of a state's edges' outputs are kept; more are computed each time."""

Mixings = dict[tuple[str, int], CellMixing]
"""By the type of a cell and its number of mixed channels."""
Place = tuple[int, int]
"""The position of a cell, and which of its two inputs."""


class DartsSupernet(nn.Module):
    """All DARTS architectures in one network; a `nasrun.protocols.space.Supernet`.

    Weights are float32. They are initialised from torch's global generator; dropout draws from it.

    Args:
        shape: a task on images of any size (8x8 will do), or on signals.
        operations: some of those of the space, in the order of the mixing weights' columns.
        channels, cells: width of the first cell, and number of cells.
        partial_channels: k; one k-th of the channels is mixed, the others bypass the operations.
        stem: "cifar", or "imagenet" for large images.
        active: cell type -> active_EO, bool: the operations that are built (default: all).
        skip_dropout: probability (P-DARTS, arXiv 1904.12760) that an element of an identity's
            output is dropped, in "update" calls; it may be changed between calls.
        layers: those for images, or those for signals.

    Raises:
        UsageError: the settings fit no network.
    """

    def __init__(
        self,
        shape: TaskShape,
        operations: Sequence[str],
        *,
        channels: int,
        cells: int,
        partial_channels: int = 4,
        stem: Literal["cifar", "imagenet"] = "cifar",
        active: Mapping[str, Tensor] | None = None,
        skip_dropout: float = 0.0,
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        _check(shape, operations, channels, cells, partial_channels, skip_dropout, layers)
        self.layers = layers
        self.operations = tuple(operations)
        self.skip_dropout = skip_dropout
        self.reductions = reductions(cells)
        # on the CPU whatever the default device (`meta`, to measure a network): read as lists
        everything = torch.ones(NUM_EDGES, len(operations), dtype=torch.bool, device="cpu")
        self.built = {
            cell_type: (everything if active is None else active[cell_type].bool().cpu())
            for cell_type in CELLS
        }
        make_stem = ImageNetStem if stem == "imagenet" else CifarStem
        self.stem = make_stem(shape.channels, channels, layers)
        before_previous = previous = self.stem.width
        # The older input of a cell comes from before the last reduction, and has twice the size.
        after_reduction = self.stem.halves
        self.cells = nn.ModuleList()
        for position in range(cells):
            reduction = position in self.reductions
            channels *= 2 if reduction else 1
            inputs = [
                Preprocess(before_previous, channels, after_reduction, layers),
                Preprocess(previous, channels, halve=False),
            ]
            built_EO = self.built[self._cell_type(position)].tolist()
            stride = 2 if reduction else 1
            self.cells.append(
                Cell(
                    inputs,
                    channels,
                    partial_channels,
                    stride,
                    operations,
                    built_EO,
                    # the classifier averages the last cell's nodes as they are
                    rectified=position < cells - 1,
                    layers=layers,
                )
            )
            before_previous, previous = previous, NUM_NODES * channels
            after_reduction = reduction
        self.classifier = nn.Linear(previous, shape.num_classes)
        # Every pass composes all kernels and folds all norms at once; the stem's norms are affine.
        self._norm_of: dict[Convolution, BatchNorm] = {}
        self._norms: list[BatchNorm] = []
        for part in self.cells.modules():
            if isinstance(part, Convolutions | Preprocess):
                self._norm_of |= part.pairs()
            elif isinstance(part, BatchNorm):
                self._norms.append(part)

    def _cells(self) -> list[tuple[int, str, Cell]]:
        """List the position, type and module of each cell."""
        cells = cast(Iterable[Cell], self.cells)
        return [(number, self._cell_type(number), cell) for number, cell in enumerate(cells)]

    def _cell_type(self, position: int) -> str:
        return "reduce" if position in self.reductions else "normal"

    def forward(
        self,
        images_BCHW: Tensor,
        mixture: Mixture,
        *,
        statistics: Statistics = "update",
    ) -> Tensor:
        """Compute logits_BK; see `nasrun.protocols.space.Supernet`.

        The cell types of a mixture are "normal" and "reduce", with E = 14.
        """
        mixings = self._mixings(mixture, statistics, self._kernels(statistics))
        return self._logits(self._stem(images_BCHW, statistics), mixings, {})

    def each(
        self,
        images_BCHW: Tensor,
        mixtures: Iterable[Mixture],
        statistics: Statistics = "batch",
    ) -> Iterator[Tensor]:
        """Yield logits_BK of each plain mixture, as calls one after the other would return them.

        What does not depend on the weights is computed once: the kernels, the stem, all operations
        on both inputs of the first cell and on the first input of the second.
        """
        assert statistics != "update", "each candidate would move the running statistics"
        kernels, stem = self._kernels(statistics), self._stem(images_BCHW, statistics)
        shared: dict[tuple[int, int], CellInput] = {}
        for mixture in mixtures:
            assert mixture.is_plain, "what is shared is computed as the first mixture wants it"
            mixings = self._mixings(mixture, statistics, kernels)
            # Any mixture will do: `outputs` are unweighted.
            if not shared:
                shared = self._shared(stem, mixings)
            yield self._logits(stem, mixings, shared)

    def _kernels(self, statistics: Statistics) -> Kernels:
        """Compose the kernels of a pass, with running statistics folded in where these are used."""
        return compose(self._norm_of, fold(self._norms) if statistics == "running" else {})

    def _stem(self, images_BCHW: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """Return the two states that the first cell reads."""
        # `as_rows` and `as_images` are then views, all through the network.
        images_BCHW = self.layers.maps(images_BCHW).contiguous(memory_format=torch.channels_last)
        before_previous, previous = self.stem(images_BCHW, statistics)
        return before_previous, previous

    def _shared(self, stem: tuple[Tensor, Tensor], mixings: Mixings) -> dict[Place, CellInput]:
        """Compute the cell inputs that depend on the stem alone, and their edges' outputs."""
        shared = {}
        for position, cell_type, cell in self._cells()[:2]:
            mixing = mixings[cell_type, cell.partial.mixed]
            # the second cell reads the stem only as the older of its inputs
            for number in (0, 1) if position == 0 else (0,):
                read = cell.read(number, stem[position + number], mixing)
                edges = cast(StateEdges, cell.states[number])
                num_outputs = len(edges.matrix(mixing.states[number]))
                # R * Q; a little too many in a reduction cell, whose outputs have fewer rows
                if as_rows(read.mixed_BMHW[:, :1]).numel() * num_outputs <= MOST_SHARED:
                    read = replace(read, outputs_RQ=edges.outputs(read.mixed_BMHW, mixing))
                shared[position, number] = read
        return shared

    def _logits(
        self,
        stem: tuple[Tensor, Tensor],
        mixings: Mixings,
        shared: Mapping[Place, CellInput],
    ) -> Tensor:
        """Return logits_BK; the inputs of cells that are `shared` are not computed again."""
        before_previous, previous = stem
        for position, cell_type, cell in self._cells():
            mixing = mixings[cell_type, cell.partial.mixed]
            inputs = [
                shared.get((position, number)) or cell.read(number, images, mixing)
                for number, images in enumerate((before_previous, previous))
            ]
            before_previous, previous = previous, cell(inputs, mixing)
        logits_BK: Tensor = self.classifier(previous.mean((2, 3)))
        return logits_BK

    def _mixings(
        self,
        mixture: Mixture,
        statistics: Statistics,
        kernels: Kernels,
    ) -> Mixings:
        """Lay out the mixture for each type of cell and each number of mixed channels."""
        mixings: Mixings = {}
        for _, cell_type, cell in self._cells():
            mixed = cell.partial.mixed
            # Cells of one type and width mix alike, wherever they stand.
            if (cell_type, mixed) in mixings:
                continue
            weights_EO = mixture.weights[cell_type]
            assert weights_EO.shape == (NUM_EDGES, len(self.operations))
            gates_E = None if mixture.gates is None else mixture.gates[cell_type]
            if gates_E is not None:
                # A gate scales its whole edge: the mixture here, the bypass in the paths below.
                weights_EO = weights_EO * gates_E[:, None]
            computed_EO = self.built[cell_type]
            if mixture.active is not None:
                computed_EO = computed_EO & mixture.active[cell_type].cpu()
            if not computed_EO.all():
                # A pool or an identity is computed once for all edges, so that an edge which has
                # none must give it the weight 0.
                weights_EO = weights_EO.where(upload(computed_EO, weights_EO.device), 0)
            mixings[cell_type, mixed] = CellMixing(
                state_mixings(weights_EO, self.operations, mixed, EDGES_OF_STATE),
                gates_E,
                cell.partial.paths(gates_E),
                computed_EO.tolist(),
                kernels,
                statistics,
                self.skip_dropout,
            )
        return mixings


def _check(
    shape: TaskShape,
    operations: Sequence[str],
    channels: int,
    cells: int,
    partial_channels: int,
    skip_dropout: float,
    layers: Layers,
) -> None:
    """Raise a `UsageError` for all settings at once that fit no network."""
    known = KNOWN[layers]
    problems = [
        f"space.operations: unknown operation '{name}', {closest(name, known)}"
        for name in operations
        if name not in known
    ]
    if not operations or len(set(operations)) < len(operations):
        problems.append(f"space.operations={list(operations)} must name operations, each once")
    if len(shape.size) != layers.num_axes:
        problems.append(f"the network needs {layers.inputs}, not inputs of size {shape.size}")
    for key, number in (("channels", channels), ("cells", cells)):
        if number < 1:
            problems.append(f"space.{key}={number} must be at least 1")
    if partial_channels < 1 or channels % partial_channels:
        problems.append(
            f"space.partial_channels={partial_channels} must be a divisor of "
            f"space.channels={channels}"
        )
    if not 0 <= skip_dropout < 1:
        problems.append(f"skip_dropout={skip_dropout} must be at least 0 and below 1")
    raise_together(problems)
