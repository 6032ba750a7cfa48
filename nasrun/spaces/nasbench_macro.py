"""Define the space of NAS-Bench-Macro: which block comes at each of eight places of a chain.

X. Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021, arXiv
2103.11922. A block is an identity, or an inverted residual block of MobileNetV2 with expansion 3
and kernel 3, or with expansion 6 and kernel 5. No torch at import time.

Deviations: `channels` scales all widths, the 1,280 of the last convolution too; at the
benchmark's 32 it is the benchmark's network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench_macro import (
    EXPANSION_AND_KERNEL,
    LAST,
    NUM_BLOCKS,
    OPERATIONS,
    STAGES,
    canonical_digits,
    digits_of,
    nasbench_macro_genotype,
    plan,
)
from nasrun.protocols.settings import Channels
from nasrun.protocols.space import ArchGraph
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize


class NasBenchMacro(IntegerCodedSpace):
    """6,561 networks. The genes are the blocks from the input on.

    Args:
        channels: of the stem; the three stages have two, four and eight times as many.
    """

    name = "nasbench_macro"
    counts_by_formula: ClassVar[bool] = True
    left_aside: ClassVar[tuple[str, ...]] = ("cells", "auxiliary_weight", "drop_path")

    def __init__(self, *, channels: Channels) -> None:
        self.channels = channels
        self.cardinalities = (len(OPERATIONS),) * NUM_BLOCKS

    def validate(self, genotype: Genotype) -> None:
        self._validate_cells(genotype, ("network",))
        digits_of(genotype)

    def canonical(self, genotype: Genotype) -> str:
        """Return the digits, with identities that do nothing at the end of their stage."""
        return "".join(map(str, canonical_digits(self.encode(genotype))))

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        self.validate(genotype)
        return digits_of(genotype)

    def decode(self, genes: Sequence[int]) -> Genotype:
        return nasbench_macro_genotype(genes)

    def largest(self) -> Genotype:
        return nasbench_macro_genotype([len(OPERATIONS) - 1] * NUM_BLOCKS)

    def graph(self, genotype: Genotype) -> ArchGraph:
        """Return the chain of blocks, each with its place; what computes the same has one graph."""
        digits = canonical_digits(self.encode(genotype))
        labels = [f"block{place}:{OPERATIONS[digit]}" for place, digit in enumerate(digits, 1)]
        adjacency_VV = np.eye(NUM_BLOCKS + 2, k=1, dtype=np.uint8)
        return ArchGraph(("input", *labels, "output"), adjacency_VV)

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network; it has no auxiliary head, whatever `size` asks for.

        Raises:
            UsageError: the inputs are no images, or a stem for large ones is asked for.
        """
        from nasrun.networks.nasbench_macro import NasBenchMacroNetwork

        if size.stem not in (None, "cifar"):
            raise UsageError(
                f"stem={size.stem} is not possible with space={self.name}, which has one stem: "
                "type retrain.stem=null"
            )
        channels = self.channels if size.channels is None else size.channels
        return NasBenchMacroNetwork(self.encode(genotype), shape, channels=channels)

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the parameters and multiply-adds of one input without building the network.

        Batch norm, sums and biases count no multiply-adds.
        """
        channels = self.channels if size.channels is None else size.channels
        height, width = shape.size
        kernels, norms = 9 * shape.channels * channels, channels
        flops = kernels * height * width
        for block in plan(self.encode(genotype), channels):
            area = height * width
            if block.stride > 1:
                height, width = -(-height // 2), -(-width // 2)
            if block.digit:
                expansion, kernel = EXPANSION_AND_KERNEL[block.digit]
                hidden = block.before * expansion
                parts = [
                    (block.before * hidden, hidden, area),
                    (kernel**2 * hidden, hidden, height * width),
                    (hidden * block.after, block.after, height * width),
                ]
            elif block.stride > 1:
                parts = [(block.before * block.after, block.after, height * width)]
            else:
                parts = []
            for weights, outputs, places in parts:
                kernels, norms, flops = kernels + weights, norms + outputs, flops + weights * places
        last, before = LAST * channels, channels * 2 ** len(STAGES)
        classifier = last * shape.num_classes
        kernels, norms = kernels + before * last, norms + last
        flops += before * last * height * width + classifier
        return kernels + 2 * norms + classifier + shape.num_classes, flops
