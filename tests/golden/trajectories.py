"""Golden trajectories: what searches and retrainings do step by step, recorded once and compared
ever since.

All that the recordings need of the program is imported here. They are made anew by
`python tests/golden/record.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import RetrainCommandConfig, SearchConfig
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from tests import made_tables
from tests.compose import composed, options

FOLDER = Path(__file__).parent / "trajectories"
MOST_STEPS = 20  # of a strategy without an end

# Relative, and a tenth of it absolute. Processors add in different orders, which float32 shows from
# its seventh digit on and differences of losses from their fifth (seen: 2e-5).
ALIKE, ELSEWHERE = 1e-4, 1e-3  # on a machine like that of the recording, and on others


@dataclass(frozen=True)
class Case:
    """A work to record. `made_table` gives a search on NAS-Bench-201 a table of made accuracies,
    `real_table` says that it needs the one in the folder `NASRUN_DATA`."""

    name: str
    overrides: tuple[str, ...]
    command: str = "search"
    made_table: bool = False
    real_table: bool = False

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.json"

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here, if it cannot."""
        folder = os.environ.get("NASRUN_DATA")
        if self.real_table and not (folder and (Path(folder) / "nasbench201.npz").is_file()):
            return "NASRUN_DATA does not name the folder with nasbench201.npz"
        return None


TOY = ("space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke")
LABELS = ("budget.evaluations=12", "evaluator.epochs=2")  # enough for rounds after the first labels
DIGITS = ("dataset=digits", "dataset.limit=40", "dataset.batch_size=8", "space.channels=4")
SUPERNET = (  # one epoch of the weights alone, and one that explores
    "budget.epochs=2", "strategy.warmup=0.5", "population.size=3", "strategy.num_starts=2",
    "strategy.fitness_images=8", "strategy.selection_images=8",
)  # fmt: skip
# EG-NAS as it was recorded; its option has other settings since, and the method has not changed
RECORDED = ("fitness=paper", "strategy.sigma=0.3")
RECORDED_SIZES = (
    "strategy.num_starts=3", "population.size=8", "strategy.fitness_images=256",
    "strategy.selection_images=512",
)  # fmt: skip
RETRAIN = (
    *("dataset=digits", "dataset.limit=80", "dataset.batch_size=8", "genotype=random"),
    *("retrain.epochs=2", "retrain.channels=4", "retrain.batch_size=16", "retrain.validation=0.25"),
)
TABLE = ("space=nasbench201", "dataset=cifar10", "evaluator=table")
MADE = ("evaluator.accuracy_floor=0.4", "budget.epochs=20")
NASBENCH201 = (*TABLE, "budget.evaluations=30")


def recorded(strategy: str, sizes: tuple[str, ...] = ()) -> tuple[str, ...]:
    return (*RECORDED, *sizes) if strategy == "egnas" else ()


def cases() -> list[Case]:
    toys = [
        Case(f"toy_{name}", (f"strategy={name}", *TOY, *LABELS, *recorded(name, RECORDED_SIZES)))
        for name in options("strategy")
    ]
    toys.append(Case("toy_darts_second_order", ("strategy=darts", "strategy.order=2", *TOY)))
    one_shot = (
        "strategy=genetic",
        "evaluator=shared_weights",
        "space=nasbench201",
        "space.cells=1",
    )
    toys.append(Case("one_shot_genetic", (*one_shot, *DIGITS, "budget=smoke")))
    supernets = [
        Case(
            f"supernet_{space}_{strategy}",
            (
                *(f"strategy={strategy}", f"space={space}", f"space.cells={cells}"),
                *(*DIGITS, *SUPERNET, *recorded(strategy)),
            ),
        )
        for space, cells, strategy in (
            ("darts", 3, "egnas"),
            ("nasbench201", 1, "egnas"),
            ("nasbench201", 1, "egnas_as_published"),
        )
    ]
    every_aid = ("retrain.auxiliary_weight=0.4", "retrain.cutout=true", "retrain.drop_path=0.2")
    retrainings = [
        Case("retrain_darts", (*RETRAIN, "space=darts", "retrain.cells=3", *every_aid), "retrain"),
        Case("retrain_nasbench201", (*RETRAIN, "space=nasbench201", "retrain.cells=1"), "retrain"),
    ]
    landscapes = [
        Case(
            f"landscape_{strategy}",
            (f"strategy={strategy}", *TABLE, *MADE, *recorded(strategy, RECORDED_SIZES)),
            made_table=True,
        )
        for strategy in ("egnas", "egnas_paper", "egnas_as_published", "egnas_cross_entropy")
    ]
    tables = [
        Case(f"table_{strategy}", (f"strategy={strategy}", *NASBENCH201), real_table=True)
        for strategy in (
            *("dclenas", "ridge_evolution", "genetic", "bananas", "local_search"),
            *("climb_from_largest", "rank_by_proxy"),
        )
    ]
    knowing = ("strategy=ridge_evolution", "strategy.initial=largest", "strategy.climbers=2")
    tables.append(Case("table_ridge_climbers", (*knowing, *NASBENCH201), real_table=True))
    return [*toys, *supernets, *retrainings, *landscapes, *tables]


def trajectory(case: Case, scratch: Path) -> dict[str, Any]:
    """What a case does: the metrics of its steps without times, its labels in the order in which
    they were bought, and what it ends with: mixing weights and genotypes, or a trained network.
    Made files go into `scratch`."""
    overrides = list(case.overrides)
    if case.made_table:
        np.savez(scratch / "made.npz", **made_tables.nasbench201())
        overrides.append(f"evaluator.file={scratch / 'made.npz'}")
    config = composed(overrides, case.command)
    for key in {"contrast_steps"} & {*(config.get("predictor") or {})}:
        config.predictor[key] = min(20, config.predictor[key])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if case.command == "retrain":
            found = _retraining(Wiring(to_typed(config, RetrainCommandConfig)))
        else:
            found = _search(Wiring(to_typed(config, SearchConfig)))
    finally:
        torch.set_num_threads(threads)
    return json.loads(json.dumps({"made_with": made_with(), **found}))


def _search(wiring: Wiring) -> dict[str, Any]:
    strategy, steps, labels = wiring.strategy, [], []
    while not strategy.finished and len(steps) < MOST_STEPS:
        report = strategy.step()
        steps.append(_without_times(report.metrics))
        labels += [
            [wiring.space.canonical(label.genotype), *label.values] for label in report.evaluations
        ]
    steps[-1] |= strategy.last_metrics()
    front = [wiring.space.pruned(genotype).to_json() for genotype in strategy.best()]
    weights = [[name, value.tolist()] for name, value in (report.weights or {}).items()]
    shape = digest(strategy.state_dict())
    return {"steps": steps, "labels": labels, "weights": weights, "front": front, "state": shape}


def _retraining(wiring: Wiring) -> dict[str, Any]:
    genotype = wiring.space.sample(wiring.streams.numpy("genotype"))
    training = Retraining(wiring, genotype, wiring.settings.retrain)
    steps = []
    while not training.finished:
        steps.append(_without_times(training.step().metrics))
    found = asdict(training.result(0.0))
    unmeasured = ["test_top5_accuracy"] if found["test_top5_accuracy"] is None else []
    # each class has its figures; older recordings have no table of confusions
    left_out = ("seconds", "confusion", *unmeasured)
    result = {key: found[key] for key in found if key not in left_out}
    squares = [float(value.double().square().sum()) for value in training.model_state().values()]
    return {
        "steps": steps,
        "front": [genotype.to_json()],
        "result": result,
        "norm": math.sqrt(sum(squares)),
        "state": digest(training.state_dict()),
    }


def digest(state: object) -> str:
    """A checksum of the names and shapes in a state: where it changes, older checkpoints may no
    longer be read."""
    return hashlib.sha256("\n".join(_outline(state, "")).encode()).hexdigest()[:12]


def _outline(state: object, where: str) -> Iterator[str]:
    if isinstance(state, Mapping):
        for key in sorted(state, key=str):
            yield from _outline(state[key], f"{where}.{key}")
    elif isinstance(state, torch.Tensor):
        yield f"{where} {tuple(state.shape)}"
    else:
        yield where


def _without_times(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "second" not in name}


def made_with() -> str:
    """What decides the last digits: the processor, and the libraries that compute."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "model name")
    pairs = [line.partition(":")[::2] for line in text.splitlines()]
    words = dict.fromkeys(value.strip() for key, value in pairs if key.strip() in wanted)
    libraries = [f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "scikit-learn")]
    return ", ".join([*words, torch.backends.cpu.get_cpu_capability(), *libraries])


def deviations(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One line for each value that is not as it was recorded, within the tolerance.

    A predictor's ranks may turn over with the last digit, and then the whole search does: where
    processor or libraries are others, such a search is compared up to its first prediction.
    """
    if recorded["made_with"] == found["made_with"]:
        return list(differences(recorded, found, ALIKE))
    return list(differences(_firm(recorded), _firm(found), ELSEWHERE))


def _firm(trajectory: Mapping[str, Any]) -> dict[str, Any]:
    steps = trajectory["steps"]
    firm = {key: value for key, value in trajectory.items() if key != "made_with"}
    place = next((n for n, step in enumerate(steps) if "predictor_tau" in step), None)
    if place is None:
        return firm
    num_labels = int(steps[place - 1]["labels"])
    return {"steps": steps[:place], "labels": trajectory["labels"][:num_labels]}


def differences(recorded: Any, found: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """One line for each value that differs; fractions may by the tolerance."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in {**recorded, **found}:
            name = f"{where}.{key}".lstrip(".")
            yield from differences(recorded.get(key), found.get(key), tolerance, name)
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for place, (was, now) in enumerate(zip(recorded, found, strict=True)):
            yield from differences(was, now, tolerance, f"{where}[{place}]")
    elif not _alike(recorded, found, tolerance):
        yield f"{where}: was {recorded}, is {found}"


def _alike(was: Any, now: Any, tolerance: float) -> bool:
    if not (isinstance(was, float) and isinstance(now, float)):
        return was == now
    both_nan = math.isnan(was) and math.isnan(now)
    return both_nan or math.isclose(was, now, rel_tol=tolerance, abs_tol=tolerance / 10)


def read(case: Case) -> Any:
    return json.loads(case.file.read_text())


def write(case: Case, found: Mapping[str, Any]) -> None:
    """A line for each step and label, so that a change can be read."""
    parts = []
    for name, value in found.items():
        text = json.dumps(value)
        if isinstance(value, list) and value:
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            text = f"[\n{rows}\n ]"
        parts.append(f' "{name}": {text}')
    case.file.write_text("{\n" + ",\n".join(parts) + "\n}\n")
