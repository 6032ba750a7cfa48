"""The trackers of this package, with their real libraries where these are installed."""

from __future__ import annotations

import ast
import json
import os
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from nasrun import trackers
from nasrun.cli.main import main
from nasrun.config import plugins
from nasrun.config.catalogue import conf_dir
from nasrun.config.checks import all_faults
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.errors import UsageError
from nasrun.testing import OptionContract, TrackerContract
from nasrun.trackers.answering import require_answer, without_secrets
from nasrun.trackers.trackio import Trackio
from tests.commands.pictures import without_pictures
from tests.compose import composed, options

_kept = tempfile.TemporaryDirectory(prefix="nasrun-trackio-")  # until the process ends
os.environ["TRACKIO_DIR"] = _kept.name  # read when trackio is imported
QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=smoke",
    "population.size=2", "hydra.run.dir=run",
]  # fmt: skip
real = pytest.mark.filterwarnings("ignore")  # those of their libraries are not ours


@pytest.fixture(autouse=True)
def _of_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "TRACKIO_SERVER_URL", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@real
class TestMlflow(TrackerContract, OptionContract):
    option: ClassVar[str] = "mlflow"


@real
class TestTrackio(TrackerContract, OptionContract):
    option: ClassVar[str] = "trackio"


def test_all_trackers_are_tested() -> None:
    assert options("tracker") == [TestMlflow.option, TestTrackio.option]


def of_tensorboard(folder: str) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f"{folder}/tensorboard")
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: {one.step: one.value for one in events.Scalars(name)} for name in names}


@real
def test_mlflow_has_the_figures_of_tensorboard_and_files(tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    main(["search", *QUICK, "tracker=mlflow"])
    known = json.loads(Path("run/tracker.json").read_text())
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run(known["run"])
    expected = of_tensorboard("run")
    assert run.data.metrics.keys() == expected.keys()
    for name, values in expected.items():
        history = client.get_metric_history(known["run"], name)
        assert {one.step: one.value for one in history} == pytest.approx(values)
        assert len(history) == len(values)
    assert (run.data.params["strategy.xi"], run.data.tags["space"]) == ("0.6", "toy")
    assert run.info.status == "FINISHED"
    files = {one.path for one in client.list_artifacts(known["run"])}
    assert files >= {"result.json", "genotype.json", "metrics.jsonl", "search.log", ".hydra"}


@real
def test_trackio_has_the_figures_of_tensorboard(tmp_path, monkeypatch) -> None:
    trackio = pytest.importorskip("trackio")
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    main(["search", *QUICK, "tracker=trackio", "tracker.project=figures"])
    known = json.loads(Path("run/tracker.json").read_text())
    rows = trackio.SQLiteStorage.get_logs("figures", known["run"])
    for name, values in of_tensorboard("run").items():
        assert {row["step"]: row[name] for row in rows if name in row} == pytest.approx(values)


def test_their_libraries_are_imported_by_runs_alone() -> None:
    """Also by a catalogue, a check of values, or a worker: MLflow takes a second."""
    for path in Path(str(trackers.__file__)).parent.glob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import)]
        assert not {alias.name for node in top for alias in node.names} & {"mlflow", "trackio"}
    assert all(
        f"nasrun.trackers.{name}." in (conf_dir() / "tracker" / f"{name}.yaml").read_text()
        for name in options("tracker")
    )


def test_a_tracker_is_a_plugin_of_its_own_group_alone() -> None:
    assert plugins.is_plugin("nasrun.trackers.mlflow.Mlflow", "tracker")
    assert not plugins.is_plugin("nasrun.trackers.mlflow.Mlflow", "strategy")


def test_a_server_of_trackio_wants_a_token_that_is_asked_for_before_a_run(monkeypatch) -> None:
    monkeypatch.delenv("TRACKIO_WRITE_TOKEN", raising=False)
    with pytest.raises(UsageError, match="type export TRACKIO_WRITE_TOKEN="):
        Trackio(project="mine", uri="http://localhost:1").reach()
    (fault,) = all_faults(
        to_typed(composed(["tracker=trackio", "tracker.uri=localhost"]), SearchConfig)
    )
    assert fault == "tracker.uri=localhost must be http://host:port or null"


def test_a_server_that_answers_whatever_it_says_is_there() -> None:
    class Forbids(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Forbids) as server:
        address = f"http://me:secret@127.0.0.1:{server.server_port}/x?token=y"
        thread = Thread(target=server.handle_request)
        thread.start()
        require_answer(address.replace("me:secret@", ""))
        thread.join()
    with pytest.raises(ConnectionError) as gone:
        require_answer(address.replace("me:secret@", ""))
    assert str(gone.value) == (
        f"http://127.0.0.1:{server.server_port}/x does not answer (Connection refused)"
    )
    require_answer("sqlite:///mlflow.db")


def test_addresses_are_kept_without_secrets() -> None:
    assert without_secrets("https://me:secret@host:5000/x?write_token=y") == "https://host:5000/x"
    assert without_secrets("sqlite:////tmp/a@b.db") == "sqlite:////tmp/a@b.db"
