"""Train one candidate, in one go or in stretches, to the same weights.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nasrun.compute.device import Device, Load
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Batch
from nasrun.protocols.space import Network, as_module
from nasrun.protocols.state import Progress, Streams
from nasrun.training.loop import LossAndLogits, train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate

LOAD = Load("training of a candidate", "evaluator", "evaluator.channels or evaluator.cells")


@dataclass(frozen=True)
class Stretch:
    """A part of the training of a candidate.

    Args:
        epochs: to which it is trained, of the first epoch on or of what `left` stands at.
        left: the packed state that the stretch before has left.
        is_last: whether nothing goes on from there, so that no state is kept.
    """

    genotype: Genotype
    epochs: int
    left: bytes | None = None
    is_last: bool = True


@dataclass
class OneTraining:
    """The training of one network.

    Left after any epoch, and gone on with in another process, it comes to the same weights: its
    state is that of the weights, of the optimiser, and of the streams that all of its draws are of.
    """

    network: Network
    update: WeightUpdate
    batches: BatchStream
    loss: Callable[[Tensor, Tensor], Tensor]  # (logits_BK, labels_B) -> a scalar
    streams: Streams
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)  # of the last epoch

    def train_to(
        self, epochs: int, of: int, batch_size: int, device: Device, progress: Progress
    ) -> None:
        """Train until so many epochs are done, `of` so many as are shown."""
        as_module(self.network).train()
        for epoch in range(self.epoch + 1, epochs + 1):
            with self.streams.global_torch("dropout"):
                self.metrics = train_epoch(
                    self.batches.one_pass(batch_size), self._forward, self.update, device, load=LOAD
                )
            self.epoch = epoch
            progress(epoch, of, loss=self.metrics["loss"])

    def _forward(self, batch: Batch) -> LossAndLogits:
        images_BCHW, labels_B = batch
        logits_BK = self.network(images_BCHW)
        return self.loss(logits_BK, labels_B), logits_BK

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "network": as_module(self.network).state_dict(),
            "update": self.update.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        as_module(self.network).load_state_dict(state["network"])
        self.update.load_state_dict(state["update"])
        self.streams.load_state_dict(state["streams"])
