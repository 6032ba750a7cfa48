"""Read tables of genes from files of columns: some are genes, and the person says what others are.

A column of values needs a unit, a direction, and whether it was measured on validation or on test
data; nobody can guess these from its numbers. Shapes: R rows, D genes, V columns of values.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from nasrun.benchmarks.benchmark import Better, ColumnOptions, Part
from nasrun.benchmarks.csv_files import INDEX
from nasrun.benchmarks.table import Arrays
from nasrun.errors import UsageError, brief, closest, raise_together
from nasrun.genotypes.genes import Coding, gene_of, problems_of
from nasrun.storage import npz_file

HOW = (
    "--value COLUMN unit=UNIT better=higher|lower part=test|validation, and if known "
    "of=DATASET quantity=NAME trainings=N"
)
KEYS = ("unit", "better", "part", "of", "quantity", "trainings")
NEEDED = KEYS[:3]
VALUES = ("value_names", *(f"value_{key}" for key in KEYS), "values")  # arrays of a file


@dataclass(frozen=True)
class ValueColumn:
    """What a person says of a column of values."""

    column: str
    unit: str  # percent and fraction are on a scale of their own, any other on that of the table
    better: Better
    part: Part
    of: str  # the dataset, which may have a column of either part
    quantity: str
    trainings: int  # behind each value; 0 where nobody says


def value_column(words: Sequence[str]) -> ValueColumn:
    """Read the words of one `--value`.

    Raises:
        UsageError: something is missing, or no known word.
    """
    column, *pairs = words
    said = dict(pair.partition("=")[::2] for pair in pairs)
    unknown = next((key for key in said if key not in KEYS), None)
    if unknown is not None or not all("=" in pair for pair in pairs):
        given = next((pair for pair in pairs if "=" not in pair), unknown) or ""
        raise UsageError(f"--value {column}: '{brief(given)}' is not known; type {HOW}")
    missing = [f"{key}=" for key in NEEDED if not said.get(key)]
    if missing:
        raise UsageError(f"--value {column} lacks {' and '.join(missing)}: type {HOW}")
    for key, allowed in (("better", get_args(Better)), ("part", get_args(Part))):
        if said[key] not in allowed:
            raise UsageError(f"--value {column} {key}={said[key]}: {closest(said[key], allowed)}")
    trainings = said.get("trainings", "0")
    if not trainings.isdecimal() or len(trainings) > 6:
        raise UsageError(f"--value {column} trainings={brief(trainings)} must be a whole number")
    dataset = said.get("of") or column
    return ValueColumn(
        column,
        said["unit"],
        "lower" if said["better"] == "lower" else "higher",
        "validation" if said["part"] == "validation" else "test",
        dataset,
        said.get("quantity") or dataset,
        int(trainings),
    )


def read(path: Path, options: ColumnOptions) -> Arrays:
    """Read the arrays of a table in the condensed form from a CSV file, or from arrays of columns.

    Raises:
        UsageError: names the column and the row that is not understood.
    """
    columns = _csv_columns(path) if path.suffix.lower() == ".csv" else _npz_columns(path)
    if "gene_codes" in columns:  # it was imported before
        if options.values or options.ignored:
            raise UsageError(f"{path} says itself what its columns are: leave --value out")
        return columns
    if not options.values:
        raise UsageError(
            f"{path} has the columns {brief(', '.join(columns), 200)}: say which are values, and "
            f"the others are genes: {HOW}"
        )
    values = [value_column(words) for words in options.values]
    named = [*(value.column for value in values), *options.ignored]
    for name in named:
        if name not in columns:
            raise UsageError(f"{path} has no column '{brief(name)}'; {closest(name, columns)}")
    repeated = next((name for name in named if named.count(name) > 1), None)
    if repeated is not None:
        raise UsageError(f"the column {repeated} is named twice in --value and --ignore")
    numbers_RV = np.stack([_numbers(path, one.column, columns[one.column]) for one in values], 1)
    made = [
        gene_of(name, _words(path, name, column))
        for name, column in columns.items()
        if name not in named
    ]
    genes = [gene for gene, _ in made]
    raise_together(f"{path}: {problem}" for problem in problems_of(genes))
    codes_RD = np.stack([codes_R for _, codes_R in made], axis=1)
    return {
        **Coding(tuple(genes)).arrays(),
        "gene_codes": codes_RD.astype(np.min_scalar_type(int(codes_RD.max()))),
        "values": numbers_RV,
        "value_names": np.array([one.column for one in values]),
        **{f"value_{key}": np.array([getattr(one, key) for one in values]) for key in KEYS},
    }


def _csv_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file as words_R."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[word.strip() for word in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV file: {error}") from None
    header, *rest = rows or [[]]
    if len(set(header)) < len(header):
        raise UsageError(f"{path} has a column twice")
    if not rest:
        raise UsageError(f"{path} has no rows below its header")
    for number, row in enumerate(rest, start=1):
        if len(row) != len(header):
            raise UsageError(
                f"{path}, row {number}: it has {len(row)} fields, and the header {len(header)}"
            )
    columns = dict(zip(header, map(np.array, zip(*rest, strict=True)), strict=True))
    if INDEX.fullmatch(header[0]) and columns[header[0]].tolist() == [*map(str, range(len(rest)))]:
        del columns[header[0]]  # row numbers, as pandas writes them
    return columns


def _npz_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file, each a column; the condensed form is returned as it is."""
    try:
        arrays = npz_file.read_all(path)
    except npz_file.UNREADABLE as error:
        raise UsageError(f"{path} is no .npz file of arrays: {error}") from None
    if "gene_codes" in arrays:
        return arrays
    arrays.pop("README", None)
    lengths = {name: array.shape for name, array in arrays.items()}
    shape = next(iter(lengths.values()), ())
    if len(shape) != 1 or shape[0] == 0 or len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise UsageError(
            f"{path} must have arrays of one dimension and one length, one for each column, not "
            f"{brief(told, 200) or 'nothing'}"
        )
    return arrays


def _words(path: Path, name: str, column_R: np.ndarray) -> list[str]:
    """Return the values of a gene as words; whole numbers are written without a point."""
    numeric = column_R.dtype.kind == "f"
    values = column_R.tolist()
    words = [f"{one:.12g}" if numeric else str(one) for one in values]
    for row, word in enumerate(words, start=1):
        if not word or word == "nan":
            raise UsageError(f"{path}, row {row}: the gene {name} has no value")
    return words


def _numbers(path: Path, name: str, column_R: np.ndarray) -> np.ndarray:
    """Return the numbers of a column of values, float64."""
    numbers_R = np.full(len(column_R), np.nan)
    for row, word in enumerate(column_R.tolist()):
        with contextlib.suppress(ValueError):
            numbers_R[row] = float(word)
        if not np.isfinite(numbers_R[row]):
            raise UsageError(
                f"{path}, row {row + 1}: {name} must be a number, not '{brief(str(word))}'"
            )
    return numbers_R


def described(arrays: Mapping[str, np.ndarray]) -> list[ValueColumn]:
    """Return what a file says of its columns of values; all arrays of `VALUES` are there.

    Raises:
        UsageError: they do not fit together, or something is not known.
    """
    parts = [arrays[f"value_{key}"] for key in KEYS]
    count = arrays["value_names"].shape
    if len(count) != 1 or any(part.shape != count for part in parts):
        raise UsageError("value_names, value_unit and the like must be lists of one length")
    found = []
    for column, *said in zip(arrays["value_names"].tolist(), *(p.tolist() for p in parts),
                             strict=True):  # fmt: skip
        pairs = [f"{key}={one}" for key, one in zip(KEYS, said, strict=True)]
        found.append(value_column([str(column), *pairs]))
    return found
