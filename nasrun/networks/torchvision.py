"""Build a network of torchvision for images of any kind, to be trained from scratch.

Deviations:
- The stem "cifar" leaves out the first two layers that halve the size, and has a 3x3 convolution
  where there is one of 7x7: so ResNets are usually trained on CIFAR, with 4x4 maps at the end of
  32x32 images. A network has as many parameters as on ImageNet but for that convolution and the
  classifier.
- There is no dropout and no stochastic depth: how much is regularised is the recipe's choice, which
  is the same for all.
- Batch norm has torch's momentum of 0.1. The 0.01 of MobileNetV3 and the 0.0003 of MnasNet take
  more updates than a short training has: what is tested would not be what was trained.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from nasrun.errors import UsageError
from nasrun.protocols.data import TaskShape

MOMENTUM = 0.1  # of batch norm
LEAST_SIZE = {"cifar": 8, "imagenet": 32}  # what a network divides the size by
Layer = nn.Conv2d | nn.MaxPool2d


class TorchvisionNetwork(nn.Module):
    """A network by its name. `forward` returns logits_BK; it has no paths to drop.

    Args:
        stem: "cifar" divides the size of the images by 8, "imagenet" by 32.

    Raises:
        UsageError: the inputs are not images, or too small.
    """

    def __init__(self, name: str, shape: TaskShape, *, stem: Literal["cifar", "imagenet"]) -> None:
        super().__init__()
        from torchvision import models

        least = LEAST_SIZE[stem]
        if len(shape.size) != 2 or min(shape.size) < least:
            raise UsageError(
                f"{name} with stem={stem} needs images of at least {least}x{least} pixels, and "
                f"the inputs of this dataset have the size {shape.size}: choose another dataset"
                + (" or retrain.stem=cifar" if stem == "imagenet" else "")
            )
        self.drop_path = 0.0
        self.network: nn.Module = models.get_model(name, num_classes=shape.num_classes)
        _fit(self.network, shape.channels, stem)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(images_BCHW)
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the network has one head."""
        return self(images_BCHW), None


def _fit(network: nn.Module, channels: int, stem: Literal["cifar", "imagenet"]) -> None:
    """Change a network of torchvision in place, as the module's docstring says."""
    from torchvision.ops import StochasticDepth

    layers = [(path, one) for path, one in network.named_modules() if isinstance(one, Layer)]
    if stem == "cifar":
        for path, layer in [(path, one) for path, one in layers if _halves(one)][:2]:
            if isinstance(layer, nn.MaxPool2d):
                network.set_submodule(path, nn.Identity())
            else:
                layer.stride = (1, 1)
    path, first = layers[0]
    assert isinstance(first, nn.Conv2d)
    length = 3 if stem == "cifar" else first.kernel_size[0]
    if (channels, length) != (first.in_channels, first.kernel_size[0]):
        network.set_submodule(path, _like(first, channels, length))
    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM


def _halves(layer: Layer) -> bool:
    return layer.stride in (2, (2, 2))


def _like(first: nn.Conv2d, channels: int, length: int) -> nn.Conv2d:
    """Make the first convolution anew, for other inputs or with another kernel."""
    convolution = nn.Conv2d(
        channels,
        first.out_channels,
        length,
        first.stride,  # type: ignore[arg-type]
        padding=length // 2,
        bias=first.bias is not None,
    )
    # as torchvision does it for those that have a 7x7 kernel or count among the mobile ones
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
