"""Define a space of plain networks: a code of whole numbers, or of bits, says how deep and wide.

After the coding that tutorials of evolutionary architecture search use, and Genetic CNN (Xie and
Yuille, ICCV 2017, arXiv 1703.01513) before them: the layers of a convolutional network and their
widths are a string, which is crossed and mutated.

A network is a stem, one to `max_blocks` blocks, and a classifier. A block has one to `max_depth`
equal convolutions, a width, a kernel size, max or average pooling, and perhaps a skip around its
chain. Genes of blocks that a network does not have are kept: they wait until the number of blocks
grows again. No torch at import time.

Deviations:
- Convolutions have batch norm, and global average pooling comes before the classifier, so that
  images of any size go through any network; the tutorial has neither, and pools after its stem.
- Widths are multiples of `channels`, so that one setting makes a network wider or narrower.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, MinLen

from nasrun.errors import UsageError, brief, require
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.macro_cnn import POOLS, Block, Plan, macro_cnn_text, plan
from nasrun.protocols.settings import BatchSize, Channels, Positive, ReadWith
from nasrun.protocols.space import ArchGraph, TrainingHints
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize

Blocks = Annotated[int, Interval(ge=1, le=16)]
Depth = Annotated[int, Interval(ge=1, le=16)]
WidthFactor = Annotated[int, Interval(ge=1, le=64)]
KernelSize = Annotated[int, Interval(ge=1, le=31)]


class MacroCnn(IntegerCodedSpace):
    """Plain networks. The genes: number of blocks; depth, width, kernel, pool, skip of each block.

    Any genotype that can be built is valid; only what has genes of this space can be varied.

    Args:
        channels: width of the stem, and the unit of the blocks' widths.
        max_blocks, max_depth: the largest number of blocks, and of convolutions in one.
        widths: multiples of `channels`.
        kernels: odd sizes.
        coding: "integer", one gene per choice, or "binary": genes are bits, the choices in a
            reflected Gray code, so that neighbours of a choice are one bit away.
        training_genes: whether learning rate and batch size are genes too.
        learning_rates, batch_sizes: their choices, which then rule evaluator=train and retraining.

    Raises:
        UsageError: a choice comes twice, or has no binary code.
    """

    name = "macro_cnn"

    def __init__(
        self,
        *,
        channels: Channels,
        max_blocks: Blocks,
        max_depth: Depth,
        widths: Annotated[list[WidthFactor], MinLen(1)],
        kernels: Annotated[list[KernelSize], MinLen(1)],
        coding: Literal["integer", "binary"],
        training_genes: bool,
        learning_rates: Annotated[list[Positive], MinLen(1), ReadWith("training_genes")],
        batch_sizes: Annotated[list[BatchSize], MinLen(1), ReadWith("training_genes")],
    ) -> None:
        self.channels, self.max_blocks, self.training_genes = channels, max_blocks, training_genes
        odd = all(kernel % 2 == 1 for kernel in kernels)
        require(odd, "space.kernels", kernels, "odd, so that a map keeps its size")
        one_block = {
            "max_depth": range(1, max_depth + 1),
            "widths": widths,
            "kernels": kernels,
            "pool": POOLS,
            "skip": (False, True),
        }
        choices: list[tuple[str, Sequence[Any]]] = [("max_blocks", range(1, max_blocks + 1))]
        choices += list(one_block.items()) * max_blocks
        if training_genes:
            choices += [("learning_rates", learning_rates), ("batch_sizes", batch_sizes)]
        for key, values in choices:
            distinct = len(set(values)) == len(values)
            require(distinct, f"space.{key}", list(values), "different values")
        self._choices = [values for _, values in choices]
        # of the integer code; those of the binary one are as many twos as it has bits
        self._bits = [(len(values) - 1).bit_length() for values in self._choices]
        if coding == "binary":
            given = {"max_blocks": max_blocks, "max_depth": max_depth}
            allowed = "1, 2, 4, 8 or 16, or so many values, with space.coding=binary"
            for key, values in choices:
                power = 2 ** (len(values) - 1).bit_length()
                shown = given.get(key, list(values))
                require(len(values) == power, f"space.{key}", shown, allowed)
        self.is_binary = coding == "binary"
        integers = tuple(len(values) for values in self._choices)
        self.cardinalities = (2,) * sum(self._bits) if self.is_binary else integers

    # ------------------------------------------------------------------ genotypes

    def validate(self, genotype: Genotype) -> None:
        if genotype.space != self.name:
            raise UsageError(
                f"the genotype is of space '{genotype.space}', and space={self.name} was chosen"
            )
        for block in plan(genotype).blocks:
            if block.kernel % 2 == 0:
                raise UsageError(f"'{block}' has a kernel of even size; sizes are odd")

    def canonical(self, genotype: Genotype) -> str:
        """Return the text of the blocks that are computed, with what rules their training."""
        self.validate(genotype)
        return macro_cnn_text(genotype)

    def pruned(self, genotype: Genotype) -> Genotype:
        """Drop the blocks that wait."""
        self.validate(genotype)
        return replace(plan(genotype), spare=()).genotype

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the genes; a genotype without waiting blocks gets the first choices for them."""
        self.validate(genotype)
        found = plan(genotype)
        blocks = [*found.blocks, *found.spare][: self.max_blocks]
        values: list[Any] = [len(found.blocks)]
        for block in blocks:
            values += [block.depth, block.width, block.kernel, block.pool, block.skip]
        first = [choices[0] for choices in self._choices]
        values += first[len(values) : 1 + 5 * self.max_blocks]
        if (found.training is not None) != self.training_genes:
            raise UsageError(
                f"'{macro_cnn_text(genotype)}' has no genes in this space: learning rate and batch "
                f"size {'are' if self.training_genes else 'are not'} among them with "
                f"space.training_genes={str(self.training_genes).lower()}"
            )
        values += found.training or ()
        genes = []
        for value, choices in zip(values, self._choices, strict=True):
            if value not in choices:
                raise UsageError(
                    f"'{macro_cnn_text(genotype)}' has no genes in this space: {brief(value)} is "
                    f"none of {', '.join(map(str, choices))}"
                )
            genes.append(list(choices).index(value))
        return tuple(self._to_bits(genes)) if self.is_binary else tuple(genes)

    def decode(self, genes: Sequence[int]) -> Genotype:
        integers = self._from_bits(genes) if self.is_binary else genes
        values = [list(c)[gene] for c, gene in zip(self._choices, integers, strict=True)]
        number, last = values[0], 1 + 5 * self.max_blocks
        blocks = [Block(*values[start : start + 5]) for start in range(1, last, 5)]
        training = (values[-2], values[-1]) if self.training_genes else None
        return Plan(tuple(blocks[:number]), tuple(blocks[number:]), training).genotype

    def _to_bits(self, genes: Sequence[int]) -> Iterator[int]:
        for gene, width in zip(genes, self._bits, strict=True):
            gray = gene ^ gene >> 1
            yield from (gray >> place & 1 for place in reversed(range(width)))

    def _from_bits(self, bits: Sequence[int]) -> list[int]:
        genes, given = list[int](), iter(bits)
        for width in self._bits:
            gene = 0
            for bit in itertools.islice(given, width):
                # each bit of a Gray code says whether the bit of the number differs from the last
                gene = gene << 1 | (gene & 1) ^ bit
            genes.append(gene)
        return genes

    def graph(self, genotype: Genotype) -> ArchGraph:
        """Return the graph whose vertices are the operations, from the input on.

        What rules the training is a path of its own beside them.
        """
        found = plan(genotype)
        labels, arrows = ["input"], list[tuple[int, int]]()

        def add(label: str, sources: Sequence[int]) -> list[int]:
            arrows.extend((source, len(labels)) for source in sources)
            labels.append(label)
            return [len(labels) - 1]

        outputs = [0]
        for block in found.blocks:
            inputs = outputs
            for edge in block.cell("").edges[: block.depth]:
                outputs = add(edge.operation, outputs)
            if block.skip:
                outputs = [*outputs, *add("skip_connect", inputs)]
            outputs = add(f"{block.pool}_pool_2x2", outputs)
        if found.training is not None:
            rate = add(f"learning_rate_{found.training[0]!r}", [0])
            outputs = [*outputs, *add(f"batch_size_{found.training[1]}", rate)]
        add("output", outputs)
        adjacency_VV = np.zeros((len(labels), len(labels)), dtype=np.uint8)
        adjacency_VV[tuple(np.array(arrows).T)] = 1
        return ArchGraph(tuple(labels), adjacency_VV)

    # ------------------------------------------------------------------ networks

    def training_hints(self, genotype: Genotype) -> TrainingHints:
        """Return the learning rate and batch size that are part of the genotype, if they are."""
        said = plan(genotype).training
        return TrainingHints() if said is None else TrainingHints(*said)

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network; it has no auxiliary head, whatever `size` asks for.

        Raises:
            UsageError: a number of cells or a stem is asked for, which are no settings here.
        """
        from nasrun.networks.macro_cnn import MacroCnnNetwork

        for key, value in (("cells", size.cells), ("stem", size.stem)):
            if value not in (None, "cifar"):
                raise UsageError(
                    f"{key}={value} is not possible with space=macro_cnn, whose depth is part of "
                    f"the genotype and which has one stem: type retrain.{key}=null"
                )
        self.validate(genotype)
        channels = self.channels if size.channels is None else size.channels
        return MacroCnnNetwork(plan(genotype), shape, channels=channels)

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the parameters and multiply-adds of one input without building the network.

        Batch norm, pooling, sums and biases count no multiply-adds.
        """
        self.validate(genotype)
        channels = self.channels if size.channels is None else size.channels
        height, width = shape.size
        kernels, norms = 9 * shape.channels * channels, channels
        flops, before = kernels * height * width, channels
        for block in plan(genotype).blocks:
            after = channels * block.width
            taps = block.kernel**2 * after
            own = taps * (before + (block.depth - 1) * after)
            norms += block.depth * after
            if block.skip and before != after:
                own, norms = own + before * after, norms + after
            kernels, flops = kernels + own, flops + own * height * width
            height, width, before = -(-height // 2), -(-width // 2), after
        classifier = before * shape.num_classes
        return kernels + 2 * norms + classifier + shape.num_classes, flops + classifier
