"""Supernets that are built on request, and the searches that build several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nasrun.errors import UsageError
from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.darts_pt import DARTSPT
from nasrun.strategies.gradient.drnas import DrNAS, drawn
from nasrun.strategies.gradient.pdarts import PDARTS
from tests.made_egnas import TRAINING
from tests.numbers.test_darts import wired

SIZES = ("space.channels=4", "space.cells=1", "space.partial_channels=1")


def scorer(wiring: Any, **settings: Any) -> Any:
    return wiring.scorer(num_epochs=1, batch_size=None, training=TRAINING, **settings)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_a_second_supernet_inherits_the_weights_whose_shapes_agree(space: str) -> None:
    wiring = wired(f"space={space}", *SIZES)
    first = scorer(wiring)
    active = {
        name: torch.ones(shape, dtype=torch.bool)
        for name, shape in wiring.space.alpha_shapes.items()
    }
    for active_EO in active.values():
        active_EO[:, -1] = False  # the last operation is not built
    second = scorer(wiring, cells=2, active=active, inherited=first.named_weights())
    old, new = first.named_weights(), second.named_weights()
    alike = {name for name in new if name in old and new[name].shape == old[name].shape}
    assert any("stem" in name for name in alike)
    assert alike < set(new)  # the second cell is new
    assert all(torch.equal(new[name], old[name]) for name in alike)
    assert not any(new[name].data_ptr() == old[name].data_ptr() for name in alike)


def test_skips_are_dropped_in_training_alone_and_from_batch_to_batch() -> None:
    """The mean of a dropped skip is itself; a probability of 0 drops nothing."""
    wiring = wired("space=nasbench201", *SIZES)
    made = scorer(wiring, skip_dropout=0.5)
    skip_EO = torch.zeros(6, 5)
    skip_EO[:, wiring.space.operations.index("skip_connect")] = 1.0
    images, _ = made.draw_batch(8)

    def passes(statistics: str) -> list[Any]:
        return [
            made.supernet(images, Mixture({"cell": skip_EO}), statistics=statistics) for _ in "12"
        ]

    assert not torch.equal(*passes("update"))
    assert torch.equal(*passes("batch"))
    made.drop_skips(0.0)
    assert torch.equal(*passes("update"))


def scored_by(strategy: Any, worth: Any) -> None:
    """Put the accuracy `worth(mixture)` in the place of that of the supernet."""

    def score(candidates: Any, batch: Any) -> Scores:
        accuracy_N = np.array([float(worth(one)) for one in candidates])
        return Scores(1.0 - accuracy_N, accuracy_N)

    strategy.scorer.score = score


def test_darts_pt_keeps_the_operation_whose_loss_hurts_most_whatever_alpha_says() -> None:
    """Weights .1, .2, .3, .4 of worths 4, 1, 1, .5: what is lost is .4, .2, .3 and .2."""
    strategy = wired("space=toy", "strategy=darts_pt").strategy
    assert isinstance(strategy, DARTSPT)
    with torch.no_grad():
        strategy.alpha["cell"][1] = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    scored_by(strategy, lambda one: one.weights["cell"][1] @ torch.tensor([4.0, 1.0, 1.0, 0.5]))
    strategy.choose_operation("cell", 1)
    assert strategy.kept["cell"].tolist() == [[True] * 4, [True, False, False, False], [True] * 4]
    assert strategy.mixing_weights()["cell"][1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert strategy.mixing_weights()["cell"][0].tolist() != [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("space", "words", "expected"),
    [
        # 14 edges and 3 nodes of more than two edges: .3 epochs apart, a whole one, the paper's 5
        ("darts", ["budget.epochs=3"], [3] * 4 + [4] * 3 + [5] * 3 + [6] * 4 + [7] * 3),
        ("darts", ["budget.epochs=10"], list(range(10, 27))),
        ("darts", ["budget.epochs=50"], list(range(50, 131, 5))),
        ("nasbench201", ["budget.epochs=100"], list(range(100, 126, 5))),
        ("toy", ["budget.epochs=3"], [3, 3, 4]),  # one epoch of tuning at least
        ("toy", ["budget.epochs=3", "strategy.tuning_epochs=5"], [3, 8, 13]),
    ],
)
def test_the_tuning_of_darts_pt_grows_with_the_epochs_before_it(
    space: str, words: list[str], expected: list[int]
) -> None:
    strategy = wired(f"space={space}", "strategy=darts_pt", *words).strategy
    assert isinstance(strategy, DARTSPT)
    assert [strategy.epoch_of(number) for number in range(strategy.num_decisions)] == expected
    assert strategy.total_steps == expected[-1] + 1


def test_darts_pt_makes_each_decision_once_in_a_short_search() -> None:
    """Of the toy's three, two come before the only epoch of tuning, and one after it."""
    strategy = wired("space=toy", "strategy=darts_pt", "budget.epochs=2").strategy
    left = []
    while not strategy.finished:
        strategy.step()
        left.append(int(strategy.kept["cell"].sum()))
    assert left == [12, 12, 6, 3]


def test_darts_pt_drops_the_edges_that_are_missed_least_until_two_are_left() -> None:
    strategy = wired("space=darts", "strategy=darts_pt", *SIZES).strategy
    assert [len(rows) for rows in strategy.nodes] == [3, 4, 5]
    assert strategy.num_decisions == 14 + 3
    value_E = torch.arange(14.0).flip(0)
    value_E[5] = 0.5
    scored_by(strategy, lambda one: one.gates["normal"] @ value_E)
    strategy.choose_edges("normal", strategy.nodes[1])  # rows 5 to 8, worth .5, 7, 6, 5
    assert strategy.gates["normal"].tolist() == [1.0] * 5 + [0.0, 1.0, 1.0, 0.0] + [1.0] * 5
    cell = strategy.best()[0].cell("normal")
    assert {edge.source for edge in cell.edges_into(4)} == {1, 2}
    del strategy.scorer.score
    strategy.follow(strategy.scorer.gradient(strategy.mixture(), strategy.scorer.draw_batch(8)))


@pytest.mark.parametrize(
    ("method", "epochs"), [("darts_pt", 6), ("pdarts", 18), ("drnas", 10), ("proxylessnas", 30)]
)
def test_it_finds_the_optimum_of_the_toy_space(method: str, epochs: int) -> None:
    words = ("space=toy", f"strategy={method}", f"budget.epochs={epochs}", "dataset.batch_size=16")
    wiring = wired(*words, "strategy.alpha_learning_rate=0.1", "dataset.num_train=256")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"


@pytest.mark.parametrize("method", ["darts_pt", "pdarts", "drnas", "proxylessnas"])
def test_it_runs_on_a_landscape(method: str, made_table: str) -> None:
    wiring = wired(f"strategy={method}", "space=nasbench201", "evaluator=table", made_table,
                   "dataset=cifar10", "retrain=none", "evaluator.accuracy_floor=0.4")  # fmt: skip
    strategy = wiring.strategy
    scorings = 0.0
    while not strategy.finished:
        found = strategy.step().metrics["scorings"]
        assert found >= scorings  # those on the supernets before are not forgotten
        scorings = found
    wiring.space.validate(strategy.best()[0])


def test_pdarts_grows_and_rules_out_operations() -> None:
    words = ("space.channels=4", "space.cells=2", "space.partial_channels=1", "budget.epochs=6")
    strategy = wired("space=nasbench201", "strategy=pdarts", *words).strategy
    assert isinstance(strategy, PDARTS)
    sizes, dropouts, rests = [], [], []
    with torch.no_grad():
        strategy.alpha["cell"][:, 1] = 1.0  # so that the second operation is kept everywhere
        strategy.alpha["cell"][:, 3] = 0.9
    while not strategy.finished:
        report = strategy.step()
        rests.append("weights_step" not in report.metrics)
        supernet = strategy.scorer.supernet
        sizes.append((len(supernet.stages[0]), int(supernet.built_EO.sum(dim=1)[0])))
        dropouts.append(supernet.skip_dropout)
        if strategy.epoch == 3:
            assert strategy.kept["cell"][:, [1, 3]].all()
    # of two epochs a stage; 2 * (1, 2.2, 3.4) cells and 5 * (1, .625, .375) operations
    assert sizes == [(2, 5), (2, 5), (4, 3), (4, 3), (7, 2), (7, 2)]
    # no warm-up, int(.4 * 2) = 0: the dropout begins at 0, .4, .7 and falls by e^-.2
    assert dropouts == pytest.approx([0, 0, 0.4, 0.4 * np.exp(-0.2), 0.7, 0.7 * np.exp(-0.2)])
    assert rests == [False] * 6
    weights_EO = strategy.mixing_weights()["cell"]
    assert ((weights_EO > 0).sum(dim=1) == 2).all()
    # alpha began anew with each stage: no trace of 1 and .9 is left
    assert strategy.alpha["cell"].abs().max() < 0.1


def test_pdarts_rests_in_the_warm_up_and_lowers_the_dropout_on_a_line() -> None:
    words = ("budget.epochs=15", "strategy.skip_dropouts=[0.5,0.4,0.7]")
    strategy = wired("space=toy", "strategy=pdarts", *words).strategy
    found = []
    for strategy.epoch in range(5):
        found.append((strategy.alpha_rests, strategy.skip_dropout()))
    assert [rests for rests, _ in found] == [True, True, False, False, False]
    falls = [0.5, 0.5 * np.exp(-0.2), 0.5 * np.exp(-0.4)]
    assert [dropout for _, dropout in found] == pytest.approx([0.4, 0.3, *falls])


def test_pdarts_removes_the_weakest_skips_beyond_two_from_the_normal_cell() -> None:
    strategy = wired("space=darts", "strategy=pdarts", *SIZES).strategy
    names = list(strategy.space.operations)
    skip, other = names.index("skip_connect"), names.index("sep_conv_3x3")
    with torch.no_grad():
        for alpha_EO in strategy.alpha.values():
            alpha_EO.zero_()
            alpha_EO[:, skip] = 3.0 + 0.1 * torch.arange(14)  # later edges are surer of it
            alpha_EO[:, other] = 1.0
    (genotype,) = strategy.best()
    found = [edge.operation for edge in genotype.cell("reduce").edges if edge.operation in names]
    assert found == ["skip_connect"] * 8
    skips = [edge[1:] for edge in genotype.cell("normal").edges if edge[0] == "skip_connect"]
    assert sorted(skips) == [(3, 5), (4, 5)]  # rows 12 and 13
    assert strategy.mixing_weights()["normal"][0, skip] > 0  # alpha is as it was


def test_a_stage_for_each_of_three_values() -> None:
    with pytest.raises(UsageError, match=r"strategy.depths=\[1.0, 2.0\] .* a list of 3"):
        _ = wired("space=toy", "strategy=pdarts", "strategy.depths=[1.0,2.0]").strategy


def test_drnas_draws_what_torch_draws_and_leaves_out_what_is_ruled_out() -> None:
    """Of the concentrations elu(alpha) + 1: alpha = 0, -1, .5 gives 1, 1/e, 1.5."""
    alpha_EO = torch.tensor([[0.0, 1.0, -1.0], [0.5, 9.0, 0.0]])
    kept_EO = torch.tensor([[True, False, True], [True, False, True]])
    torch.manual_seed(0)
    found_EO = drawn(alpha_EO, kept_EO)
    torch.manual_seed(0)
    concentration_EN = torch.tensor([[1.0, float(np.exp(-1.0))], [1.5, 1.0]])
    expected_EN = torch.distributions.Dirichlet(concentration_EN).sample()
    torch.testing.assert_close(found_EO[:, [0, 2]], expected_EN)
    assert not found_EO[:, 1].any()


def test_the_path_gradient_of_drnas_is_that_of_the_mean() -> None:
    """E[w] = c / sum c of concentrations c, whose slope by alpha is known; 20,000 draws of w have
    on average the same slope of a linear loss."""
    alpha_O = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64)
    price_O = torch.tensor([1.0, 4.0, -2.0], dtype=torch.float64)
    one = alpha_O.clone().requires_grad_()
    c_O = torch.nn.functional.elu(one) + 1
    (expected_O,) = torch.autograd.grad((price_O * c_O / c_O.sum()).sum(), one)
    torch.manual_seed(0)
    many = alpha_O.expand(20_000, 3).clone().requires_grad_()
    weights_NO = drawn(many, torch.ones_like(many, dtype=torch.bool))
    (slope_NO,) = torch.autograd.grad((weights_NO * price_O).sum(), many)
    error_O = slope_NO.std(dim=0) / len(slope_NO) ** 0.5
    assert ((slope_NO.mean(dim=0) - expected_O).abs() < 4 * error_O).all()
    assert (error_O < 0.05).all()


def test_drnas_widens_its_second_supernet_and_keeps_alpha_of_what_is_left() -> None:
    words = ("space.channels=4", "space.cells=1", "budget.epochs=2", "strategy.kl=0.001")
    strategy = wired("space=nasbench201", "strategy=drnas", *words).strategy
    assert isinstance(strategy, DrNAS)
    strategy.step()
    assert strategy.scorer.supernet.stages[0][0].partial.mixed == 1  # of 4 channels
    before = {name: alpha_EO.detach().clone() for name, alpha_EO in strategy.alpha.items()}
    stem = strategy.scorer.named_weights()
    strategy.open(1)
    assert strategy.scorer.supernet.stages[0][0].partial.mixed == 2
    assert strategy.kept["cell"].sum(dim=1).tolist() == [3] * 6
    torch.testing.assert_close(
        strategy.alpha["cell"].detach(), before["cell"] * strategy.kept["cell"]
    )
    new = strategy.scorer.named_weights()
    same = [name for name in new if new[name].shape == stem[name].shape]
    assert any("stem" in name for name in same)
    assert all(torch.equal(new[name], stem[name]) for name in same)
    strategy.step()
    assert not strategy.mixing_weights()["cell"][~strategy.kept["cell"]].any()


def test_drnas_penalty_by_hand() -> None:
    """KL(Dir(2, 1, 1) || Dir(1, 1, 1)) = ln 3 + digamma(2) - digamma(4) = ln 3 - 1/2 - 1/3."""
    strategy = wired("space=toy", "strategy=drnas", "strategy.kl=0.5").strategy
    strategy.kept["cell"][:, 3] = False
    with torch.no_grad():
        strategy.alpha["cell"].zero_()
        strategy.alpha["cell"][1, 0] = 1.0
    assert float(strategy.penalty().detach()) == pytest.approx(
        0.5 * (np.log(3) - 1 / 2 - 1 / 3), rel=1e-5
    )


def test_partial_channels_of_drnas_divide_the_channels() -> None:
    words = ("strategy=drnas", "space.channels=6", "space.partial_channels=1")
    with pytest.raises(UsageError, match=r"strategy.partial_channels=\[4, 2\] .*space.channels=6"):
        _ = wired("space=nasbench201", *words).strategy
