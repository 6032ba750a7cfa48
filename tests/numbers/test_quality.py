"""What a search can maximise, and how rare classes are made to count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.nn import functional

from nasrun.compute.device import Device, Load
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.population import population_scores
from nasrun.protocols.data import Balance, MetricName
from nasrun.training.balance import ClassLoss, class_weights, drawn_order
from nasrun.training.quality import Quality, confusion, measured
from tests.compose import composed

PREDICTED = torch.tensor([0, 0, 1, 1, 2, 0, 0, 3])
LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 0])  # class 3 is predicted and never there, 4 neither
LOGITS = functional.one_hot(PREDICTED, 5).double()


def test_metrics_by_hand() -> None:
    """Right: 2 of 4 zeros, 1 of 2 ones, 0 of 2 twos."""
    assert measured("accuracy", LOGITS, LABELS) == pytest.approx(3 / 8)
    assert measured("balanced_accuracy", LOGITS, LABELS) == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)
    f1 = (2 * 2 / (4 + 4) + 2 * 1 / (2 + 2) + 0 + 0) / 4
    assert measured("macro_f1", LOGITS, LABELS) == pytest.approx(f1)


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels_N, logits_NK = rng.integers(0, 4, 50), rng.random((50, 5))
        args = (torch.from_numpy(logits_NK), torch.from_numpy(labels_N))
        predicted_N = logits_NK.argmax(1)
        f1 = f1_score(labels_N, predicted_N, average="macro", zero_division=0)
        assert float(measured("macro_f1", *args)) == pytest.approx(f1)
        known_N = np.where(predicted_N == 4, 3, predicted_N)  # it warns of classes without inputs
        known_NK = torch.from_numpy(np.eye(5)[known_N])
        balanced = balanced_accuracy_score(labels_N, known_N)
        assert float(measured("balanced_accuracy", known_NK, args[1])) == pytest.approx(balanced)


def test_figures_of_each_class() -> None:
    counts = confusion(PREDICTED, LABELS, 5).long().numpy()
    quality = Quality(("a", "b", "c", "d", "e"), counts)
    first, *_, last = quality.per_class()
    assert (first["count"], first["recall"], first["precision"]) == (4, 0.5, 0.5)
    assert (last["count"], last["recall"], last["precision"], last["f1"]) == (0, 0.0, 0.0, 0.0)
    assert quality.accuracy == pytest.approx(3 / 8)


def test_class_weights_by_hand() -> None:
    labels = torch.tensor([0] * 9 + [1])
    assert class_weights(labels, 3, 1.0).tolist() == pytest.approx([10 / 18, 5.0, 0.0])
    half = np.array([1 / 3, 1.0])  # of 9 and of 1; the mean over the ten is (9 / 3 + 1) / 10
    assert class_weights(labels, 2, 0.5).tolist() == pytest.approx((half / 0.4).tolist())
    assert class_weights(labels, 2, 0.0).tolist() == [1.0, 1.0]


class Task:
    """What a loss looks at of a dataset and its split."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance
        self.shape = type("Shape", (), {"num_classes": 2})
        self.labels_N = torch.tensor([0] * 9 + [1])


def test_a_weighted_loss_is_a_mean_over_inputs() -> None:
    task = Task(Balance("class_weights", 1.0))
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 1, 0])
    loss = ClassLoss(task, task)  # type: ignore[arg-type]
    each = functional.cross_entropy(logits, labels, reduction="none")
    weights = torch.tensor([10 / 18, 5.0, 10 / 18])
    assert float(loss(logits, labels)) == pytest.approx(float((weights * each).mean()))
    plain = ClassLoss(Task(Balance()), task, label_smoothing=0.1)  # type: ignore[arg-type]
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert float(plain(logits, labels)) == float(expected)


def test_balanced_batches_draw_rare_classes_as_often() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    for strength, share in ((1.0, 0.5), (0.0, 0.1), (0.5, 0.25)):
        order = drawn_order(labels, strength, torch.Generator().manual_seed(0))
        assert len(order) == 1000
        assert float((labels[order] == 1).double().mean()) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    ("metric", "error"), [("accuracy", 0.75), ("balanced_accuracy", 0.75), ("macro_f1", 0.9)]
)
def test_a_trained_candidate_is_labelled_by_the_metric(metric: MetricName, error: float) -> None:
    """Without any gain the first of four equally frequent classes is predicted: F1 0.4, and 0."""
    words = ["strategy=random", "space=toy", "dataset=synthetic", "dataset.num_train=64"]
    wiring = Wiring(to_typed(composed([*words, f"metric={metric}"]), SearchConfig))
    (label,) = wiring.raw_evaluator.evaluate([wiring.space.decode((0, 2, 3))])
    assert label.values == pytest.approx((error,))
    (objective,) = wiring.raw_evaluator.objectives
    if metric == "accuracy":
        assert objective.name == "val_error"
        assert "val_accuracy" not in label.details
    else:
        assert (objective.name, objective.unit) == (f"val_{metric}_error", f"1 - {metric}")
        assert label.details["val_accuracy"] == 0.25


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["strategy=darts"], "strategy=darts follows the gradient of the validation loss"),
        (["strategy=local_search", "space=nasbench201", "evaluator=table", "dataset=cifar10"],
         "metric=macro_f1 is not possible with evaluator=table, which knows accuracy alone"),
    ],
)  # fmt: skip
def test_a_metric_that_nothing_maximises_is_refused(words: list[str], sentence: str) -> None:
    config = composed(["space=toy", "dataset=synthetic", "retrain=none", *words, "metric=macro_f1"])
    with pytest.raises(UsageError, match=sentence):
        Wiring(to_typed(config, SearchConfig)).metric  # noqa: B018


def test_one_shot_scores_have_the_metric_beside_the_accuracy() -> None:
    logits_BK = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    batch = (torch.zeros(4, 1), torch.tensor([0, 0, 0, 0]))
    device = Device("cpu", "float32", False, "stop")
    load = Load("scoring", None, "nothing")
    for metric, expected in (("accuracy", None), ("macro_f1", (6 / 7) / 2)):
        scores = population_scores(device, load, lambda _: [logits_BK], 1, batch, metric)  # type: ignore[arg-type]
        assert scores.accuracy_N.tolist() == [0.75]
        if expected is None:
            assert scores.metric_N is None
            assert scores.quality_N is scores.accuracy_N
        else:
            assert scores.quality_N == pytest.approx([expected])
            assert scores.figures("final_") == {
                "final_val_accuracy": 0.75,
                "final_val_score": pytest.approx(expected),
            }
