"""Whole runs through the command line, on the toy space: what the run folder holds and promises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasrun.cli.main import main

QUICK = ["space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=smoke"]
FILES = {
    "run.json", "metrics.jsonl", "genotype.json", "cells.svg", "result.json", "checkpoint.pt",
    "model.pt", "tensorboard", "search.log", ".hydra",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` without what is a time."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


def outcome(folder: Path | str) -> dict[str, Any]:
    result = read(Path(folder) / "result.json")
    del result["search_seconds"], result["retrain"]["seconds"]
    return result


def search(folder: str, *overrides: str) -> None:
    main(["search", *QUICK, *overrides, f"hydra.run.dir={folder}"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    search(str(folder))
    return folder


def test_a_run_folder_is_complete(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= FILES
    assert {p.name for p in (finished / ".hydra").iterdir()} == {
        "config.yaml", "hydra.yaml", "overrides.yaml",
    }  # fmt: skip
    record = read(finished / "run.json")
    assert record["status"] == "done"
    assert record["overrides"] == QUICK
    assert record["command"].startswith("nasrun search space=toy")
    assert {"seed", "signature", "commit", "clean", "device", "processor"} <= {*record}
    assert {"started", "finished", "precision"} <= {*record}
    assert record["threads"] == 1
    assert {"nasrun", "python", "torch", "hydra-core", "numpy", "cma"} <= {*record["versions"]}
    assert len(record["data"]["sha256"]) == 64


def test_the_result_holds_what_is_promised(finished: Path) -> None:
    result = read(finished / "result.json")
    assert (result["strategy"], result["space"], result["dataset"]) == ("egnas", "toy", "synthetic")
    assert (result["seed"], result["evaluations"]) == (0, 0)
    # Two of three epochs explore: 2 starts of 16 candidates, alpha, 2 selections, 2 means. Four
    # batches tell the accuracy of the last alpha.
    assert result["scorings"] == 2 * (2 * 16 + 1 + 2 + 2) + 4
    assert result["genotype"] == read(finished / "genotype.json")
    assert 0 < result["search_val_accuracy"] <= 1
    assert result["search_seconds"] > 0
    assert result["threads"] >= 1
    retrain = result["retrain"]
    assert retrain["epochs"] == 2
    assert retrain["val_accuracy"] is None  # all training data was used
    assert 0 <= retrain["test_accuracy"] <= 1
    assert 0 <= retrain["macro_f1"] <= 1
    assert retrain["params"] > 0
    assert retrain["flops"] > 0


def test_metrics_name_every_figure_people_look_at(finished: Path) -> None:
    lines = metrics(finished)
    assert [(line["phase"], line["step"]) for line in lines] == [
        ("search", 1), ("search", 2), ("search", 3), ("retrain", 1), ("retrain", 2),
    ]  # fmt: skip
    wanted = {
        "train_loss", "train_accuracy", "train_learning_rate", "val_loss", "val_accuracy",
        "fitness_best", "fitness_mean", "fitness_spread", "sigma", "alpha_entropy",
        "num_skip_edges", "num_none_edges", "alpha_step",
    }  # fmt: skip
    assert wanted <= {*lines[2]}
    raw = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert raw["seconds"] > 0
    assert raw["train_images_per_second"] > 0


def test_tensorboard_shows_scalars_heat_maps_and_cells(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"search/val_accuracy", "search/alpha_entropy", "retrain/loss"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"weights/cell", "cells/search"}
    assert [event.step for event in events.Scalars("search/train_loss")] == [1, 2, 3]


def test_same_seed_same_result_bit_for_bit(finished: Path) -> None:
    search("again")
    assert outcome("again") == outcome(finished)
    assert metrics("again") == metrics(finished)


def test_a_second_run_in_the_same_folder_changes_nothing(finished: Path, capsys) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        search(str(finished), "seed=1")
    assert stopped.value.code == 2
    assert "holds a run already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_finished_run_resumes_to_itself(finished: Path, capsys) -> None:
    main(["resume", str(finished)])
    assert "is finished already" in capsys.readouterr().out


KILL = """
import os, signal, sys
from nasrun.runs.checkpoint import Checkpoint
from nasrun.cli.main import main

moment, after, original = int(sys.argv[1]), sys.argv[2] == "after", Checkpoint.save
count = 0

def save(*arguments, **keywords):
    global count
    count += 1
    if count == moment and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    original(*arguments, **keywords)
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save
main(sys.argv[3:])
"""


@pytest.mark.processes
@pytest.mark.parametrize(("moment", "when"), [(1, "before"), (2, "after"), (5, "before")])
def test_a_killed_run_resumes_to_the_run_that_was_left_alone(
    finished: Path, moment: int, when: str
) -> None:
    arguments = ["search", *QUICK, "hydra.run.dir=killed"]
    command = [sys.executable, "-c", KILL, str(moment), when, *arguments]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert read("killed/run.json")["status"] == "running"
    main(["resume", "killed"])
    assert outcome("killed") == outcome(finished)
    assert metrics("killed") == metrics(finished)
    assert read("killed/run.json")["status"] == "done"


def test_an_edited_configuration_is_not_resumed(finished: Path, tmp_path, capsys) -> None:
    search("edited", "retrain=none")
    record = read("edited/run.json")
    Path("edited/run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    config = Path("edited/.hydra/config.yaml")
    config.write_text(config.read_text().replace("seed: 0", "seed: 1", 1))
    with pytest.raises(SystemExit) as stopped:
        main(["resume", "edited"])
    assert stopped.value.code == 2
    assert "no longer the configuration" in capsys.readouterr().err


def test_a_retraining_is_not_resumed_with_another_genotype(finished: Path, capsys) -> None:
    """A log that has grown holds another last genotype."""
    genotype = read(finished / "genotype.json")
    Path("log.txt").write_text(f"best {json.dumps(genotype)}\n")
    main(["retrain", "genotype=log.txt", *QUICK[:3], "retrain=smoke", "hydra.run.dir=retrained"])
    record = read("retrained/run.json")
    Path("retrained/run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    edges = genotype["cells"]["cell"]["edges"]
    edges[0][0] = "a" if edges[0][0] != "a" else "b"
    with Path("log.txt").open("a") as log:
        log.write(f"best {json.dumps(genotype)}\n")
    with pytest.raises(SystemExit) as stopped:
        main(["resume", "retrained"])
    assert stopped.value.code == 2
    assert "genotype=log.txt is no longer the genotype" in capsys.readouterr().err


def test_retrain_none_ends_with_the_genotype() -> None:
    search("none", "retrain=none")
    assert read("none/result.json")["retrain"] is None
    assert not Path("none/model.pt").exists()


def test_one_shot_labels_are_scorings_and_no_true_evaluations(capsys) -> None:
    search("one_shot", "strategy=random", "evaluator=shared_weights", "retrain=none")
    result = read("one_shot/result.json")
    assert (result["evaluations"], result["scorings"]) == (0, 4)
    assert len(Path("one_shot/evaluations.jsonl").read_text().splitlines()) == 4
    assert "4 candidates scored on shared weights, validation accuracy" in capsys.readouterr().out


def test_the_floor_is_run_with_as_many_labels_and_compared(tmp_path, capsys) -> None:
    search(
        "run", "strategy=random", "budget.evaluations=6", "retrain=none", "evaluator.epochs=1",
        "floor=true",
    )  # fmt: skip
    result = read("run/result.json")
    own, floor = result["search_val_accuracy"], result["floor"]
    accuracies = {}
    for name in (
        "ridge_evolution", "gp_evolution", "local_search", "climb_from_largest", "rank_by_proxy",
    ):  # fmt: skip
        part = read(f"run/floor/{name}/result.json")
        assert (part["strategy"], part["evaluations"], part["retrain"]) == (name, 6, None)
        accuracies[name] = part["search_val_accuracy"]
    assert floor["strategies"] == accuracies
    assert floor["by"] == pytest.approx(own - max(accuracies.values()))
    assert floor["beaten"] == (floor["by"] > 0)
    assert f"beaten: {'yes' if floor['beaten'] else 'no'}, by " in capsys.readouterr().out
    assert {"best_so_far.png", "evaluations.jsonl"} <= {path.name for path in Path("run").iterdir()}

    # Killed after the first floor: what is done is read, the rest is run.
    record = {**read("run/run.json"), "status": "running"}
    for name in ("result.json", "checkpoint.pt", "floor/local_search/result.json"):
        Path("run", name).unlink()
    Path("run/run.json").write_text(json.dumps(record))
    ridge = Path("run/floor/ridge_evolution/result.json").stat()
    main(["resume", "run"])
    assert read("run/result.json")["floor"] == floor
    assert Path("run/floor/ridge_evolution/result.json").stat() == ridge


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("strategy=egnas", "floor=true compares searches that spend budget.evaluations"),
        ("budget.seconds=5", "floor=true compares searches with equally many labels"),
    ],
)
def test_a_floor_needs_labels_and_as_many_of_them(override: str, message: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["search", *QUICK, "strategy=random", override, "floor=true", "hydra.run.dir=run"])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_method_is_no_floor_of_its_own() -> None:
    search("run", "strategy=local_search", "budget.evaluations=4", "retrain=none", "floor=true",
           "evaluator.epochs=1")  # fmt: skip
    assert set(read("run/result.json")["floor"]["strategies"]) == {
        "ridge_evolution",
        "gp_evolution",
        "climb_from_largest",
        "rank_by_proxy",
    }


def test_seconds_do_not_end_a_search_before_its_first_label() -> None:
    search("run", "strategy=ridge_evolution", "retrain=none", "budget.seconds=1e-6",
           "budget.evaluations=8", "evaluator.epochs=1")  # fmt: skip
    assert read("run/result.json")["evaluations"] == 4  # the first ones, which are one step


@pytest.mark.parametrize("strategy", ["egnas", "darts"])
def test_a_search_that_its_seconds_end_reports_what_its_cell_is_derived_from(strategy: str) -> None:
    search("run", f"strategy={strategy}", "retrain=none", "budget.seconds=1e-6")
    (step,) = metrics("run")
    result = read("run/result.json")
    # of the mixture after the step, where `val_accuracy` is that of those within it
    assert result["search_val_accuracy"] == step["final_val_accuracy"]
    assert result["scorings"] == step["scorings"]


@pytest.mark.parametrize("source", ["", "genotype.json"])
def test_retrain_from_a_run_folder_and_from_a_file(finished: Path, source: str) -> None:
    genotype = f"genotype={finished / source}"
    options = ["dataset=synthetic", "dataset.num_train=64", "retrain=smoke"]
    main(["retrain", genotype, *options, "hydra.run.dir=again"])
    result = read("again/result.json")
    assert result["genotype"] == read(finished / "genotype.json")
    assert result["strategy"] is None
    assert result["retrain"]["epochs"] == 2
    assert read("again/run.json")["kind"] == "retrain"


def test_retrain_a_random_cell() -> None:
    options = ["dataset=synthetic", "dataset.num_train=64", "retrain=smoke", "space=toy"]
    for seed in (0, 1, 2):
        main(["retrain", "genotype=random", *options, f"seed={seed}", f"hydra.run.dir=r{seed}"])
    genotypes = [json.dumps(read(f"r{seed}/genotype.json")) for seed in (0, 1, 2)]
    assert len(set(genotypes)) > 1


def test_a_sweep_makes_complete_folders_and_one_table(capsys) -> None:
    swept = ["fitness.zeta=0.4,1.0", "fitness.eta=0.2,0.4", "population.size=4,8"]
    main(["search", "-m", *QUICK, *swept])
    folders = sorted(Path("outputs/sweeps").glob("*/*/[0-9]-*"))
    assert [folder.name[0] for folder in folders] == [str(number) for number in range(8)]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} >= FILES
        assert read(folder / "run.json")["status"] == "done"
    table = capsys.readouterr().out.partition("8 jobs in")[2]
    assert all(name in table for name in ("fitness.zeta", "fitness.eta", "population.size"))
    assert table.count("done") == 8 + 1  # a row each, and the heading


def test_a_result_bears_the_name_of_the_option_that_was_chosen_also_after_resume() -> None:
    search("run", "strategy=egnas_without_diversity", "strategy.batch_size=8", "retrain=none")
    assert read("run/result.json")["strategy"] == "egnas_without_diversity"
    record = {**read("run/run.json"), "status": "running"}
    for name in ("result.json", "checkpoint.pt"):
        Path("run", name).unlink()
    Path("run/run.json").write_text(json.dumps(record))
    main(["resume", "run"])
    assert read("run/result.json")["strategy"] == "egnas_without_diversity"
    Path("run/.hydra/hydra.yaml").unlink()  # which holds the choices: the method is known still
    Path("run/run.json").write_text(json.dumps(record))
    main(["resume", "run"])
    assert read("run/result.json")["strategy"] == "egnas"
