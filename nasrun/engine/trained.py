"""Build a retrained network from its run folder, ready to be asked. Shapes: B batch, C channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nasrun.config import plugins
from nasrun.errors import UsageError, raise_together
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize, SearchSpace, as_module
from nasrun.runs.model_file import WEIGHTS_FILE, ModelRecord, read_model
from nasrun.storage.tensor_files import read_tensors


class Standalone(nn.Module):
    """A network that takes raw values, float32, and normalises them itself."""

    def __init__(self, network: nn.Module, record: ModelRecord) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "deviation"):
            values_C = torch.tensor(getattr(record.reading, name))
            # one value per channel, whatever the number of spatial dimensions
            self.register_buffer(name, values_C.view(-1, *[1] * len(record.input_size)))

    def forward(self, raw_BCHW: Tensor) -> Tensor:
        """Return logits_BK."""
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        logits_BK: Tensor = self.network((raw_BCHW - mean) / deviation)
        return logits_BK


@dataclass(frozen=True)
class Trained:
    """A network with its weights, in evaluation mode on the CPU, and the record it was made of."""

    folder: Path
    record: ModelRecord
    network: Standalone

    @torch.inference_mode()
    def logits(self, raw_BCHW: Tensor) -> Tensor:
        """Compute logits_BK, float32, of raw values of any type."""
        return self.network(raw_BCHW.float()).float()


def load(folder: Path) -> Trained:
    """Build the network of a run and read its weights.

    An auxiliary head is left out: it only helps to train.

    Raises:
        UsageError: there is none, or it is not sound.
    """
    record = read_model(folder)
    raise_together(plugins.faults(record.space, "space"))
    space: SearchSpace = plugins.build(record.space)
    space.validate(record.genotype)
    shape = TaskShape(record.input_channels, record.input_size, len(record.reading.classes))
    size = NetworkSize(
        record.channels,
        record.cells,
        record.auxiliary,
        cast(Literal["cifar", "imagenet"] | None, record.stem),
    )
    network = as_module(space.network(record.genotype, shape, size))
    weights = read_tensors(folder / WEIGHTS_FILE)
    try:
        if weights is None:
            raise ValueError("it is cut off or altered")
        network.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{folder / WEIGHTS_FILE} does not fit the network: {reason}") from None
    if not all(value.isfinite().all() for value in weights.values()):
        raise UsageError(
            f"{folder / WEIGHTS_FILE} has weights that are no finite numbers: the training has "
            "diverged; retrain with a lower retrain.learning_rate"
        )
    if record.auxiliary:
        size = replace(size, auxiliary=False)
        network = as_module(space.network(record.genotype, shape, size))
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return Trained(folder, record, Standalone(network, record).eval())
