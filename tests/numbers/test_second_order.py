"""Second-order and implicit gradients, against exact ones of small problems."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nasrun.errors import UsageError
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.curvature import change_along
from nasrun.strategies.gradient.idarts import IDARTS
from tests.numbers.test_darts import wired

UNIFORM = Mixture({"cell": torch.full((3, 4), 0.25)})


@pytest.fixture
def strategy() -> Any:
    """Second-order DARTS on the toy space after an epoch, so that there is momentum."""
    wiring = wired("space=toy", "strategy.order=2", "dataset.batch_size=8", "dataset.num_train=32")
    wiring.strategy.step()
    return wiring.strategy


def loss_of(scorer: Any, batch: Any, weights_EO: Tensor, at_P: Tensor) -> Tensor:
    """The loss in plain torch: a pass of the toy supernet, whose only parameter is `at_P`."""
    (parameter,) = scorer.update.parameters
    logits = torch.func.functional_call(
        scorer.supernet,
        {"directions_EKF": at_P.view(parameter.shape)},
        (batch[0], Mixture({"cell": weights_EO})),
    )
    return functional.cross_entropy(logits, batch[1])


def before_a_batch(scorer: Any, act: Any) -> Any:
    """What `act` returns before the first batch of an epoch."""
    found: list[Any] = []
    scorer.train_epoch(lambda: UNIFORM, lambda: found.append(act()) if not found else None)
    return found[0]


def test_second_order_gradient_is_that_of_one_step_ahead(strategy: Any) -> None:
    """Autograd through the step: w - xi (momentum * buffer + gradient + decay * w)."""
    scorer = strategy.scorer
    validation = scorer.draw_batch(16)

    def both() -> tuple[Tensor, Tensor, Tensor]:
        found = strategy.gradient(UNIFORM, validation).of_weights["cell"]
        first = scorer.gradient(UNIFORM, validation).of_weights["cell"]
        weights_EO = UNIFORM.weights["cell"].clone().requires_grad_()
        w_P = scorer.parameters().requires_grad_()
        train = loss_of(scorer, scorer.next_batch(), weights_EO, w_P)
        (slope_P,) = torch.autograd.grad(train, w_P, create_graph=True)
        (parameter,) = scorer.update.parameters
        buffer_P = scorer.update.optimiser.state[parameter]["momentum_buffer"].flatten()
        assert buffer_P.any()
        ahead_P = w_P - scorer.learning_rate * (0.9 * buffer_P + slope_P + 3e-4 * w_P)
        torch.testing.assert_close(scorer.unrolled(UNIFORM, scorer.next_batch()), ahead_P.detach())
        outer = loss_of(scorer, validation, weights_EO, ahead_P)
        (expected,) = torch.autograd.grad(outer, weights_EO)
        return found, expected, first

    found, expected, first = before_a_batch(scorer, both)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)
    assert (first - expected).abs().max() > 10 * (found - expected).abs().max()


def test_the_shared_weights_stay_what_they_are(strategy: Any) -> None:
    scorer = strategy.scorer
    scorer.update.clear()
    before = scorer.parameters()

    def gradient() -> None:
        strategy.gradient(UNIFORM, scorer.draw_batch(8))
        assert torch.equal(scorer.parameters(), before)
        assert all(one.grad is None for one in scorer.update.parameters)

    before_a_batch(scorer, gradient)


def test_a_gradient_at_the_shared_weights_is_that_without(strategy: Any) -> None:
    """On a supernet with batch norm and partial channels, whose layout on the device differs."""
    words = ("space.channels=4", "space.cells=1", "space.partial_channels=2")
    scorer = wired("space=nasbench201", *words).strategy.scorer
    batch, mixture = scorer.draw_batch(8), Mixture({"cell": torch.full((6, 5), 0.2)})
    plain, at = (scorer.gradient(mixture, batch, w_P) for w_P in (None, scorer.parameters()))
    assert plain.of_parameters_P is None
    assert at.loss == pytest.approx(plain.loss, rel=1e-5)
    torch.testing.assert_close(
        at.of_weights["cell"], plain.of_weights["cell"], rtol=1e-3, atol=1e-5
    )
    assert at.by_parameters.shape == scorer.parameters().shape
    # a small step against the gradient lowers the loss as the gradient says
    step_P = 1e-3 * at.by_parameters / at.by_parameters.norm()
    lower = scorer.gradient(mixture, batch, scorer.parameters() - step_P).loss
    assert plain.loss - lower == pytest.approx(1e-3 * float(at.by_parameters.norm()), rel=0.05)


class Quadratic:
    """L_train = w'Hw/2 + w'Ba and L_val = c'w + d'a, of three weights w and a mixture a of two."""

    learning_rate = 0.1
    H = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])
    B = torch.tensor([[1.0, -2.0], [0.0, 1.0], [0.5, 0.5]])
    c, d = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([0.3, -0.4])

    def next_batch(self) -> str:
        return "train"

    def parameters(self) -> Tensor:
        return torch.tensor([0.7, -0.2, 0.1])

    def gradient(self, mixture: Mixture, batch: str, at_P: Tensor) -> Gradient:
        a = mixture.weights["cell"][0]
        if batch == "train":
            by_a, by_w = self.B.T @ at_P, self.H @ at_P + self.B @ a
        else:
            by_a, by_w = self.d, self.c
        return Gradient(0.0, 0.0, {"cell": by_a[None]}, None, by_w)


def test_differences_of_gradients_are_products_with_second_derivatives() -> None:
    problem, mixture = Quadratic(), Mixture({"cell": torch.tensor([[0.5, 0.5]])})
    v_P = torch.tensor([3.0, 0.0, -4.0])
    change = change_along(problem, mixture, "train", problem.parameters(), v_P)  # type: ignore[arg-type]
    torch.testing.assert_close(
        change.of_weights["cell"][0], problem.B.T @ v_P, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(change.by_parameters, problem.H @ v_P, rtol=1e-3, atol=1e-3)
    nothing = change_along(problem, mixture, "train", problem.parameters(), 0 * v_P)  # type: ignore[arg-type]
    assert not nothing.by_parameters.any()


@pytest.mark.parametrize("terms", [0, 1, 2, 200])
def test_implicit_gradient_is_the_truncated_neumann_series(terms: int) -> None:
    """d - gamma sum_k B'(I - gamma H)^k c, which for many terms is d - B'H^-1 c: the gradient of
    L_val at the best weights -H^-1 B a."""
    problem, mixture = Quadratic(), Mixture({"cell": torch.tensor([[0.5, 0.5]])})
    method = SimpleNamespace(scorer=problem, neumann_terms=terms)
    found = IDARTS.gradient(method, mixture, "validation").of_weights["cell"][0]  # type: ignore[arg-type]
    step = torch.eye(3) - 0.1 * problem.H
    powers = [torch.linalg.matrix_power(step, k) for k in range(terms + 1)]
    expected = problem.d - 0.1 * problem.B.T @ torch.stack(powers).sum(0) @ problem.c
    if terms == 200:
        expected = problem.d - problem.B.T @ torch.linalg.solve(problem.H, problem.c)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


def test_idarts_moves_alpha_before_each_t_th_batch_of_an_epoch() -> None:
    words = ("strategy=idarts", "strategy.inner_steps=3", "dataset.batch_size=4")
    wiring = wired("space=toy", *words, "dataset.num_train=32")  # 4 batches of a half
    method, moved = wiring.strategy, []
    assert isinstance(method, IDARTS)
    follow = method.follow
    method.follow = lambda *told: moved.append(method.batch) or follow(*told)  # type: ignore[method-assign, func-returns-value]
    method.step()
    method.step()
    assert moved == [0, 3, 0, 3]


@pytest.mark.parametrize(
    ("words", "what"),
    [(("strategy=darts", "strategy.order=2"), "strategy.order=2"),
     (("strategy=idarts",), "strategy=idarts")],
)  # fmt: skip
def test_a_landscape_is_refused_before_a_run(words: tuple[str, ...], what: str, made_table) -> None:
    words += ("space=nasbench201", "evaluator=table", made_table, "dataset=cifar10", "retrain=none")
    expected = f"{what} needs the weights of a supernet, and evaluator=table has none"
    with pytest.raises(UsageError, match=expected):
        _ = wired(*words, "evaluator.accuracy_floor=0.4").strategy
