"""Read the official file of NAS-Bench-201 through its own library.

Its present form is NATS-Bench's topology space (Dong et al., TPAMI 2021).

The file is a pickle, and opening one can run code: `nats_bench` opens it, this program does not.
Written after the library's documentation (version 1.8) and tried on a stand-in for it only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nasrun.errors import UsageError
from nasrun.genotypes import nasbench201
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.state import Progress
from nasrun.terminal.progress import tracked

# Our dataset: theirs for training and validation, theirs for the test.
DATASETS = {
    "cifar10": ("cifar10-valid", "cifar10"),
    "cifar100": ("cifar100", "cifar100"),
    "imagenet16": ("ImageNet16-120", "ImageNet16-120"),
}


CellsAndColumns = tuple[list[Genotype], dict[str, np.ndarray]]
"""The cells, and the columns by their names."""


class NatsBench(Protocol):
    """What is used of the library's object.

    Accuracies are percent, parameters millions; with `is_random=False` they are means over the
    trainings. `hp` is the number of epochs.
    """

    def __len__(self) -> int: ...

    def arch(self, index: int) -> str: ...

    def get_more_info(
        self, index: int, dataset: str, *, hp: str, is_random: bool
    ) -> Mapping[str, Any]: ...

    def get_cost_info(self, index: int, dataset: str, hp: str) -> Mapping[str, Any]: ...

    def query_by_index(self, index: int, dataset: None, hp: str) -> NatsResults: ...


class NatsResults(Protocol):
    """What is used of all results of a cell."""

    def get_dataset_seeds(self, dataset: str) -> Sequence[int]: ...


def read(path: Path, seconds: Mapping[str, str], progress: Progress) -> CellsAndColumns:
    """Read all cells after 200 epochs.

    Args:
        path: `NATS-tss-v1_0-3ffb9.pickle.pbz2`, or the folder `NATS-tss-v1_0-3ffb9-simple`.
        seconds: dataset -> what the column of its training times is to be called.

    Raises:
        UsageError: the library is not there, or cannot read the file.
    """
    try:
        from nats_bench import create
    except ImportError:
        raise UsageError(
            f"{path} is read by the library nats_bench, which is not installed: "
            'python -m pip install -e ".[benchmarks]" (or nats-bench alone)'
        ) from None
    try:
        benchmark = create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)
        return table(benchmark, seconds, progress)
    except Exception as error:  # whatever the library raises, the file is at fault
        raise UsageError(f"nats_bench cannot read {path}: {error!r}") from None


def table(benchmark: NatsBench, seconds: Mapping[str, str], progress: Progress) -> CellsAndColumns:
    """Collect all cells after 200 epochs.

    The parameters are those of the shorter training, as they do not depend on it and the library
    copies all that it has to tell them.
    """
    indices = range(len(benchmark))
    rows = [_row(benchmark, seconds, i) for i in tracked(indices, len(benchmark), progress)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return [nasbench201.parse(benchmark.arch(index)) for index in indices], columns


def _row(benchmark: NatsBench, seconds: Mapping[str, str], index: int) -> dict[str, float]:
    row: dict[str, float] = {}
    results = benchmark.query_by_index(index, None, "200")
    for dataset, (search, final) in DATASETS.items():
        found = benchmark.get_more_info(index, search, hp="200", is_random=False)
        tested = found
        if final != search:
            tested = benchmark.get_more_info(index, final, hp="200", is_random=False)
        row[f"{dataset}_val_200"] = float(found["valid-accuracy"])
        row[f"{dataset}_test_200"] = float(tested["test-accuracy"])
        row[seconds[dataset]] = float(found["train-all-time"])
        seeds = (len(results.get_dataset_seeds(theirs)) for theirs in (search, final))
        row[f"{dataset}_num_trainings_200"] = min(seeds)
    row["params_cifar10"] = round(1e6 * benchmark.get_cost_info(index, "cifar10", "12")["params"])
    return row
