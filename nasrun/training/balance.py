"""Make rare classes count: by weights in the loss, or by how often their inputs are drawn.

Shapes: B batch, K classes, N inputs of a split.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nasrun.compute.device import precise
from nasrun.protocols.data import Dataset, Split


class ClassLoss:
    """Cross-entropy of a training, with the class weights that its dataset asks for.

    Args:
        split: what is trained on; weights follow the numbers of its classes.
    """

    def __init__(self, dataset: Dataset, split: Split, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing
        self._weight_K: Tensor | None = None
        if dataset.balance.kind == "class_weights":
            num_classes = dataset.shape.num_classes
            self._weight_K = class_weights(split.labels_N, num_classes, dataset.balance.strength)

    def __call__(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the mean over the batch; weights are 1 on average over the split."""
        logits_BK, smoothing = precise(logits_BK), self._label_smoothing
        if self._weight_K is None:
            return functional.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)
        self._weight_K = self._weight_K.to(logits_BK)
        loss_B = functional.cross_entropy(
            logits_BK, labels_B, label_smoothing=smoothing, reduction="none"
        )
        # not torch's weighted mean, which would weigh the batches against each other anew
        return (self._weight_K[labels_B] * loss_B).mean()


def class_weights(labels_N: Tensor, num_classes: int, strength: float) -> Tensor:
    """Return weight_K, float32: n_k to the power of -strength, with mean 1 over the inputs.

    A class without inputs has the weight 0.
    """
    count_K = torch.bincount(labels_N, minlength=num_classes).double()
    weight_K = torch.where(count_K > 0, count_K.clamp_min(1) ** -strength, 0.0)
    return (weight_K * count_K.sum() / (weight_K * count_K).sum()).float()


def drawn_order(labels_N: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Draw order_N, with replacement, in which the weights of the classes are their frequencies."""
    weight_K = class_weights(labels_N, int(labels_N.max()) + 1, strength)
    return torch.multinomial(
        weight_K[labels_N], len(labels_N), replacement=True, generator=generator
    )
