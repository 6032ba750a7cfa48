"""Make objects from a configuration: what a run is made of, checked before anything is written.

`Wiring` is also the `SearchContext` that a strategy is given; its collaborators are built when
they are first touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any, cast

import torch

from nasrun.compute import cancellation
from nasrun.compute.device import Device, OnOom, Precision, is_out_of_memory
from nasrun.compute.process_group import ALONE, ProcessGroup
from nasrun.compute.workers import Workers
from nasrun.config import checks, identity, plugins, schema
from nasrun.engine.insight import Insight
from nasrun.errors import OutOfMemory, Problem, UsageError, raise_together
from nasrun.evaluators.network_cost import NetworkCost
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Dataset
from nasrun.protocols.evaluation import Cost, Evaluation, Evaluator
from nasrun.protocols.labels import Labels
from nasrun.protocols.result import Final
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.strategy import Strategy
from nasrun.randomness import RandomStreams

SIZES_OF_DATA = ("size", "image_size", "num_train", "limit", "max_pixels")
PLUGINS = ("dataset", "space", "evaluator", "predictor", "strategy")


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
        with _Collector(checks.all_faults(settings)) as collect:
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
        self.streams = RandomStreams(settings.seed)

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
    def needs_images(self) -> bool:
        """Return whether anything is trained: not with a benchmark table and without retraining."""
        node = vars(self.settings).get("evaluator")
        searches = node is None or plugins.target(node).needs_images
        return bool(searches or self.settings.retrain.epochs > 0)

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
            "data": {"name": self.dataset_name, "sha256": images, "table_sha256": table},
        }

    def _objectives_record(self) -> dict[str, Any]:
        """Describe the values of the labels in `evaluations.jsonl`."""
        if "evaluator" not in vars(self.settings) or not self._evaluator_kind.evaluates:
            return {}
        labels = self.strategy.labels
        objectives = self.raw_evaluator.objectives if labels is None else labels.objectives
        return {"objectives": [asdict(one) for one in objectives]}

    @property
    def search_settings(self) -> schema.SearchConfig:
        assert isinstance(self.settings, schema.SearchConfig)
        return self.settings

    @cached_property
    def strategy(self) -> Strategy:
        """Build the strategy, after one check: does the space offer what the strategy needs?"""
        node = self.search_settings.strategy
        if plugins.target(node).needs_alphas and not self.space.differentiable:
            raise UsageError(
                f"strategy={plugins.option(node)} needs a space that is a "
                f"DifferentiableSpace, and {self.space.name} is none: choose another space"
            )
        # it gets this object as its context, and builds what it touches
        strategy: Strategy = plugins.build(node, self)
        return strategy

    @cached_property
    def evaluator(self) -> Labels:
        self._require(self._evaluator_kind.evaluates, "single architectures")
        return self._labels_of(self.raw_evaluator)

    def with_cost(self, cost: Cost) -> Labels:
        self._require(self._evaluator_kind.evaluates, "single architectures")
        evaluator = self.raw_evaluator
        shape = evaluator.shape or self.dataset.shape  # a table needs no images for that
        return self._labels_of(NetworkCost(evaluator, cost, self.space, shape))

    def _labels_of(self, evaluator: Evaluator) -> Labels:
        return Labels(evaluator, self.space, self.search_settings.budget.evaluations)

    @cached_property
    def raw_evaluator(self) -> Evaluator:
        """Build what `evaluator=` names: it offers true evaluations, scorers, or both."""
        evaluator: Evaluator = plugins.build(self.search_settings.evaluator, self)
        return evaluator

    def scorer(self, **settings: Any) -> Scorer:
        self._require(self._evaluator_kind.makes_scorers, "alphas")
        return self.raw_evaluator.scorer(**settings)

    def shared_weights(self) -> Mapping[str, torch.Tensor]:
        """Return the weights of the search's supernet, where networks of the space inherit them."""
        return self.raw_evaluator.shared_weights() if self.space.inherits else {}

    def workers(self, count: int | None) -> Workers:
        gpus = self._gpus()
        if count is None:
            on_cpu = self.device.torch.type == "cpu"
            # two trainings on one GPU would share its time and its memory
            count = len(os.sched_getaffinity(0)) if on_cpu else max(1, len(gpus))
        self._workers = Workers(partial(labeller, self.search_settings, gpus), count)
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
        return (
            [str(number) for number in range(count)] if named is None else named.split(",")[:count]
        )

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
        return Insight(self.strategy, self.raw_evaluator)

    def final(self, genotype: Genotype) -> Final:
        """Ask the evaluator what it knows of the result and the search has not seen."""
        return self.raw_evaluator.final(genotype)

    @property
    def labels_are_scores(self) -> bool:
        """Return whether a label is a score on shared weights, and no true evaluation."""
        return self.raw_evaluator.labels_are_scores

    @property
    def _evaluator_kind(self) -> type[Evaluator]:
        kind: type[Evaluator] = plugins.target(self.search_settings.evaluator)
        return kind

    def _require(self, offered: bool, works_on: str) -> None:
        """Raise a `UsageError` unless the evaluator offers what the strategy asks for."""
        if not offered:
            nodes = (self.search_settings.evaluator, self.search_settings.strategy)
            chosen, strategy = map(plugins.option, nodes)
            raise UsageError(
                f"evaluator={chosen} does not suit strategy={strategy}, which works on "
                f"{works_on}: leave evaluator out"
            )


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


LabelTask = tuple[Genotype, dict[str, int]]
LabelAnswer = tuple[Evaluation, dict[str, int]]


def labeller(
    settings: schema.SearchConfig, gpus: list[str], number: int, num_threads: int
) -> Callable[[LabelTask], LabelAnswer]:
    """Make what a worker process answers with, see `SearchContext.workers`.

    It is the evaluator of the run, which trains in the process itself. Seeds are the run's, so
    labels are too.
    """
    torch.set_num_threads(num_threads)
    if gpus:  # it sees no other, so that nothing is placed on one by default
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    evaluator = plugins.with_settings(settings.evaluator, workers=1)
    wiring = Wiring(replace(settings, evaluator=evaluator))

    def answer(task: LabelTask) -> LabelAnswer:
        genotype, parts = task
        # what has run out of memory elsewhere is divided here from the start
        wiring.device.parts.update(parts)
        (evaluation,) = wiring.raw_evaluator.evaluate([genotype])
        return evaluation, wiring.device.parts

    return answer


class _Collector:
    """Call several constructors and raise their `UsageError`s together.

    `problems` that were found before are raised with them. What has problems already is not
    constructed.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        known = list(problems)
        self._faulty = {problem.key.partition(".")[0] for problem in known}
        self._problems: list[str] = [*known]

    def __enter__(self) -> Callable[[str, Callable[[], Any]], Any]:
        faulty = self._faulty

        def collect(name: str, construct: Callable[[], Any]) -> Any:
            try:
                return None if name in faulty else construct()
            except UsageError as error:
                self._problems += error.problems
                return None

        return collect

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            raise_together(self._problems)
