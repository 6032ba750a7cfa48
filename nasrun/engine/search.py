"""Do a whole run: search, derive, retrain, write the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nasrun.config import plugins
from nasrun.config.schema import BudgetConfig, RunConfig, SearchConfig
from nasrun.engine.batches import notes
from nasrun.engine.drive import Session, drive, validation_accuracy, validation_score
from nasrun.engine.limits import costs_of, hypervolume_of
from nasrun.engine.retrain import Retraining, network_size
from nasrun.engine.untrained import computed
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.measure import Limits
from nasrun.protocols.result import AgainstFloors, FrontMember, Result, TableEntry
from nasrun.protocols.space import SearchSpace, TrainingHints, as_module
from nasrun.protocols.strategy import Strategy
from nasrun.runs.folder import RunFolder
from nasrun.runs.model_file import SUPERNET_FILE
from nasrun.runs.result_file import RESULT_FILE
from nasrun.storage.tensor_files import num_bytes, write_tensors
from nasrun.training.costs import is_large

MOST_DERIVED = 100  # architectures, until one is within the limits
RECORDS = 20_000_000  # bytes of logs, metrics and pictures, roughly


def run_search(
    wiring: Wiring,
    config: SearchConfig,
    session: Session,
    floors: Mapping[str, float] | None = None,
) -> Result:
    """Search, derive the genotype, retrain it, and write the result.

    Every part that a checkpoint says is done is not done again. `floors` are the validation
    accuracies of simple methods, for comparison.
    """
    saved = _begun(wiring, session)
    if saved is not None and saved.get("phase") == "retrain":
        with session.checkpoint.restoring():
            result = Result.from_json(saved["carried"])
    else:
        result = _search(wiring, config, session, saved)
        saved = None  # that was of the search; the retraining begins
        if floors and result.search_score is not None:
            known = {**floors, **of_published_cells(result.table)}
            result = replace(result, floor=against_floors(result.search_score, known))
    return run_retrain(wiring, config, session, result, saved)


def _begun(wiring: Wiring, session: Session) -> Mapping[str, Any] | None:
    """Load the checkpoint; without one, begin the log with what is to be known of the data."""
    saved = session.checkpoint.load(session.log)
    if saved is None:  # loading cuts the log back to where the checkpoint was made
        for note in notes(wiring):
            session.recorder.log(note)
    return saved


def _search(
    wiring: Wiring, config: SearchConfig, session: Session, saved: Mapping[str, Any] | None
) -> Result:
    strategy = wiring.strategy
    operations = wiring.space.operations
    insight = wiring.insight
    with closing(wiring):  # its worker processes
        spent = drive(
            strategy,
            "search",
            session,
            saved=saved,
            budget=config.budget,
            operations=operations,
            remedies=strategy.remedies,
            insight=insight,
        )
    for name, figure in insight.figures():
        session.recorder.figure(spent.steps, name, figure)
    _keep_weights(wiring, session)
    front = front_of(strategy, wiring.space, wiring.limits)
    chosen = front[0].genotype
    _write_front(session.folder, front)
    metrics, final = spent.last or {}, wiring.final(chosen)
    maximised = wiring.metric if strategy.maximises_metric else "accuracy"
    other_metric = None if maximised == "accuracy" else maximised
    return Result(
        strategy=plugins.option(config.strategy),
        space=wiring.space.name,
        dataset=wiring.dataset_name,
        seed=config.seed,
        genotype=chosen,
        front=front if len(front) > 1 else None,
        **_costs(wiring, front),
        evaluations=0 if wiring.labels_are_scores else spent.evaluations,
        scorings=int(metrics.get("scorings", 0)),
        **_knowledge(wiring),
        search_seconds=spent.seconds,
        label_seconds=insight.label_seconds,
        label_epochs=insight.label_epochs,
        search_val_accuracy=validation_accuracy(metrics),
        metric=other_metric,
        search_val_score=validation_score(metrics),
        chosen_val_accuracy=metrics.get("chosen_accuracy"),
        threads=torch.get_num_threads(),
        **vars(final),
        predictor=insight.ranked(metrics),
        warnings=spent.guard.in_the_end(chosen, wiring.space.operations),
    )


def _write_front(folder: RunFolder, front: Sequence[FrontMember]) -> None:
    """Write what was found at once: the retraining may take days, and others can use it."""
    write_genotype(folder, front[0].genotype)
    if len(front) > 1:  # so that any of them can be named, as in genotype=RUN:2
        members = {str(place): one.genotype.to_json() for place, one in enumerate(front, start=1)}
        folder.write_json("front.json", members)


def _keep_weights(wiring: Wiring, session: Session) -> None:
    """Keep the weights of the supernet, where networks can be cut out of it: nasrun family."""
    weights = wiring.shared_weights()
    if weights and session.group.is_first:
        with session.folder.replacing(SUPERNET_FILE) as path:
            write_tensors(path, {name: one.cpu() for name, one in weights.items()})


def _knowledge(wiring: Wiring) -> dict[str, Any]:
    """Return what the result says of what the search knew before its first label."""
    strategy = wiring.strategy
    scored = "zero_cost" in strategy.knowledge
    return {
        "knowledge": strategy.knowledge,
        "knowledge_how": strategy.knowledge_how or (wiring.zero_cost.how if scored else None),
        "proxy": computed(wiring.search_settings) if scored else None,
    }


def _costs(wiring: Wiring, front: Sequence[FrontMember]) -> dict[str, Any]:
    """Return what the result says of costs: its own, their limits, how much the front dominates."""
    found: dict[str, Any] = {}
    limits, labels = wiring.limits, wiring.strategy.labels
    limited = () if limits is None else limits.limits
    if labels is not None:
        found["hypervolume"] = hypervolume_of(front, labels, wiring.objective, limited)
    if limits is not None:
        found["costs"] = costs_of(front[0].genotype, wiring.objective, limits)
        found["measurements"] = limits.num_measurements or None
    return found


def front_of(
    strategy: Strategy, space: SearchSpace, limits: Limits | None = None
) -> tuple[FrontMember, ...]:
    """Return what a search has found, the chosen one first, each with the values of its label.

    A search that compares by its error alone has a front too where its labels have more objectives.
    Labels are within the limits; what comes without one is held to them here.
    """
    found, values = strategy.best(), list[dict[str, float]]()
    labels = strategy.labels
    if labels is None and limits is not None:
        found = _held(strategy, limits)
    if labels is not None:
        if len(found) == 1 and len(labels.objectives) > 1:
            found = tuple(label.genotype for label in labels.front())
        names = [objective.name for objective in labels.objectives]
        known = labels.evaluate(found)  # hence free
        values = [dict(zip(names, label.values, strict=True)) for label in known]
    return tuple(
        FrontMember(genotype=space.pruned(genotype), values=values[place] if values else {})
        for place, genotype in enumerate(found)
    )


def of_published_cells(table: TableEntry | None) -> dict[str, float]:
    """Return what the table says of the published cells of its space, by what a search sees."""
    cells = () if table is None else table.references
    return {one.name: one.val_accuracy for one in cells if one.val_accuracy is not None}


def _held(strategy: Strategy, limits: Limits) -> tuple[Genotype, ...]:
    """Return what a search without labels has found, within the limits.

    What is measured to be beyond them is known from then on, and the search derives another one;
    one that has chosen among samples does not, and gets what is near.
    """
    found = strategy.best()
    for _ in range(MOST_DERIVED):
        if all(map(limits.holds, found)):
            return found
        before, found = found, strategy.best()
        if found == before:
            break
    return tuple(limits.within(genotype) for genotype in found)


def against_floors(accuracy: float, floors: Mapping[str, float]) -> AgainstFloors:
    """Compare a search with what is simple or known, by what they maximise, in [0, 1].

    >>> against_floors(0.5, {"a": 0.25, "b": 0.375}).by
    0.125
    """
    best = max(floors, key=lambda name: floors[name])
    by = accuracy - floors[best]
    return AgainstFloors(strategies=dict(floors), best=best, beaten=by > 0, by=by)


def run_known(
    wiring: Wiring,
    config: RunConfig,
    session: Session,
    genotype: Genotype,
    budget: BudgetConfig | None = None,
) -> Result:
    """Retrain an architecture that is known already, within the budget, where there is one."""
    saved = _begun(wiring, session)
    write_genotype(session.folder, genotype)
    result = Result(
        space=wiring.space.name,
        dataset=wiring.dataset_name,
        seed=config.seed,
        genotype=genotype,
        threads=torch.get_num_threads(),
    )
    return run_retrain(wiring, config, session, result, saved, budget)


def run_retrain(
    wiring: Wiring,
    config: RunConfig,
    session: Session,
    result: Result,
    saved: Mapping[str, Any] | None,
    budget: BudgetConfig | None = None,
) -> Result:
    """Train the network of the genotype from scratch, test it once, and write the result.

    Zero epochs leave the result as it is.
    """
    if config.retrain.epochs > 0:
        carried = result.to_json()
        training = Retraining(wiring, result.genotype, config.retrain)
        if saved is None and training.hints != TrainingHints():
            session.log(
                f"the genotype is trained by what it says itself: {said_of(training.hints)}"
            )
        spent = drive(training, "retrain", session, saved=saved, carried=carried, budget=budget)
        if session.group.is_first:
            with session.folder.replacing("model.pt") as path:
                write_tensors(path, training.model_state())
            training.record(result.genotype).write(session.folder)
        warnings = (*result.warnings, *spent.guard.said.values())
        result = replace(result, retrain=training.result(spent.seconds), warnings=warnings)
    session.folder.write_json(RESULT_FILE, result.to_json())
    return result


def said_of(hints: TrainingHints) -> str:
    """Name the settings that a genotype has.

    >>> said_of(TrainingHints(learning_rate=0.1))
    'learning_rate=0.1'
    """
    said = {"learning_rate": hints.learning_rate, "batch_size": hints.batch_size}
    return ", ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def bytes_written(
    wiring: Wiring, genotype: Genotype | None = None, state: Mapping[str, Any] | None = None
) -> int:
    """Estimate how much a run will write: checkpoints, the retrained weights, and its records.

    There are three checkpoints at a time: the newest is there before the oldest goes.

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
    from nasrun.pictures import cells  # imports matplotlib

    folder.write_json("genotype.json", genotype.to_json())
    with folder.replacing("cells.svg") as path:
        cells.draw(genotype, path)
