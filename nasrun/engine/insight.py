"""Measure a search against the whole space, where its evaluator knows it.

The search sees none of this: `drive` adds it to the metrics of a step, and the result gets it when
the search is over. Shapes: N held-out architectures, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator, StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.predictor import Ranking
from nasrun.protocols.result import Ranked
from nasrun.protocols.strategy import Strategy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_EACH_STEP = 500  # held-out architectures by which the tau of a step is measured
NUM_AT_THE_END = 20_000  # by which that of the last one is: all the rest of nasbench201
NUM_DRAWN = 1_000  # points in the plot


class Insight:
    """What is known of a search and the search itself may not see.

    Args:
        evaluator: behind the labels of the strategy, if it buys any.
        optimum: the best accuracy that a result can have, where that is known and is not the
            evaluator's, since there are limits.
    """

    def __init__(
        self, strategy: Strategy, evaluator: Evaluator, optimum: float | None = None
    ) -> None:
        self._strategy = strategy
        self._evaluator = evaluator
        self._optimum = evaluator.optimum if optimum is None else optimum

    @property
    def _labels(self) -> Sequence[Evaluation]:
        return () if self._strategy.labels is None else self._strategy.labels.ledger

    @property
    def has_an_answer(self) -> bool:
        """Return whether a search that ended now would have a result."""
        return self._strategy.labels is None or len(self._labels) > 0

    @property
    def label_seconds(self) -> float:
        """Return what the labels cost; on a table, what they cost its makers."""
        return float(sum(label.cost_s for label in self._labels))

    @property
    def label_epochs(self) -> int | None:
        """Return the epochs of all trainings, where labels say of how many they are."""
        epochs = [one.details["epochs"] for one in self._labels if "epochs" in one.details]
        return int(sum(epochs)) if epochs else None

    def metrics(self, report: StepReport, last: bool) -> dict[str, float]:
        """Compare the search with the whole space.

        - `regret`: how far the best label is below the optimum, within the limits if known.
        - `held_out_tau`: Kendall's tau of the predictor's scores and the truth, on architectures
          without a label.
        - `infill_tau`: that of the scores for which labels were bought, and these labels.
        """
        figures: dict[str, float] = {}
        best = report.metrics.get("best_val_accuracy")
        if best is not None and self._optimum is not None:
            figures["regret"] = self._optimum - best
        held_out = self.held_out(NUM_AT_THE_END if last else NUM_EACH_STEP)
        for name, ranking in (("held_out", held_out), ("infill", self.infills())):
            if ranking is not None and ranking.tau is not None:
                figures[f"{name}_tau"] = ranking.tau
        return figures

    def held_out(self, limit: int) -> Ranking | None:
        """Rank architectures without a label; `None` without a predictor or such an evaluator."""
        if self._evaluator.optimum is None or not self._strategy.predicts:
            return None
        genotypes, graphs, accuracy_N = self._evaluator.held_out(self._labels, limit)
        prediction = self._strategy.rank(genotypes, graphs) if len(graphs) else None
        return None if prediction is None else Ranking(prediction.score_N, accuracy_N)

    def infills(self) -> Ranking | None:
        """Rank the labels that were bought because of a prediction; `None` where none were.

        The scores are those at the time of buying, of one fit after the other.
        """
        bought = [label for label in self._labels if "predicted" in label.details]
        usable = [label for label in bought if label.error is None]
        if not usable:
            return None
        score_N = np.array([label.details["predicted"] for label in usable])
        return Ranking(score_N, 1.0 - np.array([validation_error(label) for label in usable]))

    def ranked(self, metrics: Mapping[str, float]) -> Ranked | None:
        """Return the predictor's part of the result, from the metrics of the last step."""
        taus = {key: metrics[key] for key in ("held_out_tau", "infill_tau") if key in metrics}
        return Ranked(**taus) if taus else None

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Yield the plots at the end of a search, each with the name of its file."""
        from nasrun.pictures import plots  # imports matplotlib

        if len(self._labels) > 1:
            objective = self._evaluator.objectives[0]
            error = "validation error" if objective is VALIDATION_ERROR else objective.name
            name = error if self._optimum is None else "regret"
            yield "best_so_far", plots.best_so_far(self.best_so_far(), name)
        yield from self._fronts()
        # What was bought was chosen by the scores, so that the rest shows the predictor better.
        held_out = self.held_out(NUM_DRAWN)
        ranking = self.infills() if held_out is None else held_out
        if ranking is not None:
            what = "it bought" if held_out is None else "without a label"
            yield "predictor", plots.predicted_against_true(ranking, what)

    def _fronts(self) -> Iterator[tuple[str, Figure]]:
        """Yield the front by the first objective and each other one, where a search finds one."""
        from nasrun.pictures import plots

        labels = self._strategy.labels
        if labels is None or len(labels.objectives) < 2:
            return
        known = labels.evaluate(self._strategy.best())  # hence free
        if len(known) < 2:
            return
        axes = [plots.Axis(one.name, one.unit, one.cost(1.0) > 0) for one in labels.objectives]
        for place in range(1, len(axes)):
            members_N2, all_L2 = (
                np.array([(one.values[place], one.values[0]) for one in each], dtype=float)
                for each in (known, self._labels)
            )
            name = "front" if len(axes) == 2 else f"front_{axes[place].name}"
            yield name, plots.front(members_N2, all_L2, axes[place], axes[0])

    def best_so_far(self) -> np.ndarray:
        """Return how good the best is after each label, in their order; float64, in [0, 1].

        It is the regret where the optimum is known, else the validation error, and NaN before the
        first label that succeeded.
        """
        errors_L = np.array([validation_error(label) for label in self._labels], dtype=float)
        best_L = np.minimum.accumulate(errors_L)
        lowest = 0.0 if self._optimum is None else 1.0 - self._optimum
        return np.where(np.isfinite(best_L), best_L - lowest, np.nan)
