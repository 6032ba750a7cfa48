"""One-shot labels: on what they depend, what they are, and what a checkpoint keeps of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.population import comparison_noise
from nasrun.evaluators.supernet_scorer import SupernetScorer
from nasrun.protocols.space import Mixture
from tests import made_tables
from tests.compose import composed

QUICK = ["evaluator=shared_weights", "dataset=synthetic", "dataset.num_train=64", "budget=smoke"]
NOISY = ["space=toy", "dataset.noise=200"]
SMALL = ["dataset.size=8", "space.channels=4", "space.cells=2", "space.partial_channels=2"]


def wired(*overrides: str) -> Wiring:
    chosen = ["strategy=random", *QUICK, *overrides]
    return Wiring(to_typed(composed(chosen), SearchConfig))


def labels(wiring: Wiring, *genes: tuple[int, ...]) -> list[tuple[float, float]]:
    genotypes = [wiring.space.decode(gene) for gene in genes]
    return [
        (label.values[0], label.details["val_loss"])
        for genotype in genotypes
        for label in wiring.raw_evaluator.evaluate([genotype])
    ]


def test_labels_depend_on_the_seed_and_not_on_their_order() -> None:
    genes = [(1, 1, 1), (0, 1, 2), (2, 3, 3), (1, 0, 0)]
    forwards = labels(wired(*NOISY), *genes)
    assert len(set(forwards)) == 4
    assert labels(wired(*NOISY), *genes[::-1]) == forwards[::-1]
    assert labels(wired(*NOISY), genes[2]) == [forwards[2]]
    assert labels(wired(*NOISY, "seed=1"), *genes) != forwards


def test_training_teaches_the_patterns() -> None:
    """Without any gain all logits are zero, and the first of four classes is predicted."""
    (nothing, _), (best, _) = labels(wired("space=toy", "budget.epochs=10"), (0, 2, 3), (3, 1, 0))
    assert (nothing, best) == (0.75, 0.0)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_a_label_is_the_accuracy_of_the_supernet_with_only_these_edges(space: str) -> None:
    wiring = wired(f"space={space}", *SMALL, "budget.epochs=1")
    genotype = wiring.space.sample(np.random.default_rng(0))
    (label,) = wiring.raw_evaluator.evaluate([genotype])
    one_shot = wiring.raw_evaluator._one_shot
    validation = one_shot.validation_stream.split
    ((raw_BCHW, labels_B),) = validation.batches(torch.arange(32), 32, torch.device("cpu"))
    images_BCHW = wiring.dataset.normalise(raw_BCHW)
    mixture = Mixture.single(wiring.space, genotype)._replace(active=None)
    with torch.no_grad():
        # All operations computed and weighted by zero: slow, and the same.
        logits_BK = one_shot.supernet(images_BCHW, mixture, statistics="batch")
        ungated = Mixture(mixture.weights)
        ungated_BK = one_shot.supernet(images_BCHW, ungated, statistics="batch")
    assert label.values[0] == pytest.approx((logits_BK.argmax(1) != labels_B).double().mean())
    loss = functional.cross_entropy(logits_BK, labels_B)
    assert label.details["val_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert not torch.allclose(logits_BK, ungated_BK, atol=1e-3)  # bypassed by the edges left out


def test_each_batch_trains_one_architecture(monkeypatch) -> None:
    wiring = wired("space=nasbench201", *SMALL, "dataset.batch_size=16")
    asked = []
    supernet = type(wiring.raw_evaluator._untrained().supernet)
    forward = supernet.forward

    def spy(self, images, mixture, *, statistics="update"):
        asked.append((*(part["cell"] for part in mixture), statistics))
        return forward(self, images, mixture, statistics=statistics)

    monkeypatch.setattr(supernet, "forward", spy)
    labels(wiring, (1, 1, 1, 0, 1, 3))
    *training, (weights_EO, gates_E, active_EO, statistics) = asked
    assert [call[3] for call in training] == ["update"] * 3 * 2  # epochs, batches
    assert len({tuple(call[0].flatten().tolist()) for call in training}) == 6
    assert all((call[0].sum(1) == 1).all() for call in training)
    assert statistics == "batch"
    assert weights_EO.argmax(1).tolist() == [1, 1, 1, 0, 1, 3]
    assert gates_E.tolist() == [1, 1, 1, 0, 1, 1]
    assert (active_EO == (weights_EO == 1)).all()


@pytest.mark.parametrize("strategy", ["genetic", "dclenas"])
def test_a_resumed_run_equals_the_whole_one_without_training_again(
    strategy: str, tmp_path, monkeypatch
) -> None:
    chosen = [*NOISY, f"strategy={strategy}", "budget.evaluations=12"]
    chosen += ["population.size=4"] + ["predictor=ridge"] * (strategy == "dclenas")

    def go(wiring: Wiring, steps: int | None = None) -> list[dict[str, float]]:
        reports = []
        while not wiring.strategy.finished and len(reports) != steps:
            reports.append(dict(wiring.strategy.step().metrics))
        return reports

    whole, first, second = (wired(*chosen) for _ in range(3))
    expected = go(whole)
    assert expected[-1]["scorings"] == expected[-1]["labels"] == 12
    go(first, 2)
    state = {"work": first.strategy.state_dict(), "streams": first.streams.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.strategy.load_state_dict(state["work"])
    second.streams.load_state_dict(state["streams"])
    monkeypatch.setattr(SupernetScorer, "train_epoch", None)
    assert go(second) == expected[2:]
    bought = [[(a.genotype, a.values) for a in w.evaluator.ledger] for w in (second, whole)]
    assert bought[0] == bought[1]


def test_progress_counts_the_batches_of_the_whole_training(monkeypatch) -> None:
    shown = []
    monkeypatch.setattr("nasrun.training.loop.SHOW_EVERY_S", -1.0)
    config = to_typed(composed(["strategy=random", *QUICK, *NOISY]), SearchConfig)
    wiring = Wiring(config, lambda done, total, **figures: shown.append((done, total)))
    labels(wiring, (0, 0, 1))
    assert shown == [(1, 3), (2, 3), (3, 3)]  # 3 epochs of one batch of 32 images


@pytest.mark.parametrize("override", ["epochs=0", "learning_rate=0", "batch_size=0", "momentum=1"])
def test_settings_out_of_range_are_told_before_the_search(override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(UsageError, match=rf"evaluator.{key}=[01] must be"):
        wired("space=toy", f"evaluator.{override}").strategy  # noqa: B018 - built


def test_a_supernet_that_diverges_ends_the_run_at_once() -> None:
    wild = ["evaluator.learning_rate=1e30", "evaluator.gradient_clip=0"]
    wiring = wired("space=nasbench201", *SMALL, *wild)
    with pytest.raises(UsageError, match=r"learning_rate=1e\+30 is too high .* in its epoch \d"):
        wiring.strategy.step()


def test_a_path_scores_as_its_one_hot_mixture() -> None:
    wiring = Wiring(
        to_typed(
            composed(["space=nasbench201", "dataset=synthetic", "dataset.num_train=64"]),
            SearchConfig,
        )
    )
    scorer = wiring.strategy.scorer
    rng = np.random.default_rng(0)
    cells = [wiring.space.sample(rng) for _ in range(5)]
    batch = scorer.draw_batch(16)
    alone = scorer.score_paths(cells, batch)
    mixed = scorer.score([Mixture(wiring.space.one_hot(cell)) for cell in cells], batch)
    assert alone.loss_N == pytest.approx(mixed.loss_N, abs=1e-5)
    assert (alone.accuracy_N == mixed.accuracy_N).all()
    assert alone.noise_N == pytest.approx(mixed.noise_N, abs=1e-5)


def test_comparison_noise_is_that_of_the_difference_from_the_mean() -> None:
    losses_NB = torch.tensor(
        [[1.0, 5.0, 3.0, 3.0], [2.0, 8.0, 4.0, 2.0]]
    )  # hard for both: no noise
    apart_B = np.array([-0.5, -1.5, -0.5, 0.5])  # of the first from the mean of both
    expected = apart_B.std(ddof=1) / 2
    assert comparison_noise(losses_NB).numpy() == pytest.approx([expected, expected])


def test_the_result_of_a_supernet_is_looked_up(tmp_path) -> None:
    file = tmp_path / "nasbench201.npz"
    np.savez(file, **made_tables.nasbench201())
    overrides = ["space=nasbench201", "dataset=synthetic", "dataset.num_train=64", "budget=smoke"]
    overrides += ["dataset.name=cifar10", "evaluator=supernet_and_table", "population.size=4"]
    overrides += [f"evaluator.file={file}", "evaluator.num_compared=8"]
    wiring = Wiring(to_typed(composed(overrides), SearchConfig))
    strategy = wiring.strategy
    while not strategy.finished:
        last = strategy.step()
    result = wiring.final(strategy.best()[0])
    table = wiring.raw_evaluator
    found = table.columns.test_R[table.row(strategy.best()[0])]
    assert result.table.test_accuracy == pytest.approx(found)
    assert set(result.table.datasets) >= {"cifar10"}
    assert result.one_shot.num_cells == 8
    assert -1 <= result.one_shot.loss_tau <= 1
    assert strategy.scorer.num_scorings == last.metrics["scorings"]  # the comparison is not counted
    assert [one.name for one in result.table.references] == ["resnet"]
    overrides.remove("population.size=4")
    buyer = Wiring(to_typed(composed([*overrides, "strategy=random"]), SearchConfig)).strategy
    labels = [buyer.step().evaluations[0] for _ in range(4)]  # looked up, without any supernet
    accuracy_R = table.columns.validation_R
    assert [label.values[0] for label in labels] == [
        1.0 - accuracy_R[table.row(label.genotype)] for label in labels
    ]
