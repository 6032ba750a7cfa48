"""Write architectures of which a table knows the genes alone: a value of each, and no network.

As a cell, each gene is an edge of its own from the input, whose operation is `name=value`, and all
meet in the output: that is also the graph which predictors see. Shapes: D genes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasrun.errors import UsageError, brief, closest
from nasrun.genotypes.genotype import Cell, Edge, Genotype

SPACE, CELL = "genes", "genes"
MAX_GENES = 190  # the nodes of a cell, from 0 on, are at most 200
WORD = re.compile(r"[\w.+\-~*/()| ]{1,48}")  # no equals sign, colon or comma, which have a meaning
ARRAYS = ("gene_names", "gene_sizes", "gene_values")  # of a file; the values one gene after another


@dataclass(frozen=True, slots=True)
class Gene:
    """A column of genes, and the values that are in it, in their order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coding:
    """The genes of a table, and what turns their numbers into genotypes and back."""

    genes: tuple[Gene, ...]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return tuple(len(gene.values) for gene in self.genes)

    def genotype(self, codes: Sequence[int]) -> Genotype:
        """Return the genotype of codes_D, each the position of a value in its gene."""
        pairs = zip(self.genes, codes, strict=True)
        operations = [f"{gene.name}={gene.values[code]}" for gene, code in pairs]
        last = len(operations) + 1
        edges = [Edge(one, 0, node) for node, one in enumerate(operations, start=1)]
        edges += [Edge("concat", node, last) for node in range(1, last)]
        nodes = ("in", *(gene.name for gene in self.genes), "out")
        return Genotype(SPACE, (Cell(CELL, nodes, tuple(edges)),))

    def codes(self, genotype: Genotype) -> tuple[int, ...]:
        """Return codes_D of a genotype.

        Raises:
            UsageError: it is none of these genes.
        """
        if genotype.space != SPACE:
            raise UsageError(
                f"the genotype is of space '{genotype.space}', and space={SPACE} was chosen"
            )
        cell = genotype.cell(CELL)
        found = [edge.operation.partition("=")[::2] for edge in cell.edges if edge.source == 0]
        names = [gene.name for gene in self.genes]
        if [name for name, _ in found] != names:
            raise UsageError(
                f"the genotype has the genes {brief(', '.join(name for name, _ in found))}, and "
                f"the table {brief(', '.join(names))}: it is of another table"
            )
        codes = []
        for gene, (_, value) in zip(self.genes, found, strict=True):
            if value not in gene.values:
                raise UsageError(
                    f"the gene {gene.name} is never '{brief(value)}' in this table; "
                    f"{closest(value, gene.values)}"
                )
            codes.append(gene.values.index(value))
        if self.genotype(codes) != genotype:
            raise UsageError(
                "a genotype of genes has an edge from the input for each gene, and a concat from "
                "each to the output; this one has others"
            )
        return tuple(codes)

    def text(self, codes: Sequence[int]) -> str:
        """Write genes in one line: `depth=3, kernel=5x5`."""
        pairs = zip(self.genes, codes, strict=True)
        return ", ".join(f"{gene.name}={gene.values[code]}" for gene, code in pairs)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a file has of the genes."""
        return {
            "gene_names": np.array([gene.name for gene in self.genes]),
            "gene_sizes": np.array(self.cardinalities),
            "gene_values": np.array([value for gene in self.genes for value in gene.values]),
        }


def coding_of(arrays: Mapping[str, np.ndarray]) -> Coding:
    """Read the genes of a file that has the three `ARRAYS`.

    Raises:
        UsageError: they do not fit together; the sentence says how.
    """
    names, sizes, values = (arrays[name] for name in ARRAYS)
    if any(one.ndim != 1 for one in (names, sizes, values)) or sizes.dtype.kind not in "iu":
        raise UsageError(f"{', '.join(ARRAYS)} must be lists, the second of whole numbers")
    if len(names) != len(sizes) or int(sizes.sum()) != len(values) or (sizes < 1).any():
        raise UsageError(
            f"gene_sizes must be 1 or more for each of {len(names)} gene_names, and add up to the "
            f"{len(values)} gene_values"
        )
    ends = np.cumsum(sizes).tolist()
    parts = zip(names.tolist(), [0, *ends], ends, strict=False)
    genes = [Gene(str(name), tuple(map(str, values[a:b].tolist()))) for name, a, b in parts]
    for problem in problems_of(genes):
        raise UsageError(problem)
    return Coding(tuple(genes))


def problems_of(genes: Sequence[Gene]) -> Iterator[str]:
    """Yield one sentence for everything that is wrong with genes."""
    if not 1 <= len(genes) <= MAX_GENES:
        yield f"a table has 1 to {MAX_GENES} columns of genes, not {len(genes)}"
    yield from _twice("the gene", [gene.name for gene in genes])
    for gene in genes:
        yield from _twice(f"of the gene {brief(gene.name)} the value", gene.values)
        for word in (gene.name, *gene.values):
            if not WORD.fullmatch(word):
                yield (
                    f"'{brief(word)}' cannot be a gene or a value of one: letters, digits, spaces "
                    "and . + - ~ * / ( ) | are possible, 1 to 48 of them"
                )
                break


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    known = set[str]()
    for name in names:
        if name in known:
            yield f"{what} {brief(name)} is there twice"
            return
        known.add(name)


def gene_of(name: str, words: Sequence[str]) -> tuple[Gene, np.ndarray]:
    """Make a gene of a column: its values sorted, as numbers where all are, and codes_R."""
    distinct = set(words)
    try:
        ordered = sorted(distinct, key=lambda word: (float(word), word))
    except ValueError:
        ordered = sorted(distinct)
    position = {word: code for code, word in enumerate(ordered)}
    return Gene(name, tuple(ordered)), np.array([position[word] for word in words])
