"""ENAS: Efficient Neural Architecture Search via Parameter Sharing.

H. Pham, M. Y. Guan, B. Zoph, Q. V. Le, J. Dean. ICML 2018, arXiv 1802.03268.

A controller, an LSTM, samples architectures gene by gene; all of them share their weights. Weights
and controller are trained in turn, the controller by REINFORCE:

    for each epoch:
        for each batch of the training half:
            train the weights of one architecture that the controller samples
        num_updates times:
            sample num_samples architectures m; on a batch of the validation half
            reward R_m = accuracy_m + entropy_weight * entropy_m of the controller
            baseline b = its moving average, R_m included
            step of Adam along the gradient of the mean of log p(m) * (R_m - b)
    return the best of some samples by its accuracy

Deviations:
- The controller samples the genes of the space, in their order; genes with equally many values
  share embedding and output layer. The paper's attention over earlier nodes and its
  penalty on skips belong to its own space.
- The samples of an update share one batch; in the public codes each has its own.
- SGD on the weights follows a cosine without restarts.

Shapes: M samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import BatchImages, Count, Fraction, NotNegative, Positive, plugin
from nasrun.strategies.sampled.base import SampledSearch
from nasrun.strategies.sampled.controller import Controller
from nasrun.training.optimisers import Adam


@plugin
class ENAS(SampledSearch):
    """The strategy; see the module's docstring, and `SampledSearch` for its other settings."""

    hidden: Count  # units of the LSTM
    tanh_constant: Positive
    temperature: Positive
    controller_learning_rate: Positive  # of Adam
    controller_gradient_clip: Positive  # the largest norm of its gradient
    num_updates: Count  # of the controller, after each epoch of the weights
    num_samples: Count  # M, behind an update
    reward_images: BatchImages  # of the validation half, behind the rewards of an update
    entropy_weight: NotNegative
    baseline_decay: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        self.generator = self.context.streams.torch("controller")
        self.controller = Controller(
            self.space.cardinalities,
            hidden=self.hidden,
            tanh_constant=self.tanh_constant,
            temperature=self.temperature,
            generator=self.generator,
        )
        self.optimiser = Adam(
            list(self.controller.parameters()),
            lr=self.controller_learning_rate,
            betas=(0.0, 0.999),
            eps=1e-3,
        )
        self.baseline: float | None = None  # the first reward begins it

    @torch.no_grad()
    def draw(self) -> Genotype:
        genes_1D = self.controller.sample(1, self.generator).genes_MD
        return self.space.decode(genes_1D[0].tolist())

    def learn(self) -> dict[str, float]:
        """Train the controller; return means over its updates."""
        found, entropies = list[dict[str, float]](), list[float]()
        for update in range(self.num_updates):
            figures, entropy = self.update()
            found.append(figures)
            entropies.append(entropy)
            self.context.progress(update + 1, self.num_updates, accuracy=figures["val_accuracy"])
        return {
            **{name: sum(one[name] for one in found) / len(found) for name in found[0]},
            "controller_entropy": sum(entropies) / len(entropies),
            "baseline": self.baseline or 0.0,
        }

    def update(self) -> tuple[dict[str, float], float]:
        """Make one step of the controller; return the mean accuracy and entropy of its samples."""
        samples = self.controller.sample(self.num_samples, self.generator)
        genotypes = [self.space.decode(genes) for genes in samples.genes_MD.tolist()]
        batch = self.scorer.draw_batch(self.reward_images)
        scores = self.scorer.score_paths(genotypes, batch)
        reward_M = torch.from_numpy(scores.quality_N).float()
        reward_M = reward_M + self.entropy_weight * samples.entropy_M.detach()
        loss = reinforce_loss(samples.log_probability_M, self.advantages(reward_M))
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(self.controller.parameters(), self.controller_gradient_clip)
        self.optimiser.step()
        return scores.figures(), float(samples.entropy_M.detach().mean())

    def advantages(self, reward_M: Tensor) -> Tensor:
        """Move the baseline by one reward after the other; return how far each is above it."""
        advantages = []
        for reward in reward_M.tolist():
            before = reward if self.baseline is None else self.baseline
            self.baseline = before - (1 - self.baseline_decay) * (before - reward)
            advantages.append(reward - self.baseline)
        return torch.tensor(advantages)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "controller": self.controller.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "baseline": self.baseline,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.controller.load_state_dict(state["controller"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.baseline = state["baseline"]


def reinforce_loss(log_probability_M: Tensor, advantage_M: Tensor) -> Tensor:
    """Return what has the gradient of REINFORCE (R. J. Williams, 1992), to be minimised."""
    return -(log_probability_M * advantage_M).mean()
