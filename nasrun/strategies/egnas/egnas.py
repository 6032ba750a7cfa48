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
- `strategy=egnas` is small: N 3 and lambda 8 for 5 and 25, w at .1 to 0 for DARTS's .025 to .001.
  `egnas_paper` has the paper's; `egnas_imagenet` lowers w's rate along a cosine, not linearly.
- `weights=sampled` trains w on one random architecture per batch in place of the mixture alpha.
- Eq. 5 centres the covariance on the new mean; pycma's standard update centres on the old one and
  divides by sigma. `active=true` lets the worse half count too, by negative weights.
- Candidates are scored under batch statistics, on images without augmentation; Eq. 9 uses
  images of the validation half that no fitness has seen. alpha starts at 1e-3 * N(0, 1).
- What the public code does in effect is `strategy=egnas_as_published`, where N has no effect.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from nasrun.protocols.scorer import Scores
from nasrun.protocols.settings import (
    BatchImages,
    Count,
    NotNegative,
    PopulationSize,
    Positive,
    plugin,
)
from nasrun.protocols.space import Mixture
from nasrun.strategies.egnas.base import AlphaExploration
from nasrun.strategies.egnas.cma_es import Covariance, EvolutionStrategies, SigmaSchedule
from nasrun.strategies.egnas.fitness import (
    Exploration,
    Start,
    compound_fitness,
    cosine_similarity,
    movement,
)
from nasrun.strategies.egnas.mixing import flat, one_by_one, softmax_per_edge


@plugin
class EGNAS(AlphaExploration):
    """The strategy; see the module's docstring."""

    step_cost: ClassVar[str] = "1 gradient a batch, scores"
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.xi or strategy.sigma",
        "worse": "lower fitness.eta, or raise population.size",
        "flat": "raise fitness.zeta or fitness.eta",
        "noise": "raise strategy.fitness_images or strategy.sigma",
        "tau": "lower fitness.eta, or choose fitness=centred",
        "collapse": "a longer strategy.warmup and strategy.weights=sampled are worth a try",
    }

    num_starts: Count  # N, evolution strategies per epoch
    population_size: PopulationSize  # lambda; CMA-ES recombines the better half
    num_generations: Count | None  # per start; `None`: lambda - 1, Algorithm 1 to the word
    sigma: Positive  # initial step size of CMA-ES
    sigma_schedule: SigmaSchedule
    covariance: Covariance  # of CMA-ES
    active: bool  # negative weights of the worse half
    sigma_start: NotNegative  # distance of the starts from alpha (line 5)
    xi: float  # step size of Eq. 8
    zeta: float  # weight of the cross-entropy in Eq. 7
    eta: float  # weight of the similarity in Eq. 7
    similarity: Literal["printed", "centred"]  # as it is, or less the population's mean
    direction: Literal["delta", "softmax", "raw"]  # what s is, see Deviations
    selection_images: Literal[0] | BatchImages  # others, for Eq. 9; 0 takes those of the fitness

    def __post_init__(self) -> None:
        super().__post_init__()
        self.strategies = EvolutionStrategies(
            self.alpha_D.size,
            self.population_size,
            self.rng,
            sigma=self.sigma,
            schedule=self.sigma_schedule,
            covariance=self.covariance,
            active=self.active,
        )

    @property
    def images_apart(self) -> Sequence[tuple[str, int]]:
        last = [("selection_images", self.selection_images)] if self.selection_images else []
        return [*super().images_apart, *last]

    def explore(self) -> dict[str, float]:
        """Lines 4 to 16: move alpha by one step. N*lambda*G + 1 + N scorings, and N for the means.

        Without a single finite score the epoch leaves alpha where it is.
        """
        epoch = self.look_around()
        # Lines 4 to 14.
        starts = list[Start]()
        for start_D in self.starting_points():
            starts.append(self.evolve(start_D, epoch))
            self.context.progress(len(starts), self.num_starts, fitness=starts[-1].fitness)

        # Line 15, Eq. 9.
        chosen_ND = np.stack([start.alpha_D for start in starts])
        selected = epoch.select(self.mixtures(chosen_ND))
        found_N = np.isfinite([start.fitness for start in starts])
        best = int(np.argmax(np.where(found_N, selected.quality_N, -1.0)))

        # Line 16, Eq. 8.
        before_D = self.alpha_D
        if found_N.any():
            self.alpha_D = before_D + self.xi * self.search_direction(chosen_ND[best])
        return (
            epoch.metrics(starts)
            | {"chosen_loss": starts[best].loss}
            | {"chosen_accuracy": float(selected.accuracy_N[best])}
            | movement(before_D, self.alpha_D, self.space.alpha_shapes)
        )

    def starting_points(self) -> Iterator[np.ndarray]:
        """Line 5: draw the N starts around alpha."""
        for _ in range(self.num_starts):
            yield self.alpha_D + self.sigma_start * self.rng.standard_normal(self.alpha_D.size)

    def evolve(self, start_D: np.ndarray, epoch: Exploration) -> Start:
        """Lines 6 to 13: run one CMA-ES; return the best of its candidates and of its mean."""
        strategy = self.strategies.start(start_D, self.epoch - self.num_warmup)
        best = Start(start_D)  # the set P needs no more than its best member
        for _ in range(self.num_generations or self.population_size - 1):
            candidates_ND = strategy.ask()  # Eq. 3
            scores, fitness_N, mean_similarity = self.fitness(candidates_ND, epoch)
            epoch.note(fitness_N, scores)
            if not np.isfinite(fitness_N).any():
                return best
            strategy.tell(candidates_ND, fitness_N)  # Eq. 4, 5
            epoch.sigma = strategy.sigma
            best = best.or_better(candidates_ND, fitness_N, scores)
        mean_1D = strategy.mean[None]  # m of line 12: no generation has scored the last one
        scores, fitness_1, _ = self.fitness(mean_1D, epoch, mean_similarity)
        return best.or_better(mean_1D, fitness_1, scores)

    def fitness(
        self, candidates_ND: np.ndarray, epoch: Exploration, mean_similarity: float | None = None
    ) -> tuple[Scores, np.ndarray, float]:
        """Score candidates (L1); return fitness_N (Eq. 7) and the mean of L2, the shift, too."""
        scores = epoch.score(self.mixtures(candidates_ND))
        similarity_N = cosine_similarity(self.alpha_D, candidates_ND)
        mean = float(similarity_N.mean()) if mean_similarity is None else mean_similarity
        shift = mean if self.similarity == "centred" else 0.0
        worse_N = epoch.quality > scores.quality_N
        fitness_N = compound_fitness(
            scores.loss_N, similarity_N - shift, worse_N, self.zeta, self.eta
        )
        return scores, fitness_N, mean

    def search_direction(self, best_D: np.ndarray) -> np.ndarray:
        """Compute s of Eq. 8 from the chosen x*."""
        if self.direction == "delta":
            return best_D - self.alpha_D
        if self.direction == "raw":
            return best_D
        return flat(self.mixing_weights(best_D))

    def mixtures(self, candidates_ND: np.ndarray) -> list[Mixture]:
        """Apply `mixing_weights` to each candidate, in one call."""
        return one_by_one(softmax_per_edge(candidates_ND, self.space.alpha_shapes))
