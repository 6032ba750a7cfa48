"""Compare the sizes of batches with what there is to train on, before a run begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nasrun.config import plugins
from nasrun.engine.wiring import Wiring
from nasrun.protocols.strategy import Strategy
from nasrun.training.streams import cut_to_fit, halves, num_of_halves, require_shares


@dataclass(frozen=True)
class Training:
    """Something that is trained in batches.

    Args:
        what: how a sentence names it.
        key, batch_size: the setting of its batches, in images.
        num_images: how many images it trains on.
        shared: whether the processes of a group share each batch.
    """

    what: str
    key: str
    batch_size: int
    num_images: int
    shared: bool


def require_possible(wiring: Wiring) -> None:
    """Raise a `UsageError` where the processes of a run cannot share a batch."""
    group = wiring.device.group
    for training in trainings(wiring):
        if training.shared:
            size = min(training.batch_size, training.num_images)
            require_shares(size, group.size, training.key)


def notes(wiring: Wiring) -> Iterator[str]:
    """Yield what a person should know before a run: of the data, and of batches larger than them.

    Data on which nothing trains are left out.
    """
    if not wiring.needs_images:
        return
    yield from (f"dataset {wiring.dataset_name}: {note}" for note in wiring.dataset.notes)
    for training in trainings(wiring):
        if training.batch_size > training.num_images:
            yield (
                f"warning: {training.key}={training.batch_size} is more than the "
                f"{training.num_images:,} images that {training.what} trains on: each batch has "
                "all of them, and each epoch is one update"
            )
    if "strategy" in vars(wiring):  # built already, and without a mistake
        yield from _cut(wiring.strategy, _num_of_halves(wiring)[1])


def _num_of_halves(wiring: Wiring) -> tuple[int, int]:
    """Return how many images the search trains on, and validates on."""
    train = wiring.dataset.train
    if train.groups_N is None:
        return num_of_halves(train)
    parts = halves(train, wiring.streams.fresh("halves"))  # depends on which groups are drawn
    return len(parts[0]), len(parts[1])


def _cut(strategy: Strategy, num_images: int) -> Iterator[str]:
    """Say which sizes are cut because there are too few images to validate on."""
    sizes = [size for _, size in strategy.images_apart]
    if sum(sizes) > num_images:
        cut = zip(strategy.images_apart, cut_to_fit(sizes, num_images), strict=False)
        told = dict.fromkeys(f"strategy.{name}={size} to {fits}" for (name, size), fits in cut)
        yield (
            f"no image is in two batches of an epoch, and the search validates on {num_images:,} "
            f"images: cut {' and '.join(told)}"
        )


def trainings(wiring: Wiring) -> Iterator[Training]:
    """Yield what a run trains, as far as it has a batch size."""
    settings = wiring.settings

    def training(what: str, key: str, size: int | None, num_images: int, shared: bool) -> Training:
        known = wiring.dataset.batch_size if size is None else size
        return Training(what, "dataset.batch_size" if size is None else key, known, num_images,
                        shared)  # fmt: skip

    if "evaluator" in vars(settings):
        searches = wiring.search_settings
        kind = plugins.target(searches.evaluator)
        by_strategy = "batch_size" in searches.strategy
        node = searches.strategy if by_strategy else searches.evaluator
        if kind.needs_images and "batch_size" in node:
            key = f"{'strategy' if by_strategy else 'evaluator'}.batch_size"
            num_images, _ = _num_of_halves(wiring)
            shared = by_strategy or kind.labels_are_scores
            yield training("the search", key, node["batch_size"], num_images, shared)
    if settings.retrain.epochs > 0:
        held_out = math.ceil(settings.retrain.validation * len(wiring.dataset.train))
        num_images = len(wiring.dataset.train) - held_out
        size = settings.retrain.batch_size
        yield training("the retraining", "retrain.batch_size", size, num_images, True)
