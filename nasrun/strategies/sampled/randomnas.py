"""Random search with weight sharing (RandomNAS, RSPS): the floor under methods on a supernet.

L. Li, A. Talwalkar. Random Search and Reproducibility for Neural Architecture Search. UAI 2019,
arXiv 1902.07638. Nothing is learnt of which architectures are good until the weights are trained:

    for each epoch, for each batch of the training half:
        train the weights of one architecture, drawn uniformly
    score 1,000 random architectures on one batch of the validation half
    return the one of the best 10 that is best on the whole validation half

Deviations:
- The second score is that of `finalist_batches` batches, whatever the size of the half.
- Weights are scored under the statistics of the batch, which is all that shared ones have.
"""

from __future__ import annotations

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import plugin
from nasrun.strategies.sampled.base import SampledSearch


@plugin
class RandomNAS(SampledSearch):
    """The strategy; see the module's docstring, and `SampledSearch` for its settings."""

    def draw(self) -> Genotype:
        return self.space.sample(self.rng)
