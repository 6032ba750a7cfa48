"""Crop, flip and cut out at random, a whole batch at once, on the device that holds the images.

Ours, because torchvision draws one crop and one flip for a whole batch, from a global stream.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from nasrun.compute.transfers import upload


@dataclass(frozen=True)
class Augmentation:
    """The recipe of DARTS for CIFAR (Liu et al. 2019, section 3.1) with sizes that suit the data.

    Args:
        crop_padding: pixels of zeros around the image, out of which a crop of the original size is
            taken; zeros are raw values, before normalisation.
        flip: mirror half of the images left to right.
        cutout_length: side of the square that cutout (DeVries and Taylor 2017) blanks. Its centre
            is uniform over the pixels, so that it may hang over the border.
    """

    crop_padding: int
    flip: bool
    cutout_length: int

    def draw(
        self, num_images: int, size: tuple[int, ...], generator: torch.Generator, cutout: bool
    ) -> Tensor:
        """Draw draws_5B, int64: top and left of the crop, mirrored or not, centre of the cutout.

        The centre is a row and a column. All is drawn on the CPU, so that a seed means the same on
        every device.
        """
        limits = [2 * self.crop_padding + 1] * 2 + [2 if self.flip else 1]
        limits += [*size] if cutout else []
        draws = [torch.randint(limit, (num_images,), generator=generator) for limit in limits]
        return torch.stack(draws)

    def apply(self, images_BCHW: Tensor, draws_5B: Tensor, fill_C: Tensor | None) -> Tensor:
        """Return the augmented images: same shape, dtype and device.

        Args:
            images_BCHW: raw images of any dtype.
            draws_5B: what `draw` returned; its last two rows may be missing without cutout.
            fill_C: what cutout writes into each channel; `None` for no cutout.
        """
        draws_5B = upload(draws_5B, images_BCHW.device)
        top_B, left_B, mirrored_B = draws_5B[:3]
        cropped_BCHW = self._crop(images_BCHW, top_B, left_B, mirrored_B)
        if fill_C is None:
            return cropped_BCHW
        centre_row_B, centre_column_B = draws_5B[3:]
        return self._cut_out(cropped_BCHW, centre_row_B, centre_column_B, fill_C)

    def _crop(
        self, images_BCHW: Tensor, top_B: Tensor, left_B: Tensor, mirrored_B: Tensor
    ) -> Tensor:
        """Crop and flip in one gather over flattened pixels; a flip reads the columns backwards."""
        num_images, channels, height, width = images_BCHW.shape
        device = images_BCHW.device
        padded_BCP = pad(images_BCHW, [self.crop_padding] * 4).flatten(2)
        columns_W = torch.arange(width, device=device)
        columns_BW = torch.where(mirrored_B[:, None] == 1, columns_W.flip(0), columns_W)
        columns_BW = columns_BW + left_B[:, None]
        rows_BH = top_B[:, None] + torch.arange(height, device=device)
        padded_width = width + 2 * self.crop_padding
        pixels_BP = (rows_BH[:, :, None] * padded_width + columns_BW[:, None, :]).flatten(1)
        pixels_BCP = pixels_BP[:, None].expand(-1, channels, -1)
        return padded_BCP.gather(2, pixels_BCP).view(num_images, channels, height, width)

    def _cut_out(
        self, images_BCHW: Tensor, centre_row_B: Tensor, centre_column_B: Tensor, fill_C: Tensor
    ) -> Tensor:
        height, width = images_BCHW.shape[2:]
        inside_BH = self._covers(centre_row_B, height)
        inside_BW = self._covers(centre_column_B, width)
        inside_B1HW = (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]
        fill_C11 = fill_C.to(images_BCHW)[:, None, None]
        return torch.where(inside_B1HW, fill_C11, images_BCHW)

    def _covers(self, centre_B: Tensor, size: int) -> Tensor:
        """Return which of `size` positions the square covers.

        These are [centre - length // 2, centre - length // 2 + length).
        """
        first_B1 = centre_B[:, None] - self.cutout_length // 2
        positions_S = torch.arange(size, device=centre_B.device)
        return (positions_S >= first_B1) & (positions_S < first_B1 + self.cutout_length)
