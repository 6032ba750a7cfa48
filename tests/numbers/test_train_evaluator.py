"""True evaluation by training: what a label is, and on what it may depend."""

from __future__ import annotations

import numpy as np
import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.randomness import RandomStreams
from tests.compose import composed

QUICK = ["strategy=random", "space=toy", "dataset=synthetic", "dataset.num_train=64"]


def wired(*overrides: str) -> Wiring:
    return Wiring(to_typed(composed([*QUICK, *overrides]), SearchConfig))


def errors(wiring: Wiring, *genes: tuple[int, ...]) -> list[float]:
    genotypes = [wiring.space.decode(gene) for gene in genes]
    return [e.values[0] for e in wiring.raw_evaluator.evaluate(genotypes)]


def test_labels_are_the_errors_on_the_validation_half() -> None:
    # Without any gain all logits are zero, and the first of four equally frequent classes is
    # predicted; with the largest gains the patterns are learnt.
    nothing, best = (0, 2, 3), (3, 1, 0)
    assert errors(wired("evaluator.epochs=10"), nothing, best) == [0.75, 0.0]


def test_halves_are_disjoint_and_stratified() -> None:
    evaluator = wired().raw_evaluator
    assert len(evaluator.train_half) == len(evaluator.validation_half) == 32
    for half in (evaluator.train_half, evaluator.validation_half):
        assert np.bincount(half.labels_N.numpy()).tolist() == [8, 8, 8, 8]


def test_a_label_depends_on_the_seed_and_the_architecture_alone() -> None:
    genes = [(1, 1, 1), (0, 1, 2), (2, 3, 3), (1, 0, 0)]
    noisy = ("evaluator.epochs=1", "evaluator.learning_rate=0.01", "dataset.noise=200")
    forwards = errors(wired(*noisy), *genes)
    backwards = errors(wired(*noisy), *genes[::-1])
    assert forwards == backwards[::-1]
    assert errors(wired(*noisy), genes[2]) == [forwards[2]]
    assert errors(wired(*noisy, "seed=1"), *genes) != forwards


def test_derived_streams_are_fresh_each_time_and_leave_no_trace() -> None:
    streams = RandomStreams(3)
    first = streams.derived("label x").numpy("a").random(4)
    assert np.array_equal(streams.derived("label x").numpy("a").random(4), first)
    assert not np.array_equal(streams.derived("label y").numpy("a").random(4), first)
    assert not np.array_equal(RandomStreams(4).derived("label x").numpy("a").random(4), first)
    assert streams.state_dict() == RandomStreams(3).state_dict()


def test_a_training_that_diverges_is_a_failed_label() -> None:
    wiring = wired("space=nasbench201", "evaluator.learning_rate=1e30", "evaluator.gradient_clip=0")
    rng = np.random.default_rng(0)
    (label,) = wiring.evaluator.evaluate_new(1, lambda: wiring.space.sample(rng))
    assert label.values == (float("inf"),)
    assert label.error is not None
    assert label.error.startswith("the training loss is")


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_networks_of_other_spaces_are_trained(space: str) -> None:
    small = ["evaluator.epochs=1", "evaluator.channels=4", "evaluator.cells=1", "dataset.size=8"]
    wiring = wired(f"space={space}", *small)
    rng = np.random.default_rng(0)
    (label,) = wiring.evaluator.evaluate_new(1, lambda: wiring.space.sample(rng))
    assert label.error is None
    assert label.values[0] * 32 == pytest.approx(round(label.values[0] * 32))  # of 32 images
    assert label.cost_s > 0


@pytest.mark.parametrize(
    "override",
    ["evaluator.epochs=0", "evaluator.channels=0", "evaluator.learning_rate=0"],
)
def test_settings_out_of_range_are_told_before_the_search(override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(UsageError, match=rf"{key}=0 must be"):
        wired(override).strategy  # noqa: B018 - built


@pytest.mark.parametrize("strategy", ["random", "local_search", "genetic", "regularized_evolution"])
def test_a_strategy_chooses_its_evaluator_and_the_command_line_another(strategy: str) -> None:
    def target(*overrides: str) -> str:
        return str(composed([f"strategy={strategy}", *overrides]).evaluator._target_)

    assert target() == "nasrun.evaluators.train.TrainEvaluator"
    assert target("evaluator=shared_weights").endswith("SharedWeights")
