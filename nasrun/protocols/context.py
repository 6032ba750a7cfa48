"""Define what a strategy may use; each collaborator is built when it is first touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nasrun.protocols.data import Dataset, MetricName
from nasrun.protocols.evaluation import Cost
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.state import Progress, Streams

if TYPE_CHECKING:
    from nasrun.compute.device import Device
    from nasrun.compute.workers import Workers
    from nasrun.protocols.knowledge import FreeScores, Knowledge
    from nasrun.protocols.labels import Labels
    from nasrun.protocols.measure import Limits
    from nasrun.protocols.scorer import Scorer


class SearchContext(Protocol):
    """What a strategy may use; each collaborator is built when it is first touched."""

    streams: Streams

    @property
    def device(self) -> Device: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def dataset(self) -> Dataset: ...

    @property
    def dataset_name(self) -> str:
        """Return the name alone, for those that need no images; nothing is loaded."""

    @property
    def metric(self) -> MetricName:
        """Return what the search maximises on validation inputs."""

    @property
    def space(self) -> Any:
        """Return the search space; a `DifferentiableSpace` for a strategy that `needs_alphas`."""

    @property
    def allowed_space(self) -> Any:
        """Return the space of which a strategy proposes architectures.

        It is `space` without what breaks a constraint, or does not depend on its input where there
        is a constraint or a further objective.
        """

    @property
    def limits(self) -> Limits | None:
        """Return what the result is held to; `None` is nothing."""

    @property
    def evaluator(self) -> Labels:
        """Return the source of true evaluations: counted, cached, within `budget.evaluations`."""

    def with_cost(self, cost: Cost) -> Labels:
        """As `evaluator`, with a cost of the network behind a label as its last objective.

        Where the run has an objective of its own, that is the last one.
        """

    def free_scores(self, kind: Knowledge) -> FreeScores:
        """Return figures of architectures that cost no label.

        Raises:
            UsageError: nothing of the kind is known of this space.
        """

    def workers(self, count: int | None) -> Workers:
        """Make `count` processes to train candidates in, each with an evaluator of its own.

        `None` makes one per GPU, or else one per CPU core. They start with the first task, and end
        with the search. A task is what `Evaluator.work` takes, the answer what it returns.
        """

    def scorer(self, **settings: Any) -> Scorer:
        """Make a fresh scorer from `evaluator=`.

        All scorers of a run train and validate on the same halves of the data.

        Args:
            num_epochs, batch_size, training: of the weights.
            cells, active, partial_channels, skip_dropout, ...: of `space.supernet`.
            inherited: `named_weights()` of another scorer, which are taken over where name and
                shape agree.
        """
