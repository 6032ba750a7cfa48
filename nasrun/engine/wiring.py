"""Make objects from a configuration: what a run is made of, checked before anything is written.

`Wiring` is also the `SearchContext` that a strategy is given; its collaborators are built when
they are first touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any, cast

import torch

from nasrun.compute import cancellation
from nasrun.compute.device import Device, OnOom, Precision, is_out_of_memory
from nasrun.compute.process_group import ALONE, ProcessGroup
from nasrun.compute.workers import Workers
from nasrun.config import catalogue, checks, identity, matching, outside, plugins, schema
from nasrun.engine import limits as limiting
from nasrun.engine import untrained
from nasrun.engine.collector import Collector
from nasrun.engine.insight import Insight
from nasrun.errors import OutOfMemory, UsageError
from nasrun.evaluators.network_cost import NetworkCost
from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.counts import BY_COST, Sizes
from nasrun.objectives.limited_space import LimitedSpace
from nasrun.objectives.limits import LimitsOfRun
from nasrun.protocols.data import Dataset, MetricName, TaskShape
from nasrun.protocols.evaluation import Cost, Evaluator
from nasrun.protocols.knowledge import FreeScores, Knowledge
from nasrun.protocols.labels import Labels
from nasrun.protocols.measure import Measure, MeasuredNetworks
from nasrun.protocols.result import Final
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.strategy import Strategy
from nasrun.randomness import RandomStreams

SIZES_OF_DATA = ("size", "image_size", "num_train", "limit", "max_pixels")
NO_INPUTS = TaskShape(0, (), 0)  # of a space without networks


class Wiring:
    """The parts of a run.

    Dataset and space are built at once, so that a mistake in either is told before the run; the
    dataset only where something trains on it.

    Args:
        settings: a typed configuration.
        show_progress: told of work inside a step (done, total, figures).
        group: of processes that do the run together.

    Raises:
        UsageError: everything that is wrong with the configuration, in one message.
    """

    def __init__(
        self,
        settings: schema.RunConfig,
        show_progress: Callable[..., None] | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.settings = settings
        self._show_progress = show_progress
        self._workers: Workers | None = None
        # one message has all mistakes: those of the settings, and those of what they build
        with Collector(checks.all_faults(settings)) as collect:
            self._device: Any = collect(
                "device",
                lambda: Device(
                    settings.device,
                    cast(Precision, settings.precision),
                    settings.compile,
                    cast(OnOom, settings.on_oom),
                    group,
                    settings.sync_batch_norm,
                ),
            )
            self.space: Any = collect("space", lambda: plugins.build(settings.space))
            # on a table and without retraining nothing trains, and no images need be there
            if collect("evaluator", lambda: self.needs_images):
                collect("dataset", lambda: self.dataset)
                if self.space is not None and "dataset" in vars(self):
                    collect("space", self._require_fitting_inputs)
        self.streams = RandomStreams(settings.seed)

    def _require_fitting_inputs(self) -> None:
        """Raise a `UsageError` where the networks of the space take other inputs than there are."""
        if not self.space.takes:
            raise UsageError(
                f"space={plugins.option(self.settings.space)} has no networks, and nothing of it "
                "can be trained: type evaluator=table retrain=none, or another space"
            )
        kind, size = self.dataset.shape.kind, " x ".join(map(str, self.dataset.shape.size))
        if kind not in self.space.takes:
            nodes = (self.settings.space, self.settings.dataset)
            space, dataset = map(plugins.option, nodes)
            fitting = " or ".join(f"space={name}" for name in matching.spaces_for(kind))
            raise UsageError(
                f"space={space} takes {' and '.join(self.space.takes)}, and dataset={dataset} has "
                f"{kind} of the size {size}: type {fitting}"
            )

    @property
    def device(self) -> Device:
        return self._device

    @cached_property
    def dataset(self) -> Dataset:
        return load_dataset(self.settings.dataset)

    @property
    def dataset_name(self) -> str:
        return str(self.settings.dataset["name"])

    @cached_property
    def metric(self) -> MetricName:
        offered, chosen = self._evaluator_kind.metrics, self.search_settings.metric
        if chosen is None:  # a table has accuracies, whatever the dataset asks for
            own = self.dataset.metric if self._evaluator_kind.needs_images else "accuracy"
            return own if own in offered else "accuracy"
        nodes = (self.search_settings.evaluator, self.search_settings.strategy)
        evaluator, strategy = map(plugins.option, nodes)
        if chosen not in offered:
            raise UsageError(
                f"metric={chosen} is not possible with evaluator={evaluator}, which knows "
                f"{' and '.join(offered)} alone: leave metric out"
            )
        if not plugins.target(self.search_settings.strategy).maximises_metric:
            raise UsageError(
                f"metric={chosen}: strategy={strategy} follows the gradient of the validation "
                "loss, and maximises no metric: leave metric out"
            )
        return chosen

    @cached_property
    def needs_images(self) -> bool:
        """Return whether anything looks at images: not a table, without retraining and proxy."""
        node = vars(self.settings).get("evaluator")
        searches = node is None or plugins.target(node).needs_images
        return bool(
            searches or self.settings.retrain.epochs or untrained.need_images(self.settings)
        )

    def progress(self, done: int, total: int, **figures: float) -> None:
        """Show how far a step is; long work inside one, such as a pre-training, can end here."""
        cancellation.look()
        if self._show_progress is not None:
            self._show_progress(done, total, **figures)

    @cached_property
    def signature(self) -> str:
        return identity.signature(self.settings)

    def record(self) -> dict[str, Any]:
        """Return what `run.json` says of the run besides the environment."""
        # checksums of all that the result depends on besides settings: a replay compares them
        images = self.dataset.fingerprint() if self.needs_images else None
        searches = "evaluator" in vars(self.settings)
        table = self.raw_evaluator.fingerprint() if searches else None
        return {
            "name": self.settings.name,
            "seed": self.settings.seed,
            "signature": self.signature,
            "device": self.device.describe(),
            "precision": self.device.precision,
            "threads": torch.get_num_threads(),  # their number decides how sums are rounded
            "processes": self.device.group.size,
            **self._workers_record(),
            **self._objectives_record(),
            **self._measures_record(),
            "data": {"name": self.dataset_name, "sha256": images, "table_sha256": table},
        }

    def _objectives_record(self) -> dict[str, Any]:
        """Describe the values of the labels in `evaluations.jsonl`."""
        if "evaluator" not in vars(self.settings) or not self._evaluator_kind.evaluates:
            return {}
        labels = self.strategy.labels
        objectives = self.raw_evaluator.objectives if labels is None else labels.objectives
        return {"objectives": [asdict(one) for one in objectives]}

    def _measures_record(self) -> dict[str, Any]:
        """Describe what is measured besides the error, and what of it is limited."""
        if self.limits is None:
            return {}
        return {"measures": limiting.record(self.objective, self.limits.limits)}

    @property
    def search_settings(self) -> schema.SearchConfig:
        assert isinstance(self.settings, schema.SearchConfig)
        return self.settings

    @cached_property
    def strategy(self) -> Strategy:
        """Build the strategy. It gets this object as its context, and builds what it touches."""
        self.metric  # noqa: B018 - now, so that a mistake in it is found now
        strategy: Strategy = plugins.build(self.search_settings.strategy, self)
        return strategy

    @cached_property
    def networks(self) -> MeasuredNetworks:
        """Return which networks are measured: the retrained ones, or else those behind labels."""
        retrain, evaluator = self.settings.retrain, self.raw_evaluator
        if retrain.epochs > 0:
            return MeasuredNetworks(self.space, self.dataset.shape, retrain.size, self.device)
        size = evaluator.makers_size or evaluator.size
        return MeasuredNetworks(self.space, self._shape, size, self.device)

    @property
    def _shape(self) -> TaskShape:
        """Return the inputs of the networks behind labels; a table needs no images for that."""
        if not self.space.takes:
            return NO_INPUTS
        return self.raw_evaluator.shape or self.dataset.shape

    @cached_property
    def objective(self) -> Measure | None:
        """Return the objective beside the error, if there is one."""
        if vars(self.settings).get("objective") is None:
            return None
        return limiting.objective_of(self.search_settings, self.networks)

    @cached_property
    def limits(self) -> LimitsOfRun | None:
        """Return what the result is held to; `None` without constraints and objective.

        Raises:
            UsageError: nothing of the space is within the limits.
        """
        if "constraint" not in vars(self.settings):
            return None
        settings = self.search_settings
        limited = any(value is not None for value in asdict(settings.constraint).values())
        if not limited and self.objective is None:
            return None
        limits = limiting.limits_of(settings, self.objective, self.networks)
        rng = self.streams.derived("constraints").numpy("architectures")
        return LimitsOfRun(self.space, limits, settings.constraint.measurements, rng)

    @cached_property
    def best_within_limits(self) -> float | None:
        """Return the best accuracy of a table within the limits, where both are known."""
        limits = self.limits
        if self.raw_evaluator.optimum is None or limits is None or not limits.can_be_known:
            return None
        return self.raw_evaluator.best_within(limits.truly_holds)

    @cached_property
    def allowed_space(self) -> Any:
        return self.space if self.limits is None else LimitedSpace(self.space, self.limits)

    @cached_property
    def evaluator(self) -> Labels:
        evaluator = self.raw_evaluator
        # of few measurements nobody buys one for each label
        few = self.search_settings.constraint.measurements is not None
        if self.objective is not None and not few:
            evaluator = NetworkCost(evaluator, self.objective)
        return self._labels_of(evaluator)

    def with_cost(self, cost: Cost) -> Labels:
        if len(self.evaluator.objectives) > 1:
            return self.evaluator
        evaluator = self.raw_evaluator
        networks = MeasuredNetworks(self.space, self._shape, evaluator.size, self.device)
        return self._labels_of(NetworkCost(evaluator, BY_COST[cost](networks)))

    def _labels_of(self, evaluator: Evaluator) -> Labels:
        budget = self.search_settings.budget.evaluations
        return Labels(evaluator, self.space, budget, self.limits)

    @cached_property
    def raw_evaluator(self) -> Evaluator:
        """Build what `evaluator=` names: it offers true evaluations, scorers, or both."""
        evaluator: Evaluator = plugins.build(self.search_settings.evaluator, self)
        return evaluator

    def scorer(self, **settings: Any) -> Scorer:
        return self.raw_evaluator.scorer(**settings)

    def free_scores(self, kind: Knowledge) -> FreeScores:
        return Sizes(self.networks) if kind == "size" else self.zero_cost

    @cached_property
    def zero_cost(self) -> FreeScores:
        return untrained.scores_of(self)

    def shared_weights(self) -> Mapping[str, torch.Tensor]:
        """Return the weights of the search's supernet, where networks of the space inherit them."""
        return self.raw_evaluator.shared_weights() if self.space.inherits else {}

    def workers(self, count: int | None) -> Workers:
        gpus = self._gpus()
        if count is None:
            on_cpu = self.device.torch.type == "cpu"
            # two trainings on one GPU would share its time and its memory
            count = len(os.sched_getaffinity(0)) if on_cpu else max(1, len(gpus))
        make = partial(labeller, self.search_settings, gpus, outside.names())
        self._workers = Workers(make, count)
        return self._workers

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._workers is not None:
            self._workers.close()

    def _gpus(self) -> list[str]:
        """Return the GPUs that workers take in turn, as CUDA_VISIBLE_DEVICES names them.

        There are none where the run is on the CPU, or on the one GPU that the user has chosen.
        """
        if str(self.device.torch) != "cuda":  # cuda:1 is one that the user has chosen
            return []
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = torch.cuda.device_count()
        numbers = map(str, range(count)) if named is None else named.split(",")
        return [*numbers][:count]

    @property
    def num_workers(self) -> int:
        """Count the processes that train candidates besides this one; 0 where it does so itself."""
        return 0 if self._workers is None or self._workers.count == 1 else self._workers.count

    def _workers_record(self) -> dict[str, int]:
        if self._workers is None or self.num_workers == 0:
            return {}
        return {"evaluator_workers": self.num_workers, "worker_threads": self._workers.threads}

    @cached_property
    def insight(self) -> Insight:
        return Insight(self.strategy, self.raw_evaluator, self.best_within_limits)

    def final(self, genotype: Genotype) -> Final:
        """Ask the evaluator what it knows of the result and the search has not seen.

        The regret is that to the best within the limits, where this is known.
        """
        found, best = self.raw_evaluator.final(genotype), self.best_within_limits
        if found.table is None or best is None:
            return found
        assert self.raw_evaluator.optimum is not None
        beyond = self.raw_evaluator.optimum - best
        regret = max(0.0, found.table.regret - beyond)  # the difference of equals may be -1e-17
        return replace(found, table=replace(found.table, regret=regret, within_limits=True))

    @property
    def labels_are_scores(self) -> bool:
        """Return whether a label is a score on shared weights, and no true evaluation."""
        return self.raw_evaluator.labels_are_scores

    @property
    def _evaluator_kind(self) -> type[Evaluator]:
        kind: type[Evaluator] = plugins.target(self.search_settings.evaluator)
        return kind


def load_dataset(node: Mapping[str, Any]) -> Dataset:
    """Build a dataset; what it takes has nothing to do with batches or networks.

    Raises:
        UsageError: from the dataset.
        OutOfMemory: its images do not fit; the text says what to lower.
    """
    try:
        dataset: Dataset = plugins.build(node)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        named = " or ".join(f"dataset.{name}" for name in SIZES_OF_DATA if name in node)
        raise OutOfMemory(
            f"out of memory while the images of dataset={plugins.option(node)} were loaded: lower "
            f"{named or 'their number'}"
        ) from error
    return dataset


def labeller(
    settings: schema.SearchConfig,
    gpus: list[str],
    from_outside: list[str],
    number: int,
    num_threads: int,
) -> Callable[[Any], Any]:
    """Make what a worker process answers with, see `SearchContext.workers`.

    It is the evaluator of the run, which trains in the process itself. Seeds are the run's, so
    labels are too.
    """
    for name in from_outside:  # the plug-ins that the person has typed
        outside.use(name, catalogue.conf_dir())
    torch.set_num_threads(num_threads)
    if gpus:  # it sees no other, so that nothing is placed on one by default
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    evaluator = plugins.with_settings(settings.evaluator, workers=1)
    return Wiring(replace(settings, evaluator=evaluator)).raw_evaluator.work
