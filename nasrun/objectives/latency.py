"""Measure how long networks take on this device: whole, or from a look-up table of their blocks.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import nn

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Objective
from nasrun.protocols.measure import Measure, MeasuredNetworks
from nasrun.protocols.settings import CountOrNone, Unit
from nasrun.protocols.space import as_module

Part = Literal["network", "blocks"]
Inputs = tuple[Any, ...]
Calls = Annotated[int, Interval(ge=1, le=10_000), Unit("calls")]


class Latency(Measure):
    """The median time of a call on the device of the run, in inference, without training.

    With `part=blocks` a network is the sum of its modules, each of which is measured once for each
    shape of its inputs; what happens between them (sums, concatenations, calls from Python) is left
    out, so that networks are ranked quickly and the figure is below that of the whole network.

    Args:
        part: what is measured: the `network`, or its `blocks`.
        warmup: calls before those that count.
        repeats: calls of which the median is taken.
        batch_size: images of a call.
    """

    objective = Objective("latency", "ms")
    quantity = "latency"
    is_quick = False
    is_bought = True

    def __init__(
        self,
        networks: MeasuredNetworks,
        *,
        part: Part,
        warmup: CountOrNone,
        repeats: Calls,
        batch_size: Annotated[int, Interval(ge=1, le=100_000), Unit("images")],
    ) -> None:
        if networks.device.group.size > 1:
            raise UsageError(
                "a latency cannot be measured with torchrun, whose processes would measure "
                "different ones: search in one process, or type objective=table"
            )
        self.part, self.warmup, self.repeats = part, warmup, repeats
        self._networks, self._device, self._batch_size = networks, networks.device, batch_size
        self._blocks: dict[str, float] = {}  # the look-up table, in ms
        what = "the whole network" if part == "network" else "a look-up table of blocks"
        self.how = (
            f"measured on {self._device.describe()}: {what}, batch {batch_size}, median of "
            f"{repeats} calls after {warmup}"
        )

    def measure(self, genotype: Genotype) -> float:
        space, shape, size = self._networks.space, self._networks.shape, self._networks.size
        with torch.random.fork_rng(devices=[]):  # its weights change nobody's draws
            network = as_module(space.network(genotype, shape, size))
        self._device.place(network.eval())
        images_BCHW = torch.zeros(self._batch_size, shape.channels, *shape.size)
        images_BCHW = self._device.images(images_BCHW.to(self._device.torch))
        with torch.inference_mode(), self._device.autocast():
            if self.part == "network":
                return self.time(lambda: network(images_BCHW))
            return sum(self._block(*call) for call in calls(network, images_BCHW))

    def time(self, call: Callable[[], Any]) -> float:
        """Return the median time of a call in ms."""
        times = []
        for number in range(self.warmup + self.repeats):
            self._device.wait()
            started = time.perf_counter()
            call()
            self._device.wait()
            if number >= self.warmup:
                times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)

    def _block(self, block: nn.Module, inputs: Inputs, named: Mapping[str, Any]) -> float:
        tensors = [one for one in inputs if isinstance(one, torch.Tensor)]
        others = [one for one in inputs if not isinstance(one, torch.Tensor)]
        key = f"{block!r} {[tuple(one.shape) for one in tensors]} {others} {sorted(named)}"
        if key not in self._blocks:
            self._blocks[key] = self.time(lambda: block(*inputs, **named))
        return self._blocks[key]


def calls(
    network: nn.Module, images_BCHW: torch.Tensor
) -> list[tuple[nn.Module, Inputs, Mapping[str, Any]]]:
    """List the calls of modules without parts in one pass, each with its inputs, in their order."""
    found = list[tuple[nn.Module, Inputs, Mapping[str, Any]]]()
    leaves = [one for one in network.modules() if next(one.children(), None) is None]
    hooks = [
        one.register_forward_pre_hook(
            lambda module, inputs, named: found.append((module, inputs, named)), with_kwargs=True
        )
        for one in leaves
    ]
    try:
        network(images_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return found
