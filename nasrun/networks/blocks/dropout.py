"""Drop elements of what the images of a batch have become, alike whoever has which images.

Shapes: R rows of this process, an image's one after the other; N columns.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Dropout(nn.Module):
    """As `F.dropout` in training; a process of a group draws for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        # (rows of the whole batch, which of them is the first one here)
        self.place_in_batch: Callable[[Tensor], tuple[int, int]] = lambda rows_RN: (len(rows_RN), 0)

    def forward(self, rows_RN: Tensor, probability: float) -> Tensor:
        """Zero each element with `probability` (torch's global generator); scale up the others."""
        total, first = self.place_in_batch(rows_RN)
        keep = 1.0 - probability
        kept = rows_RN.new_empty(total, *rows_RN.shape[1:]).bernoulli_(keep).div_(keep)
        return rows_RN * kept[first : first + len(rows_RN)]
