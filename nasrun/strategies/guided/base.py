"""Share what the searches that a predictor guides have: a few labels, a fit, a few more labels.

The predictor learns what it can without labels, then from the first random ones. Every round it is
fitted to all labels, the method proposes architectures and says what each is worth, and the most
promising ones that have no label get one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from nasrun.errors import RunError
from nasrun.genotypes.genotype import Genotype
from nasrun.graphs.one_edit_pairs import OneEditPairs
from nasrun.protocols.evaluation import Evaluation, StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.predictor import Prediction, Predictor
from nasrun.protocols.ranks import kendall_tau
from nasrun.protocols.settings import AtMost, Count, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.strategies.evolution.base import DiscreteSearch
from nasrun.strategies.guided.fidelity import comparable
from nasrun.strategies.guided.free_figures import FreeFigures, kinds


@plugin
class PredictorGuidedSearch(DiscreteSearch):
    """A `Strategy` in rounds. A subclass says what a round proposes.

    Args:
        predictor: makes the predictor of `conf/predictor`, given its generator.
        num_labels: how many architectures are evaluated, at most.
        num_initial: how many random ones come first.
        num_infill: labels per round.
        climbers: how many of them go to the neighbours of the best labelled architecture that are
            predicted best; the others go to what the method proposes.
    """

    unit: ClassVar[str] = "round"
    step_cost: ClassVar[str] = "num_infill labels, a fit"
    predicts: ClassVar[bool] = True

    predictor: Callable[..., Predictor]
    num_initial: Annotated[int, Ge(2), AtMost("num_labels")]
    num_infill: Count
    climbers: Annotated[int, Ge(0), AtMost("num_infill")] = 0  # runs of earlier versions lack it

    def __post_init__(self) -> None:
        super().__post_init__()
        self.progress = self.context.progress
        self.generator = self.context.streams.torch("predictor")
        self.model = self.predictor(self.generator)
        self.total_steps = 2 + math.ceil((self.num_labels - self.num_initial) / self.num_infill)
        self.num_steps = 0
        wanted = self.model.features
        self.free_figures = None if wanted == "code" else FreeFigures(self.context, wanted)
        self.knowledge = tuple(dict.fromkeys([*self.knowledge, *kinds(wanted)]))
        self.num_fitted = 0  # labels that the last fit learnt from
        self._before_fit = self.generator.get_state()
        self._graphs: dict[Genotype, ArchGraph] = {}

    @abstractmethod
    def propose(self, ranked: Sequence[Genotype]) -> Mapping[Genotype, float]:
        """Say what this round's candidates are worth, to be maximised.

        `ranked` are the labelled architectures, the best first. Candidates may have a label or be
        isomorphic.
        """

    def step(self) -> StepReport:
        """Pre-train first, then buy the first labels, then do one round after the other."""
        metrics: dict[str, float] = {}
        if self.num_steps == 0:
            metrics = self.model.pretrain(OneEditPairs(self.context.space), self.progress)
        elif self.num_steps == 1:
            self.labels.evaluate_new(self.num_initial, *self.first)
        else:
            metrics = self.infill()
        self.num_steps += 1
        return self.labels.report(metrics)

    def infill(self) -> dict[str, float]:
        """Fit, propose, label the most promising ones; return how well they were ranked."""
        self.fit(len(self.labels))
        ranked = [label.genotype for label in sorted(self.labels.ledger, key=validation_error)]
        wanted = min(self.num_infill, self.labels.remaining)
        chosen = self.climb(ranked[0], min(self.climbers, wanted))
        chosen += self.most_promising(self.propose(ranked), wanted - len(chosen), beside=chosen)
        predicted = self.predict(chosen).score_N.tolist()
        evaluations = self.labels.evaluate(chosen, predicted)
        if len(chosen) < wanted:  # a small space: whatever is left
            self.labels.evaluate_new(wanted - len(chosen), self.sample)
        return rank_correlation(predicted, evaluations)

    def climb(self, incumbent: Genotype, wanted: int) -> list[Genotype]:
        """Choose the neighbours of the incumbent that are predicted best; fewer are unlabelled."""
        if wanted == 0:
            return []
        near = list(dict.fromkeys(self.one_edit_away(incumbent)))
        scores = self.predict(near).score_N.tolist()
        return self.most_promising(dict(zip(near, scores, strict=True)), wanted)

    def fit(self, num_labels: int) -> None:
        """Fit the predictor to the first labels."""
        self.num_fitted = num_labels
        self._before_fit = self.generator.get_state()
        labels = self.labels.ledger[:num_labels]
        self.model.fit(self.known([label.genotype for label in labels]), comparable(labels))

    def predict(self, genotypes: Sequence[Genotype]) -> Prediction:
        """Return what the predictor of this round says of architectures of the space."""
        if not genotypes:
            return Prediction(np.zeros(0), np.zeros(0))
        prediction = self.model.score(self.known(genotypes))
        if not np.isfinite(prediction.score_N).all():
            raise RunError("the predictor's scores are not finite: lower its learning rates")
        return prediction

    def rank(self, genotypes: Sequence[Genotype], graphs: Sequence[ArchGraph]) -> Prediction | None:
        """Return what the predictor of the last round says, for those who look on.

        It is `None` before the first round, and where the predictor reads scores that take time:
        those of a whole space could take longer than the search. Nothing is changed or drawn by it.
        """
        slow = self.free_figures is not None and self.free_figures.takes_time
        if self.num_fitted == 0 or slow:
            return None
        return self.model.score(self._with_figures(genotypes, graphs))

    def most_promising(
        self, worth: Mapping[Genotype, float], wanted: int, beside: Sequence[Genotype] = ()
    ) -> list[Genotype]:
        """Choose the best without a label that share no mark with a better one, or one `beside`."""
        chosen = list[Genotype]()
        taken = {mark for genotype in beside for mark in self.marks(genotype)}
        for genotype in sorted(worth, key=lambda genotype: -worth[genotype]):
            if len(chosen) == wanted:
                break
            marks = self.marks(genotype)
            if not marks & taken and genotype not in self.labels:
                chosen.append(genotype)
                taken |= marks
        return chosen

    def marks(self, genotype: Genotype) -> set[object]:
        """Return the marks of an architecture; a round takes one architecture with each.

        By default the mark is what the architecture computes.
        """
        return {self.space.canonical(genotype)}

    def graph(self, genotype: Genotype) -> ArchGraph:
        if genotype not in self._graphs:
            self._graphs[genotype] = self.space.graph(genotype)
        return self._graphs[genotype]

    def known(self, genotypes: Sequence[Genotype]) -> list[ArchGraph]:
        """Return what a predictor may know of architectures, by `predictor.features`."""
        return self._with_figures(genotypes, [self.graph(genotype) for genotype in genotypes])

    def _with_figures(
        self, genotypes: Sequence[Genotype], graphs: Sequence[ArchGraph]
    ) -> list[ArchGraph]:
        free = self.free_figures
        return list(graphs) if free is None else free.beside(genotypes, graphs)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "num_steps": self.num_steps,
            "predictor": self.model.state_dict() if self.num_steps > 0 else None,
            "num_fitted": self.num_fitted,
            "before_fit": self._before_fit,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the search, and make the last fit again.

        So a search that was at its end can still predict.
        """
        super().load_state_dict(state)
        self.num_steps = state["num_steps"]
        if state["predictor"] is not None:
            self.model.load_state_dict(state["predictor"])
        if state["num_fitted"] > 0:
            now = self.generator.get_state()
            self.generator.set_state(state["before_fit"])
            self.fit(state["num_fitted"])
            self.generator.set_state(now)


def rank_correlation(
    scores: Sequence[float], evaluations: Sequence[Evaluation]
) -> dict[str, float]:
    """Return `predictor_tau`: Kendall's tau of predicted and true, where both have an order."""
    errors = [validation_error(evaluation) for evaluation in evaluations]
    if len(set(scores)) < 2 or len(set(errors)) < 2:
        return {}
    return {"predictor_tau": -kendall_tau(np.array(scores), np.array(errors))}
