"""Notice images that show next to nothing: most often a conversion has gone wrong.

Shapes: B some of the images, C channels, P pixels, or samples of signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CUT_OFF = {"images": "what is bright or dark", "signals": "what is high or low"}
NEARLY_ALL = 0.98  # of the values of a channel
LEAST_DEVIATION = 1.0  # of uint8; a drawing of few lines has more
LEAST_RELATIVE = 1e-4  # of floating values, by the largest of them


def faint_channels(
    chunks: Sequence[Tensor],
    deviation_C: Sequence[float],
    kind: str = "images",
    which: str | None = None,
) -> Iterator[str]:
    """Yield a sentence where channels of inputs (all of them, in `chunks`) hardly vary.

    Chunks are images_BCHW, or signals_BCL if that is the `kind`. Channels hardly vary where nearly
    all values of a channel are its lowest, or its highest, as what is cut off at 255 is; or where
    their standard deviation is next to nothing.
    """
    chunks = [chunk.flatten(2) for chunk in chunks]  # BCP
    lowest_C = torch.stack([chunk.amin((0, 2)) for chunk in chunks]).amin(0)
    highest_C = torch.stack([chunk.amax((0, 2)) for chunk in chunks]).amax(0)
    ends_2C = torch.stack([lowest_C, highest_C])
    counts = [
        torch.stack([(chunk == end_C[:, None]).sum((0, 2)) for chunk in chunks]).sum(0)
        for end_C in ends_2C
    ]
    num_values = sum(chunk[:, 0].numel() for chunk in chunks)
    share_C, which_C = (torch.stack(counts).double() / num_values).max(0)
    largest_C = ends_2C.double().abs().amax(0)
    least_C = LEAST_RELATIVE * largest_C
    if ends_2C.dtype == torch.uint8:
        least_C = torch.full_like(largest_C, LEAST_DEVIATION)
    faint_C = (share_C > NEARLY_ALL) | (torch.tensor(deviation_C).double() < least_C)
    for channel in faint_C.nonzero().flatten().tolist()[:1]:
        value = ends_2C[which_C[channel], channel].item()
        yield (
            f"warning: {int(faint_C.sum())} of {len(faint_C)} channels of "
            f"{which or f'the training {kind}'} are "
            f"nearly constant (of channel {channel} {share_C[channel]:.1%} of the values are "
            f"{value:g}, and the standard deviation is {deviation_C[channel]:.3g}): look at some "
            f"of them, and whether a conversion has cut off {CUT_OFF[kind]}"
        )
