"""Learn without labels which architectures are alike: stage 1 of DCL-ENAS (CLP).

Two architectures one edit apart shall lie close to each other, and far from all others, on the
unit sphere of a linear projection g on top of the encoder f (InfoNCE). With z = g(f(code)) / |..|,
for each anchor a, its positive p and the positives n of the other anchors,

    L_a = -log( exp(z_a z_p / tau) / sum_n exp(z_a z_n / tau) )

Deviation: the paper's positives are not known. The nearest hard codes in a batch (as in SS-CCL,
arXiv 2011.00186) made the predictor worse than no pre-training; one-edit mutants made it better.

Shapes: M members, N architectures, D bits of a code, P pairs, A anchors of a step, Z projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nasrun.predictors.members import Parameters, fixed, layers, multilayer, trainable
from nasrun.protocols.state import Progress
from nasrun.training.optimisers import Adam
from nasrun.training.update import require_finite

STEPS_PER_REPORT = 20


@dataclass(frozen=True)
class Contrast:
    """Settings of stage 1.

    Args:
        num_architectures, num_pairs: unlabelled architectures, and pairs one edit apart.
        num_steps: optimiser steps.
        num_anchors: pairs per step and member.
        temperature: tau.
        projection: dimension of z.
        learning_rate: Adam's, at the peak of a one-cycle schedule.
    """

    num_architectures: int
    num_pairs: int
    num_steps: int
    num_anchors: int
    temperature: float
    projection: int
    learning_rate: float


def pretrain(
    encoder: Parameters,
    codes_ND: np.ndarray,
    pairs_P2: np.ndarray,
    settings: Contrast,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Parameters, float]:
    """Return the trained encoder, and the mean loss of the last tenth of the steps.

    Every member sees pairs of its own.
    """
    num_members, *_ = encoder["weight0"].shape
    num_features = encoder[f"bias{len(encoder) // 2 - 1}"].shape[-1]
    encoder = trainable(encoder)
    head = trainable(layers([num_features, settings.projection], num_members, generator))
    optimiser = Adam([*encoder.values(), *head.values()], fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.num_steps
    )
    codes, pairs = torch.from_numpy(codes_ND), torch.from_numpy(pairs_P2)
    # architectures that look alike to the encoder have one id
    _, ids = np.unique(codes_ND, axis=0, return_inverse=True)
    ids_N = torch.from_numpy(ids.reshape(-1))
    # In a tiny space, anchors beyond the number of codes would all be barred as alike.
    num_anchors = max(2, min(settings.num_anchors, int(ids_N.max()) + 1))
    losses = []
    for step in range(1, settings.num_steps + 1):
        drawn = torch.randint(len(pairs), (num_members, num_anchors), generator=generator)
        anchors_MA, positives_MA = pairs[drawn].unbind(dim=-1)
        rows = torch.cat([anchors_MA, positives_MA], dim=1)
        # (M, 2A, F): `multilayer` ends with a linear layer
        features = functional.relu(multilayer(encoder, codes[rows]))
        z = functional.normalize(multilayer(head, features), dim=-1)
        loss_M = info_nce(z, ids_N[rows], settings.temperature)
        name = f"loss of the predictor's pre-training in step {step}"
        require_finite(loss_M.sum(), name, "predictor.contrast_learning_rate")
        optimiser.zero_grad()
        torch.autograd.backward(loss_M.sum())
        optimiser.step()
        schedule.step()
        losses.append(float(loss_M.detach().mean()))
        if step % STEPS_PER_REPORT == 0:
            progress(step, settings.num_steps, pretrain_loss=losses[-1])
    return fixed(encoder), float(np.mean(losses[-max(1, len(losses) // 10) :]))


def info_nce(z_MBZ: Tensor, ids_MB: Tensor, temperature: float) -> Tensor:
    """Return loss_M, the mean of L_a.

    Args:
        z_MBZ: unit vectors of B = 2A architectures, the A anchors and then their positives.
        ids_MB: equal where the codes are equal. A positive that looks like the anchor, or like its
            own positive, is none of its negatives.
    """
    anchors_MAZ, positives_MAZ = z_MBZ.chunk(2, dim=1)
    anchor_ids_MA, positive_ids_MA = ids_MB.chunk(2, dim=1)
    num_anchors = anchors_MAZ.shape[1]
    alike_MAA = (anchor_ids_MA[:, :, None] == positive_ids_MA[:, None, :]) | (
        positive_ids_MA[:, :, None] == positive_ids_MA[:, None, :]
    )
    # The diagonal stays: there stands the anchor's own positive.
    barred_MAA = alike_MAA & ~torch.eye(num_anchors, dtype=torch.bool)
    logits_MAA = anchors_MAZ @ positives_MAZ.transpose(1, 2) / temperature
    log_shares_MAA = logits_MAA.masked_fill(barred_MAA, -torch.inf).log_softmax(dim=2)
    return -log_shares_MAA.diagonal(dim1=1, dim2=2).mean(dim=1)
