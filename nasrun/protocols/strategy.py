"""Define what a search strategy offers: one natural unit of work a step, a result, its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.knowledge import Knowledge
from nasrun.protocols.predictor import Prediction
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Stateful

if TYPE_CHECKING:
    from nasrun.protocols.labels import Labels


class Strategy(Stateful, Protocol):
    """A search method. Its constructor takes the context, then hyper-parameters by keyword.

    `step()` is the method's natural unit of work: an epoch, a generation, a child, a round. What
    not every method has is declared here with the value that says so.
    """

    unit: ClassVar[str]  # a label for people
    step_cost: ClassVar[str]  # what a step costs, in a few words for people
    needs_alphas: ClassVar[bool] = False  # whether the space must be a `DifferentiableSpace`
    needs_weights: ClassVar[bool] = False  # whether it differentiates by the weights of a supernet
    predicts: ClassVar[bool] = False  # whether it has a predictor, see `rank`
    maximises_metric: ClassVar[bool] = True  # whether it compares architectures by `metric`
    labels: Labels | None = None  # of one that asks for true evaluations
    knowledge: tuple[Knowledge, ...] = ()  # of architectures, besides the labels it buys
    remedies: ClassVar[Mapping[str, str]] = {}
    """What to type against each thing that the guard can see: `rest` (alpha hardly moves), `worse`
    (what is picked is worse than alpha), `noise` (differences are chance), `tau` (the loss hardly
    decides), `collapse` (into skip or none)."""

    @property
    def knowledge_how(self) -> str | None:
        """Say where the knowledge comes from, for people; it is asked when the search is over."""
        return None

    @property
    def finished(self) -> bool: ...

    @property
    def total_steps(self) -> int | None:
        """Return how many steps the whole search has, where that is known."""

    @property
    def plain_steps(self) -> int:
        """Return how many first steps are those of which a longer search has more.

        All else that it does comes as often in a short search as in a long one. It is 0 where each
        part of the search grows with it.
        """
        return 0

    @property
    def images_apart(self) -> Sequence[tuple[str, int]]:
        """List the batches that a step draws by `Scorer.draw_batches`.

        Each is the name of the setting that says how many images it has, and how many these are.
        """
        return ()

    def step(self) -> StepReport: ...

    def last_metrics(self) -> Mapping[str, float]:
        """Measure the result, to be added to the metrics of the last step.

        It is asked once, when the search is over: by its own end, or because the budget is spent.
        """
        return {}

    def best(self) -> tuple[Genotype, ...]:
        """Return the result: one genotype, or the Pareto front with the chosen one first."""

    def rank(self, genotypes: Sequence[Genotype], graphs: Sequence[ArchGraph]) -> Prediction | None:
        """Predict with the last fit, without any change of state; `graphs` are the genotypes'.

        It is `None` before the first fit, for a strategy without a predictor, and where what the
        predictor reads takes time to be computed.
        """
        return None
