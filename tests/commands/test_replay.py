"""`--from RUN`: a run can be repeated, and says what it was made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.cli.main import main
from nasrun.launch.replay import literal, replayed
from tests.commands.pictures import without_pictures

QUICK = ["space=toy", "budget=smoke", "retrain=none", "population.size=4", "seed=3"]


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def outcome(folder: Path | str) -> dict[str, Any]:
    result = read(Path(folder) / "result.json")
    del result["search_seconds"]
    return result


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A run on arrays of its own: the folder holds `run` and `data.npz`."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    write_data(folder, rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8))
    data = ["dataset=npz", f"dataset.file={folder / 'data.npz'}"]
    main(["search", *QUICK, *data, f"hydra.run.dir={folder / 'run'}"])
    return folder


def write_data(folder: Path, images: np.ndarray) -> None:
    labels = np.arange(len(images)) % 2
    half = len(images) // 2
    np.savez(
        folder / "data.npz",
        x_train=images[:half], y_train=labels[:half], x_test=images[half:], y_test=labels[half:],
    )  # fmt: skip


@pytest.fixture
def run(recorded: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of the recorded run, in the current folder."""
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    shutil.copytree(recorded / "run", "run")
    return Path("run")


def test_a_run_is_repeated(run: Path, capsys) -> None:
    main(["search", "--from", "run", "hydra.run.dir=again"])
    assert capsys.readouterr().err == ""
    assert outcome("again") == outcome("run")
    was, now = read("run/run.json"), read("again/run.json")
    same = ("signature", "overrides", "seed", "data", "versions", "commit")
    assert {key: now[key] for key in same} == {key: was[key] for key in same}
    assert now["command"] == "nasrun search --from=run hydra.run.dir=again"


def test_what_is_given_anew_replaces_what_was_recorded(run: Path, capsys) -> None:
    further = ["seed=4,5", "strategy=random", "dataset=synthetic"]
    words, source = replayed("search", ["--multirun", "--from=run", *further])
    # population.size stays, though nothing reads it any more; dataset.file goes with its dataset
    assert words == ["--multirun", *QUICK[:-1], *further]
    assert source is not None
    assert source.kept == QUICK[:-1]
    main(["search", "--from", "run", *further[1:], "evaluator=shared_weights",
          "hydra.run.dir=again"])  # fmt: skip
    assert read("again/result.json")["strategy"] == "random"
    assert capsys.readouterr().err == ""


def test_settings_of_then_come_before_defaults_of_now(run: Path, capsys) -> None:
    file = run / ".hydra" / "config.yaml"
    assert "  sigma: 0.7\n" in file.read_text()
    file.write_text(file.read_text().replace("  sigma: 0.7\n", "  sigma: 0.25\n"))
    words, _ = replayed("search", ["--from=run"])
    assert words == [*read("run/run.json")["overrides"], "strategy.sigma=0.25"]
    assert "as it was then: strategy.sigma=0.25\n" in capsys.readouterr().err


def test_other_data_are_told(recorded: Path, run: Path, capsys) -> None:
    before = (recorded / "data.npz").read_bytes()
    write_data(recorded, np.zeros((40, 8, 8, 1), np.uint8))
    try:
        main(["search", "--from", "run", "hydra.run.dir=again"])
    finally:
        (recorded / "data.npz").write_bytes(before)
    error = capsys.readouterr().err
    assert "warning: the images and labels have changed since run was run (checksum " in error
    assert read("run/run.json")["data"]["sha256"][:12] in error


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "retrain"}, "that is a run of nasrun retrain, not of search"),
        ({"overrides": "seed=1"}, "is not the record of a run"),
        ({"overrides": ["--experimental-rerun=x"]}, "is not the record of a run"),
        ({"overrides": ["+hydra.callbacks.x._target_=os.system"]}, "is not the record of a run"),
        (None, "is not valid JSON"),
    ],
    ids=range(5),
)
def test_damaged_and_foreign_folders_are_refused(
    run: Path, record: dict[str, Any] | None, message: str, capsys
) -> None:
    whole = {**read("run/run.json"), **(record or {})}
    Path("run/run.json").write_text(json.dumps(whole) if record else "{")
    check_refused("run", message, capsys)


def test_folders_without_a_run_are_refused(run: Path, capsys) -> None:
    check_refused("nowhere", "that is no run folder, it has no run.json", capsys)
    (run / ".hydra" / "config.yaml").unlink()
    check_refused("run", "cannot read the configuration run/.hydra/config.yaml", capsys)
    Path("s").mkdir()
    Path("s/sweep.json").write_text("{}")
    check_refused("s", "that is a sweep; name one job, such as s/0", capsys)


def check_refused(folder: str, message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--from", folder, "hydra.run.dir=again"])
    error = capsys.readouterr().err
    assert (stopped.value.code, error.count("\n")) == (2, 1)
    assert message in error
    assert not Path("again").exists()


@pytest.mark.parametrize(
    "value",
    [None, True, 1e-05, -3, "", "it's", "a\\", "\\'", "a, b=${c}", [1, "x y", None]],
    ids=str,
)
def test_values_survive_hydras_grammar(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={literal(value)}"])
    assert override.value() == value


def test_a_recorded_value_is_not_computed_anew_from_this_machine(
    run: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("SECRET", "canary-of-this-machine")
    record = read("run/run.json")
    record["overrides"].append("name=${oc.env:SECRET}")
    (run / "run.json").write_text(json.dumps(record))
    main(["search", "--from", "run", "hydra.run.dir=again"])
    assert "name=null" in read("again/run.json")["overrides"]  # the recorded value
    written = [path for path in Path("again").rglob("*") if path.is_file()]
    assert not [path for path in written if b"canary-of-this-machine" in path.read_bytes()]
    record["overrides"].append("+unknown=${oc.env:SECRET}")
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as caught:
        main(["search", "--from", "run", "hydra.run.dir=third"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "type unknown=... too" in message
    assert "canary" not in message
    assert not Path("third").exists()
