"""Predictors against slow oracles, scikit-learn and numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge as SklearnRidge
from torch import nn

from nasrun.config import plugins
from nasrun.errors import RunError
from nasrun.graphs.kernel_regression import posterior
from nasrun.graphs.one_edit_pairs import OneEditPairs
from nasrun.graphs.paths import PathCode
from nasrun.predictors.contrastive import info_nce
from nasrun.predictors.dcl import pair_weights, ranking_loss
from nasrun.predictors.members import layers, multilayer
from nasrun.predictors.targets import normal_scores, standardised_ranks
from nasrun.protocols.predictor import Predictor
from nasrun.protocols.space import ArchGraph
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.storage import tensor_cache
from tests.compose import node, options

FEW = {"num_architectures": 200, "num_pairs": 300, "contrast_steps": 40, "num_anchors": 32}
WITHOUT_STAGE_1 = ("dcl_without_pretraining", "dcl_plain")
SMALL: dict[str, dict[str, Any]] = {
    name: {**FEW, "contrast_steps": 0} if name in WITHOUT_STAGE_1 else FEW
    for name in options("predictor")
    if name.startswith("dcl")
}
PREDICTORS = options("predictor")


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return plugins.build(node("space", "nasbench201"))


def ignore(done: int, total: int, **figures: float) -> None:
    """No progress is shown."""


def made(name: str, seed: int = 0, **changes: Any) -> Predictor:
    settings = node("predictor", name, **{**SMALL.get(name, {}), **changes})
    return plugins.build(settings, torch.Generator().manual_seed(seed))


def drawn(space: NasBench201, count: int, seed: int = 0) -> tuple[list[ArchGraph], np.ndarray]:
    """Graphs, and a value that a path code can express: convolutions on the straight edge."""
    rng = np.random.default_rng(seed)
    genes = [space.encode(space.sample(rng)) for _ in range(count)]
    values_N = np.array(
        [3.0 * (g[3] == 3) + (g[3] == 2) + (g[0] == 3) * (g[4] == 3) for g in genes]
    )
    return [space.graph(space.decode(g)) for g in genes], values_N


# ---------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_learns_repeats_itself_and_survives_its_state(
    name: str, space: NasBench201
) -> None:
    graphs, values_N = drawn(space, 60)
    others, truth_N = drawn(space, 100, seed=1)
    first, second = made(name), made(name)
    metrics = first.pretrain(OneEditPairs(space), ignore)
    assert all(np.isfinite(value) for value in metrics.values())
    second.load_state_dict(first.state_dict())
    for predictor in (first, second, first):  # a fit forgets the one before
        predictor.generator = torch.Generator().manual_seed(0)  # type: ignore[attr-defined]
        predictor.fit(graphs, values_N)
    prediction = first.score(others)
    assert (prediction.deviation_N >= 0).all()
    assert (second.score(others).score_N == prediction.score_N).all()
    assert kendalltau(prediction.score_N, truth_N).statistic > 0.3


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [-np.inf, 0.2, 0.9]])
def test_failures_and_ties_are_no_trouble(
    name: str, values: list[float], space: NasBench201
) -> None:
    graphs, _ = drawn(space, 3)
    predictor = made(name)
    predictor.pretrain(OneEditPairs(space), ignore)
    predictor.fit(graphs, np.array(values))
    prediction = predictor.score(graphs)
    assert np.isfinite(prediction.score_N).all()
    if values[0] != values[1]:
        assert prediction.score_N.argmax() == 2


@pytest.mark.parametrize(
    ("name", "rates", "where"),
    [
        ("gin", ["learning_rate"], r"predictor in epoch \d+"),
        ("path_mlp", ["learning_rate"], r"predictor in epoch \d+"),
        ("dcl_plain", ["encoder_learning_rate", "head_learning_rate"], r"predictor in epoch \d+"),
        ("dcl", ["contrast_learning_rate"], r"predictor's pre-training in step \d+"),
    ],
)
def test_a_training_that_diverges_stops_at_its_step(
    name: str, rates: list[str], where: str, space: NasBench201, monkeypatch
) -> None:
    monkeypatch.setattr(tensor_cache, "cached", lambda recipe, make: make())
    graphs, values_N = drawn(space, 12)
    predictor = made(name, **dict.fromkeys(rates, 1e30))

    def train() -> None:
        predictor.pretrain(OneEditPairs(space), ignore)
        predictor.fit(graphs, values_N)

    with pytest.raises(RunError, match=f"the loss of the {where} is nan"):
        train()


# ---------------------------------------------------------------------------- DCL


def test_members_are_separate_networks() -> None:
    parameters = layers([5, 4, 3], 2, torch.Generator().manual_seed(0))
    inputs_MNI = torch.randn(2, 6, 5)
    outputs_MNO = multilayer(parameters, inputs_MNI)
    for member in range(2):
        network = nn.Sequential(
            nn.Linear(5, 4), nn.LayerNorm(4, elementwise_affine=False), nn.ReLU(), nn.Linear(4, 3)
        )
        for layer, position in ((0, 0), (1, 3)):
            linear = network[position]
            linear.weight.data = parameters[f"weight{layer}"][member].T
            linear.bias.data = parameters[f"bias{layer}"][member, 0]
        torch.testing.assert_close(outputs_MNO[member], network(inputs_MNI[member]))


def test_info_nce_is_the_formula_without_negatives_that_look_alike() -> None:
    z_MBZ = nn.functional.normalize(torch.randn(1, 6, 4, dtype=torch.float64), dim=-1)
    ids = [0, 1, 2, 1, 3, 3]  # three anchors, then their positives
    (loss,) = info_nce(z_MBZ, torch.tensor([ids]), 0.5)
    similarity = torch.exp(z_MBZ[0, :3] @ z_MBZ[0, 3:].T / 0.5)
    total = 0.0
    # Anchor 0 keeps all; anchor 1 bars positive 0 (its own twin) but keeps its positive and, since
    # positives 1 and 2 look alike, bars 2; anchor 2 bars positive 1 for the same reason.
    for anchor, kept in enumerate([[0, 1, 2], [1], [0, 2]]):
        total -= float(torch.log(similarity[anchor, anchor] / similarity[anchor, kept].sum()))
    assert float(loss) == pytest.approx(total / 3)


def test_pair_weights_by_hand() -> None:
    weights_NN = pair_weights(np.array([0.1, 0.9, 0.1]), 2.0)
    # Only the second is better than the others; percentile 1, so both pairs count alike.
    assert weights_NN.tolist() == [[0, 0, 0], [0.5, 0, 0.5], [0, 0, 0]]
    weights_NN = pair_weights(np.array([1.0, 2.0, 3.0]), 1.0)  # 2/3 to 1 and 1
    assert weights_NN[1, 0] == pytest.approx((2 / 3) / (2 / 3 + 2))
    assert pair_weights(np.array([1.0, 1.0]), 4.0).tolist() == [[0, 0], [0, 0]]


def test_ranking_loss_by_hand() -> None:
    weights_NN = torch.tensor([[0.0, 0.0], [1.0, 0.0]])  # the second shall win
    scores_MN = torch.tensor([[0.0, 0.2], [0.0, 0.7], [0.3, 0.0]])
    assert ranking_loss(scores_MN, weights_NN, 0.5).tolist() == pytest.approx([0.3, 0.0, 0.8])


class Spy:
    """Unlabelled architectures that count how often they are drawn."""

    def __init__(self, space: NasBench201) -> None:
        self.pairs = OneEditPairs(space)
        self.fingerprint = self.pairs.fingerprint
        self.num_draws = 0

    def draw(self, *arguments: Any) -> tuple[list[ArchGraph], np.ndarray]:
        self.num_draws += 1
        return self.pairs.draw(*arguments)


def test_encoders_are_cached_by_all_that_makes_them(
    space: NasBench201, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spy = Spy(space)

    def pretrained(**changes: Any) -> tuple[dict[str, Any], float]:
        predictor = made("dcl", **changes)
        metrics = predictor.pretrain(spy, ignore)
        return predictor.state_dict()["pretrained"], metrics["pretrain_loss"]

    (first, loss), (again, same_loss) = pretrained(), pretrained(seed=5, num_epochs=7)
    assert spy.num_draws == 1
    assert loss == same_loss
    assert all(torch.equal(first["encoder"][k], again["encoder"][k]) for k in first["encoder"])
    other, _ = pretrained(encoder_seed=1)
    assert not torch.equal(first["encoder"]["weight0"], other["encoder"]["weight0"])
    pretrained(temperature=0.4)
    files = sorted((tmp_path / "nasrun" / "encoders").iterdir())
    assert (spy.num_draws, len(files)) == (3, 3)
    files[1].write_bytes(files[2].read_bytes())  # another recipe's, and a broken one
    files[2].write_bytes(b"broken")
    for changes in ({}, {"encoder_seed": 1}, {"temperature": 0.4}):
        pretrained(**changes)
    assert spy.num_draws == 5


def test_pre_training_is_the_same_in_another_process_and_without_a_cache(
    space: NasBench201, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_cache, "cached", lambda recipe, make: make())
    encoders = []
    for seed in (0, 1):  # the run's generator has no part in it
        predictor = made("dcl", seed)
        predictor.pretrain(OneEditPairs(space), ignore)
        encoders.append(predictor.state_dict()["pretrained"]["encoder"])
    assert all(torch.equal(encoders[0][name], encoders[1][name]) for name in encoders[0])


def test_without_stage_1_the_encoder_is_the_runs_own(space: NasBench201) -> None:
    encoders = []
    for seed in (0, 1):
        predictor = made("dcl", seed, contrast_steps=0)
        assert predictor.pretrain(OneEditPairs(space), ignore) == {}
        encoders.append(predictor.state_dict()["pretrained"]["encoder"]["weight0"])
    assert not torch.equal(*encoders)


# ---------------------------------------------------------------------------- unlabelled pairs


def test_pairs_are_one_edit_apart() -> None:
    toy = plugins.build(node("space", "toy"))
    genes_of = {toy.graph(genotype).labels: toy.encode(genotype) for genotype in toy.enumerate()}
    graphs, pairs_P2 = OneEditPairs(toy).draw(10, 80, np.random.default_rng(0))
    for pair in pairs_P2:
        first, second = (genes_of[graphs[row].labels] for row in pair)
        assert sum(a != b for a, b in zip(first, second, strict=True)) == 1
    assert len({graph.labels for graph in graphs}) == len(graphs)
    assert pairs_P2[:, 0].max() < 10


def test_a_small_space_is_taken_whole_and_spaces_are_told_apart(space: NasBench201) -> None:
    toy = plugins.build(node("space", "toy"))
    graphs, pairs_P2 = OneEditPairs(toy).draw(1000, 500, np.random.default_rng(0))
    assert (len(graphs), pairs_P2.max()) == (64, 63)
    genes = np.array([toy.encode(genotype) for genotype in toy.enumerate()])
    assert ((genes[pairs_P2[:, 0]] != genes[pairs_P2[:, 1]]).sum(axis=1) == 1).all()
    assert len(np.unique(pairs_P2, axis=0)) > 250  # of 64 * 9
    fingerprints = {OneEditPairs(s).fingerprint() for s in (toy, toy, space)}
    assert len(fingerprints) == 2


# ---------------------------------------------------------------------------- the floors


def test_ridge_is_scikit_learns(space: NasBench201) -> None:
    graphs, values_N = drawn(space, 40)
    others, _ = drawn(space, 20, seed=1)
    predictor = made("ridge", penalty=0.7)
    predictor.pretrain(OneEditPairs(space), ignore)
    predictor.fit(graphs, values_N)
    code = PathCode(("avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3"), 4, 3)
    oracle = SklearnRidge(alpha=0.7).fit(code.encode(graphs), standardised_ranks(values_N))
    expected_N = oracle.predict(code.encode(others))
    assert predictor.score(others).score_N == pytest.approx(expected_N, abs=1e-5)


def test_posterior_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    points_NF, targets_N = rng.standard_normal((12, 3)), rng.standard_normal(12)
    distances_NN = np.square(points_NF[:, None] - points_NF).sum(axis=2)
    process = posterior(distances_NN, targets_N, length_scale=0.8, noise=0.3)
    oracle = GaussianProcessRegressor(RBF(0.8, "fixed"), alpha=0.09, optimizer=None)
    oracle.fit(points_NF, targets_N)
    constant = 0.5 * len(targets_N) * np.log(2 * np.pi)
    expected = oracle.log_marginal_likelihood_value_
    assert process.log_likelihood - constant == pytest.approx(expected)
    assert process.weights_N == pytest.approx(oracle.alpha_.ravel())


def test_gaussian_process_is_sure_where_it_was_told(space: NasBench201) -> None:
    graphs, values_N = drawn(space, 30)
    predictor = made("gaussian_process", noises=[1e-3], length_scales=[1.0])
    predictor.fit(graphs, values_N)
    told = predictor.score(graphs)
    assert told.deviation_N.max() < 0.01
    assert told.score_N == pytest.approx(normal_scores(values_N), abs=0.01)
    others, _ = drawn(space, 30, seed=1)
    assert predictor.score(others).deviation_N.max() > 0.1
