"""Neighbours of the best architectures, ranked by a Gaussian process: the second floor.

After BANANAS (White, Neiswanger, Savani, AAAI 2021, arXiv 1910.11858) and NAS-BOWL (Ru, Wan, Dong,
Osborne, ICLR 2021, arXiv 2006.07556), simplified: the loop is that of DCL-ENAS with
`proposals=evolution_and_neighbours`, the predictor a Gaussian process on Weisfeiler-Lehman labels
(`predictor=gaussian_process`), the acquisition an upper confidence bound.
"""

from __future__ import annotations

from nasrun.strategies.guided.dclenas import DCLENAS


class GPEvolution(DCLENAS):
    """A class of its own, so that results bear a name of their own."""
