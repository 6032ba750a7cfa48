"""Define a space of nothing but genes, which a table knows: no networks, any number of columns.

Whatever was measured for each combination of some choices can be searched so. Neighbours differ in
one gene. No torch at import time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from nasrun.errors import UsageError
from nasrun.genotypes.genes import ARRAYS, SPACE, coding_of
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import Place
from nasrun.spaces.integer_coded import IntegerCodedSpace
from nasrun.storage import npz_file
from nasrun.storage.cache_folder import table_places

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import NetworkSize


class Genes(IntegerCodedSpace):
    """The genes of a table, each combination of which is an architecture.

    Args:
        file: the table, as `nasrun data import genes` writes it; `None` looks in `NASRUN_DATA`,
            then in the user's cache folder.

    Raises:
        UsageError: there is no such table.
    """

    name = "genes"
    takes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, file: Place | None) -> None:
        path = _found() if file is None else Path(file).expanduser()
        if not path.is_file():
            raise UsageError(f"space.file={file} is not there")
        self.table_file = str(path)
        try:
            arrays = npz_file.read_all(path)
            self.coding = coding_of({name: arrays[name] for name in ARRAYS})
        except (UsageError, *npz_file.UNREADABLE) as error:
            reason = f"it lacks {error}" if isinstance(error, LookupError) else str(error)
            raise UsageError(
                f"{path} is no table of genes, as nasrun data import genes FILE makes one: {reason}"
            ) from None
        self.cardinalities = self.coding.cardinalities

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        return self.coding.codes(genotype)

    def decode(self, genes: Sequence[int]) -> Genotype:
        return self.coding.genotype(genes)

    def validate(self, genotype: Genotype) -> None:
        self.coding.codes(genotype)

    def canonical(self, genotype: Genotype) -> str:
        """Return the genes as a text: no two combinations are known to be the same."""
        return self.coding.text(self.encode(genotype))

    def largest(self) -> Genotype:
        """Return the last value of each gene: of numbers the highest."""
        return self.decode([size - 1 for size in self.cardinalities])

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> NoReturn:
        raise self._has_no_networks("be trained or measured")

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        raise self._has_no_networks("be counted")

    def _has_no_networks(self, what: str) -> UsageError:
        return UsageError(
            f"space={self.name} is a table of genes and has no networks that could {what}: for a "
            "second objective type objective=table objective.column=COLUMN, for first labels "
            "strategy.initial=random, and leave retrain out"
        )


def _found() -> Path:
    places = table_places(SPACE)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        looked = " and ".join(map(str, places))
        raise UsageError(
            f"space={SPACE} needs a table, and there is none (looked for {looked}): type nasrun "
            "data import genes FILE, or say where it is with space.file=FILE"
        )
    return path
