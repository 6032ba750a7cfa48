"""Plug-ins from outside: what makes one known, and what a record alone cannot do."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasrun.cli import completion
from nasrun.config import outside, plugins
from nasrun.config.catalogue import compose, conf_dir, options
from nasrun.config.declarations import declared
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.launch.job import Jobs
from nasrun.launch.launch import go_on_with_sweep
from nasrun.launch.resuming import go_on
from nasrun.runs.sweep import read_sweep
from tests.compose import composed
from tests.made_runs import make_run

BASE = '''"""A base."""
from nasrun.protocols.settings import Count, plugin
from nasrun.strategies.evolution.base import DiscreteSearch

@plugin
class Base(DiscreteSearch):
    patience: Count

def never_named(*, path: str) -> None:
    raise AssertionError
'''
MINE = '''"""A plug-in in a package, with a relative import; importing it is seen."""
from pathlib import Path
from .base import Base

Path(__file__).with_name("imported").touch()

class Mine(Base):
    def step(self):
        self.population = self.labels.evaluate_new(1, self.sample)
        return self.labels.report()
'''
OPTION = """# A strategy of a package from outside
_target_: {}
_partial_: true
num_labels: ${{budget.evaluations}}
patience: 3  # how patient it is
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in the current folder, and nothing known yet."""
    name = f"made_{abs(hash(str(tmp_path)))}"
    folder = tmp_path / name
    (folder / "conf" / "strategy").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(BASE)
    (folder / "mine.py").write_text(MINE)
    (folder / "conf/strategy/mine.yaml").write_text(OPTION.format(f"{name}.mine.Mine"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(outside, "_known", {})
    importlib.invalidate_caches()
    yield folder
    outside.use_installed.cache_clear()


def test_it_is_known_everywhere_and_not_imported_for_it(package: Path) -> None:
    target = f"{package.name}.mine.Mine"
    words = ["strategy=mine", "--plugin", package.name, "seed=1"]
    assert outside.taken(words, conf_dir()) == ["strategy=mine", "seed=1"]
    known = declared(target)
    assert known is not None
    assert {"num_labels", "patience"} <= known.settings.keys()
    assert "mine" in [one.name for one in options("strategy", conf_dir())]
    keys = compose("search", conf_dir(), {"strategy": "mine"})
    assert keys.glosses["strategy.patience"] == "how patient it is"
    line = f"nasrun search --plugin {package.name} strategy=min"
    assert completion.candidates(line, conf_dir()) == ["strategy=mine "]
    config = composed(["strategy=mine"])
    assert config.strategy._target_ == target
    wrong = {**config.strategy, "patience": 0}
    assert list(plugins.faults(wrong, "strategy")) == ["strategy.patience=0 must be at least 1"]
    assert not (package / "imported").exists()
    assert plugins.target(config.strategy).__name__ == "Mine"
    assert (package / "imported").exists()


def test_only_what_its_conf_names_is_a_target(package: Path) -> None:
    node = {"_target_": f"{package.name}.mine.Mine", "num_labels": 3, "patience": 1}
    (refused,) = plugins.faults(node, "strategy")
    assert refused.endswith("those of a plug-in of your own are known with --plugin MODULE")
    outside.use(package.name, conf_dir())
    assert list(plugins.faults(node, "strategy")) == []
    assert "is refused" in next(plugins.faults(node, "space"))
    other = {"_target_": f"{package.name}.base.never_named", "path": "/"}
    assert "is refused" in next(plugins.faults(other, "strategy"))
    with pytest.raises(UsageError, match="is refused"):
        plugins.build(other)


def test_a_record_asks_and_imports_nothing(package: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", record={"plugins": {package.name: "0"}, "signature": "x"})
    with pytest.raises(UsageError, match=f"nasrun resume .*run --plugin {package.name}"):
        go_on(run, lambda *_, **__: pytest.fail("it was prepared"))
    assert not (package / "imported").exists()
    outside.use(package.name, conf_dir())
    (change,) = outside.require({package.name: "0"}, "a run", "nasrun resume run")
    assert "has changed since a run was made with it" in change
    same = outside.typed_checksums()
    assert outside.require(same, "a run", "nasrun resume run") == []


@pytest.mark.parametrize("record", [["os"], {"os; rm -rf ~": ""}, {"a\nb": ""}, 3])
def test_what_is_no_name_of_a_module_is_not_told_to_be_typed(record: object) -> None:
    with pytest.raises(UsageError, match="what a run says of its plug-ins is not understood"):
        outside.require(record, "a run", "nasrun resume run")


def test_a_sweep_asks_too(package: Path, tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    home.mkdir()
    record = {
        "command": "nasrun search",
        "kind": "search",
        "arguments": ["--multirun", "seed=0,1"],
        "jobs": [{"number": 0, "folder": "0", "overrides": ["seed=0"]}],
        "plugins": {package.name: "0"},
    }
    (home / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=f"sweep --plugin {package.name}"):
        go_on_with_sweep(read_sweep(home), lambda *_, **__: pytest.fail("it was prepared"))


def test_processes_of_a_launcher_know_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside.use(package.name, conf_dir())
    sent = pickle.dumps(Jobs("search", Wiring, "", [], None, None))  # type: ignore[arg-type]
    monkeypatch.setattr(outside, "_known", {})
    pickle.loads(sent)
    assert outside.names() == [package.name]


def test_an_installed_one_needs_no_word(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = package.parent / "made-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[nasrun.plugins]\nmine = {package.name}\n")
    monkeypatch.syspath_prepend(str(package.parent))
    outside.use_installed.cache_clear()
    assert outside.taken(["seed=1"], conf_dir()) == ["seed=1"]
    assert (outside.names(), outside.typed()) == ([package.name], [])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonesuch", "there is no module of that name, neither installed nor in this folder"),
        ("../mine.py", "type the name of a module, such as --plugin my_module"),
        ("", "type the name of a module"),
        ("json", "has no options; a plug-in has some, such as"),
    ],
)
def test_mistakes(word: str, said: str, package: Path) -> None:
    with pytest.raises(UsageError, match=said):
        outside.taken(["--plugin", word], conf_dir())


def test_an_option_of_ours_stays_ours(package: Path) -> None:
    option = package / "conf/strategy/mine.yaml"
    option.rename(option.with_name("egnas.yaml"))
    with pytest.raises(UsageError, match="strategy=egnas is there already"):
        outside.use(package.name, conf_dir())
