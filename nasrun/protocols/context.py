"""Define what a strategy may use; each collaborator is built when it is first touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nasrun.protocols.data import Dataset
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.state import Progress, Streams

if TYPE_CHECKING:
    from nasrun.compute.device import Device
    from nasrun.compute.workers import Workers
    from nasrun.protocols.labels import Labels
    from nasrun.protocols.scorer import Scorer


class SearchContext(Protocol):
    """What a strategy may use. Collaborators are built when first touched."""

    streams: Streams

    @property
    def device(self) -> Device: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def dataset(self) -> Dataset: ...

    @property
    def dataset_name(self) -> str:
        """For those that need no images, so that none are loaded."""

    @property
    def space(self) -> Any:
        """The search space; a `DifferentiableSpace` for a strategy that `needs_alphas`."""

    @property
    def evaluator(self) -> Labels:
        """True evaluations, counted, cached and within `budget.evaluations`."""

    def workers(self, count: int | None) -> Workers:
        """Processes with an evaluator of their own each, to train candidates in: `None` takes one
        per GPU, or else per CPU core. They start with the first task, and end with the search. A
        task is a genotype and `device.parts`; the answer is its evaluation and what these became.
        """

    def scorer(self, **settings: Any) -> Scorer:
        """A fresh one from `evaluator=`. All of a run train and validate on the same halves of the
        data.

        Args:
            num_epochs, batch_size, training: of the weights.
            cells, active, partial_channels, skip_dropout, ...: of `space.supernet`.
            inherited: `named_weights()` of another scorer, which are taken over where name and
                shape agree.
        """
