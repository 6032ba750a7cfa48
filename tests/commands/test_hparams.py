"""TensorBoard's HParams tab, read back by TensorBoard's own backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from nasrun.cli.main import main
from nasrun.runs.folder import RunFolder
from tests.commands.pictures import without_pictures
from tests.jobs import job

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=smoke",
    "population.size=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


def rows(folder: str) -> list[dict[str, Any]]:
    """The table that the tab shows of a folder: settings and metrics of each row."""
    events = EventMultiplexer().AddRunsFromDirectory(folder)
    events.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(events, folder)))
    metrics = ("search_val_accuracy", "test_accuracy", "params", "search_seconds", "regret")
    columns = [
        api_pb2.ColParams(metric=api_pb2.MetricName(tag=f"final/{name}")) for name in metrics
    ]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN],
        col_params=columns,
    )
    found = []
    for group in Handler(RequestContext(), context, "", request).run().session_groups:
        assert len(group.sessions) == 1
        settings = {key: value.ListFields()[0][1] for key, value in group.hparams.items()}
        values = {metric.name.tag: metric.value for metric in group.metric_values}
        found.append({"name": group.sessions[0].name, **settings, **values})
    return sorted(found, key=lambda row: row["name"])


def read(path: Path) -> Any:
    return json.loads(Path(path).read_text())


def test_a_row_per_job_with_settings_and_final_figures() -> None:
    main(["search", "-m", *QUICK, "fitness.zeta=0.4,1.0", "hydra.sweep.dir=s"])
    table = rows("s")
    assert [row["name"] for row in table] == ["0-zeta-0.4/tensorboard", "1-zeta-1.0/tensorboard"]
    for number, (row, zeta) in enumerate(zip(table, (0.4, 1.0), strict=True)):
        result = read(job("s", number) / "result.json")
        assert (row["strategy"], row["space"], row["dataset"]) == ("egnas", "toy", "synthetic")
        assert (row["seed"], row["fitness.zeta"], row["population.size"]) == (0, zeta, 2)
        for name in ("search_val_accuracy", "search_seconds"):
            assert row[f"final/{name}"] == pytest.approx(result[name])
        for name in ("test_accuracy", "params"):
            assert row[f"final/{name}"] == pytest.approx(result["retrain"][name])


def test_a_run_that_is_resumed_has_one_row(monkeypatch) -> None:
    """It was killed after the row was written, and before the run was marked as done."""
    original = RunFolder.update

    def update(self: RunFolder, **values: Any) -> None:
        original(self, **({} if values.get("status") == "done" else values))

    monkeypatch.setattr(RunFolder, "update", update)
    main(["search", *QUICK, "hydra.run.dir=run"])
    monkeypatch.setattr(RunFolder, "update", original)
    assert read("run/run.json")["status"] == "running"
    assert len(rows("run")) == 1
    main(["resume", "run"])
    (row,) = rows("run")
    result = read("run/result.json")
    assert row["final/search_val_accuracy"] == pytest.approx(result["search_val_accuracy"])
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    assert len(events.Scalars("final/test_accuracy")) == 1


def test_a_writer_that_fails_ends_no_run(monkeypatch) -> None:
    import torch.utils.tensorboard.summary as summary

    def broken(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(summary, "hparams", broken)
    main(["search", *QUICK, "retrain=none", "hydra.run.dir=run"])
    assert read("run/run.json")["status"] == "done"
    assert "TensorBoard has stopped" in Path("run/search.log").read_text()
