"""Drive every long work, step by step, in one loop: searches and retrainings alike.

It knows no algorithm: it counts steps, evaluations and seconds, records what a step returned, and
saves checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch

from nasrun.compute import cancellation
from nasrun.compute.process_group import ProcessGroup
from nasrun.config.identity import decisive
from nasrun.config.schema import BudgetConfig
from nasrun.engine.guard import Guard, count_operations
from nasrun.engine.insight import Insight
from nasrun.engine.wiring import Wiring
from nasrun.errors import RunError
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.space import MixingWeights
from nasrun.protocols.state import require_alike
from nasrun.runs.checkpoint import Checkpoint
from nasrun.runs.folder import RunFolder
from nasrun.runs.progress import Progress
from nasrun.runs.recorder import Begin, Recorder, recorder_of
from nasrun.terminal.progress import Display


class Work(Protocol):
    """What `drive` needs to know of a strategy or a retraining."""

    @property
    def unit(self) -> str: ...

    @property
    def finished(self) -> bool: ...

    @property
    def total_steps(self) -> int | None: ...

    def step(self) -> StepReport: ...

    def last_metrics(self) -> Mapping[str, float]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Spent:
    """What a phase has used so far; part of the checkpoint."""

    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    label_epochs: float = 0.0  # of the trainings behind the labels, where labels say so
    best_accuracy: float | None = None  # or of what the search maximises in its place
    last: Mapping[str, float] | None = None
    guard: Guard = field(default_factory=Guard)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Spent:
        """Restore what was used from a checkpoint.

        A state of another kind raises TypeError, ValueError or LookupError.
        """
        best, last, guard = state["best_accuracy"], state["last"], state["guard"]
        return cls(
            steps=int(state["steps"]),
            evaluations=int(state["evaluations"]),
            seconds=float(state["seconds"]),
            label_epochs=float(state.get("label_epochs", 0.0)),  # earlier versions lack it
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
        trained = budget.label_epochs is not None and self.label_epochs >= budget.label_epochs
        return over_time or trained or self.evaluations >= budget.evaluations


@dataclass
class Session:
    """The tools of one run that are neither the method's nor the data's."""

    folder: RunFolder
    recorder: Recorder
    checkpoint: Checkpoint
    display: Display
    parts: dict[str, int]  # of the device: what does not fit into memory at once
    group: ProcessGroup  # of the processes that do this run together

    def log(self, text: str) -> None:
        self.recorder.log(text)
        self.display.message(text)


@contextmanager
def open_session(
    wiring: Wiring,
    folder: RunFolder,
    command: str,
    display: Display,
    begin: Begin | None = None,
) -> Iterator[Session]:
    """Open the recorder, checkpoint and display of a run folder; close them in any case.

    `begin` begins to record with a tracker, where there is one.
    """
    device = wiring.device
    checkpoint = Checkpoint(folder, decisive(wiring.settings), wiring.streams, device.group)
    try:
        with recorder_of(folder, command, device.group, begin, display.message) as recorder:
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
    remedies: Mapping[str, str] = MappingProxyType({}),
    insight: Insight | None = None,
) -> Spent:
    """Step until the work is finished or the budget is spent.

    Args:
        phase: names the metrics and the checkpoint: `search` or `retrain`.
        saved: a checkpoint of this phase to go on from.
        carried: results of earlier phases, to be kept in the checkpoints of this one.
        operations: labels of the columns of a step's mixing weights.
        remedies: the strategy's own, against what the guard sees.
        insight: adds to the metrics what the work cannot know.

    Raises:
        RunError: a step has failed, and is named; the checkpoints of those before it are kept.
    """
    spent = Spent() if saved is None else _restored(work, session, saved)
    session.display.start(phase, work.unit, work.total_steps, spent.steps)
    session.recorder.progress(Progress(phase, work.unit, spent.steps, work.total_steps))

    def ended() -> bool:  # not by its budget before the first label
        can_end = insight is None or insight.has_an_answer
        return work.finished or (can_end and spent.exhausts(budget))

    while not ended():
        cancellation.look()
        started, parts = time.perf_counter(), dict(session.parts)
        with _named(f"{phase} {work.unit} {spent.steps + 1}"):
            report = work.step()
        seconds = _agreed(report, time.perf_counter() - started, session.group)
        _count(spent, report, seconds)
        # known before anything is recorded: the last step is drawn and saved in any case
        last = ended()
        if last:
            report = replace(report, metrics={**report.metrics, **work.last_metrics()})
        if insight is not None:
            report = replace(report, metrics={**report.metrics, **insight.metrics(report, last)})
        # in the checkpoint: a run that is resumed after its last step still has its result
        spent.last = dict(report.metrics)
        warnings = spent.guard.note_parts(parts, session.parts)
        when = f"{work.unit} {spent.steps}"
        for warning in [*warnings, *spent.guard.look_at(report, operations, remedies, when)]:
            session.log(f"warning: {warning}")
        _record(session, phase, spent, report, seconds, work, operations, last)
        # after the records, whose lengths a checkpoint notes: a resumed run cuts them back
        state = {"phase": phase, "work": work.state_dict(), "spent": asdict(spent)}
        state |= {"carried": dict(carried or {}), "parts": dict(session.parts)}
        session.checkpoint.save(state, always=last)
    session.display.finish()
    return spent


def _restored(work: Work, session: Session, saved: Mapping[str, Any]) -> Spent:
    """Put everything back where the checkpoint has it."""
    with session.checkpoint.restoring():
        require_alike(work.state_dict(), saved["work"], "work")
        work.load_state_dict(saved["work"])
        session.checkpoint.restore_streams(saved)
        if session.group.size == 1:  # the share of one process of several is smaller anyway
            parts = {str(load): int(count) for load, count in saved["parts"].items()}
            session.parts.update(parts)
        return Spent.restored(saved["spent"])


def _agreed(report: StepReport, seconds: float, group: ProcessGroup) -> float:
    """Return the seconds of the first process, so that all end a search at the same step.

    Raises:
        RunError: the processes have not come to the same result.
    """
    mixture = (report.weights or {}).values()
    weights = [weight for rows_EO in mixture for weight in rows_EO.flatten().tolist()]
    labels = [(label.genotype, label.error is None) for label in report.evaluations]
    found = [report.incumbent, labels, len(weights)]
    reports = group.collect((seconds, found, weights))
    first_s, *first = reports[0]
    for rank, (_, *own) in enumerate(reports):
        # what was chosen must be equal, and weights up to rounding
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
    spent.label_epochs = report.metrics.get("label_epochs", spent.label_epochs)
    score = validation_score(report.metrics)
    if score is None:
        score = validation_accuracy(report.metrics)
    if score is not None:
        spent.best_accuracy = max(score, spent.best_accuracy or 0.0)


def validation_accuracy(metrics: Mapping[str, float]) -> float | None:
    """Return the accuracy of the best label so far.

    Of a method without labels it is what the last step measured.
    """
    return _validation(metrics, "accuracy")


def validation_score(metrics: Mapping[str, float]) -> float | None:
    """Return the same of what the search maximises, where that is not the accuracy."""
    return _validation(metrics, "score")


def _validation(metrics: Mapping[str, float], what: str) -> float | None:
    names = (f"best_val_{what}", f"final_val_{what}", f"val_{what}")
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
    session.recorder.progress(Progress(phase, work.unit, spent.steps, work.total_steps))
    figures = session.display.step(spent.steps, metrics, spent.best_accuracy)
    session.recorder.log(f"{phase} {work.unit} {spent.steps}/{work.total_steps or '?'} {figures}")


def describe_weights(weights: MixingWeights) -> dict[str, float]:
    """Return `alpha_entropy`: entropy in nats of the operations of an edge, mean over all edges."""
    rows_EO = torch.cat([tensor.double() for tensor in weights.values()])
    # the bound makes 0 log 0 a 0, and no NaN
    entropy_E = -(rows_EO * rows_EO.clamp_min(1e-12).log()).sum(dim=1)
    return {"alpha_entropy": float(entropy_E.mean())}
