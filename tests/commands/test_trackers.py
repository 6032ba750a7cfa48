"""A tracker through the command line: what it is told, and what it may not do to a run."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasrun.cli.main import main
from nasrun.config import outside
from nasrun.runs import tracking
from nasrun.runs.folder import RunFolder
from tests.commands.pictures import without_pictures
from tests.jobs import job

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=smoke",
    "population.size=2",
]  # fmt: skip
MODULE = '''"""A tracker that writes a line for each call into `told.jsonl`."""
import json
import shutil
from pathlib import Path
from typing import Annotated, ClassVar
from nasrun.protocols.settings import Location, plugin
from nasrun.protocols.tracker import Tracker

@plugin
class Told(Tracker):
    needs: ClassVar[tuple[str, ...]] = ("json",)
    uri: Annotated[str, Location()] | None
    fails: str

    def tell(self, what, **more):
        with open("told.jsonl", "a") as file:
            file.write(json.dumps({"what": what, "uri": self.uri, **more}) + "\\n")
        if what == self.fails:
            raise ConnectionError(f"no {what}")

    def reach(self):
        self.tell("reach")

    def begin(self, run, known):
        self.run = known.get("run") or run.name
        self.tell("begin", known=dict(known), name=run.name, group=run.group, tags=run.tags,
                  settings=run.settings)
        return {"run": self.run}

    def last_step(self, metric):
        lines = map(json.loads, Path("told.jsonl").read_text().splitlines())
        return max((one["step"] for one in lines
                    if one["what"] == "figures" and metric in one["values"]), default=None)

    def figures(self, rows):
        for row in rows:
            self.tell("figures", run=self.run, step=row.step, values=dict(row.values))

    def picture(self, step, name, image_HWC):
        self.tell("picture", step=step, name=name, dtype=str(image_HWC.dtype))

    def end(self, outcome, files):
        self.tell("end", outcome=outcome, files=list(files))
'''
OPTION = """# A tracker of a module from outside
_target_: {}.Told
_partial_: true
uri: null
fails: never
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What to type for the tracker, which is in the current folder."""
    name = f"told_{abs(hash(str(tmp_path)))}"
    (tmp_path / "conf" / "tracker").mkdir(parents=True)
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "conf/tracker/told.yaml").write_text(OPTION.format(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(outside, "_known", {})
    monkeypatch.setattr(tracking, "PAUSE_S", 0.0)
    without_pictures(monkeypatch)
    importlib.invalidate_caches()
    yield ["--plugin", name, "tracker=told"]
    outside.use_installed.cache_clear()


def told(what: str) -> list[dict[str, Any]]:
    lines = Path("told.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, lines) if one["what"] == what]


def read(path: str | Path) -> Any:
    return json.loads(Path(path).read_text())


def killed_before_it_is_marked(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    original = RunFolder.update

    def update(self: RunFolder, **values: Any) -> None:
        original(self, **({} if values.get("status") == "done" else values))

    monkeypatch.setattr(RunFolder, "update", update)
    main(["search", *words, *QUICK, "hydra.run.dir=run"])
    monkeypatch.setattr(RunFolder, "update", original)


def test_a_tracker_is_told_all_of_a_run(words: list[str]) -> None:
    main(["search", *words, *QUICK, "hydra.run.dir=run"])
    (begin,) = told("begin")
    assert (begin["name"], begin["group"], begin["known"]) == ("run", None, {})
    tags = begin["tags"]
    assert (tags["strategy"], tags["space"], tags["dataset"]) == ("egnas", "toy", "synthetic")
    assert (tags["seed"], tags["kind"]) == ("0", "search")
    assert tags.get("commit") == read("run/run.json")["commit"]
    settings = begin["settings"]
    assert (settings["population.size"], settings["budget"]) == (2, "smoke")
    assert (settings["strategy.xi"], settings["sweep.on_error"]) == (0.6, "continue")
    assert not [key for key in settings if key.startswith("tracker") or key.endswith("_target_")]
    values = {(one["step"], name): value
              for one in told("figures") for name, value in one["values"].items()}  # fmt: skip
    for line in map(json.loads, Path("run/metrics.jsonl").read_text().splitlines()):
        phase, step = line.pop("phase"), line.pop("step")
        for name, value in line.items():
            assert values.pop((step, f"{phase}/{name}")) == value
    result = read("run/result.json")
    assert values == {
        (0, "final/search_val_accuracy"): result["search_val_accuracy"],
        (0, "final/search_seconds"): result["search_seconds"],
        (0, "final/test_accuracy"): result["retrain"]["test_accuracy"],
        (0, "final/params"): result["retrain"]["params"],
    }
    assert {(one["name"], one["dtype"]) for one in told("picture")} == {
        ("weights/cell", "uint8"), ("cells/search", "uint8"),
    }  # fmt: skip
    (end,) = told("end")
    assert end["outcome"] == "done"
    assert {"result.json", "genotype.json", ".hydra/config.yaml", "search.log"} <= {*end["files"]}
    assert read("run/run.json")["plugins"].keys() == {words[1]}


def test_it_decides_nothing(words: list[str]) -> None:
    main(["search", *QUICK, "hydra.run.dir=plain"])
    main(["search", *words, *QUICK, "hydra.run.dir=run"])
    assert read("plain/genotype.json") == read("run/genotype.json")
    assert read("plain/run.json")["signature"] == read("run/run.json")["signature"]


def test_a_run_that_is_resumed_is_the_same_run_without_doubled_steps(words, monkeypatch) -> None:
    killed_before_it_is_marked(monkeypatch, words)
    once = told("figures")
    main(["resume", "run", *words[:2]])
    assert read("run/run.json")["status"] == "done"
    assert [one["known"] for one in told("begin")] == [{}, {"run": "run"}]
    assert told("figures") == once
    assert len(told("end")) == 2


@pytest.mark.parametrize("when", ["begin", "figures", "picture", "end"])
def test_one_that_fails_ends_no_run(words: list[str], when: str, capsys) -> None:
    main(["search", *words, f"tracker.fails={when}", *QUICK, "hydra.run.dir=run"])
    assert read("run/run.json")["status"] == "done"
    warning = f"warning: tracker=told has stopped (no {when}); the run goes on without it"
    assert capsys.readouterr().out.count(warning) == 1
    assert Path("run/search.log").read_text().count(warning) == 1


def test_one_that_is_not_reached_is_told_before_a_run(words: list[str], capsys) -> None:
    for verb in ("search", "check"):
        with pytest.raises(SystemExit) as stop:
            main([verb, *words, "tracker.fails=reach", *QUICK, "hydra.run.dir=run"])
        assert stop.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "nasrun: tracker=told cannot record: no reach; mend that, or leave tracker out"
        )
        assert not Path("run").exists()


def test_a_package_that_is_not_there_is_told_before_a_run(words: list[str], capsys) -> None:
    module = Path(f"{words[1]}.py")
    module.write_text(MODULE.replace('("json",)', '("surely_missing",)'))
    with pytest.raises(SystemExit) as stop:
        main(["search", *words, *QUICK, "hydra.run.dir=run"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "nasrun: tracker=told needs surely_missing: type python -m pip install surely_missing, "
        "or leave tracker out"
    )
    assert not Path("run").exists()


def test_jobs_of_a_sweep_are_a_group_and_are_looked_at_once(words: list[str]) -> None:
    main(["search", "-m", *words, *QUICK, "retrain=none", "seed=0,1", "hydra.sweep.dir=s"])
    names = [job("s", number).name for number in (0, 1)]
    group = f"{Path.cwd().name}/s"
    assert [(one["name"], one["group"]) for one in told("begin")] == [(n, group) for n in names]
    assert len(told("reach")) == 1
    assert [one["outcome"] for one in told("end")] == ["done", "done"]


def test_a_sweep_is_refused_as_a_whole_where_it_cannot_record(words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["search", "-m", *words, "tracker.fails=reach", *QUICK, "seed=0,1",
              "hydra.sweep.dir=s"])  # fmt: skip
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("tracker=told cannot record") == 1
    assert not Path("s").exists()


def test_a_retraining_is_recorded(words: list[str]) -> None:
    main(["retrain", *words, "genotype=random", "space=toy", "dataset=synthetic",
          "dataset.num_train=64", "retrain=smoke", "hydra.run.dir=run"])  # fmt: skip
    (begin,) = told("begin")
    assert (begin["tags"]["kind"], begin["tags"]["space"]) == ("retrain", "toy")
    assert "strategy" not in begin["tags"]
    steps = [one["step"] for one in told("figures") if "retrain/loss" in one["values"]]
    assert steps == [1, 2]


def test_an_address_in_a_record_is_asked_for_again(words, monkeypatch, capsys) -> None:
    """Run folders travel, and where figures go, passwords may go too."""
    killed_before_it_is_marked(monkeypatch, [*words, "tracker.uri=http://there"])
    before = told("begin")
    assert before[0]["uri"] == "http://there"
    main(["resume", "run", *words[:2]])
    said = capsys.readouterr().err
    assert (
        "tracker.uri=http://there is an address in a file, and nothing is sent there unless you "
        "say so: nasrun resume run tracker.uri=... records on"
    ) in " ".join(said.split())
    assert told("begin") == before
    assert read("run/run.json")["status"] == "done"


def test_an_address_that_is_typed_is_used_and_not_remembered(words, monkeypatch) -> None:
    killed_before_it_is_marked(monkeypatch, [*words, "tracker.uri=http://there"])
    main(["resume", "run", "tracker.uri=http://here", *words[:2]])
    assert [one["uri"] for one in told("begin")] == ["http://there", "http://here"]
    record = read("run/run.json")
    Path("run/run.json").write_text(json.dumps({**record, "status": "running"}))
    main(["resume", "run", *words[:2]])
    assert len(told("begin")) == 2


def test_a_record_cannot_add_an_address(words, monkeypatch) -> None:
    killed_before_it_is_marked(monkeypatch, words)
    record = read("run/run.json")
    record["places"] = {"tracker.uri": "http://evil"}
    Path("run/run.json").write_text(json.dumps(record))
    main(["resume", "run", *words[:2]])
    assert [one["uri"] for one in told("begin")] == [None, None]


def test_what_repeats_a_run_is_recorded_only_where_that_is_typed(words: list[str]) -> None:
    main(["search", *words, "tracker.uri=http://there", *QUICK, "hydra.run.dir=run"])
    main(["search", "--from", "run", *words[:2], "hydra.run.dir=again"])
    assert len(told("begin")) == 1
    assert read("again/genotype.json") == read("run/genotype.json")


def test_the_words_of_a_recorded_sweep_are_nobodys_either(words: list[str]) -> None:
    main(["search", "-m", *words, "tracker.uri=http://there", *QUICK, "retrain=none", "seed=0,1",
          "hydra.sweep.dir=s"])  # fmt: skip
    for typed, uris in ([], []), (["tracker.uri=http://here"], ["http://here"]):
        shutil.rmtree(job("s", 1))
        main(["resume", "s", *typed, *words[:2]])
        assert read(job("s", 1) / "run.json")["status"] == "done"
        assert [one["uri"] for one in told("begin")] == ["http://there"] * 2 + uris
