"""Measure how much memory activations take at once while a network classifies one input."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Objective
from nasrun.protocols.measure import Measure, MeasuredNetworks
from nasrun.protocols.space import as_module


class PeakMemory(Measure):
    """The most bytes that inputs and outputs of operations take at once, in inference, batch 1.

    Weights are left out. The network runs as PyTorch runs it, operation by operation, in float32,
    and nothing is computed: the figure depends on no device. A compiler that fuses operations needs
    less.
    """

    objective = Objective("memory", "bytes")
    quantity = "memory"
    is_quick = False
    how = "counted while the network runs without data, float32, batch 1"

    def __init__(self, networks: MeasuredNetworks) -> None:
        self._networks = networks

    def measure(self, genotype: Genotype) -> float:
        space, shape, size = self._networks.space, self._networks.shape, self._networks.size
        with torch.device("meta"):
            network = as_module(space.network(genotype, shape, size)).eval()
            images_BCHW = torch.empty(1, shape.channels, *shape.size)
        return float(peak_bytes(network, images_BCHW))


def peak_bytes(network: torch.nn.Module, images_BCHW: torch.Tensor) -> int:
    """Return the peak of the bytes that live tensors take, weights left out."""
    counter = _LiveBytes(images_BCHW)
    with torch.no_grad(), counter:
        network(images_BCHW)
    return counter.peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of storages that operations make, from their making to their end."""

    def __init__(self, given: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = 0
        self._known: set[int] = set()
        self._add(given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            id(one.untyped_storage()) for one in tree_leaves((args, kwargs)) if _is_tensor(one)
        }
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if _is_tensor(one) and id(one.untyped_storage()) not in given:
                self._add(one)
        return made

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._known:  # a view of what is counted already
            return
        num_bytes, key = storage.nbytes(), id(storage)
        self._known.add(key)
        self._live += num_bytes
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._drop, key, num_bytes)

    def _drop(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self._live -= num_bytes


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)
