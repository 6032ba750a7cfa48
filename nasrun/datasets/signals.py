"""Shift signals in time, scale them and cut out at random, a whole batch at once.

Shapes: B batch, C channels, L samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nasrun.compute.transfers import upload


@dataclass(frozen=True)
class SignalAugmentation:
    """What leaves the class of a signal as it is: a later start, another gain, a gap.

    Args:
        shift: samples by which a signal moves to the left or to the right, at most; what is missing
            at an end is its last value there.
        gain: a signal is multiplied by a number in [1 - gain, 1 + gain].
        cutout_length: samples that cutout blanks. Its centre is uniform over the signal, so that it
            may hang over an end.
    """

    shift: int
    gain: float
    cutout_length: int

    def draw(
        self, num_inputs: int, size: tuple[int, ...], generator: torch.Generator, cutout: bool
    ) -> Tensor:
        """Draw draws_3B, float64, on the CPU: shift, factor, centre of the cutout.

        The last row is missing without cutout.
        """
        (length,) = size
        count = (num_inputs,)
        shift_B = torch.randint(-self.shift, self.shift + 1, count, generator=generator)
        unit_B = torch.rand(count, generator=generator, dtype=torch.float64)
        draws = [shift_B.double(), 1.0 + self.gain * (2.0 * unit_B - 1.0)]
        if cutout:
            draws.append(torch.randint(length, count, generator=generator).double())
        return torch.stack(draws)

    def apply(self, signals_BCL: Tensor, draws_3B: Tensor, fill_C: Tensor | None) -> Tensor:
        """Return the augmented signals: same shape, dtype and device.

        Args:
            draws_3B: what `draw` returned.
            fill_C: what cutout writes into each channel; `None` for no cutout.
        """
        device, length = signals_BCL.device, signals_BCL.shape[2]
        draws_3B = upload(draws_3B, device)
        positions_L = torch.arange(length, device=device)
        shift_B = draws_3B[0].long()
        source_BL = (positions_L + shift_B[:, None]).clamp(0, length - 1)
        moved_BCL = signals_BCL.gather(2, source_BL[:, None].expand_as(signals_BCL))
        if self.gain > 0:
            factor_B11 = draws_3B[1].float()[:, None, None]
            moved_BCL = (moved_BCL * factor_B11).to(signals_BCL.dtype)
        if fill_C is None:
            return moved_BCL
        first_B1 = draws_3B[2].long()[:, None] - self.cutout_length // 2
        inside_BL = (positions_L >= first_B1) & (positions_L < first_B1 + self.cutout_length)
        return torch.where(inside_BL[:, None], fill_C.to(signals_BCL)[:, None], moved_BCL)
