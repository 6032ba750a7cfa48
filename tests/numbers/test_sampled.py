"""RandomNAS and ENAS on scores that are known: the choice at the end, and REINFORCE by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.networks.toy import GAINS_EO
from nasrun.protocols.scorer import Scorer, Scores
from nasrun.randomness import RandomStreams
from nasrun.spaces.toy import Toy
from nasrun.strategies.sampled.controller import Controller
from nasrun.strategies.sampled.enas import ENAS, reinforce_loss
from nasrun.strategies.sampled.randomnas import RandomNAS
from tests.made_egnas import TRAINING

SPACE = Toy()
OPTIMUM = SPACE.decode((3, 1, 0))
FINAL = {
    "num_candidates": 100, "candidate_images": 8, "num_finalists": 4, "finalist_images": 16,
    "finalist_batches": 2,
}  # fmt: skip
CONTROLLER = {
    "hidden": 8, "tanh_constant": 1.1, "temperature": 5.0, "controller_learning_rate": 0.05,
    "controller_gradient_clip": 5.0, "num_updates": 30, "num_samples": 10, "reward_images": 8,
    "entropy_weight": 0.0001, "baseline_decay": 0.9,
}  # fmt: skip


class Known(Scorer):
    """accuracy = (sum of the gains) / 12 on many images; on few images the best two are as good."""

    def __init__(self) -> None:
        self.num_scorings = 0
        self.trained: list[Any] = []
        self.asked: list[tuple[int, int]] = []

    def train_paths(self, draw):
        self.trained += [draw() for _ in range(4)]
        return {"loss": 1.0}

    def draw_batch(self, num_images):
        return num_images

    def score_paths(self, genotypes, batch):
        self.num_scorings += len(genotypes)
        self.asked.append((len(genotypes), batch))
        accuracy_N = np.array([gain(one) for one in genotypes])
        if batch == FINAL["candidate_images"]:
            accuracy_N = np.minimum(accuracy_N, 10 / 12)
        return Scores(-accuracy_N, accuracy_N)

    def state_dict(self):
        return {}

    def load_state_dict(self, state) -> None:
        assert state == {}


def gain(genotype) -> float:
    return sum(GAINS_EO[e][gene] for e, gene in enumerate(SPACE.encode(genotype))) / 12


def made(method, num_epochs: int = 2, seed: int = 0, space: Any = SPACE, **changes: Any):
    scorer = Known()
    context = SimpleNamespace(
        allowed_space=space,
        limits=None,
        streams=RandomStreams(seed),
        scorer=lambda **_: scorer,
        progress=lambda *_, **__: None,
    )
    settings = FINAL | (CONTROLLER if method is ENAS else {}) | changes
    return method(context, num_epochs=num_epochs, batch_size=None, training=TRAINING, **settings)


def test_random_search_takes_the_best_of_the_best_on_more_images() -> None:
    """100 draws of 64 genotypes; on few images two of them look alike."""
    strategy = made(RandomNAS)
    first, last = strategy.step(), strategy.step()
    assert first.incumbent is None
    assert last.incumbent == strategy.best()[0] == OPTIMUM
    assert last.metrics["final_val_accuracy"] == pytest.approx(1.0)
    num_drawn = sum(count for count, images in strategy.scorer.asked if images == 8)
    assert 40 < num_drawn < 64  # each only once
    assert strategy.scorer.asked[-2:] == [(4, 16), (4, 16)]
    assert strategy.finished


def test_equal_accuracies_are_ranked_by_the_loss_and_failures_come_last() -> None:
    strategy = made(RandomNAS)
    candidates = [SPACE.decode((gene, 0, 0)) for gene in range(4)]
    scores = Scores(np.array([0.3, 0.2, np.nan, 0.1]), np.array([0.5, 0.5, 0.5, 0.4]))
    strategy.scorer.score_paths = lambda *_: scores
    order, ranked = strategy.ranked(candidates, [8])
    assert [candidates.index(one) for one in order] == [1, 0, 2, 3]
    assert ranked.accuracy_N.tolist() == [0.5, 0.5, 0.5, 0.4]


def test_weights_are_trained_on_uniform_draws() -> None:
    strategy = made(RandomNAS, seed=3)
    strategy.step()
    rng = RandomStreams(3).numpy("search")
    assert strategy.scorer.trained == [SPACE.sample(rng) for _ in range(4)]


def test_a_search_that_is_stopped_early_has_a_result() -> None:
    strategy = made(RandomNAS)
    strategy.step()
    assert strategy.best() == (OPTIMUM,)


def two_armed(bias: tuple[float, float], **changes: Any) -> ENAS:
    """A controller without weights, whose only gene has the logits 2 tanh(bias / 4)."""
    space = SimpleNamespace(cardinalities=(2,), decode=tuple)
    strategy = made(ENAS, space=space, tanh_constant=2.0, temperature=4.0, **changes)
    for parameter in strategy.controller.parameters():
        parameter.data.zero_()
    strategy.controller.outputs["2"].bias.data = torch.tensor(bias)
    return strategy


def test_the_gradient_of_two_arms_by_hand() -> None:
    """d log p(a) / d logit_i = [i = a] - p_i, and d logit / d bias = 2 (1 - tanh(bias / 4)^2) / 4.

    The rewards .8 and .2 of the arms 0 and 1 are followed by a baseline that begins at .8 and goes
    a tenth of the way to each of them: .8, .74.
    """
    bias = (0.4, -1.2)
    strategy = two_armed(bias)
    controller = strategy.controller
    advantage_M = strategy.advantages(torch.tensor([0.8, 0.2]))
    assert advantage_M.tolist() == pytest.approx([0.0, -0.54])
    assert strategy.baseline == pytest.approx(0.74)
    logits = 2 * np.tanh(np.array(bias) / 4)
    p = np.exp(logits) / np.exp(logits).sum()
    samples = controller.sample(50, torch.Generator().manual_seed(0))
    arms_M = samples.genes_MD[:, 0].numpy()
    assert samples.log_probability_M.detach().numpy() == pytest.approx(np.log(p[arms_M]), abs=1e-6)
    assert samples.entropy_M.tolist() == pytest.approx([-(p * np.log(p)).sum()] * 50)
    chosen = [int(np.flatnonzero(arms_M == arm)[0]) for arm in (0, 1)]
    loss = reinforce_loss(samples.log_probability_M[chosen], advantage_M)
    (gradient,) = torch.autograd.grad(loss, [controller.outputs["2"].bias])
    by_logits = 0.54 / 2 * (np.array([0.0, 1.0]) - p)
    expected = by_logits * 2 * (1 - np.tanh(np.array(bias) / 4) ** 2) / 4
    assert gradient.numpy() == pytest.approx(expected, abs=1e-6)


def test_an_update_is_a_step_of_adam_along_the_gradient_of_its_samples() -> None:
    """Adam's first step with betas (0, .999) and eps .001 is lr * g / (|g| + .001)."""
    strategy = two_armed((0.0, 0.0), num_samples=6)
    rewards = np.array([0.25, 0.75])
    strategy.scorer.score_paths = lambda arms, _: Scores(  # type: ignore[method-assign]
        np.zeros(6), rewards[[arm for (arm,) in arms]]
    )
    again = RandomStreams(0).torch("controller")
    torch.empty(sum(p.numel() for p in strategy.controller.parameters())).uniform_(generator=again)
    strategy.generator.set_state(again.get_state())
    arms_M = strategy.controller.sample(6, again).genes_MD[:, 0].numpy()
    assert {*arms_M} == {0, 1}
    reward_M = rewards[arms_M] + 0.0001 * np.log(2)
    baseline, advantage_M = reward_M[0], []
    for reward in reward_M:
        baseline = 0.9 * baseline + 0.1 * reward
        advantage_M.append(reward - baseline)
    one_hot_M2 = np.eye(2)[arms_M]
    gradient = -(np.array(advantage_M)[:, None] * (one_hot_M2 - 0.5)).mean(0) * 2 / 4
    figures, entropy = strategy.update()
    moved = strategy.controller.outputs["2"].bias.detach().numpy()
    assert moved == pytest.approx(-0.05 * gradient / (np.abs(gradient) + 0.001), rel=1e-3)
    assert figures == {"val_accuracy": pytest.approx(rewards[arms_M].mean())}
    assert entropy == pytest.approx(np.log(2))


def test_genes_with_equally_many_values_share_their_layers() -> None:
    controller = Controller(
        (3, 2, 3), hidden=4, tanh_constant=1.0, temperature=1.0, generator=torch.Generator()
    )
    genes_MD = controller.sample(200, torch.Generator().manual_seed(1)).genes_MD
    assert genes_MD.amax(0).tolist() == [2, 1, 2]
    assert set(controller.outputs) == set(controller.embeddings) == {"2", "3"}


def test_the_controller_learns_where_the_rewards_are() -> None:
    strategy = made(ENAS, num_epochs=4, tanh_constant=2.5)
    means = [strategy.step().metrics["val_accuracy"] for _ in range(4)]
    assert means[0] < 0.65  # 7 / 12 is the mean of all
    assert means[-1] > 0.75
    assert strategy.best() == (OPTIMUM,)


def test_weights_are_trained_on_samples_of_the_controller() -> None:
    strategy = made(ENAS)
    strategy.controller.outputs["4"].bias.data = torch.tensor([9e9, 0.0, 0.0, 0.0])
    strategy.controller.tanh_constant = 50.0
    strategy.step()
    assert strategy.scorer.trained == [SPACE.decode((0, 0, 0))] * 4
