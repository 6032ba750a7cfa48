"""What a sweep says before anything runs, how its folders are named, and how far it says it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasrun.cli.main import main
from nasrun.config.compose import compose
from nasrun.launch.job import Jobs
from nasrun.protocols.result import Result
from nasrun.runs import run_names
from nasrun.runs.job_folders import MOST_IN_ALL, names
from tests.commands.pictures import without_pictures
from tests.commands.refusal import refused

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none",
    "population.size=2", "strategy.num_starts=1", "hydra.sweep.dir=s",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_mistake_of_all_jobs_is_told_once_and_nothing_is_written(launcher: str, capsys) -> None:
    words = ["strategy.sigma=-1", "seed=0,1,2", f"hydra/launcher={launcher}"]
    said = refused(capsys, "search", "-m", *QUICK, *words)
    assert said.startswith("nasrun: strategy.sigma=-1 ")
    assert said.count("\n") == 1
    assert not list(Path().iterdir())


def test_two_mistakes_name_their_jobs(capsys) -> None:
    words = ["strategy.sigma=-1,-2", "seed=0,1"]
    said = refused(capsys, "search", "-m", *QUICK, *words)
    lines = said.splitlines()
    assert lines[0] == "nasrun: 2 problems:"
    assert [line.rpartition(" (")[2] for line in lines[1:]] == ["jobs 0, 1)", "jobs 2, 3)"]


def test_a_mistake_of_some_jobs_is_told_once_before_the_others_run(monkeypatch, capsys) -> None:
    """What it costs to build a strategy is paid once for jobs that differ in their seeds alone."""
    monkeypatch.setattr(Jobs, "_run", lambda *_: None)
    words = [*QUICK, "strategy.sigma=0.3,-1", "seed=0,1,2"]
    with pytest.raises(SystemExit) as stopped:
        main(["search", "-m", *words])
    assert stopped.value.code == 2
    text = capsys.readouterr()
    assert text.err.count("strategy.sigma=-1") == 1
    assert text.err.startswith("nasrun: jobs 3, 4, 5 failed: strategy.sigma=-1")
    assert text.out.count("jobs 3, 4, 5 failed: strategy.sigma=-1") == 1
    statuses = [json.loads(path.read_text())["status"] for path in Path("s").glob("*/run.json")]
    assert statuses == ["failed"] * 3


def test_each_job_says_its_place_and_its_result(monkeypatch, capsys) -> None:
    result = Result(strategy="random", space="toy", dataset="synthetic", seed=0, genotype=None,
                    evaluations=1, search_seconds=1.0, search_val_accuracy=0.5)  # fmt: skip

    def run(jobs: Jobs, _config: object, _settings: object, outcome, swept: bool) -> Result:
        assert swept
        jobs._tell_end(outcome.number, result)
        return result

    monkeypatch.setattr(Jobs, "_run", run)
    main(["search", "-m", *QUICK, "seed=0,1"])
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "is done" in line]
    assert said[0].startswith("job 0 is done: val accuracy 50.00% (1 of 2 jobs, ETA 0:0")
    assert said[1] == "job 1 is done: val accuracy 50.00% (2 of 2 jobs)"


def test_names_of_folders_are_short_safe_and_different() -> None:
    words = ["+a.b='x, y${z}'", "genotype=/home/me/my cells/best.json", "seed=3", "c=true"]
    others = ["+a.b=" + "long" * 30, "genotype=darts_v2", "seed=4", "c=false"]
    found = names([words, others, ["c=-0.5", "seed=4"], ["c=-0.5", "seed=4"]])
    assert found == [
        "0-b-x-y-z-genotype-best.json-s3-c-true",
        "1-b-" + "long" * 6 + "-darts_v2-s4-c-false",
        "2-s4-c--0.5",
        "3-s4-c--0.5",
    ]
    assert len(names([[f"k{n}=" + "v" * 40 for n in range(9)], []])[0]) == MOST_IN_ALL


def test_a_job_is_found_by_its_number() -> None:
    for name in ("1-egnas", "10-egnas"):
        Path("outputs/sweeps/day/12-00", name).mkdir(parents=True)
        Path("outputs/sweeps/day/12-00", name, "run.json").write_text("{}")
    Path("outputs/sweeps/day/12-00/sweep.json").write_text("{}")
    for text in ("12-00/1", "outputs/sweeps/day/12-00/1", "12-00/1-e"):
        assert run_names.path_of(text, run_names.ANY).name == "1-egnas"
    assert run_names.path_of("10", run_names.ANY) == Path("10")  # of no sweep
    assert run_names.path_of("12-00/2", run_names.ANY) == Path("12-00/2")


@pytest.mark.parametrize(
    ("words", "space", "dataset"),
    [
        (["strategy=random"], "nasbench201", "cifar10"),
        (["strategy=dclenas"], "nasbench201", "cifar10"),
        (["strategy=random", "space=nasbench101", "dataset=cifar100"], "nasbench101", "cifar100"),
        (["experiment=dclenas_nasbench101"], "nasbench101", "cifar10"),
    ],
)
def test_a_table_brings_its_space_and_a_dataset(words: list[str], space: str, dataset: str) -> None:
    config = compose("search", ["evaluator=table", *words])
    assert config.space._target_.split(".")[2] == space
    assert config.dataset.name == dataset
