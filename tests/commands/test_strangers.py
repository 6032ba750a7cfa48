"""Files of strangers: what they may say, and that nothing in them is executed."""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nasrun.cli.main import main
from nasrun.config import catalogue, plugins, untrusted_yaml
from nasrun.errors import UsageError
from nasrun.launch.replay import is_setting, load_config
from nasrun.runs import sweep
from nasrun.runs.folder import RunFolder
from nasrun.runs.sweep import read_sweep
from nasrun.storage.tensor_files import read_tensors, write_tensors
from tests.commands.refusal import refused
from tests.compose import node

OPENS = "{_target_: builtins.open, file: owned, mode: w}"  # what hostile configurations try to run

ENDLESS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


# -- targets


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "nasrun.runs.folder.os.system",  # begins with our name, and is not ours
        "nasrun.runs.folder.subprocess.run",
        "nasrun.cli.main.main",
        "nasrun.datasets.npz.np.load",
        "nasrun.datasets.npz.load_npz.__globals__",
        "nasrun.strategies.evolution.random.RandomSearch",  # of another group
        "nasrun.spaces",
        "",
        3,
    ],
)
def test_targets_are_plugins_of_their_group(target: object) -> None:
    (sentence,) = plugins.faults({"_target_": target}, "space")
    assert sentence.startswith("space")
    assert "RandomSearch" in str(target) or _is_refused_by_build(target)


def _is_refused_by_build(target: object) -> bool:
    with pytest.raises(UsageError, match=r"is refused|does not exist"):
        plugins.build({"_target_": target})
    return True


@pytest.mark.parametrize(
    "target",
    ["nasrun.datasets.arrays._mean", "nasrun.datasets.npz.np", "nasrun.spaces.toy.Genotype",
     "nasrun.spaces.nowhere.Toy", "nasrun.spaces.integer_coded.IntegerCodedSpace"],
)  # fmt: skip
def test_what_a_plugin_module_only_uses_is_no_target(target: str) -> None:
    (sentence,) = plugins.faults({"_target_": target}, "space")
    assert sentence.startswith(f"space._target_={target} ")


def test_a_text_that_looks_like_an_interpolation_stays_a_text(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"${{oc.create:{OPENS}}}"
    assert plugins.build(node("dataset", "synthetic", name=text)).name == text
    assert not Path("owned").exists()


# -- settings of Hydra in files from elsewhere


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (f"hydra:\n  callbacks:\n    x: {OPENS}\n", "hydra.callbacks.x._target_"),
        ("hydra:\n  job_logging: {version: 1, root: {handlers: [x]}, handlers: {x: {class: "
         "logging.FileHandler, filename: owned}}}\n", "hydra.job_logging.version"),
        ("hydra:\n  hydra_logging: {root: {handlers: []}}\n", "hydra.hydra_logging.root.handlers"),
        ("hydra:\n  job: {env_set: {LD_PRELOAD: x}}\n", "hydra.job.env_set.LD_PRELOAD"),
        ("hydra:\n  output_subdir: ../../owned\n", "hydra.output_subdir"),
        ("hydra:\n  launcher: {_target_: hydra_plugins.x.X}\n", "hydra.launcher._target_"),
        (f"hydra:\n  sweeper: {{params: {{x: {OPENS}}}}}\n", "hydra.sweeper.params.x._target_"),
        (f"hydra:\n  sweeper: {{params: {{x: '${{oc.create:{OPENS}}}'}}}}\n",
         "hydra.sweeper.params.x"),
        (f"hydra: '${{oc.create:{{callbacks: {{x: {OPENS}}}}}}}'\n", "hydra"),
        ("defaults:\n  - part@hydra.callbacks.x: theirs\n", "hydra.callbacks.x._target_"),
    ],
)  # fmt: skip
def test_a_config_dir_says_nothing_of_hydra(
    content: str, key: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for group in ("experiment", "experiment/part"):
        Path("theirs", group).mkdir(parents=True)
    Path("theirs/experiment/theirs.yaml").write_text(f"# @package _global_\n{content}")
    Path("theirs/experiment/part/theirs.yaml").write_text(OPENS)
    for mode in ([], ["-m"], ["--cfg", "job"]) if "callbacks:" in content else ([],):
        error = refused(capsys, "search", "-cd", "theirs", *mode, "experiment=theirs")
        assert f"sets {key}, which decides what Hydra runs" in error
    assert {path.name for path in Path().iterdir()} == {"theirs"}


def test_an_endless_file_in_a_config_dir_is_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs/experiment").mkdir(parents=True)
    Path("theirs/experiment/theirs.yaml").write_text(ENDLESS)
    error = refused(capsys, "search", "-cd", "theirs", "experiment=theirs")
    assert error == "nasrun: theirs/experiment/theirs.yaml has too many keys for a configuration\n"


def test_a_config_dir_says_where_runs_go_and_what_is_swept(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /strategy: random\nseed: 3\n"
        "hydra:\n  run: {dir: here}\n  sweeper: {params: {seed: '1,2'}}\n"
    )
    main(["search", "-cd", "mine", "--cfg", "all", "experiment=mine"])
    shown = capsys.readouterr().out
    assert "dir: here" in shown
    assert "seed: 1,2" in shown
    assert "RandomSearch" in shown


def test_what_is_typed_counts(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    main(["search", "--cfg", "hydra", "+hydra.callbacks.x._target_=mine.Callback"])
    assert "_target_: mine.Callback" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1", True),
        ("genotype=hydra", True),
        ("+hydra.callbacks.x._target_=os.system", False),
        (" hydra.run.dir=x", False),
        ("hydra/launcher=joblib", False),
        ("+dataset@hydra.callbacks.x=digits", False),
        ("+dataset@_global_.hydra.callbacks=digits", False),
        ("--config-dir=x", False),
        (3, False),
    ],
)
def test_what_a_record_may_set(override: object, expected: bool) -> None:
    assert is_setting(override) is expected


# -- run folders


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: ${oc.env:HOME}", "seed refers to something else"),
        ("a: {b: '${seed}'}", "a.b refers to something else"),
        ("!!python/object/apply:os.system ['touch owned']", "not valid YAML"),
        (ENDLESS, "too many keys"),
        ("a: " + "[" * 5_000, "not valid YAML"),
        ("a: " + "{b: " * 100 + "1" + "}" * 100, "too many keys"),
        ("[1]", "is not a configuration"),
        ("x" * 1_000_001, "at most 1,000,000 are read"),
    ],
    ids=range(8),
)  # fmt: skip
def test_recorded_configurations_are_plain(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path)


def test_a_recorded_configuration_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("a: 1e-05\nb: [x, null]\nc: 'c_{k-2}'\n")
    assert load_config(tmp_path) == {"a": 1e-05, "b": ["x", None], "c": "c_{k-2}"}


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard", ".hydra", ".lock", "cells.svg"])
def test_links_out_of_a_run_folder_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("../precious")
    with pytest.raises(UsageError, match=f"{name} is a link to a place outside of"):
        RunFolder(tmp_path / "run").__enter__()
    assert list((tmp_path / "precious").iterdir()) == []


@pytest.mark.parametrize("name", ["floor/random", "floor/random/metrics.jsonl", "a/b/c/d"])
def test_links_out_are_found_at_any_depth(name: str, tmp_path: Path) -> None:
    """A floor is a run folder inside a run folder, whose records are cut back on resume."""
    precious = tmp_path / "precious"
    (precious / "tensorboard").mkdir(parents=True)
    (precious / "metrics.jsonl").write_text("precious")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(UsageError, match=f"{name} is a link to a place outside of"):
        RunFolder(tmp_path / "run").__enter__()
    assert (precious / "metrics.jsonl").read_text() == "precious"


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "floor/random/search.log"])
def test_files_with_a_second_name_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.hardlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match=r"2 names \(hard links\)"):
        RunFolder(tmp_path / "run").__enter__()
    assert (tmp_path / "precious").read_text() == "precious"


def test_links_inside_a_run_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "run").symlink_to("files")
    (tmp_path / "run" / "a.log").write_text("")
    (tmp_path / "run" / "b.log").symlink_to("a.log")
    with RunFolder(tmp_path / "run") as folder:
        assert folder.append_only_lengths() == {"a.log": 0, "b.log": 0}


@pytest.mark.parametrize(
    "jobs",
    [
        [{"number": 0, "folder": "linked", "overrides": []}],
        [{"number": 0, "folder": "../elsewhere", "overrides": []}],
        [{"number": 0, "folder": "/elsewhere", "overrides": []}],
        [{"number": -1, "folder": "0", "overrides": []}],
        [{"number": 1e400, "folder": "0", "overrides": []}],
        [
            {"number": 0, "folder": "0", "overrides": []},
            {"number": 1, "folder": "0", "overrides": []},
        ],
    ],
    ids=range(6),
)
def test_jobs_of_a_sweep_stay_inside_and_apart(jobs: list[Any], tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    (tmp_path / "elsewhere").mkdir()
    home.mkdir()
    (home / "linked").symlink_to("../elsewhere")
    record = {"command": "x", "kind": "search", "arguments": [], "jobs": jobs}
    (home / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="is not the record of a sweep"):
        read_sweep(home)


@pytest.mark.parametrize(
    "result",
    [
        {"retrain": 3},
        {"retrain": {"params": "x", "test_accuracy": []}},
        {"table": [1]},
        {"search_seconds": True, "search_val_accuracy": float("inf")},
    ],
    ids=range(4),
)
def test_the_table_of_a_sweep_takes_any_result(result: Any, tmp_path: Path, capsys) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "run.json").write_text('{"status": "done"}')
    (tmp_path / "0" / "result.json").write_text(json.dumps(result))
    sweep.show(tmp_path, [sweep.Job(0, tmp_path / "0", ["seed=0"])])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "-", "-", "-", "-", "done"] in rows


def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".hydra").mkdir()
    os.mkfifo(".hydra/config.yaml")
    os.mkfifo("data.npz")
    with pytest.raises(UsageError, match=r"config\.yaml is not a regular file"):
        load_config(Path())
    quick = ["dataset=npz", "dataset.file=data.npz", "space=toy"]
    assert "this is not a regular file" in refused(capsys, "search", *quick)


# -- found by reading


@pytest.mark.parametrize(
    "params",
    [
        "{'+hydra.job.env_set.NAME': '\"1\"'}",
        "{'+hydra.job_logging': '{version: 1}'}",
        "{'+hydra/callbacks': 'x'}",
        "{'dataset@hydra.callbacks': 'npz'}",
    ],
)
def test_what_a_foreign_file_sweeps_is_no_setting_of_hydra(
    params: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = Path("theirs/experiment/theirs.yaml")
    theirs.parent.mkdir(parents=True)
    theirs.write_text(f"# @package _global_\nhydra:\n  sweeper:\n    params: {params}\n")
    message = refused(capsys, "search", "-m", "--config-dir", "theirs", "experiment=theirs")
    assert "a configuration from elsewhere may not" in message


def test_an_option_does_not_lead_out_of_the_folders(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.yaml").write_text("# @package _global_\nhydra:\n  callbacks: {}\n")
    away = os.path.relpath(tmp_path, catalogue.conf_dir() / "experiment")
    assert "leads out of the folders" in refused(capsys, "search", f"experiment={away}/evil")


def test_merge_keys_are_refused_before_they_multiply(tmp_path) -> None:
    lines = ["a: &a {x: 1}"]
    for one, next_one in itertools.pairwise("abcdefghij"):
        copies = ", ".join([f"*{one}"] * 10)
        lines.append(f"{next_one}: &{next_one} {{<<: [{copies}], {next_one}{next_one}: 1}}")
    with pytest.raises(UsageError, match="merge keys"):
        untrusted_yaml.parse("\n".join(lines), tmp_path / "config.yaml")


def test_packed_tensors_are_not_unpacked(tmp_path) -> None:
    write_tensors(tmp_path / "stored.pt", {"step": 1})
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    assert read_tensors(tmp_path / "stored.pt") == {"step": 1}
    assert read_tensors(tmp_path / "packed.pt") is None
