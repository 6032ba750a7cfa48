"""Every form of a convolution gives what the plain call gives, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nasrun.networks.blocks.convolution import Depthwise, convolve, join_by_parity, split_by_parity


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 2), (1, 1), (18, 18), (4, 6)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [
    (3, 1, 1), (5, 2, 1), (3, 1, 2), (5, 1, 2), (3, 2, 2), (5, 2, 2),
])  # fmt: skip
@pytest.mark.parametrize("groups", [1, 4])
def test_all_forms_agree(
    size: tuple[int, int], kernel: int, stride: int, dilation: int, groups: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 4, *size, generator=generator, dtype=torch.float64)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 4 // groups, kernel, kernel, generator=generator, dtype=torch.float64)
    weight.requires_grad_()
    padding = dilation * (kernel // 2)
    expected = F.conv2d(images, weight, None, stride, padding, dilation, groups)
    found = convolve(images, weight, stride, dilation, groups)
    torch.testing.assert_close(found, expected)
    inputs = (images, weight)
    for first, second in zip(
        torch.autograd.grad(expected.square().sum(), inputs),
        torch.autograd.grad(found.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(second, first)


def test_parity() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    parts = split_by_parity(images)
    assert parts[:, 0].tolist() == [
        [[0, 2], [8, 10]],
        [[1, 3], [9, 11]],
        [[4, 6], [12, 14]],
        [[5, 7], [13, 15]],
    ]
    assert torch.equal(join_by_parity(parts), images)


def test_a_depthwise_convolution_starts_as_torchs_own() -> None:
    torch.manual_seed(0)
    ours = Depthwise(4, 5, stride=2, dilation=2)
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(4, 4, 5, 2, padding=4, dilation=2, groups=4, bias=False)
    assert torch.equal(ours.weight, plain.weight)
    assert ours.state_dict().keys() == plain.state_dict().keys()
