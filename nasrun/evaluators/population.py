"""Score a population of candidates on one batch, each process of a group its share of them.

Shapes: B batch, C channels, H height, W width, K classes, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from nasrun.compute.device import Device, Load, precise
from nasrun.protocols.data import Batch, MetricName
from nasrun.protocols.scorer import Scores
from nasrun.training.loop import portions
from nasrun.training.quality import measured


@torch.no_grad()
def population_scores(
    device: Device,
    load: Load,
    logits: Callable[[Tensor], Iterable[Tensor]],
    num_candidates: int,
    batch: Batch,
    metric: MetricName = "accuracy",
) -> Scores:
    """Compute the scores of all candidates.

    Args:
        load: what is told where memory runs out.
        logits: yields logits_BK of this process's candidates on given images.
        num_candidates: those of all processes.
        metric: what the search maximises.
    """
    images_BCHW, labels_B = batch

    def population(parts: int) -> Tensor:
        """Return logits_NBK; in parts, batch statistics are those of each part."""
        with device.autocast():
            return torch.cat(
                [
                    torch.stack([precise(logits_BK) for logits_BK in logits(part)])
                    for part in portions(images_BCHW, parts)
                ],
                dim=1,
            )

    group = device.group
    # Empty rows for a process without candidates, which must take part in the gathering, too.
    wanted: list[MetricName] = ["accuracy"]
    if metric != "accuracy":
        wanted.append(metric)
    figures = [torch.empty(0, 1 + len(wanted), dtype=torch.float64, device=device.torch)]
    losses = [torch.empty(0, len(labels_B), dtype=device.dtype, device=device.torch)]
    if group.share(num_candidates):  # else there are more processes than candidates
        for logits_BK in device.in_parts(load, len(images_BCHW), population):
            each_B = functional.cross_entropy(logits_BK, labels_B, reduction="none")
            loss = functional.cross_entropy(logits_BK, labels_B)
            own = [measured(one, logits_BK, labels_B) for one in wanted]
            losses.append(each_B[None])
            figures.append(torch.stack([loss.double(), *own])[None])
    figures_NF = group.gather(torch.cat(figures), num_candidates)
    losses_NB = group.gather(torch.cat(losses), num_candidates)
    figures_FN = torch.stack([comparison_noise(losses_NB), *figures_NF.T])
    noise_N, loss_N, accuracy_N, *others = figures_FN.cpu().numpy()  # one transfer for all
    return Scores(
        loss_N, accuracy_N, noise_N if len(losses_NB) > 1 else None, others[0] if others else None
    )


def comparison_noise(losses_NB: Tensor) -> Tensor:
    """Estimate how exact each loss is when candidates are compared: noise_N, float64.

    It is the standard error of each candidate's mean loss less the mean of all candidates that did
    not fail: what makes an image hard for all of them says nothing of one.
    """
    sound_N = losses_NB.isfinite().all(dim=1)
    apart_NB = (losses_NB - losses_NB[sound_N].mean(dim=0)).double()
    return apart_NB.std(dim=1) / math.sqrt(losses_NB.shape[1])
