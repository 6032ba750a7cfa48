"""Look up in a benchmark table what a network costs on a device that others have measured."""

from __future__ import annotations

from typing import Annotated

from nasrun.benchmarks import store
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Objective
from nasrun.protocols.measure import Measure, MeasuredNetworks
from nasrun.protocols.settings import Meaning, Place

Column = Annotated[str, Meaning("a column of the table, such as latency_ms_raspi4")]


class TableColumn(Measure):
    """A column of a table of the run's space that says what each architecture costs.

    The networks are those that the makers of the table have measured, whatever is retrained.

    Args:
        column: such as `latency_ms_raspi4`; the name says what it is, and its unit.
        file: the table, or the name of a benchmark; `None` looks for one that has the column, in
            `NASRUN_DATA`, then in the user's cache folder.

    Raises:
        UsageError: there is no such table or column.
    """

    is_bought = True

    def __init__(self, networks: MeasuredNetworks, *, column: Column, file: Place | None) -> None:
        self._space = networks.space
        file = file or self._space.table_file
        self._table = store.load_costs(self._space.name, column, file)
        self._values_R = self._table.costs[column]
        if column in self._table.units:
            self.quantity, unit = column, self._table.units[column]
        else:
            self.quantity, unit = quantity_and_unit(column)
        self.objective = Objective(column, unit)
        self.largest = float(self._values_R.max())
        self.how = f"column {column} of {self._table.path.name}"

    def measure(self, genotype: Genotype) -> float:
        return float(self._values_R[self._table.row(genotype)])


def quantity_and_unit(column: str) -> tuple[str, str]:
    """Return what a column is of, and its unit, from its name.

    >>> quantity_and_unit("latency_ms_raspi4"), quantity_and_unit("energy_mj_pi5")
    (('latency', 'ms'), ('energy', 'mJ'))
    """
    quantity, _, rest = column.partition("_")
    unit = rest.partition("_")[0]
    return quantity, {"mj": "mJ"}.get(unit, unit)
