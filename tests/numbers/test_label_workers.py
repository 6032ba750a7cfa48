"""Labels that are trained in worker processes are those that are trained one by one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.cli.main import main
from nasrun.compute.workers import Died
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring, labeller
from tests.commands.pictures import without_pictures
from tests.compose import composed

QUICK = ["space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none"]


def settings_of(*overrides: str) -> SearchConfig:
    return to_typed(composed([*QUICK, *overrides]), SearchConfig)


def wired(*overrides: str) -> Wiring:
    return Wiring(settings_of(*overrides))


class Backwards:
    """In the place of `Workers`: finishes the last task first, here."""

    def __init__(self, wiring: Wiring, dies: Sequence[int] = ()) -> None:
        self.answer = labeller(wiring.search_settings, [], [], 0, 1)
        self.dies = dies

    def answers(self, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for place in reversed(range(len(tasks))):
            yield place, Died("dead") if place in self.dies else self.answer(tasks[place])


def trajectory(wiring: Wiring, steps: int = 20) -> list[Any]:
    """What each step reports."""
    found, strategy = [], wiring.strategy
    while not strategy.finished and len(found) < steps:
        report = strategy.step()
        labels = [(one.genotype, one.values, one.details) for one in report.evaluations]
        found.append((labels, report.metrics, report.incumbent))
    return found


@pytest.mark.parametrize(
    "strategy", ["random", "local_search", "regularized_evolution", "ridge_evolution"]
)
def test_no_step_depends_on_the_number_of_workers(strategy: str) -> None:
    settings = settings_of(f"strategy={strategy}", "budget.evaluations=8", "evaluator.epochs=1")
    expected = trajectory(Wiring(settings))
    evaluator = {**settings.evaluator, "workers": 3}
    first = Wiring(dataclasses.replace(settings, evaluator=evaluator))
    first.raw_evaluator._workers = Backwards(first)
    begun = trajectory(first, steps=2)
    second = Wiring(settings)  # goes on without workers
    second.strategy.load_state_dict(first.strategy.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    assert begun + trajectory(second) == expected
    assert begun + trajectory(first) == expected


def test_a_candidate_whose_workers_die_is_a_failed_label() -> None:
    wiring = wired("strategy=genetic", "evaluator.workers=2")
    wiring.raw_evaluator._workers = Backwards(wiring, dies=[1])
    shown = list[tuple[int, int]]()
    wiring.raw_evaluator.progress = lambda done, total: shown.append((done, total))
    labels = wiring.evaluator.evaluate([wiring.space.decode((1, 1, gene)) for gene in range(3)])
    assert [label.error for label in labels] == [None, "dead", None]
    assert shown == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.processes
def test_two_processes_write_what_one_writes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    for workers in (1, 2):
        main(["search", "strategy=genetic", *QUICK, f"evaluator.workers={workers}",
              f"hydra.run.dir={workers}"])  # fmt: skip
    one, two = (lines(tmp_path / f"{workers}/evaluations.jsonl") for workers in (1, 2))
    assert len(one) == 4
    assert two == one
    records = [json.loads((tmp_path / f"{n}/run.json").read_text()) for n in (1, 2)]
    assert [record.get("evaluator_workers") for record in records] == [None, 2]
    assert [record.get("worker_threads") for record in records] == [None, 1]
    assert records[0]["signature"] == records[1]["signature"]


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: one[key] for key in one if key != "cost_s"} for one in found]


@pytest.mark.processes
def test_a_failure_in_a_worker_has_the_words_of_one_here() -> None:
    words = ["strategy=random", "space=nasbench201", "evaluator.cells=1", "evaluator.channels=4"]
    words += ["evaluator.learning_rate=1e30", "evaluator.gradient_clip=0"]
    here, there = wired(*words), wired(*words, "evaluator.workers=2")
    genotype = here.space.sample(np.random.default_rng(0))
    try:
        (expected,), (found,) = (one.evaluator.evaluate([genotype]) for one in (here, there))
        assert expected.error is not None
        assert expected.error.startswith("the training loss is")
        assert dataclasses.replace(found, cost_s=expected.cost_s) == expected
    finally:
        there.close()


def test_how_many_and_where(monkeypatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6))
    wiring = wired("strategy=random", "evaluator.workers=null")
    assert (wiring.evaluator.budget, wiring.num_workers) == (4, 6)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert wiring._gpus() == []
    wiring.device.torch = "cuda"  # as far as its name goes
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert wiring._gpus() == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8a,5")
    labeller(wiring.search_settings, wiring._gpus(), [], 4, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8a"
    wiring.device.torch = "cuda:1"
    assert wiring._gpus() == []
