"""Give proxies the untrained networks of a run, and choose the proxy: the one place that does so.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nasrun.benchmarks import store
from nasrun.config import catalogue, plugins
from nasrun.config.checks import reads_scores
from nasrun.config.declarations import constant
from nasrun.config.renamed import present
from nasrun.config.schema import RunConfig, SearchConfig
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Batch, TaskShape
from nasrun.protocols.knowledge import FreeScores
from nasrun.protocols.proxy import Untrained
from nasrun.protocols.space import NetworkSize, as_module
from nasrun.training.streams import BatchStream, halves

if TYPE_CHECKING:
    from nasrun.engine.wiring import Wiring

GROUP = "proxy"
DEFAULT = "logsynflow"  # needs no images, and every network has such a score


class UntrainedNetworks(Untrained):
    """The networks behind the labels of a run, with fresh weights."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.space = wiring.space
        self.dataset_name = wiring.dataset_name
        self.progress = wiring.progress
        self._batches: dict[int, Batch] = {}

    @property
    def device(self) -> torch.device:
        return self._wiring.device.torch

    @cached_property
    def shape(self) -> TaskShape:
        wiring = self._wiring
        if "dataset" in vars(wiring):
            return wiring.dataset.shape
        return wiring.raw_evaluator.shape or wiring.dataset.shape

    @property
    def size(self) -> NetworkSize:
        evaluator = self._wiring.raw_evaluator
        return evaluator.makers_size or evaluator.size

    def network(self, genotype: Genotype) -> nn.Module:
        # all from one state: what two networks have in common begins with the same weights
        with self._wiring.streams.derived("untrained").global_torch("network"):
            network = as_module(self.space.network(genotype, self.shape, self.size))
        device = self._wiring.device
        # not `place`: to compile each network would take longer than all that is done with it
        placed = network.to(device.torch, device.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(placed, nn.Module)
        return placed.train()

    def batch(self, num_images: int) -> Batch:
        if num_images not in self._batches:
            wiring = self._wiring
            train, _ = halves(wiring.dataset.train, wiring.streams.fresh("halves"))
            generator = wiring.streams.derived("untrained").torch("batch")
            device = wiring.device.alone
            stream = BatchStream(wiring.dataset, train, device, generator, augment=False)
            self._batches[num_images] = stream.take(num_images)
        return self._batches[num_images]

    def counts(self, genotype: Genotype) -> tuple[int, int]:
        params, flops = self.space.params_and_flops(genotype, self.shape, self.size)
        return int(params), int(flops)


def scores_of(wiring: Wiring) -> FreeScores:
    """Build the proxy of a run.

    Raises:
        UsageError: it is not possible with this space, or there is no such table.
    """
    scores: FreeScores = plugins.build(proxy_of(wiring.search_settings), UntrainedNetworks(wiring))
    return scores


def proxy_of(settings: SearchConfig) -> Mapping[str, Any]:
    """Return the node of the proxy.

    `proxy=null` is the table of scores where there is a benchmark of the space and the dataset that
    has them, whether or not its file is here, and else the `DEFAULT`.
    """
    if settings.proxy is not None:
        node: Mapping[str, Any] = settings.proxy
        return node
    space = constant(present(settings.space["_target_"]), "name")
    dataset = str(settings.dataset["name"])
    tables = (one.table for one in store.benchmarks().values() if one.table.has_scores)
    known = any(one.space == space and dataset in one.shapes for one in tables)
    name = "table" if known else DEFAULT
    return catalogue.content(GROUP, name, catalogue.conf_dir())


def need_images(settings: RunConfig) -> bool:
    """Return whether a search asks for a proxy that looks at images."""
    if not isinstance(settings, SearchConfig):
        return False
    if constant(present(settings.space["_target_"]), "takes") == ():
        return False  # it has no networks, which the proxy itself refuses
    asked_for = any(map(reads_scores, (settings.strategy, settings.predictor)))
    return asked_for and bool(plugins.target(proxy_of(settings)).needs_images)


def computed(settings: SearchConfig) -> str | None:
    """Name the proxy that is computed here on untrained networks; `None` for a table's."""
    node = proxy_of(settings)
    return plugins.option(node) if plugins.target(node).takes_time else None
