"""Zero-cost proxies by hand on a network of two layers, and networks that have no score."""

from __future__ import annotations

import os
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import OutOfMemory, UsageError
from nasrun.predictors.zero_cost import jacob_cov
from nasrun.predictors.zero_cost.base import weights_of
from nasrun.predictors.zero_cost.flops import Flops
from nasrun.predictors.zero_cost.grad_norm import GradNorm
from nasrun.predictors.zero_cost.jacob_cov import JacobCov
from nasrun.predictors.zero_cost.logsynflow import LogSynFlow
from nasrun.predictors.zero_cost.naswot import Naswot, agreement
from nasrun.predictors.zero_cost.params import Params
from nasrun.predictors.zero_cost.snip import Snip
from nasrun.predictors.zero_cost.synflow import SynFlow
from nasrun.protocols.data import TaskShape
from nasrun.spaces.toy import Toy
from tests.compose import composed

SPACE = Toy()
FIRST, SECOND, THIRD = (SPACE.decode((gene, 0, 0)) for gene in range(3))
DATA = Path(os.environ.get("NASRUN_DATA", "nowhere"))
needs_tables = pytest.mark.skipif(
    not all((DATA / f"nasbench201{part}.npz").is_file() for part in ("", "_zero_cost")),
    reason="NASRUN_DATA has no nasbench201.npz and nasbench201_zero_cost.npz",
)

# x -> ReLU(W1 x) -> W2 h, on the two images (1, 0) of class 0 and (0, 1) of class 1
W1, W2 = [[1.0, -2.0], [3.0, 1.0]], [[2.0, -1.0], [1.0, 2.0]]
IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 1, 1, 2)
LABELS = torch.tensor([0, 1])
SHAPE = TaskShape(1, (1, 2), 2)
TOY = ["space=toy", "dataset=synthetic", "dataset.num_train=64"]


def two_layers(rectified: bool = True) -> nn.Module:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(W1))
        second.weight.copy_(torch.tensor(W2))
    between = nn.ReLU() if rectified else nn.Identity()
    return nn.Sequential(nn.Flatten(), first, between, second)


class Made:
    """Untrained networks that a test gives, one for each genotype."""

    space, dataset_name, device = SPACE, "made", torch.device("cpu")

    def __init__(self, *networks, space=SPACE, shape: TaskShape = SHAPE) -> None:
        self.networks = dict(zip((FIRST, SECOND, THIRD), networks, strict=False))
        self.space, self.shape = space, shape
        self.shown: list[tuple[int, int]] = []

    def progress(self, done: int, total: int, **figures: float) -> None:
        self.shown.append((done, total))

    def network(self, genotype):
        return self.networks[genotype]()

    def batch(self, num_images: int):
        return IMAGES[:num_images], LABELS[:num_images]

    def counts(self, genotype):
        return 8, 4


@pytest.fixture
def _one_is_enough(monkeypatch) -> None:
    """So that a single network without a score says that the space has none."""
    monkeypatch.setattr("nasrun.predictors.zero_cost.base.ENOUGH", 1)


def score(kind, **settings) -> float:
    (value,) = kind(Made(two_layers), num_architectures=9, **settings).values([FIRST])[0]
    return float(value)


# By hand. Hidden units are (1, 3) and, after ReLU, (0, 1); logits (-1, 7) and (-1, 2). The gradient
# of the mean cross-entropy by the logits is (-a, a) and (b, -b) with
A, B = 0.5 / (1 + exp(-8)), 0.5 / (1 + exp(3))
# so that those of the weights are, ReLU having cut the first unit of the second image,
BY_W2 = [[-A, -3 * A + B], [A, 3 * A - B]]
BY_W1 = [[-A, 0.0], [3 * A, -3 * B]]


def test_counts() -> None:
    assert score(Params) == 8.0
    assert score(Flops) == 4.0


def test_synflow_by_hand() -> None:
    """|W1| (1, 1) is (3, 4), and the sum of |W2| (3, 4) is 21: R. Each layer is linear in its
    weights, so that the sum of w dR/dw over it is R."""
    assert score(SynFlow) == pytest.approx(2 * 21)


def test_logsynflow_by_hand() -> None:
    """dR/dW2 is (3, 4) in both rows, dR/dW1 is 3 everywhere, the column sums of |W2|."""
    second = (2 + 1) * log(1 + 3) + (1 + 2) * log(1 + 4)
    first = (1 + 2 + 3 + 1) * log(1 + 3)
    assert score(LogSynFlow) == pytest.approx(first + second)


def test_snip_by_hand() -> None:
    by_layer = [
        sum(abs(w * g) for row, by in zip(*pair, strict=True) for w, g in zip(row, by, strict=True))
        for pair in ((W1, BY_W1), (W2, BY_W2))
    ]
    assert by_layer == pytest.approx([10 * A + 3 * B, 12 * A - 3 * B])
    assert score(Snip, num_images=2) == pytest.approx(22 * A)


def test_grad_norm_by_hand() -> None:
    """The Euclidean norms of the layers are added up, and not their squares."""
    second, first = sqrt(2 * (A**2 + (3 * A - B) ** 2)), sqrt(A**2 + 9 * A**2 + 9 * B**2)
    assert score(GradNorm, num_images=2) == pytest.approx(first + second)


def test_naswot_by_hand() -> None:
    """The codes are (1, 1) and (0, 1): two units, one of which differs."""
    assert score(Naswot, num_images=2) == pytest.approx(log(2 * 2 - 1 * 1))


def test_jacob_cov_by_hand() -> None:
    """The derivatives are 3 (1, -2) + (3, 1) = (6, -5) and, without the first unit, (3, 1). Both
    fall, so that they correlate fully: eigenvalues 2 and 0."""
    k = 1e-5
    expected = -(log(2 + k) + 1 / (2 + k) + log(k) + 1 / k)
    assert score(JacobCov, num_images=2) == pytest.approx(expected, rel=1e-6)
    half = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])  # correlation 1/2
    expected = -sum(log(v + k) + 1 / (v + k) for v in (0.5, 1.5))
    assert jacob_cov.of_jacobian(half) == pytest.approx(expected)


def test_codes_agree_as_a_loop_over_units_counts() -> None:
    code_BU = torch.rand(5, 37, generator=torch.Generator().manual_seed(0)) > 0.4
    counted = [[sum(a == b for a, b in zip(one, other, strict=True)) for other in code_BU.tolist()]
               for one in code_BU.tolist()]  # fmt: skip
    assert agreement(code_BU).tolist() == counted


def test_relus_are_found_as_modules_calls_and_in_place() -> None:
    class Called(nn.Module):
        def forward(self, images):
            state = torch.nn.functional.relu(images.flatten(1) - 0.5)
            state = torch.relu_(state - 0.25)
            return nn.functional.relu6(state)

    proxy = Naswot(Made(Called), num_architectures=1, num_images=2)
    # six units in three layers: (1, 0) (1, 0) (1, 0) against (0, 1) (0, 1) (0, 1)
    assert proxy.values([FIRST])[0, 0] == pytest.approx(log(36))


def test_batch_norm_is_no_part_of_synflow() -> None:
    """Fresh statistics make it the identity but for its epsilon, and its weights are left out."""

    def made(norm: type[nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1, bias=False), norm(4), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 2, 2))

    with_norm, without = (
        SynFlow(Made(lambda norm=norm: made(norm)), num_architectures=1).values([FIRST])[0, 0]
        for norm in (nn.BatchNorm2d, nn.Identity)
    )
    assert with_norm == pytest.approx(without, rel=1e-4)
    assert len(weights_of(made(nn.BatchNorm2d))) == 2


def test_logsynflow_of_a_network_that_divides_is_a_number() -> None:
    """On the toy space directions have unit norm, so that some gradients are negative."""
    wiring = Wiring(to_typed(composed([*TOY, "strategy=rank_by_proxy"]), SearchConfig))
    assert np.isfinite(wiring.zero_cost.values(list(SPACE.enumerate()))).all()


def test_what_has_no_score_is_not_a_number_and_the_others_have_theirs() -> None:
    networks = (two_layers, lambda: two_layers(rectified=False))
    untrained = Made(*networks)
    found = Naswot(untrained, num_architectures=9, num_images=2).values([SECOND, FIRST])
    assert np.isnan(found[0, 0])
    assert found[1, 0] == pytest.approx(log(3))
    assert untrained.shown == [(0, 2), (1, 2)]


def test_one_network_without_a_score_does_not_end_a_search() -> None:
    """Scores may be asked for one by one, and are computed once."""
    untrained = Made(lambda: two_layers(rectified=False), two_layers)
    proxy = Naswot(untrained, num_architectures=9, num_images=2)
    assert np.isnan(proxy.values([FIRST])).all()
    assert proxy.values([SECOND])[0, 0] == pytest.approx(log(3))
    untrained.networks = {}
    assert np.isnan(proxy.values([SECOND, FIRST])[:, 0]).tolist() == [False, True]
    assert proxy.values([]).shape == (0, 1)


def test_images_of_one_code_come_last() -> None:
    """Both units are above 0 for any image: the determinant is 0."""

    def blind() -> nn.Module:
        network = two_layers()
        with torch.no_grad():
            network[1].weight.fill_(1.0)
        return network

    (value,) = Naswot(Made(blind), num_architectures=9, num_images=2).values([FIRST])[0]
    assert value == -np.inf


def test_a_space_without_relus_is_told_what_to_type() -> None:
    wiring = Wiring(
        to_typed(composed([*TOY, "strategy=rank_by_proxy", "proxy=naswot"]), SearchConfig)
    )
    with pytest.raises(UsageError) as told:
        wiring.strategy.step()
    assert str(told.value) == (
        "proxy=naswot scores none of 20 networks of space=toy: a network has no ReLU, whose units "
        "naswot compares; type proxy=logsynflow or proxy=jacob_cov"
    )


@pytest.mark.usefixtures("_one_is_enough")
@pytest.mark.parametrize(
    ("kind", "images", "reason"),
    [(SynFlow, {}, "depends on no weights"), (Snip, {"num_images": 2}, "depends on no weights"),
     (GradNorm, {"num_images": 2}, "depends on no weights"),
     (JacobCov, {"num_images": 2}, "does not depend on what is in an image")],
)  # fmt: skip
def test_an_output_that_depends_on_nothing_has_no_score(kind, images, reason: str) -> None:
    class Blind(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 2)

    with pytest.raises(UsageError, match=reason):
        kind(Made(Blind), num_architectures=9, **images).values([FIRST])


def test_a_space_without_networks_is_refused() -> None:
    class OfATable(Toy):
        takes = ()

    with pytest.raises(UsageError) as told:
        SynFlow(Made(space=OfATable()), num_architectures=9)
    assert str(told.value) == (
        "proxy=synflow is computed on networks, and space=toy builds none: type "
        "strategy.initial=random, or strategy=random in place of rank_by_proxy"
    )


def test_too_little_memory_is_told_with_what_to_lower() -> None:
    def too_large() -> nn.Module:
        raise MemoryError

    with pytest.raises(
        OutOfMemory, match=r"proxy=snip .* 2 inputs at once; lower proxy.num_images"
    ):
        Snip(Made(too_large), num_architectures=9, num_images=2).values([FIRST])


def test_made_networks_are_like_those_of_a_run() -> None:
    """What the tests above give to proxies has all that an `Untrained` has."""
    from nasrun.protocols.proxy import Untrained

    names = {name for name in vars(Untrained) if not name.startswith("_")}
    assert names | set(Untrained.__annotations__) <= {*dir(Made()), *vars(Made())}
