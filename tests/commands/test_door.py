"""Input is checked where it is read, and nothing that comes in a file is executed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import itertools
import json
import os
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from nasrun import build, conf_files, drawing, memory, npz_file, recorded_config, sweeps, ui
from nasrun.cli import main
from nasrun.commands.replay import is_setting, load_config
from nasrun.config import SearchConfig, faults, to_typed
from nasrun.errors import UsageError
from nasrun.genotype import Cell, Edge, Genotype, parse
from nasrun.runs import RunFolder
from nasrun.sweeps import read_sweep
from nasrun.tensor_files import read_tensors, write_tensors
from tests.compose import composed, node

ROOT = Path(__file__).parents[2]
OPENS = "{_target_: builtins.open, file: owned, mode: w}"  # what hostile configurations try to run

ENDLESS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(capsys, *arguments: str) -> str:
    """The sentence on standard error, with exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    error = capsys.readouterr().err
    assert stopped.value.code == 2, error
    assert error.startswith("nasrun: ")
    assert "Traceback" not in error
    return error


# -- the fuzzer, in short


def script(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_fuzz(capsys) -> None:
    shares = {"genotypes": 55, "datasets": 35, "tables": 4, "reports": 1, "run folders": 2,
              "checkpoints": 2, "config folders": 1, "overrides": 1}  # fmt: skip
    num_faults = script("fuzz").fuzz(200, 7, shares, num_processes=0)
    said = capsys.readouterr().out
    assert num_faults == 0, said
    assert said.splitlines()[-1].startswith("200 trials, 0 in processes of their own: ")


# -- configurations


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        (
            ["seed=abc", "budget.epochs=x", "space=nasbench201", "compile=maybe"],
            ["seed=abc is not a whole number", "budget.epochs=x is not a whole number",
             "compile=maybe: Value 'maybe' is not a valid bool (type str)"],
        ),
        (
            ["seed=-1", "space.channels=15", "space.partial_channels=4", "device=gpu",
             "dataset=synthetic", "dataset.batch_size=0", "strategy.xi=far"],
            ["seed=-1 must be between", "strategy.xi=far must be a number",
             "device=gpu is not known", "space.channels=15 cannot be divided",
             "dataset.batch_size=0 is not possible"],
        ),
    ],
    ids=["types", "ranges"],
)  # fmt: skip
def test_all_faults_in_one_message(
    overrides: list[str], problems: list[str], tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *lines = refused(capsys, "search", *overrides).splitlines()
    assert first == f"nasrun: {len(problems)} problems:"
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"- {problem}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"space={'x' * 5_000}", "xxx... cannot be used: File name too long"),
        (f"hydra.run.dir={'x' * 300}", "xxx... cannot be used: File name too long"),
        ("hydra.run.dir=file", "file cannot be used: File exists"),
        ("hydra.run.dir=file/x", "x cannot be used: Not a directory"),
    ],
    ids=range(4),
)
def test_paths_that_cannot_be(override: str, message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert message in refused(capsys, "search", override)


# -- targets


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "nasrun.runs.os.system",  # begins with our name, and is not ours
        "nasrun.runs.subprocess.run",
        "nasrun.cli.main",
        "nasrun.datasets.npz.np.load",
        "nasrun.datasets.npz.load_npz.__globals__",
        "nasrun.strategies.random.RandomSearch",  # of another group
        "nasrun.spaces",
        "",
        3,
    ],
)
def test_targets_are_plugins_of_their_group(target: object) -> None:
    (sentence,) = build.faults({"_target_": target}, "space")
    assert sentence.startswith("space")
    assert "RandomSearch" in str(target) or _is_refused_by_build(target)


def _is_refused_by_build(target: object) -> bool:
    with pytest.raises(UsageError, match=r"is refused|does not exist"):
        build.build({"_target_": target})
    return True


@pytest.mark.parametrize(
    "target",
    ["nasrun.spaces.toy._unit", "nasrun.spaces.toy.nn", "nasrun.spaces.toy.Genotype",
     "nasrun.spaces.nowhere.Toy", "nasrun.spaces.toy.ToyNetwork"],
)  # fmt: skip
def test_what_a_plugin_module_only_uses_is_no_target(target: str) -> None:
    (sentence,) = build.faults({"_target_": target}, "space")
    assert sentence.startswith(f"space._target_={target} ")


def test_a_text_that_looks_like_an_interpolation_stays_a_text(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"${{oc.create:{OPENS}}}"
    assert build.build(node("dataset", "synthetic", name=text)).name == text
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
    sweeps.show(tmp_path, [sweeps.Job(0, tmp_path / "0", ["seed=0"])])
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


# -- sizes


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["population.size=1000000000"], "population.size=1,000,000,000 is too large: it can be at "
         "most 10,000"),
        (["space.channels=1000000"], "space.channels=1,000,000 is too large: it can be at most "
         "4,096"),
        (["space.cells=10000000"], "space.cells=10,000,000 is too large: it can be at most 100"),
        (["dataset.batch_size=1000000"], "dataset.batch_size=1,000,000 is too large: it can be at "
         "most 100,000"),
        (["strategy.num_starts=-1000000000000"], "strategy.num_starts=-1,000,000,000,000 is too "
         "large: it can be at most 1,000,000"),
        (["budget.evaluations=1000000000"], "budget.evaluations=1000000000 must be between 1 and "
         "1,000,000"),
        (["retrain.cells=101"], "retrain.cells=101 must be between 1 and 100"),
        (["predictor=dcl", "predictor.encoder_widths=[8,100000]"],
         "predictor.encoder_widths=100,000 is too large: it can be at most 10,000"),
        (["predictor=gaussian_process", "predictor.noises=[nan]"],
         "predictor.noises=nan is not a finite number"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_numbers_that_would_take_the_machine_down(overrides: list[str], sentence: str) -> None:
    assert list(faults(to_typed(composed(overrides), SearchConfig))) == [sentence]


def test_networks_and_images_must_fit_into_memory(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6)
    quick = ["search", "dataset=synthetic", "dataset.size=8"]
    error = refused(capsys, *quick, "dataset.num_train=8000")
    assert "dataset.num_train=8000 and dataset.size=8 would take 0.0 GB of memory" in error
    few = ["dataset.num_train=16", "dataset.num_test=16", "space.channels=256", "space.cells=3"]
    error = refused(capsys, *quick, *few)
    assert "a network of this size (space.channels, space.cells)" in error
    assert list(tmp_path.iterdir()) == []


def write_npz(path: Path, header: bytes, numbers: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header + numbers)


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def test_a_header_that_claims_100_gigabytes(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", header((10**11,)))
    with pytest.raises(ValueError, match="claims 100,000,000,000 bytes, which are not there"):
        npz_file.read_all(tmp_path / "x.npz")


def test_an_archive_that_is_larger_than_memory(tmp_path: Path, monkeypatch) -> None:
    write_npz(tmp_path / "x.npz", header((10**6,)), bytes(10**6))
    assert (tmp_path / "x.npz").stat().st_size < 2_000
    assert npz_file.read_all(tmp_path / "x.npz")["x_train"].shape == (10**6,)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6)
    with pytest.raises(ValueError, match="of memory, and this machine has"):
        npz_file.read_all(tmp_path / "x.npz")


def cells(content: Any) -> str:
    return json.dumps({"space": "x", "cells": content})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cells({"c": {"nodes": ["a"] * 201, "edges": []}}),
         "cell 'c' has 201 nodes and 0 edges; at most 200 and 2,000 are possible"),
        (cells({"c": {"nodes": ["a", "b"], "edges": [["x", 0, 1]] * 2001}}),
         "cell 'c' has 2 nodes and 2,001 edges"),
        (cells({f"{i}": {"nodes": [], "edges": []} for i in range(101)}), "at most 100 cells"),
        (cells({"c" * 101: {"nodes": [], "edges": []}}), "a name of more than 100 letters"),
        ('{"space": "x", "cells": ' + "9" * 5_000 + "}", "is not valid JSON"),
        ('{"a":' * 10_000, "is not valid JSON"),
    ],
    ids=range(6),
)  # fmt: skip
def test_genotypes_have_sizes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


# -- what people see


def test_control_characters_do_not_act(capsys) -> None:
    ui.say("a\x1b[2Jb\r\u202ec\nd\te")
    ui.complain("a\x1b[31mb")
    said = capsys.readouterr()
    assert said.out == "a?[2Jb??c\nd       e\n"
    assert said.err == "nasrun: a?[31mb\n"


def test_a_long_sentence_loses_its_middle(capsys) -> None:
    ui.complain("a" * 5_000 + "b")
    error = capsys.readouterr().err
    assert len(error) < 830
    assert error.endswith("aab\n")


def test_markup_does_not_act(monkeypatch) -> None:
    screen = io.StringIO()
    drawn = Console(file=screen, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(ui, "console", lambda stderr=False: drawn)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    evil = "[red]x[/nope]\x1b[2J"
    ui.table(evil, [evil], [[evil]])
    ui.listing({evil: [(evil, evil)]})
    ui.Display().message(evil)
    assert screen.getvalue().count("[red]x[/nope]?[2J") == 7
    assert "\x1b[2J" not in screen.getvalue()


def test_pictures_escape_names(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "--><svg onload=x>")
    cell = Cell(names[0], (names[1], "]]>"), (Edge(names[2], 0, 1),))
    drawing.draw(Genotype(names[0], (cell,)), tmp_path / "x.svg")
    elements = list(ElementTree.parse(tmp_path / "x.svg").iter())
    assert not [e for e in elements if e.tag.rpartition("}")[2] in ("script", "img", "image")]
    assert not [key for e in elements for key in e.attrib if key.startswith("on")]
    assert names[0] in [e.text for e in elements]  # shown as a text


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
    away = os.path.relpath(tmp_path, conf_files.conf_dir() / "experiment")
    assert "leads out of the folders" in refused(capsys, "search", f"experiment={away}/evil")


def test_merge_keys_are_refused_before_they_multiply(tmp_path) -> None:
    lines = ["a: &a {x: 1}"]
    for one, next_one in itertools.pairwise("abcdefghij"):
        copies = ", ".join([f"*{one}"] * 10)
        lines.append(f"{next_one}: &{next_one} {{<<: [{copies}], {next_one}{next_one}: 1}}")
    with pytest.raises(UsageError, match="merge keys"):
        recorded_config.parse("\n".join(lines), tmp_path / "config.yaml")


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
