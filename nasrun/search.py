"""The one loop that drives every long work, step by step: searches and retrainings alike.

`drive` knows no algorithm: it counts steps, evaluations and seconds, records what a step returned,
and saves checkpoints. `run_search` is a whole run: search, derive, retrain, write the result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from nasrun import build
from nasrun.checkpoint import Checkpoint
from nasrun.config import BudgetConfig, RunConfig, SearchConfig, decisive
from nasrun.costs import is_large
from nasrun.errors import RunError
from nasrun.genotype import Genotype
from nasrun.guard import Guard, count_operations
from nasrun.insight import Insight
from nasrun.process_group import Alone
from nasrun.protocols import MixingWeights, StepReport, as_module
from nasrun.recording import RunRecorder
from nasrun.retrain import Retraining, network_size
from nasrun.runs import RunFolder
from nasrun.summary import summary
from nasrun.tensor_files import num_bytes, write_tensors
from nasrun.ui import Display
from nasrun.wiring import Wiring

RECORDS = 20_000_000  # bytes of logs, metrics and pictures, roughly


class Work(Protocol):
    """What `drive` needs to know of a strategy or a retraining."""

    @property
    def unit(self) -> str: ...

    @property
    def finished(self) -> bool: ...

    @property
    def total_steps(self) -> int | None: ...

    def step(self) -> StepReport: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Spent:
    """What a phase has used so far; part of the checkpoint."""

    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    best_accuracy: float | None = None
    last: Mapping[str, float] | None = None
    guard: Guard = field(default_factory=Guard)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Spent:
        """Raises what a state of another kind does: TypeError, ValueError, LookupError."""
        best, last, guard = state["best_accuracy"], state["last"], state["guard"]
        return cls(
            steps=int(state["steps"]),
            evaluations=int(state["evaluations"]),
            seconds=float(state["seconds"]),
            best_accuracy=None if best is None else float(best),
            last=None if last is None else {str(key): float(last[key]) for key in last},
            guard=Guard(
                {str(key): str(text) for key, text in guard["said"].items()},
                {str(key): list(map(float, values)) for key, values in guard["recent"].items()},
            ),
        )

    def exhausts(self, budget: BudgetConfig | None) -> bool:
        if budget is None:
            return False
        over_time = budget.seconds is not None and self.seconds >= budget.seconds
        return over_time or self.evaluations >= budget.evaluations


@dataclass
class Session:
    """The tools of one run that are neither the method's nor the data's."""

    folder: RunFolder
    recorder: RunRecorder
    checkpoint: Checkpoint
    display: Display
    parts: dict[str, int]  # of the device: what does not fit into memory at once
    group: Alone  # of the processes that do this run together

    def log(self, text: str) -> None:
        self.recorder.log(text)
        self.display.message(text)


@contextmanager
def open_session(
    wiring: Wiring, folder: RunFolder, command: str, display: Display
) -> Iterator[Session]:
    """The recorder, checkpoint and display of a run folder, closed in any case."""
    device = wiring.device
    checkpoint = Checkpoint(folder, decisive(wiring.settings), wiring.streams, device.group)
    try:
        with RunRecorder(folder, command) as recorder:
            yield Session(folder, recorder, checkpoint, display, device.parts, device.group)
    finally:
        display.finish()


def drive(
    work: Work,
    phase: str,
    session: Session,
    *,
    saved: Mapping[str, Any] | None = None,
    carried: Mapping[str, Any] | None = None,
    budget: BudgetConfig | None = None,
    operations: tuple[str, ...] = (),
    insight: Insight | None = None,
) -> Spent:
    """Step until the work is finished or the budget is spent.

    Args:
        phase: names the metrics and the checkpoint: `search` or `retrain`.
        saved: a checkpoint of this phase to go on from.
        carried: results of earlier phases, to be kept in the checkpoints of this one.
        operations: labels of the columns of a step's mixing weights.
        insight: adds to the metrics what the work cannot know.

    Raises:
        RunError: a step has failed, and is named; the checkpoints of those before it are kept.
    """
    spent = Spent() if saved is None else _restored(work, session, saved)
    session.display.start(phase, work.unit, work.total_steps, spent.steps)

    def ended() -> bool:  # not by its budget before the first label
        can_end = insight is None or insight.has_an_answer
        return work.finished or (can_end and spent.exhausts(budget))

    while not ended():
        started, parts = time.perf_counter(), dict(session.parts)
        with _named(f"{phase} {work.unit} {spent.steps + 1}"):
            report = work.step()
        seconds = _agreed(report, time.perf_counter() - started, session.group)
        _count(spent, report, seconds)
        last = ended()
        if insight is not None:
            report = replace(report, metrics={**report.metrics, **insight.metrics(report, last)})
        spent.last = dict(report.metrics)
        warnings = spent.guard.note_parts(parts, session.parts)
        for warning in [*warnings, *spent.guard.look_at(report, operations)]:
            session.log(f"warning: {warning}")
        _record(session, phase, spent, report, seconds, work, operations, last)
        state = {"phase": phase, "work": work.state_dict(), "spent": asdict(spent)}
        state |= {"carried": dict(carried or {}), "parts": dict(session.parts)}
        session.checkpoint.save(state, always=last)
    session.display.finish()
    return spent


def _restored(work: Work, session: Session, saved: Mapping[str, Any]) -> Spent:
    """Put everything back where the checkpoint has it."""
    with session.checkpoint.restoring():
        work.load_state_dict(saved["work"])
        session.checkpoint.restore_streams(saved)
        if session.group.size == 1:  # the share of one process of several is smaller anyway
            parts = {str(load): int(count) for load, count in saved["parts"].items()}
            session.parts.update(parts)
        return Spent.restored(saved["spent"])


def _agreed(report: StepReport, seconds: float, group: Alone) -> float:
    """The seconds of the first process, which end a search in all of them at the same step.

    Raises:
        RunError: the processes have not come to the same result.
    """
    mixture = (report.weights or {}).values()
    weights = [weight for rows_EO in mixture for weight in rows_EO.flatten().tolist()]
    found = [report.incumbent, *(evaluation.genotype for evaluation in report.evaluations)]
    reports = group.collect((seconds, found, weights))
    first_s, *first = reports[0]
    for rank, (_, *own) in enumerate(reports):
        same = own[0] == first[0] and np.allclose(own[1], first[1], atol=1e-3)
        if not same:
            raise RunError(f"process {rank} and process 0 have come to different results")
    return first_s


@contextmanager
def _named(step: str) -> Iterator[None]:
    try:
        yield
    except RunError as error:
        raise RunError(f"{step}: {error}") from error


def _count(spent: Spent, report: StepReport, seconds: float) -> None:
    spent.steps += 1
    spent.evaluations += len(report.evaluations)
    spent.seconds += seconds
    accuracy = validation_accuracy(report.metrics)
    if accuracy is not None:
        spent.best_accuracy = max(accuracy, spent.best_accuracy or 0.0)


def validation_accuracy(metrics: Mapping[str, float]) -> float | None:
    """Of the best label so far; of a method without labels, what the last step measured."""
    names = ("best_val_accuracy", "final_val_accuracy", "val_accuracy")
    return next((metrics[name] for name in names if name in metrics), None)


def _record(
    session: Session,
    phase: str,
    spent: Spent,
    report: StepReport,
    seconds: float,
    work: Work,
    operations: tuple[str, ...],
    last: bool,
) -> None:
    metrics = {**report.metrics, "seconds": seconds}
    if report.weights is not None:
        metrics |= describe_weights(report.weights)
        session.recorder.weights(spent.steps, report.weights, operations, always=last)
    if report.incumbent is not None:
        metrics |= count_operations(report.incumbent)
        session.recorder.genotype(spent.steps, phase, report.incumbent, always=last)
    session.recorder.scalars(phase, spent.steps, metrics)
    session.recorder.evaluations(spent.steps, report.evaluations)
    figures = session.display.step(spent.steps, metrics, spent.best_accuracy)
    session.recorder.log(f"{phase} {work.unit} {spent.steps}/{work.total_steps or '?'} {figures}")


def describe_weights(weights: MixingWeights) -> dict[str, float]:
    """`alpha_entropy`: entropy in nats of the operations of an edge, mean over all edges."""
    rows_EO = torch.cat([tensor.double() for tensor in weights.values()])
    entropy_E = -(rows_EO * rows_EO.clamp_min(1e-12).log()).sum(dim=1)
    return {"alpha_entropy": float(entropy_E.mean())}


def run_search(
    wiring: Wiring,
    config: SearchConfig,
    session: Session,
    floors: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Search, derive the genotype, retrain it; returns what `result.json` holds.

    Every part that a checkpoint says is done is not done again. `floors` are the validation
    accuracies of simple methods, for comparison.
    """
    saved = session.checkpoint.load(session.log)
    if saved is not None and saved.get("phase") == "retrain":
        with session.checkpoint.restoring():
            result = dict(saved["carried"])
            summary(session.folder.path, {**result, "retrain": None})  # has all that it should
    else:
        result = _search(wiring, config, session, saved)
        saved = None
        if floors:
            result["floor"] = against_floor(result["search_val_accuracy"], floors)
    genotype = Genotype.from_json(result["genotype"])
    result |= run_retrain(wiring, config, session, genotype, result, saved)
    session.folder.write_json("result.json", result)
    return result


def _search(
    wiring: Wiring, config: SearchConfig, session: Session, saved: Mapping[str, Any] | None
) -> dict[str, Any]:
    strategy = wiring.strategy
    operations = tuple(getattr(wiring.space, "operations", ()))
    insight = wiring.insight
    with closing(wiring):  # its worker processes
        spent = drive(
            strategy,
            "search",
            session,
            saved=saved,
            budget=config.budget,
            operations=operations,
            insight=insight,
        )
    for name, figure in insight.figures():
        session.recorder.figure(spent.steps, name, figure)
    front = [wiring.space.pruned(genotype) for genotype in strategy.best()]
    write_genotype(session.folder, front[0])
    metrics = spent.last or {}
    return {
        "strategy": build.option(config.strategy),
        "space": wiring.space.name,
        "dataset": wiring.dataset_name,
        "seed": config.seed,
        "genotype": front[0].to_json(),
        "front": [genotype.to_json() for genotype in front] if len(front) > 1 else None,
        "evaluations": 0 if wiring.labels_are_scores else spent.evaluations,
        "scorings": int(metrics.get("scorings", 0)),
        "search_seconds": spent.seconds,
        "label_seconds": insight.label_seconds,
        "search_val_accuracy": validation_accuracy(metrics),
        "threads": torch.get_num_threads(),
        **wiring.final(front[0]),
        **insight.result(metrics),
        "warnings": list(spent.guard.said.values()),
    }


def against_floor(accuracy: float, floors: Mapping[str, float]) -> dict[str, Any]:
    """The `floor` part of a result: accuracies in [0, 1], `by` positive where the floor is beaten.

    >>> against_floor(0.5, {"a": 0.25, "b": 0.375})
    {'strategies': {'a': 0.25, 'b': 0.375}, 'best': 'b', 'beaten': True, 'by': 0.125}
    """
    best = max(floors, key=lambda name: floors[name])
    by = accuracy - floors[best]
    return {"strategies": dict(floors), "best": best, "beaten": by > 0, "by": by}


def run_known(
    wiring: Wiring,
    config: RunConfig,
    session: Session,
    genotype: Genotype,
    budget: BudgetConfig | None = None,
) -> dict[str, Any]:
    """Retrain an architecture that is known already, within the budget, where there is one;
    returns what `result.json` holds."""
    saved = session.checkpoint.load(session.log)
    write_genotype(session.folder, genotype)
    result: dict[str, Any] = {
        "strategy": None,
        "space": wiring.space.name,
        "dataset": wiring.dataset_name,
        "seed": config.seed,
        "genotype": genotype.to_json(),
        "evaluations": 0,
        "scorings": 0,
        "search_seconds": 0.0,
        "search_val_accuracy": None,
        "threads": torch.get_num_threads(),
    }
    result |= run_retrain(wiring, config, session, genotype, {}, saved, budget)
    session.folder.write_json("result.json", result)
    return result


def run_retrain(
    wiring: Wiring,
    config: RunConfig,
    session: Session,
    genotype: Genotype,
    carried: Mapping[str, Any],
    saved: Mapping[str, Any] | None,
    budget: BudgetConfig | None = None,
) -> dict[str, Any]:
    """Train the network of a genotype from scratch and test it once: the `retrain` part of the
    result (`None` for zero epochs), and its `warnings`."""
    if config.retrain.epochs == 0:
        return {"retrain": None}
    training = Retraining(wiring, genotype, config.retrain)
    spent = drive(training, "retrain", session, saved=saved, carried=carried, budget=budget)
    with session.folder.replacing("model.pt") as path:
        write_tensors(path, training.model_state())
    warnings = [*carried.get("warnings", ()), *spent.guard.said.values()]
    return {"retrain": {**training.result(), "seconds": spent.seconds}, "warnings": warnings}


def bytes_written(
    wiring: Wiring, genotype: Genotype | None = None, state: Mapping[str, Any] | None = None
) -> int:
    """About how much a run will write: three checkpoints (the newest is there before the oldest
    goes), the retrained weights, and its records.

    Args:
        genotype: what is retrained; `None` takes any one of the space.
        state: of a search; each weight gets a momentum besides.
    """
    checkpoint, model = 2 * num_bytes(state or {}), 0
    if wiring.settings.retrain.epochs > 0:
        genotype = genotype or wiring.space.sample(np.random.default_rng(0))
        size = network_size(wiring.settings.retrain)
        # Sizes without contents, but for small ones: the meta device takes a second to import.
        place = "meta" if is_large(wiring.space, size.channels, size.cells) else "cpu"
        with torch.random.fork_rng(devices=[]), torch.device(place):
            network = wiring.space.network(genotype, wiring.dataset.shape, size)
        model = num_bytes(as_module(network).state_dict())
    return 3 * max(checkpoint, 2 * model) + model + RECORDS


def write_genotype(folder: RunFolder, genotype: Genotype) -> None:
    from nasrun import drawing  # imports matplotlib

    folder.write_json("genotype.json", genotype.to_json())
    with folder.replacing("cells.svg") as path:
        drawing.draw(genotype, path)
