"""Share what the proxies have that are computed on untrained networks, one network at a time.

Shapes: N architectures, B batch, C channels, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from nasrun.compute.device import is_out_of_memory
from nasrun.errors import OutOfMemory, UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.protocols.proxy import Proxy, Untrained
from nasrun.protocols.settings import BatchImages, Count, plugin

ENOUGH = 20  # networks without a score, and none with one, say that the space has none
NORMS = (BatchNorm, _BatchNorm, nn.GroupNorm, nn.LayerNorm)


class NoScore(Exception):
    """A network has no score; the text says why, after "a network"."""


@plugin
class Computed(Proxy, ABC):
    """A proxy that is computed for each genotype. What has no score gets NaN, and ranks last.

    Args:
        num_architectures: of a large space so many are scored.
    """

    name: ClassVar[str]  # the option in `conf/proxy`
    instead: ClassVar[str] = "proxy=logsynflow"  # what to type where no network has a score
    needs_images: ClassVar[bool] = False
    takes_time = True

    untrained: Untrained = field(kw_only=False)
    num_architectures: Count

    def __post_init__(self) -> None:
        space = self.untrained.space
        if not space.takes:  # only a table knows it
            raise UsageError(
                f"proxy={self.name} is computed on networks, and space={space.name} builds none: "
                "type strategy.initial=random, or strategy=random in place of rank_by_proxy"
            )
        self._known: dict[Genotype, float] = {}
        self.names = (self.name,)
        self.num_affordable = self.num_architectures
        self.how = self.name

    @abstractmethod
    def score(self, genotype: Genotype) -> float:
        """Return the score of one architecture; raise `NoScore` where its network has none."""

    def values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Return values_N1, float64.

        Raises:
            UsageError: none of the first `ENOUGH` networks has a score.
            OutOfMemory: a network does not fit.
        """
        for place, genotype in enumerate(genotypes):
            self.untrained.progress(place, len(genotypes))
            if genotype not in self._known:
                self._known[genotype] = self._attempted(genotype)
        return np.array([[self._known[genotype]] for genotype in genotypes]).reshape(-1, 1)

    def _attempted(self, genotype: Genotype) -> float:
        try:
            return self.score(genotype)
        except NoScore as reason:
            self._require_others(str(reason))
            return float("nan")
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"out of memory: proxy={self.name} scores a network with {self.takes}"
            ) from error

    def _require_others(self, reason: str) -> None:
        """Raise a `UsageError` where one more network has no score, and none so far has one."""
        num_without = len(self._known) + 1
        if num_without >= ENOUGH and np.isnan(list(self._known.values())).all():
            raise UsageError(
                f"proxy={self.name} scores none of {num_without} networks of "
                f"space={self.untrained.space.name}: a network {reason}; type {self.instead}"
            )

    @property
    def takes(self) -> str:
        """Say what decides how much memory a score takes."""
        return "one input; lower evaluator.channels or evaluator.cells"


@plugin
class OnImages(Computed, ABC):
    """A proxy that shows a network in training mode one batch of real images.

    Args:
        num_images: of the batch.
    """

    needs_images: ClassVar[bool] = True

    num_images: BatchImages

    def __post_init__(self) -> None:
        super().__post_init__()
        _, labels_B = self.untrained.batch(self.num_images)  # small data has fewer
        self.how += f" on {len(labels_B)} training inputs of {self.untrained.dataset_name}"

    def score(self, genotype: Genotype) -> float:
        images_BCHW, labels_B = self.untrained.batch(self.num_images)
        return self.of_network(self.untrained.network(genotype), images_BCHW, labels_B)

    @abstractmethod
    def of_network(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> float:
        """Return the score of a network, which may be changed."""

    @property
    def takes(self) -> str:
        return f"{self.num_images} inputs at once; lower proxy.num_images"


def weights_of(network: nn.Module) -> list[Tensor]:
    """List the weights of convolutions and linear layers.

    These are the parameters of two dimensions or more outside of norms; biases are left out.
    """
    return [
        parameter
        for module in network.modules()
        if not isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
        if parameter.dim() > 1
    ]


def loss_gradients(
    network: nn.Module, images_BCHW: Tensor, labels_B: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return each tensor of weights with its gradient of the cross-entropy of one batch."""
    weights = weights_of(network)
    loss = functional.cross_entropy(network(images_BCHW), labels_B)
    return list(zip(weights, gradients(loss, weights), strict=True))


def gradients(output: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Differentiate a scalar; what it does not depend on has a gradient of zeros.

    Raises:
        NoScore: it depends on none of the weights.
    """
    if not output.requires_grad:
        raise NoScore("has an output that depends on no weights")
    found = torch.autograd.grad(output, weights, allow_unused=True, materialize_grads=True)
    return list(found)
