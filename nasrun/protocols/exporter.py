"""Define what writes a trained network as a file that runs without this package.

Shapes: B batch, C channels, H height, W width, N images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Source:
    """A network and what an exporter may look at.

    `network` takes raw_BCHW, float32, in evaluation mode on the CPU, and returns logits_BK.
    `calibration` are raw training inputs, for exporters that measure ranges; the others ignore it.
    """

    network: nn.Module
    example_BCHW: Tensor
    calibration_NCHW: Tensor | None = None


class Exporter(Protocol):
    """Write a network into a folder; say how a stranger's Python loads it again."""

    needs: ClassVar[tuple[str, ...]]  # packages besides torch, to write or to load it
    calibrates: ClassVar[bool] = False  # whether it looks at training inputs
    tolerance: ClassVar[float | None] = 1e-4  # of logits; `None`: it changes the network on purpose
    loader: ClassVar[str]
    """Python that defines `load(path)`: a function from raw_BCHW to logits_BK, both numpy float32.
    It runs in a process without this package, and is what the documents show."""

    def write(self, source: Source, folder: Path) -> Path:
        """Write the files; return the one that `load` takes."""
