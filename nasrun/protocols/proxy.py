"""Define what a zero-cost proxy offers, and what it may use: untrained networks and one batch.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Batch, TaskShape
from nasrun.protocols.knowledge import FreeScores
from nasrun.protocols.space import SearchSpace
from nasrun.protocols.state import Progress

if TYPE_CHECKING:
    import torch
    from torch import nn


class Untrained(Protocol):
    """The networks that the genotypes of a run stand for, before any training.

    They are those behind the labels: of the evaluator's size, or of a table's makers.
    """

    space: SearchSpace
    dataset_name: str
    progress: Progress

    @property
    def device(self) -> torch.device: ...

    @property
    def shape(self) -> TaskShape:
        """Return what the networks take and produce."""

    def network(self, genotype: Genotype) -> nn.Module:
        """Build the network in training mode, on the device, all from the run's seed.

        Each call gives the same weights, whatever was built before.
        """

    def batch(self, num_images: int) -> Batch:
        """Return images of the half that the search trains on, without augmentation.

        The run's seed decides which; of small data it is all there are.
        """

    def counts(self, genotype: Genotype) -> tuple[int, int]:
        """Count the trainable parameters, and the multiply-adds of one input."""


class Proxy(FreeScores, Protocol):
    """A plug-in of `conf/proxy`: scores that cost no label.

    It is constructed with the `Untrained` networks, then the keywords of its file.
    """

    needs_images: ClassVar[bool]  # whether it looks at the dataset
