"""Stand for what only a benchmark table knows: the column of a dataset, without its inputs.

With `evaluator=table` nothing is trained and no dataset is loaded: its name says which column is
searched. This is the name of such a column; there are no inputs to load.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

from nasrun.errors import UsageError
from nasrun.protocols.settings import Meaning

Name = Annotated[str, Meaning("a dataset of the table: nasrun data describe TABLE lists them")]


def load_table_column(*, name: Name) -> NoReturn:
    """Refuse to load what is not there.

    Raises:
        UsageError: always; it says what to type instead.
    """
    raise UsageError(
        f"dataset.name={name} is a column of a benchmark table and has no inputs to train on: type "
        "evaluator=table retrain=none, or another dataset (nasrun list datasets)"
    )
