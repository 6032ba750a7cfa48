"""NASWOT: how differently the ReLUs of an untrained network fire for different images.

J. Mellor, J. Turner, A. Storkey, E. J. Crowley. Neural Architecture Search without Training. ICML
2021, arXiv 2006.04647v3.

    code of an image: for each unit of each ReLU, whether its output is above 0
    K[i, j] = number of units - Hamming distance between the codes of images i and j
    score = log |det K|

Images with one code make the determinant 0, the score minus infinity and the architecture the last.

Deviations:
- ReLUs are found where they are computed, as a call of a function too; ReLU6 counts as one.
- The paper's batch has 128 images, here it is a setting.

Shapes: B images, U units of one ReLU.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun.predictors.zero_cost.base import NoScore, OnImages
from nasrun.protocols.settings import plugin

RELUS = {
    *(torch.ops.aten.relu.default, torch.ops.aten.relu_.default),
    *(torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default),  # ReLU6
}


@plugin
class Naswot(OnImages):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "naswot"
    instead: ClassVar[str] = "proxy=logsynflow or proxy=jacob_cov"

    def of_network(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> float:
        kernel = _Kernel(len(images_BCHW))
        with torch.no_grad(), kernel:
            network(images_BCHW)
        if kernel.num_relus == 0:
            raise NoScore("has no ReLU, whose units naswot compares")
        return float(torch.linalg.slogdet(kernel.total_BB).logabsdet)


class _Kernel(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add up K over the ReLUs of a forward pass, so that no code is kept."""

    def __init__(self, num_images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_relus = 0
        self.total_BB = torch.zeros(num_images, num_images, dtype=torch.float64)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in RELUS:
            self.num_relus += 1
            self.total_BB += agreement((output > 0).flatten(1))
        return output


def agreement(code_BU: Tensor) -> Tensor:
    """Return in how many units the codes of each two images agree, float64 on the CPU.

    >>> agreement(torch.tensor([[True, False, True], [True, True, False]])).tolist()
    [[3.0, 1.0], [1.0, 3.0]]
    """
    ones_BU = code_BU.float()  # exact up to 2^24 units
    both_BB = (ones_BU @ ones_BU.T).double().cpu()
    count_B = both_BB.diagonal()
    return 2 * both_BB + code_BU.shape[1] - count_B[:, None] - count_B[None, :]
