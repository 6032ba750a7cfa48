"""Rank architectures as DCL-ENAS does (arXiv 2512.20112): a soft encoder, two contrasts.

Stage 1 (CLP, predictors/contrastive.py): without labels, architectures one edit apart are drawn
together. Stage 2 (CLF), at every refit: back to the encoder f of stage 1, and a rank head w on top
of it orders all labelled pairs by a margin m. With scores s = w(f(code)):

    L = sum_ij u_ij max(0, m - (s_i - s_j)) / sum_ij u_ij,   over pairs with y_i > y_j

Deviations: the paper's sizes, optimisers and pair weights are not public; these are guesses that
were measured. A digest speaks of a weight of the loss that is ramped up; Adam undoes the size of
its only loss, so the warm-up ramps the learning rates. u_ij is the percentile of the better one to
the power `top_weight`, since only the top of the ranking decides a search. Several members vote,
and their spread is the deviation.

Shapes: M members, N architectures, D bits of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Interval, MinLen
from torch import Tensor
from torch.nn import functional

from nasrun.graphs.codes import CODES, Code, CodeName, code_from_state, figures
from nasrun.predictors.contrastive import Contrast, pretrain
from nasrun.predictors.members import Parameters, fixed, layers, multilayer, trainable
from nasrun.predictors.targets import standardised_ranks
from nasrun.protocols.predictor import Features, Prediction, Predictor, Unlabelled
from nasrun.protocols.ranks import ranks
from nasrun.protocols.settings import Count, CountOrNone, NotNegative, Positive, Seed, Width, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress, require_alike
from nasrun.randomness import RandomStreams
from nasrun.storage import tensor_cache
from nasrun.training.optimisers import AdamW
from nasrun.training.update import require_finite

Loss = Literal["ranking", "regression"]
RATES = "predictor.encoder_learning_rate or predictor.head_learning_rate"

NUM_AT_ONCE = 1024  # architectures; their features stay in the cache of the processor


@plugin
class DCL(Predictor):
    """The predictor of DCL-ENAS, a `protocols.predictor.Predictor`; see the module's docstring."""

    generator: torch.Generator = field(kw_only=False)
    """Draws rank heads, and the encoders where stage 1 is left out."""
    encoder_seed: Seed  # for stage 1; runs with equal settings share one pre-trained encoder
    code: CodeName  # what f reads: the hard code's paths, a graph kernel's labels, or adjacency
    num_members: Annotated[int, Interval(ge=1, le=100)]  # networks that are trained side by side
    encoder_widths: Annotated[list[Width], MinLen(1)]  # layers of f, without the code's width
    head_widths: Annotated[list[Width], MinLen(1)]  # hidden layers of w
    num_architectures: Count  # unlabelled; for stage 1, as all down to its learning rate
    num_pairs: Count  # pairs of architectures one edit apart
    contrast_steps: CountOrNone  # optimiser steps; 0 leaves stage 1 out
    num_anchors: Annotated[int, Interval(ge=2, le=10_000)]  # pairs per step and member
    temperature: Positive  # tau
    projection: Count  # dimension of z
    contrast_learning_rate: Positive  # Adam's, at the peak of a one-cycle schedule
    loss: Loss  # in stage 2; regression of the standardised ranks is for the ablation
    num_epochs: Count  # optimiser steps of stage 2, each over all pairs
    warmup: CountOrNone  # epochs over which the learning rates are ramped up
    margin: Positive  # m
    top_weight: NotNegative  # the exponent in u_ij
    encoder_learning_rate: Positive  # AdamW's, in stage 2
    head_learning_rate: Positive
    weight_decay: NotNegative
    features: Features = "code"  # runs of earlier versions lack it

    def __post_init__(self) -> None:
        self.contrast = Contrast(
            num_architectures=self.num_architectures,
            num_pairs=self.num_pairs,
            num_steps=self.contrast_steps,
            num_anchors=self.num_anchors,
            temperature=self.temperature,
            projection=self.projection,
            learning_rate=self.contrast_learning_rate,
        )
        self._pretrained: dict[str, Any] = {}  # what stage 1 left: code, encoder, loss
        self._code: Code | None = None
        self._encoder: Parameters = {}
        self._head: Parameters = {}

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Run stage 1, or take the outcome of an earlier run that asked for the same."""
        if self.contrast.num_steps == 0:
            self._pretrained = self._untrained(unlabelled)
            return {}
        recipe = {
            "stage_1": 2,  # to be raised with every change of that training
            "architectures": unlabelled.fingerprint(),
            "encoder_seed": self.encoder_seed,
            "code": self.code,
            "num_members": self.num_members,
            "encoder_widths": self.encoder_widths,
            "contrast": asdict(self.contrast),
        }
        self._pretrained = tensor_cache.cached(recipe, lambda: self._stage_1(unlabelled, progress))
        return {"pretrain_loss": self._pretrained["loss"]}

    def _stage_1(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, Any]:
        streams, settings = RandomStreams(self.encoder_seed), self.contrast
        graphs, pairs_P2 = unlabelled.draw(
            settings.num_architectures, settings.num_pairs, streams.numpy("pairs")
        )
        code = CODES[self.code].fitting(graphs)
        encoder = self._layers([code.num_bits, *self.encoder_widths], streams.torch("encoder"))
        encoder, loss = pretrain(
            encoder, code.encode(graphs), pairs_P2, settings, streams.torch("contrast"), progress
        )
        return {"code": code.state_dict(), "encoder": encoder, "loss": loss}

    def _untrained(self, unlabelled: Unlabelled) -> dict[str, Any]:
        """Fit the code as stage 1 does, and draw an encoder of this run's own."""
        rng = RandomStreams(self.encoder_seed).numpy("pairs")
        graphs, _ = unlabelled.draw(self.contrast.num_architectures, 0, rng)
        code = CODES[self.code].fitting(graphs)
        encoder = self._layers([code.num_bits, *self.encoder_widths], self.generator)
        return {"code": code.state_dict(), "encoder": encoder}

    def _layers(self, widths: Sequence[int], generator: torch.Generator) -> Parameters:
        return layers(widths, self.num_members, generator)

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        """Run stage 2: train encoder and rank head on all labels."""
        encoder = trainable(self._pretrained["encoder"])
        codes_ND, figures_NF = self._codes(graphs), torch.from_numpy(figures(graphs))
        width = self.encoder_widths[-1] + figures_NF.shape[1]
        head = trainable(self._layers([width, *self.head_widths, 1], self.generator))
        optimiser = AdamW(
            [
                {"params": list(encoder.values()), "lr": self.encoder_learning_rate},
                {"params": list(head.values()), "lr": self.head_learning_rate},
            ],
            weight_decay=self.weight_decay,
            fused=True,  # ten small tensors: the steps cost more than the products otherwise
        )
        peaks = (self.encoder_learning_rate, self.head_learning_rate)
        loss_of = self._loss(values_N)
        for epoch in range(self.num_epochs):
            ramp = min(1.0, (epoch + 1) / self.warmup) if self.warmup > 0 else 1.0
            for rates, rate in zip(optimiser.param_groups, peaks, strict=True):
                rates["lr"] = ramp * rate
            loss = loss_of(scores(encoder, head, codes_ND, figures_NF)).sum()
            require_finite(loss, f"loss of the predictor in epoch {epoch + 1}", RATES)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        self._encoder, self._head = fixed(encoder), fixed(head)

    def _loss(self, values_N: np.ndarray) -> Callable[[Tensor], Tensor]:
        """Return the function from scores_MN to the loss of each member."""
        if self.loss == "regression":
            targets_N = torch.from_numpy(standardised_ranks(values_N)).float()
            return lambda scores_MN: (scores_MN - targets_N).square().mean(dim=1)
        weights_NN = pair_weights(values_N, self.top_weight)
        return lambda scores_MN: ranking_loss(scores_MN, weights_NN, self.margin)

    @torch.no_grad()
    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        """Return mean and deviation of the score over the members."""
        inputs = self._codes(graphs), torch.from_numpy(figures(graphs))
        parts = zip(*(torch.split(one, NUM_AT_ONCE) for one in inputs), strict=True)
        scores_MN = torch.cat([scores(self._encoder, self._head, *part) for part in parts], dim=1)
        values_MN = scores_MN.double().numpy()
        return Prediction(values_MN.mean(axis=0), values_MN.std(axis=0))

    def _codes(self, graphs: Sequence[ArchGraph]) -> Tensor:
        if self._code is None:
            self._code = code_from_state(self._pretrained["code"])
        return torch.from_numpy(self._code.encode(graphs))

    def state_dict(self) -> dict[str, Any]:
        return {"pretrained": self._pretrained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pretrained = state["pretrained"]
        if pretrained:
            code = code_from_state(pretrained["code"])
            widths = [code.num_bits, *self.encoder_widths]
            require_alike(self._layers(widths, torch.Generator()), pretrained["encoder"], "encoder")
        self._pretrained, self._code = pretrained, None


def scores(encoder: Parameters, head: Parameters, codes_ND: Tensor, figures_NF: Tensor) -> Tensor:
    """Return scores_MN: w(f(code)) of each member; w reads the figures beside f."""
    num_members = len(encoder["weight0"])
    features_MNF = functional.relu(multilayer(encoder, codes_ND.expand(num_members, -1, -1)))
    if figures_NF.shape[1] > 0:
        known_MNF = figures_NF.expand(num_members, -1, -1)
        features_MNF = torch.cat([features_MNF, known_MNF], dim=2)
    return multilayer(head, features_MNF).squeeze(-1)


def pair_weights(values_N: np.ndarray, top_weight: float) -> Tensor:
    """Return u_ij / sum u: how much each pair (i better than j) counts.

    All weights are zero where all values are equal.
    """
    percentile_N = ranks(values_N) / len(values_N)
    better_NN = percentile_N[:, None] > percentile_N[None, :]
    weights_NN = better_NN * percentile_N[:, None] ** top_weight
    return torch.from_numpy(weights_NN / max(weights_NN.sum(), 1e-300)).float()


def ranking_loss(scores_MN: Tensor, weights_NN: Tensor, margin: float) -> Tensor:
    """Return loss_M: the weighted sum of every pair's hinge."""
    # s_i - s_j of all pairs; `weights_NN` is zero where i is not the better one
    gaps_MNN = scores_MN[:, :, None] - scores_MN[:, None, :]
    return (weights_NN * functional.relu(margin - gaps_MNN)).sum(dim=(1, 2))
