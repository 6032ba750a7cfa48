"""What networks cost: memory by hand, latency by counted calls, tables from CSV files."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from nasrun.benchmarks import store
from nasrun.benchmarks.importing import import_table
from nasrun.compute.device import Device
from nasrun.errors import UsageError
from nasrun.genotypes.nasbench201 import OPERATIONS
from nasrun.objectives.counts import BY_COST
from nasrun.objectives.latency import Latency
from nasrun.objectives.memory import PeakMemory, peak_bytes
from nasrun.objectives.table import TableColumn
from nasrun.protocols.data import TaskShape
from nasrun.protocols.measure import MeasuredNetworks
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.nasbench201 import NasBench201

SPACE = NasBench201(channels=4, cells=1, partial_channels=1)
SHAPE = TaskShape(3, (8, 8), 10)
NETWORKS = MeasuredNetworks(SPACE, SHAPE, NetworkSize(), Device("cpu", "float32", False))
LARGE, SMALL = SPACE.decode((3,) * 6), SPACE.decode((1,) * 6)


class Doubled(nn.Module):
    """2 x + x, where 2 x is dropped; then 1 more: at most three vectors at once."""

    def forward(self, images):
        doubled = images * 2
        total = doubled + images
        del doubled
        return total.view(-1) + 1


def test_the_peak_of_activations_is_that_of_live_tensors() -> None:
    """The input of 48 numbers lives on; the convolution's 128 end when the last 256 are made."""
    with torch.device("meta"):
        chain = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.Flatten(),
            nn.Linear(256, 10),
        )  # fmt: skip
        images = torch.empty(1, 3, 4, 4)
        assert peak_bytes(chain, images) == 4 * (48 + 128 + 256)
        assert peak_bytes(Doubled(), torch.empty(10)) == 4 * 30


def test_counts_and_memory_are_those_of_the_network() -> None:
    params, flops = SPACE.params_and_flops(LARGE, SHAPE, NetworkSize())
    assert BY_COST["params"](NETWORKS).measure(LARGE) == params
    assert BY_COST["flops"](NETWORKS).measure(LARGE) == flops
    memory = PeakMemory(NETWORKS)
    # of the first stage, 4 channels of 8x8 in float32, several are alive at once
    assert memory.measure(LARGE) >= memory.measure(SMALL) > 2 * 4 * 4 * 64


def latency(monkeypatch, part: Any) -> tuple[Latency, list[Any]]:
    """A measure for which every call takes 1 ms, and what it has called."""
    called: list[Any] = []

    def timed(self: Latency, call: Any) -> float:
        call()
        called.append(call)
        return 1.0

    monkeypatch.setattr(Latency, "time", timed)
    return Latency(NETWORKS, part=part, warmup=0, repeats=1, batch_size=2), called


def test_a_whole_network_is_one_call_and_blocks_are_measured_once(monkeypatch) -> None:
    whole, called = latency(monkeypatch, "network")
    assert (whole.measure(LARGE), len(called)) == (1.0, 1)
    table, called = latency(monkeypatch, "blocks")
    total = table.measure(LARGE)
    distinct = len(called)
    assert total > distinct  # the six convolutions of a cell are one entry of the table
    assert table.measure(LARGE) == total
    assert len(called) == distinct
    assert table.measure(SMALL) < total


def test_the_median_of_calls_is_taken_after_warming_up(monkeypatch) -> None:
    times = iter([0.0, 10.0, 10.004, 20.0, 20.002, 30.0, 30.050])  # s; the first call has no end
    monkeypatch.setattr("nasrun.objectives.latency.time.perf_counter", lambda: next(times))
    measure = Latency(NETWORKS, part="network", warmup=1, repeats=3, batch_size=1)
    assert measure.time(lambda: None) == pytest.approx(4.0)
    assert measure.how.endswith("the whole network, batch 1, median of 3 calls after 1")


def test_processes_that_would_measure_different_times_are_refused() -> None:
    group: Any = SimpleNamespace(group=SimpleNamespace(size=2))
    networks = MeasuredNetworks(SPACE, SHAPE, NetworkSize(), group)
    with pytest.raises(UsageError, match="a latency cannot be measured with torchrun"):
        Latency(networks, part="network", warmup=0, repeats=1, batch_size=1)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NASRUN_DATA", raising=False)
    return tmp_path


def test_a_device_of_ones_own_is_imported_from_a_csv_file(tables: Path) -> None:
    """Its latency is the sum of the digits, and 1."""
    cells = list(itertools.product(range(5), repeat=6))
    edges = ["edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3"]
    lines = [",".join([*(OPERATIONS[gene] for gene in cell), str(1 + sum(cell))]) for cell in cells]
    text = "\n".join([",".join([*edges, "latency_ms_mine"]), *lines])
    (tables / "mine.csv").write_text(text)
    import_table("nasbench201_hardware", str(tables / "mine.csv"), force=False,
                 progress=lambda *_, **__: None)  # fmt: skip
    column = TableColumn(NETWORKS, column="latency_ms_mine", file=None)
    assert column.measure(SPACE.decode((4, 3, 2, 1, 0, 4))) == 15.0
    assert (column.largest, column.quantity, column.objective.unit) == (25.0, "latency", "ms")
    (tables / "other.csv").write_text(text.replace("latency_ms_mine", "watts"))
    with pytest.raises(UsageError, match="its column 'watts' is not known"):
        import_table("nasbench201_hardware", str(tables / "other.csv"), force=True,
                     progress=lambda *_, **__: None)  # fmt: skip


def test_a_table_that_is_not_there_is_told_by_its_key(tables: Path) -> None:
    advice = "with objective.file=FILE, or type nasrun data import nasbench201_hardware FILE"
    with pytest.raises(UsageError, match=advice):
        store.load_costs("nasbench201", "latency_ms_pixel2")
    with pytest.raises(UsageError, match=r"objective.file=nowhere.npz is not there"):
        store.load_costs("nasbench201", "latency_ms_pixel2", "nowhere.npz")
