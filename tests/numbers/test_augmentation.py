"""Augmentation of whole batches against one image and one pixel at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nasrun.datasets.augmentation import Augmentation


def oracle(
    augmentation: Augmentation, image_CHW: Tensor, draws: list[int], fill: list[float] | None
) -> Tensor:
    channels, height, width = image_CHW.shape
    top, left, mirrored = draws[:3]
    result = torch.zeros_like(image_CHW)
    for row in range(height):
        for column in range(width):
            source_row = row + top - augmentation.crop_padding
            unmirrored = width - 1 - column if mirrored else column
            source_column = unmirrored + left - augmentation.crop_padding
            if 0 <= source_row < height and 0 <= source_column < width:
                result[:, row, column] = image_CHW[:, source_row, source_column]
    if fill is not None:
        half = augmentation.cutout_length // 2
        first_row, first_column = draws[3] - half, draws[4] - half
        for row in range(max(0, first_row), first_row + augmentation.cutout_length):
            for column in range(max(0, first_column), first_column + augmentation.cutout_length):
                if row < height and column < width:
                    for channel in range(channels):
                        result[channel, row, column] = fill[channel]
    return result


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("cutout", [False, True])
@pytest.mark.parametrize(
    ("padding", "flip", "length"), [(0, False, 0), (1, False, 4), (3, True, 5)]
)
def test_equals_the_oracle(
    padding: int, flip: bool, length: int, cutout: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (20, 2, 6, 9), generator=generator).to(dtype)
    augmentation = Augmentation(padding, flip, length)
    draws = augmentation.draw(len(images), images.shape[2:], generator, cutout)
    fill = [100.0, 7.0] if cutout else None
    result = augmentation.apply(images, draws, None if fill is None else torch.tensor(fill))
    expected = torch.stack(
        [oracle(augmentation, image, draws[:, n].tolist(), fill) for n, image in enumerate(images)]
    )
    assert torch.equal(result, expected)


def test_a_cutout_by_hand() -> None:
    """Length 2 centred at (0, 3) of a 4 x 4 image covers rows -1 to 0 and columns 2 to 3."""
    draws = torch.tensor([[0], [0], [0], [0], [3]])
    image = torch.ones(1, 1, 4, 4)
    result = Augmentation(0, False, 2).apply(image, draws, torch.tensor([5.0]))
    assert result[0, 0].tolist() == [[1, 1, 5, 5], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_a_crop_by_hand() -> None:
    """Top 0, left 2 with padding 1 shifts the image down and to the left."""
    draws = torch.tensor([[0], [2], [0]])
    image = torch.tensor([[[[1, 2], [3, 4]]]])
    assert Augmentation(1, False, 0).apply(image, draws, None).tolist() == [[[[0, 0], [2, 0]]]]


def test_draws_are_uniform() -> None:
    images = torch.zeros(20_000, 1, 8, 4)
    generator = torch.Generator().manual_seed(0)
    draws = Augmentation(2, True, 4).draw(len(images), images.shape[2:], generator, cutout=True)
    for row, limit in zip(draws, (5, 5, 2, 8, 4), strict=True):
        shares = torch.bincount(row, minlength=limit) / len(row)
        assert len(shares) == limit
        # Four standard deviations of a share: 4 * sqrt(0.25 / 20,000) = 0.014.
        assert (shares - 1 / limit).abs().max() < 0.014
