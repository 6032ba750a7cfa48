"""Fetch, import, describe and verify benchmark tables; import images."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nasrun.benchmarks import store
from nasrun.benchmarks.benchmark import Benchmark, ColumnOptions
from nasrun.benchmarks.table import ACCURACY, Arrays, Columns, Table
from nasrun.config.commands import argument_parser
from nasrun.errors import RunError, UsageError, closest
from nasrun.storage.cache_folder import table_places
from nasrun.terminal import console, progress


def main(arguments: Sequence[str]) -> None:
    """Do what the first argument says: fetch, import, describe or verify.

    Raises:
        UsageError: something cannot be read.
        RunError: a check has failed.
    """
    verbs = {"fetch": _fetch, "import": _import, "describe": _describe, "verify": _verify}
    verb, *others = arguments or [""]
    if verb not in verbs:
        raise UsageError(f"nasrun data {verb or 'VERB'}: {closest(verb, verbs)}")
    verbs[verb](others)


def _fetch(arguments: Sequence[str]) -> None:
    from nasrun.benchmarks.fetching import address_of, fetch_table

    parser = argument_parser("data")
    parser.add_argument("benchmark")
    parser.add_argument("--address")
    parser.add_argument("--sha256")
    parser.add_argument("--force", action="store_true")
    parsed = parser.parse_args(arguments)
    address = address_of(parsed.benchmark, parsed.address)
    with contextlib.closing(progress.Bar(f"fetch {parsed.benchmark}")) as bar:
        path = fetch_table(
            parsed.benchmark,
            address,
            sha256=parsed.sha256,
            force=parsed.force,
            tell=console.say,
            progress=bar,
        )
    console.say(f"imported: {path}")


def _import(arguments: Sequence[str]) -> None:
    from nasrun.benchmarks.importing import import_table

    parser = argument_parser("data")
    parser.add_argument("benchmark")
    parser.add_argument("file")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--value", nargs="+", action="append", default=[])
    parser.add_argument("--ignore", nargs="+", action="extend", default=[])
    parsed = parser.parse_args(arguments)
    options = ColumnOptions(tuple(map(tuple, parsed.value)), tuple(parsed.ignore))
    with contextlib.closing(progress.Bar(f"import {parsed.benchmark}")) as bar:
        path = import_table(
            parsed.benchmark,
            parsed.file,
            force=parsed.force,
            progress=bar,
            out=parsed.out,
            options=options,
        )
    console.say(f"imported: {path}")
    if (
        parsed.out is None
        and parsed.benchmark in store.benchmarks()
        and store.locate(parsed.benchmark) != path
    ):
        console.say(f"used before it, as NASRUN_DATA says: {store.locate(parsed.benchmark)}")


def _describe(arguments: Sequence[str]) -> None:
    what = _one_argument(arguments)
    if what is None:
        console.listing({name: list(_whereabouts(name)) for name in store.benchmarks()})
        return
    console.say("\n".join(_description(*_open(what))))


def _verify(arguments: Sequence[str]) -> None:
    what = _one_argument(arguments)
    found = [name for name in store.benchmarks() if any(p.is_file() for p in table_places(name))]
    outcomes = []
    for name in found if what is None else [what]:
        benchmark, table, arrays = _open(name)
        console.say(f"{benchmark.name}: {table.path}")
        with contextlib.closing(progress.Bar(f"verify {benchmark.name}")) as bar:
            for check in benchmark.checks(table, arrays, bar):
                outcomes.append(check.passed)
                state = "ok" if check.passed else "FAILED"
                console.say(f"  {state:<6}  {check.name:<21}  {check.figures}")
    if not outcomes:
        raise UsageError("there is no table to verify: nasrun data describe says where they belong")
    if not all(outcomes):
        raise RunError(f"{outcomes.count(False)} of {len(outcomes)} checks failed")


def _one_argument(arguments: Sequence[str]) -> str | None:
    parser = argument_parser("data")
    parser.add_argument("what", nargs="?")
    what: str | None = parser.parse_args(arguments).what
    return what


def _whereabouts(name: str) -> Iterator[tuple[str, str]]:
    """Yield each place where a table may be, and whether there is one."""
    used = False
    for path in table_places(name):
        there = path.is_file()
        yield str(path), ("there, not used" if used else "used") if there else "not there"
        used = used or there


def _open(what: str) -> tuple[Benchmark, Table, Arrays]:
    """Open the table of a benchmark, or the one in a file."""
    known = store.benchmarks()
    path = store.locate(what) if what in known else Path(what).expanduser()
    if not path.is_file():
        raise UsageError(
            f"there is neither a file nor a benchmark '{what}': {closest(what, known)}"
        )
    arrays = store.read_arrays(path)
    benchmark = known[what] if what in known else store.recognised(arrays)
    if benchmark is None:
        raise UsageError(f"{path} is no table of {' or '.join(known)}")
    return benchmark, store.table_of([benchmark], path, arrays), arrays


def _description(benchmark: Benchmark, table: Table, arrays: Arrays) -> Iterator[str]:
    with table.path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    yield f"{benchmark.name}: {table.path}"
    yield f"  rows      {table.num_rows:,}"
    yield f"  columns   {', '.join(name for name in arrays if name != 'README')}"
    yield f"  sha256    {checksum}"
    derived = [name for name in table.costs if name not in arrays]
    if derived:
        yield f"  also for objective=table: objective.column={' or '.join(derived)}"
    for dataset, columns in table.datasets.items():
        yield f"  {dataset}: a search sees the {columns.signal}"
        yield from _facts(columns)
        yield from _best(table, columns)


def _facts(columns: Columns) -> Iterator[str]:
    """Yield what the values are, how many trainings are behind each, and how many are missing."""
    quantity, num_missing = columns.quantity, int(np.isnan(columns.signal_R).sum())
    trainings = columns.trainings or "the table does not say"
    yield (
        f"    values: {quantity.name}, {quantity.unit}, {quantity.direction}; trainings behind "
        f"each: {trainings}"
    )
    if num_missing:
        yield f"    {num_missing:,} rows have no value: their labels fail"


def _best(table: Table, columns: Columns) -> Iterator[str]:
    """Yield a line on each optimum and its cell."""
    quantity = columns.quantity

    def shown(score: float) -> str:
        if quantity == ACCURACY:
            return f"{score:.4%}"
        return f"{quantity.name} {quantity.value(float(score)):.6g} {quantity.unit}"

    if columns.validation_R is not None:
        row = int(np.nanargmax(columns.validation_R))
        validation, test = (shown(part_R[row]) for part_R in (columns.validation_R, columns.test_R))
        beside = f" (test {test})" if columns.has_test else ""
        yield f"    best validation {validation}{beside}: {table.text(row)}"
    if not columns.has_test:
        yield "    no test column: a result is judged by the validation column"
        return
    row = int(np.nanargmax(columns.test_R))
    yield f"    best test {shown(columns.test_R[row])}: {table.text(row)}"
