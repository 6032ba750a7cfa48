"""Rehearse a run in miniature: all that a run does, done for real, and most of it only once.

The code is that of the run, and so are all sizes. What is left out is batches of a pass over the
data, scores and labels of candidates once enough are known, and steps when time is up.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch

from nasrun.check import data, failures, memory
from nasrun.check.clock import Clock, KnownAnswers
from nasrun.check.forecast import Forecast, Part, disk_bytes, size
from nasrun.check.wiring import ShortWiring, Watch
from nasrun.config.schema import BudgetConfig, RunConfig, SearchConfig
from nasrun.engine import batches, floor
from nasrun.engine.drive import Session, open_session
from nasrun.engine.retrain import measure_network, network_size, require_possible
from nasrun.engine.search import run_known, run_search
from nasrun.engine.wiring import Wiring
from nasrun.errors import RunError, UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.result import Result
from nasrun.runs.checkpoint import FILE
from nasrun.runs.folder import RunFolder

T = TypeVar("T")

SEARCH_S, RETRAIN_S = 60.0, 10.0  # real time; the step in which it is over is finished
FEW_STEPS = 3  # so few steps are all made, whatever time they take
TRAINING_COPIES = 3  # each weight is held as itself, its gradient, its momentum
NUM_RANKED = 8
TOO_HIGH = 10.0  # times the loss of guessing: no training that works is so bad after a few batches

Record = Callable[[Session, Result], None]
"""Writes into the run folder what only the command knows."""


class Rehearsal:
    """The rehearsal of one run. It raises nothing: what is wrong is collected in `problems`.

    Args:
        settings: the settings of the run.
        short: the same with few epochs, for a search without labels; each of its phases has a
            share of the epochs, and what they take is multiplied.
        genotype: what to retrain; `None` searches first.
        folder: an empty one on the disk of the run.
        record: see `Record`.
    """

    def __init__(
        self,
        settings: RunConfig,
        short: RunConfig,
        genotype: Genotype | None,
        folder: Path,
        record: Record,
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []  # on the data and the batches, which are no problems
        self._settings = settings
        self._short = short
        self._genotype = genotype
        self._folder = folder
        self._record = record
        self._clock = Clock()
        self._labels = KnownAnswers[Evaluation](self._clock)
        self._parts: list[Part] = []
        self._rest_s = 0.0
        self._other_bytes = 0

    def prepare(self) -> ShortWiring | None:
        """Build everything; return `None` where nothing can run."""
        started = time.perf_counter()
        wiring = self._attempt("the configuration", lambda: self._wiring(self._settings))
        if wiring is None:
            return None
        if isinstance(self._settings, SearchConfig):
            self._attempt("the search", lambda: wiring.strategy)
        if self._genotype is not None:
            self._attempt("the genotype", lambda: wiring.space.validate(self._genotype))
        retrain = self._settings.retrain
        if retrain.epochs > 0:
            train = wiring.dataset.train
            self._attempt("the retraining", lambda: require_possible(retrain, train))
        self.notes = list(self._attempt("the data", lambda: list(batches.notes(wiring))) or ())
        self._rest_s += time.perf_counter() - started
        return wiring

    def run(self) -> Forecast | None:
        """Run every phase, and forecast the whole.

        A phase that fails does not keep the next one from being tried.
        """
        # On a GPU networks take none of the memory that is limited here.
        on_cpu = self._settings.device == "cpu" or not torch.cuda.is_available()
        with memory.limited(memory.available() if on_cpu else None):
            return self._run()

    def _run(self) -> Forecast | None:
        wiring = self.prepare()
        if wiring is None:
            return None
        if wiring.needs_images:
            self._attempt("the data", lambda: self._look_through(wiring))
        genotype = self._genotype
        if "strategy" in vars(wiring):
            genotype = self._attempt("the search", lambda: self._search(wiring))
        if genotype is None:
            # Where the search failed, any architecture shows what a retraining takes.
            genotype = wiring.space.sample(np.random.default_rng(0))
        if self._settings.retrain.epochs > 0:
            self._attempt("the retraining", lambda: self._retrain(wiring, genotype))
        return self._forecast(wiring)

    def _look_through(self, wiring: ShortWiring) -> None:
        retrain = self._settings.retrain
        whole = cast(data.ShortDataset, wiring.dataset).whole
        self.note(data.faults(whole, cutout=retrain.cutout and retrain.epochs > 0))

    def _wiring(self, settings: RunConfig) -> ShortWiring:
        return ShortWiring(settings, self._clock, self._labels)

    def _search(self, wiring: ShortWiring) -> Genotype:
        part = Part("search")
        settings, total = wiring.search_settings, wiring.strategy.total_steps
        part.limit_s = settings.budget.seconds or math.inf
        floors = self._floors(wiring)
        # Without labels the epochs are what counts, and each phase has a share of them.
        if wiring.strategy.labels is None and self._short != self._settings:
            wiring = self._wiring(self._short)
            settings = wiring.search_settings
            if total is not None and wiring.strategy.total_steps is not None:
                part.stretch = total / wiring.strategy.total_steps
                part.num_plain = wiring.strategy.plain_steps
        few = (wiring.strategy.total_steps or math.inf) <= FEW_STEPS  # each step is another phase
        budget = replace(settings.budget, seconds=None if few else SEARCH_S)
        cut = replace(settings, budget=budget, retrain=replace(settings.retrain, epochs=0))
        result = self._twice(
            part, "search", wiring, lambda session: run_search(wiring, cut, session, floors)
        )
        self._require_finite_scores(wiring)
        return result.genotype

    def _floors(self, wiring: ShortWiring) -> Mapping[str, float]:
        settings = wiring.search_settings
        if not settings.floor:
            return {}
        accuracies: dict[str, float] = {}
        for name, own in floor.wirings(settings, wiring.strategy, self._wiring).items():
            self._parts.append(Part(f"floor {name}"))
            with RunFolder(self._folder) as folder:
                watch = Watch(self._clock, self._parts[-1])
                accuracies |= floor.run({name: own}, folder, watch)
        return accuracies

    def _require_finite_scores(self, wiring: ShortWiring) -> None:
        """Raise a `UsageError` where the predictor's training has diverged.

        Its search would be a random one, in silence.
        """
        strategy, rng = wiring.strategy, np.random.default_rng(0)
        if not strategy.predicts:
            return
        genotypes = [wiring.space.sample(rng) for _ in range(NUM_RANKED)]
        prediction = strategy.rank(genotypes, [wiring.space.graph(one) for one in genotypes])
        if prediction is not None and not np.isfinite(prediction.score_N).all():
            keys = failures.keys("the predictor", wiring.settings, ("learning_rate",))
            raise UsageError(f"the scores of the predictor are not finite numbers: lower {keys}")

    def _retrain(self, wiring: ShortWiring, genotype: Genotype) -> None:
        require_possible(self._settings.retrain, wiring.dataset.train)
        self._require_room(wiring, genotype)
        budget = BudgetConfig(epochs=1, evaluations=1, seconds=RETRAIN_S)
        self._twice(
            Part("retraining"),
            "retrain",
            wiring,
            lambda session: run_known(wiring, self._settings, session, genotype, budget),
        )

    def _require_room(self, wiring: ShortWiring, genotype: Genotype) -> None:
        """Raise a `UsageError` before a network is built that cannot fit into the memory."""
        config = self._settings.retrain
        num_params, _ = measure_network(wiring, genotype, network_size(config))
        needed = 4 * num_params * TRAINING_COPIES
        there = self._free_memory(wiring)
        if there is not None and needed > there:
            raise UsageError(
                f"the retrained network has {num_params:,} parameters, which take "
                f"{size(needed)} in training, and {size(there)} are free: lower "
                f"{failures.keys('the retraining', self._settings, failures.SIZES)}"
            )

    @staticmethod
    def _free_memory(wiring: Wiring) -> int | None:
        on_cpu = wiring.device.torch.type == "cpu"
        return memory.available() if on_cpu else wiring.device.free_memory()

    def _twice(
        self, part: Part, name: str, wiring: ShortWiring, work: Callable[[Session], Result]
    ) -> Result:
        """Do a piece of work in a folder of its own, then once more as a resumed run would.

        The second time has new objects, begins at the last checkpoint of the first, and must reach
        the same result.
        """
        started = time.perf_counter()
        self._parts.append(part)
        with RunFolder(self._folder / name) as folder:
            with open_session(wiring, folder, name, Watch(self._clock, part)) as session:
                result = work(session)
                self._record(session, result)
            self._rest_s += time.perf_counter() - started - part.real_s + self._clock.take()
            self._weigh(part, folder)
            # from here on nothing is known but what the checkpoint says
            wiring.restart()
            with open_session(wiring, folder, name, Watch(self._clock, Part(name))) as session:
                again = work(session)
        self._require_learning(wiring, part)
        # as texts: NaN equals itself there
        if json.dumps(again.to_json()) != json.dumps(result.to_json()):
            raise RunError("the result that its checkpoint leads to is another one")
        return result

    def _require_learning(self, wiring: Wiring, part: Part) -> None:
        """Raise a `RunError` where a training loss is far above that of guessing.

        A loss can also become absurd without ceasing to be a number.
        """
        labels = [answer for answer in self._labels.answers if isinstance(answer, Evaluation)]
        losses = part.losses[-1:] or [
            label.details["train_loss"] for label in labels if "train_loss" in label.details
        ]
        if not losses:
            return  # nothing was trained
        least, guessing = min(losses), math.log(wiring.dataset.shape.num_classes)
        if least > TOO_HIGH * guessing:
            raise RunError(f"the training loss is {least:.3g}, where guessing has {guessing:.2f}")

    def _weigh(self, part: Part, folder: RunFolder) -> None:
        """Note the sizes of the files of a piece of work."""
        sizes = {path: path.stat().st_size for path in folder.path.rglob("*") if path.is_file()}
        part.growing_bytes = sum(folder.append_only_lengths().values())
        part.checkpoint_bytes = sizes[folder.path / FILE]
        others = sum(sizes[path] for path in sizes if not path.name.startswith("checkpoint."))
        self._other_bytes += others - part.growing_bytes

    def _forecast(self, wiring: ShortWiring) -> Forecast:
        return Forecast(
            parts=tuple(self._parts),
            rest_s=self._rest_s,
            label_s=self._labels.cost_s if self._labels.costs_s else None,
            memory_bytes=memory.peak() * (1 + wiring.num_workers),
            device_bytes=wiring.device.peak_memory(),
            num_workers=wiring.num_workers,
            disk_bytes=disk_bytes(self._parts, self._other_bytes),
        )

    def note(self, problems: Iterable[str]) -> None:
        self.problems += problems

    def _attempt(self, what: str, act: Callable[[], T]) -> T | None:
        """Do one thing; note what it raises, and return `None` then."""
        try:
            return act()
        except Exception as error:  # whatever it is, the other phases are looked at too
            self.note(failures.told(what, error, self._settings))
            return None
