"""The program as functions: `nasrun.search`, `retrain`, `load`, `report`."""

from __future__ import annotations

import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import nasrun
from nasrun.engine import search as engine
from tests.made_runs import make_run

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "from-python.ipynb"
SMALL = {
    "strategy": "random",
    "space": "toy",
    "dataset": "synthetic",
    "dataset.num_train": 64,
    "budget.evaluations": 2,
    "evaluator.epochs": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nasrun.Run:
    folder = tmp_path_factory.mktemp("runs")
    return nasrun.search(
        {**SMALL, "retrain": "smoke", "hydra.run.dir": str(folder / "run")}, quiet=True
    )


def state() -> dict[str, Any]:
    """What of this process a run could change."""
    return {
        "arguments": list(sys.argv),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "hydra": GlobalHydra.instance().hydra,
        "full_error": os.environ.get("HYDRA_FULL_ERROR"),
        "log": (logging.getLogger("hydra").level, logging.getLogger().handlers[:]),
        "numpy": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
    }


def test_a_run_is_what_its_folder_says(run: nasrun.Run) -> None:
    assert run.status == "done"
    result = json.loads((run.path / "result.json").read_text())
    assert run.result.to_json() == result
    assert run.genotype.to_json() == result["genotype"]
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert list(run.metrics["step"]) == [json.loads(line)["step"] for line in lines]
    assert len(run.evaluations) == 2
    assert nasrun.load(run.path) == run


def test_the_network_normalises_for_itself(run: nasrun.Run) -> None:
    network = run.network()
    raw = 255 * torch.rand(3, 3, 8, 8)
    with torch.inference_mode():
        inside = network.network((raw - network.mean) / network.deviation)
        assert torch.equal(network(raw), inside)
    assert not network.training


def test_without_pandas_tables_are_lists(run: nasrun.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run.evaluations[0]["step"] == 1
    assert isinstance(run.metrics, list)


def test_words_typed_and_given_are_the_same_run_and_leave_the_process_as_it_was(
    tmp_path: Path, run: nasrun.Run
) -> None:
    before = state()
    typed = " ".join(f"{key}={value}" for key, value in SMALL.items())
    place = tmp_path / "a b"  # needs no quotes in a mapping
    again = nasrun.search({**SMALL, "retrain": "none", "hydra.run.dir": str(place)}, quiet=True)
    words = [*typed.split(), "retrain=none", f"hydra.run.dir={tmp_path / 'c'}"]
    other = nasrun.search(words, quiet=True)
    assert state() == before
    assert again.path == place
    assert again.record["signature"] == other.record["signature"]
    assert again.result.genotype == run.result.genotype


def test_an_interruption_says_how_to_go_on_and_the_next_one_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state()

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(engine, "run_retrain", interrupted)
    words = {**SMALL, "retrain": "smoke", "hydra.run.dir": str(tmp_path / "run")}
    with pytest.raises(KeyboardInterrupt, match="nasrun resume"):
        nasrun.search(words, quiet=True)
    assert state() == before
    assert nasrun.load(tmp_path / "run").status == "interrupted"


def test_a_thread_can_search(tmp_path: Path) -> None:
    found: list[nasrun.Run] = []
    words = {**SMALL, "retrain": "none", "hydra.run.dir": str(tmp_path / "run")}
    thread = threading.Thread(target=lambda: found.append(nasrun.search(words)))
    thread.start()
    thread.join()
    assert found[0].status == "done"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("seed=-1", "seed=-1 must be at least 0"),
        ("strategy=rndom", "did you mean random?"),
        ("-m seed=0,1", "nasrun.search runs one job, and no --multirun: call it in a loop"),
        ("--cfg job", "nasrun.search runs one job, and no --cfg=job"),
        ("--wide", "unknown flag --wide"),
        ({"budget.evaluations": 0, "strategy": "random"}, "budget.evaluations=0 must be"),
    ],
)
def test_mistakes_are_errors_and_leave_nothing(
    words: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nasrun.UsageError, match=said):
        nasrun.search(words)
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_of_a_stranger_is_refused(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run")
    (tmp_path / "secret").write_text("{}")
    assert nasrun.load(made).status == "done"
    (made / "model.json").symlink_to(tmp_path / "secret")
    with pytest.raises(nasrun.UsageError, match="is a link to a place outside of"):
        nasrun.load(made)
    with pytest.raises(nasrun.UsageError, match="is no run folder"):
        nasrun.load(tmp_path)


def test_a_report_has_the_figures_of_its_runs(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(s), seed=s, accuracy=0.8 + s / 10) for s in range(2)]
    made = nasrun.report(*map(nasrun.load, runs), out=tmp_path / "report")
    assert made.page.is_file()
    assert list(made.groups["mean"]) == [pytest.approx(0.85)]
    assert list(made.runs["test_accuracy"]) == [0.8, 0.9]
    with pytest.raises(nasrun.UsageError, match="needs a folder"):
        nasrun.report()


def test_the_import_is_free_of_torch_and_every_name_is_there() -> None:
    program = (
        "import sys, nasrun; assert not {'torch', 'hydra', 'numpy'} & {*sys.modules}; "
        "assert {*nasrun.__all__} < {*dir(nasrun)}; nasrun.UsageError; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert all(inspect.getdoc(getattr(nasrun, name)) for name in nasrun.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        nasrun.serach  # noqa: B018


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["run"].result.genotype == names["again"].result.genotype
    assert len(names["report"].runs) == 2
    assert names["report"].page.is_file()
