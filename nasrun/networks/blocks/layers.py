"""Say how networks for images become networks for signals: a signal is an image of one row.

Convolutions and pools on it have windows of one row, and only its length is halved; all else is the
same. The layers of images are the quicker ones, too: on a CPU a convolution of four channels_last
channels takes a tenth of the time of `F.conv1d` (measured, forwards and backwards).
Shapes: B batch, C channels, H height, W width, L samples of a signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from nasrun.errors import UsageError
from nasrun.protocols.data import TaskShape


@dataclass(frozen=True)
class Layers:
    """What the layers of a network look at. `inputs` is what it reads, for people."""

    inputs: str
    num_axes: int  # of an input, after batch and channels

    def require(self, shape: TaskShape, space: str) -> None:
        """Raise a `UsageError` unless inputs have as many axes."""
        if len(shape.size) != self.num_axes:
            raise UsageError(
                f"space={space} needs {self.inputs}, and the inputs of this dataset have the size "
                f"{shape.size}: choose a dataset of {self.inputs}"
            )

    def maps(self, inputs: Tensor) -> Tensor:
        """Return inputs as images_BCHW; signals_BCL become BC1L."""
        return inputs if self.num_axes == 2 else inputs.unsqueeze(2)

    def window(self, size: int) -> tuple[int, int]:
        """Return the height and width of a window of `size` in all directions."""
        return (size if self.num_axes == 2 else 1), size

    def margin(self, size: int) -> tuple[int, int]:
        """Return the padding with which a window of an odd size keeps the size of a map."""
        height, width = self.window(size)
        return height // 2, width // 2

    def every_second(self, images_BCHW: Tensor, first: int = 0) -> Tensor:
        """Return every second pixel in all directions, from the first or the second one on."""
        columns = images_BCHW[..., first::2]
        return columns[:, :, first::2] if self.num_axes == 2 else columns

    def one_longer(self, images_BCHW: Tensor) -> Tensor:
        """Append one zero in all directions."""
        return F.pad(images_BCHW, (0, 1) * self.num_axes)


IMAGES = Layers("images", 2)
SIGNALS = Layers("signals", 1)
BY_KIND = {one.inputs: one for one in (IMAGES, SIGNALS)}
"""The layers for a kind of inputs, of `nasrun.protocols.data.KINDS`."""
