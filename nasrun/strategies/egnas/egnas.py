"""EG-NAS: Neural Architecture Search with Fast Evolutionary Exploration.

Z. Cai, L. Chen, P. Liu, T. Ling, Y. Lai. AAAI 2024, doi 10.1609/aaai.v38i10.28993.

The weights w of a supernet are trained by gradient descent. The architecture parameters alpha are
not: once per epoch N evolution strategies start near alpha, and alpha moves towards the best
architecture that they find (Algorithm 1):

    for each epoch t:
        update w by the gradient of L_train(w, alpha)                                 line 3
        for n in 1..N:                                                                line 4
            x_n = alpha + sigma_start * y,  y ~ N(0, I)                               line 5
            CMA-ES from mean x_n: sample lambda candidates (Eq. 3), score them (Eq. 7),
                update mean, covariance and step size (Eq. 4, 5), best one into P     lines 6-11
            x*_n = the best of P and of the mean                                      lines 12-13
        s = the x*_n with the best validation accuracy (Eq. 9)                        line 15
        alpha = alpha + xi * s (Eq. 8)                                                line 16
    derive the cell from alpha                                                        line 18

Deviations, where the paper is silent, contradicts itself or does not work as printed:
- Eq. 8 adds s itself, which is an alpha-like vector: literally, alpha grows by (1 + xi) per epoch.
  `direction=delta` (default) takes s := x* - alpha; `softmax` and `raw` (literal) are selectable.
- L2 near 1 means similar (Eq. 6); the sentence after it says the opposite. The formula holds.
- Eq. 7 jumps by 2*eta*L2 where the sign changes, in favour of candidates worse than alpha.
  `fitness=paper` is the printed form; `fitness=centred` subtracts the population's mean of L2.
- The loop "while k < lambda" of line 6 counts generations and candidates alike; the cost stated in
  the text is N*lambda scorings, so `num_generations` is 1 by default; literally it is lambda - 1.
- sigma is not given: 0.3 throughout; `sigma_schedule=inverse` is what the public code meant to do.
- The warm-up of 15 of 50 epochs is a share (0.3) of any number of epochs.
- `weights=sampled` trains w on one random architecture per batch in place of the mixture alpha.
- Eq. 5 centres the covariance on the new mean; pycma's standard update centres on the old one and
  divides by sigma.
- Candidates are scored under batch statistics, on images without augmentation; Eq. 9 uses other
  images of the validation half than the fitness. alpha starts at 1e-3 * N(0, 1) as in DARTS.
- The candidates of one start differ from those of every other: N has an effect. What the public
  code does in effect is `strategy=egnas_as_published`.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from nasrun.errors import RunError, require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import DifferentiableSpace, Mixture, Statistics
from nasrun.protocols.strategy import Strategy
from nasrun.strategies.egnas.cma_es import Covariance, EvolutionStrategies
from nasrun.strategies.egnas.fitness import (
    Exploration,
    Start,
    compound_fitness,
    cosine_similarity,
    flat,
    one_by_one,
    softmax_per_edge,
    weights_step,
)

Direction = Literal["delta", "softmax", "raw"]
Similarity = Literal["printed", "centred"]
SigmaSchedule = Literal["constant", "inverse"]
Training = Literal["mixture", "sampled"]

SIGMA_MIN = 0.02  # of the inverse schedule, as in the public code
FINAL_BATCHES, FINAL_IMAGES = 4, 512  # behind the accuracy of the last alpha


class EGNAS(Strategy):
    """The strategy; see the module's docstring.

    Args:
        num_epochs: T, warm-up included.
        warmup: share of the epochs in which only the weights are trained.
        weights: w is trained on the mixture `alpha`, or on `sampled` paths.
        num_starts: N, evolution strategies per epoch.
        population_size: lambda, candidates per generation.
        num_generations: of each evolution strategy; `None` is lambda - 1, Algorithm 1 to the word.
        sigma: initial step size of CMA-ES.
        sigma_schedule: `constant`, or `inverse`: sigma / t in the t-th epoch after warm-up, never
            below 0.02 (nor above sigma).
        covariance: of CMA-ES, `full` or `separable`.
        sigma_start: distance of the starts from alpha (line 5).
        xi: step size of Eq. 8.
        zeta, eta: weights of cross-entropy and similarity in the fitness (Eq. 7).
        similarity: `printed`, or `centred` on the mean similarity of the population.
        direction: what s is, see Deviations.
        statistics: batch norm while candidates are scored, `batch` or `running`.
        fitness_batches: batches behind a fitness; all candidates of an epoch share them.
        fitness_images, selection_images: images of a batch for Eq. 7 and for Eq. 9, both of the
            validation half; `selection_images=0` scores Eq. 9 on the images of the fitness.
        batch_size: images per update of w; `None` takes the dataset's.
        learning_rate, learning_rate_min, momentum, weight_decay, gradient_clip: SGD on w.
    """

    unit: ClassVar[str] = "epoch"
    needs_alphas: ClassVar[bool] = True
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.xi or strategy.sigma",
        "worse": "lower fitness.eta, or raise population.size",
        "noise": "raise strategy.fitness_images or strategy.sigma",
        "tau": "lower fitness.eta, or choose fitness=centred",
        "collapse": "a longer strategy.warmup and strategy.weights=sampled are worth a try",
    }

    def __init__(
        self,
        context: SearchContext,
        *,
        num_epochs: int,
        warmup: float,
        weights: Training,
        num_starts: int,
        population_size: int,
        num_generations: int | None,
        sigma: float,
        sigma_schedule: SigmaSchedule,
        covariance: Covariance,
        sigma_start: float,
        xi: float,
        zeta: float,
        eta: float,
        similarity: Similarity,
        direction: Direction,
        statistics: Statistics,
        fitness_batches: int,
        fitness_images: int,
        selection_images: int,
        batch_size: int | None,
        learning_rate: float,
        learning_rate_min: float,
        momentum: float,
        weight_decay: float,
        gradient_clip: float,
    ) -> None:
        require(num_epochs >= 1, "budget.epochs", num_epochs, "at least 1")
        require(0 <= warmup < 1, "strategy.warmup", warmup, "a share of the epochs, in [0, 1)")
        require(num_starts >= 1, "strategy.num_starts", num_starts, "at least 1")
        require(
            population_size >= 2,
            "population.size",
            population_size,
            "at least 2, since CMA-ES recombines the better half",
        )
        if num_generations is None:
            num_generations = population_size - 1
        require(num_generations >= 1, "strategy.num_generations", num_generations, "at least 1")
        require(sigma > 0, "strategy.sigma", sigma, "above 0")
        require(sigma_start >= 0, "strategy.sigma_start", sigma_start, "at least 0")
        require(statistics != "update", "strategy.statistics", statistics, "batch or running")
        require(fitness_batches >= 1, "strategy.fitness_batches", fitness_batches, "at least 1")
        require(fitness_images >= 2, "strategy.fitness_images", fitness_images, "at least 2")
        enough = selection_images == 0 or selection_images >= 2
        require(enough, "strategy.selection_images", selection_images, "0, or at least 2")
        require(batch_size is None or batch_size >= 1, "strategy.batch_size", batch_size, ">= 1")
        require(learning_rate > 0, "strategy.learning_rate", learning_rate, "above 0")
        require(0 <= momentum < 1, "strategy.momentum", momentum, "in [0, 1)")
        require(weight_decay >= 0, "strategy.weight_decay", weight_decay, "at least 0")
        self.num_epochs = num_epochs
        self.num_warmup = round(warmup * num_epochs)
        self.weights = weights
        self.num_starts = num_starts
        self.num_generations = num_generations
        self.sigma = sigma
        self.sigma_schedule = sigma_schedule
        self.sigma_start = sigma_start
        self.xi = xi
        self.zeta = zeta
        self.eta = eta
        self.similarity = similarity
        self.direction = direction
        self.statistics = statistics
        self.fitness_batches = fitness_batches
        self.fitness_images = fitness_images
        self.selection_images = selection_images
        self.space: DifferentiableSpace = context.space
        self.rng = context.streams.numpy("search")
        self.progress = context.progress
        self.scorer = context.scorer(
            num_epochs=num_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_min=learning_rate_min,
            momentum=momentum,
            weight_decay=weight_decay,
            gradient_clip=gradient_clip,
        )
        self.require_possible()
        self.epoch = 0
        dimension = sum(edges * ops for edges, ops in self.space.alpha_shapes.values())
        self.alpha_D = 1e-3 * self.rng.standard_normal(dimension)
        self.strategies = EvolutionStrategies(dimension, population_size, self.rng, covariance)

    def require_possible(self) -> None:
        """For variants that have no choice in some setting."""

    @property
    def total_steps(self) -> int:
        return self.num_epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.num_epochs

    def step(self) -> StepReport:
        """One epoch: lines 3 to 16."""
        # Line 3: the weights.
        metrics = {f"train_{name}": value for name, value in self.train().items()}
        # Lines 4 to 16: the architecture.
        self.epoch += 1
        if self.epoch > self.num_warmup:
            metrics |= self.explore()
        if self.finished:
            metrics["final_val_accuracy"] = self.final_accuracy()
        return StepReport(
            metrics=metrics | {"scorings": float(self.scorer.num_scorings)},
            incumbent=self.best()[0],
            weights=self.mixing_weights(self.alpha_D),
        )

    def train(self) -> dict[str, float]:
        """One pass over the training half."""
        if self.weights == "sampled":
            return self.scorer.train_paths(lambda: self.space.sample(self.rng))
        mixture = Mixture(self.mixing_weights(self.alpha_D))
        return self.scorer.train_epoch(lambda: mixture)

    def explore(self) -> dict[str, float]:
        """Lines 4 to 16: move alpha by one step. N*lambda*G + 1 + N scorings, and N for the means.

        Without a single finite score the epoch leaves alpha where it is.
        """
        epoch = self.look_around()

        # Lines 4 to 14.
        starts = list[Start]()
        for start_D in self.starting_points():
            starts.append(self.evolve(start_D, epoch))
            self.progress(len(starts), self.num_starts, fitness=starts[-1].fitness)

        # Line 15, Eq. 9.
        accuracy_N = self.selection_accuracy(np.stack([start.alpha_D for start in starts]), epoch)
        found_N = np.isfinite([start.fitness for start in starts])
        best = starts[int(np.argmax(np.where(found_N, accuracy_N, -1.0)))]

        # Line 16, Eq. 8.
        before_D = self.alpha_D
        if found_N.any():
            self.alpha_D = self.alpha_D + self.xi * self.search_direction(best.alpha_D)
        return epoch.metrics(starts) | {
            "chosen_loss": best.loss,
            "chosen_accuracy": float(accuracy_N.max()),
            "alpha_step": float(np.linalg.norm(self.alpha_D - before_D)),
            "alpha_norm": float(np.linalg.norm(self.alpha_D)),
            "weights_step": weights_step(
                self.mixing_weights(before_D), self.mixing_weights(self.alpha_D)
            ),
        }

    def look_around(self) -> Exploration:
        """The images on which this epoch's candidates compete, and alpha's own score on them."""
        batches = [self.scorer.draw_batch(self.fitness_images) for _ in range(self.fitness_batches)]
        epoch = Exploration(self.scorer, batches, self.statistics)
        own = epoch.score([Mixture(self.mixing_weights(self.alpha_D))])
        if not np.isfinite(own.loss_N[0]):
            raise RunError(
                f"the supernet's validation loss is {own.loss_N[0]} in epoch {self.epoch}: "
                "lower strategy.learning_rate"
            )
        epoch.loss, epoch.accuracy = float(own.loss_N[0]), float(own.accuracy_N[0])
        return epoch

    def starting_points(self) -> Iterator[np.ndarray]:
        """Line 5."""
        for _ in range(self.num_starts):
            yield self.alpha_D + self.sigma_start * self.rng.standard_normal(self.alpha_D.size)

    def evolve(self, start_D: np.ndarray, epoch: Exploration) -> Start:
        """Lines 6 to 13: one CMA-ES from `start_D`; the best of its candidates and of its mean."""
        strategy = self.cma_es(start_D)
        best = Start(start_D, np.inf, np.inf)  # the set P needs no more than its best member
        for _ in range(self.num_generations):
            candidates_ND = np.stack(strategy.ask())  # Eq. 3
            scores, fitness_N, mean_similarity = self.fitness(candidates_ND, epoch)
            epoch.note(fitness_N, scores)
            finite_N = np.isfinite(fitness_N)
            if not finite_N.any():
                return best
            # pycma takes NaN for a score: a failed candidate ranks behind the worst one.
            worst = fitness_N[finite_N].max() + 1.0
            strategy.tell(list(candidates_ND), list(np.where(finite_N, fitness_N, worst)))
            epoch.sigma = float(strategy.sigma)
            i = int(np.argmin(np.where(finite_N, fitness_N, np.inf)))
            if fitness_N[i] < best.fitness:
                best = Start(candidates_ND[i], float(fitness_N[i]), float(scores.loss_N[i]))
        mean_D = np.asarray(strategy.mean)  # m of line 12: no generation has scored the last one
        scores, fitness_1, _ = self.fitness(mean_D[None], epoch, mean_similarity)
        if fitness_1[0] < best.fitness:
            best = Start(mean_D, float(fitness_1[0]), float(scores.loss_N[0]))
        return best

    def cma_es(self, start_D: np.ndarray) -> Any:
        """Hansen's CMA-ES, drawing from this strategy's own generator."""
        if self.sigma_schedule == "constant":
            return self.strategies.start(start_D, self.sigma)
        sigma = self.sigma / max(1, self.epoch - self.num_warmup)
        return self.strategies.start(start_D, max(sigma, min(SIGMA_MIN, self.sigma)))

    def fitness(
        self, candidates_ND: np.ndarray, epoch: Exploration, mean_similarity: float | None = None
    ) -> tuple[Scores, np.ndarray, float]:
        """L1 (of the scores), f (fitness_N, Eq. 7) and the mean of L2, by which `centred` shifts
        L2."""
        scores = epoch.score(self.mixtures(candidates_ND))
        similarity_N = cosine_similarity(self.alpha_D, candidates_ND)
        mean = float(similarity_N.mean()) if mean_similarity is None else mean_similarity
        shift = mean if self.similarity == "centred" else 0.0
        worse_N = epoch.accuracy > scores.accuracy_N
        fitness_N = compound_fitness(
            scores.loss_N, similarity_N - shift, worse_N, self.zeta, self.eta
        )
        return scores, fitness_N, mean

    def selection_accuracy(self, candidates_ND: np.ndarray, epoch: Exploration) -> np.ndarray:
        """Acc_val of Eq. 9, by default on other images than those that chose the x*_n."""
        if self.selection_images == 0:
            return epoch.score(self.mixtures(candidates_ND)).accuracy_N
        batch = self.scorer.draw_batch(self.selection_images)
        return self.scorer.score(self.mixtures(candidates_ND), batch, self.statistics).accuracy_N

    def search_direction(self, best_D: np.ndarray) -> np.ndarray:
        """s of Eq. 8, from the chosen x*."""
        if self.direction == "delta":
            return best_D - self.alpha_D
        if self.direction == "raw":
            return best_D
        return flat(self.mixing_weights(best_D))

    def final_accuracy(self) -> float:
        """That of the last alpha, on more images than a fitness has."""
        mixture = [Mixture(self.mixing_weights(self.alpha_D))]
        batches = [self.scorer.draw_batch(FINAL_IMAGES) for _ in range(FINAL_BATCHES)]
        scores = [self.scorer.score(mixture, batch, self.statistics) for batch in batches]
        return float(np.mean([score.accuracy_N[0] for score in scores]))

    def mixing_weights(self, alpha_D: np.ndarray) -> dict[str, Tensor]:
        """Eq. 1: the softmax over the operations of each edge; cell type -> weights_EO, float32."""
        return softmax_per_edge(alpha_D, self.space.alpha_shapes)

    def mixtures(self, candidates_ND: np.ndarray) -> list[Mixture]:
        """Apply `mixing_weights` to each candidate, in one call."""
        return one_by_one(softmax_per_edge(candidates_ND, self.space.alpha_shapes))

    def best(self) -> tuple[Genotype, ...]:
        """Line 18: the cell that alpha stands for now."""
        return (self.space.discretise(self.mixing_weights(self.alpha_D)),)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "alpha": torch.from_numpy(self.alpha_D.copy()),
            "scorer": self.scorer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.alpha_D = state["alpha"].numpy().copy()
        self.scorer.load_state_dict(state["scorer"])
