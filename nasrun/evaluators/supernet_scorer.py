"""Train and score one supernet that holds the weights of all architectures.

Weight sharing: Pham et al. 2018.

It trains the weights under mixing weights that the strategy chooses, and scores candidates without
training them. Shapes: B batch, C channels, H height, W width, K classes, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module, functional

from nasrun.compute.device import LEAST_PART, Load, precise
from nasrun.compute.transfers import upload
from nasrun.evaluators.population import population_scores
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import Batch
from nasrun.protocols.scorer import Gradient, Scores
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import (
    DifferentiableSpace,
    MixingWeights,
    Mixture,
    Statistics,
    as_module,
)
from nasrun.protocols.state import Progress, Streams
from nasrun.training.balance import ClassLoss
from nasrun.training.costs import is_large, require_room
from nasrun.training.loop import LossAndLogits, portions, train_epoch
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate, end_to_end, require_finite, split_like

SIZES = "space.channels or space.cells"
SCORING = Load("scoring of candidates", None, f"strategy.fitness_images, {SIZES}")
GRADIENT = Load("gradient by the mixture", None, f"the number of its images, {SIZES}")


class BatchShare(NamedTuple):
    """What a process of a group computes of a batch."""

    images_BCHW: Tensor
    labels_B: Tensor
    num_images: int  # of all processes together
    repeated: bool = False  # whether they all have the same images


class SupernetScorer:
    """A `Scorer`: the supernet of a space, its optimiser and the halves of the training set.

    Args:
        streams, progress: `None` takes those of the context.
        group: the group of the configuration to which the settings below belong.
        num_epochs, training: SGD with a cosine schedule, see `training.update.WeightUpdate`.
        batch_size: images per update; `None` takes the dataset's.
        inherited: weights of another supernet, which are taken over where name and shape agree.
        supernet: settings of `space.supernet` (channels, cells, partial_channels, ...).
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        streams: Streams | None = None,
        progress: Progress | None = None,
        group: str = "strategy",
        num_epochs: int,
        training: WeightTraining,
        batch_size: int | None = None,
        inherited: Mapping[str, Tensor] | None = None,
        **supernet: Any,
    ) -> None:
        space: DifferentiableSpace = context.space
        dataset, device = context.dataset, context.device
        self._space = space
        streams = streams or context.streams
        self._device = device
        self._streams = streams
        self._progress = progress or context.progress
        self._batch_size = batch_size or dataset.batch_size
        self._load = Load("training of the supernet", group, SIZES)
        self.num_scorings = 0
        self.has_all = supernet.get("active") is None  # whether every architecture has its weights
        sizes = ("channels", "cells", "partial_channels")
        own = all(supernet.get(name) is None for name in sizes)
        self.is_whole = self.has_all and own  # and in the size that the space itself has
        if is_large(space, supernet.get("channels"), supernet.get("cells")):
            # Built without data first: what does not fit is refused before its memory is asked for.
            with torch.device("meta"):
                shadow = as_module(space.supernet(dataset.shape, **supernet))
            require_room(shadow, "space.channels, space.cells")
        # Layers draw their weights from torch's global generator.
        with streams.global_torch("supernet"):
            self.supernet = space.supernet(dataset.shape, **supernet)
        _inherit(as_module(self.supernet), inherited or {})
        device.place(as_module(self.supernet))
        self.update = WeightUpdate(
            as_module(self.supernet).parameters(),
            training,
            num_epochs=num_epochs,
        )
        self._parallel: Module | None = None  # for the updates; made with the first one
        self._changing = False  # which parameters are updated, from batch to batch
        self._next: BatchShare | None = None  # the batch that follows upon `before_batch`
        train, validation = halves(dataset.train, streams.fresh("halves"))
        self._metric = context.metric
        self._loss = ClassLoss(dataset, train)
        self.train_stream = BatchStream(
            dataset, train, device, streams.torch("train"), augment=True
        )
        self.validation_stream = BatchStream(
            dataset, validation, device, streams.torch("validation"), augment=False
        )

    def train_epoch(
        self,
        mixture: Callable[[], Mixture],
        before_batch: Callable[[], None] | None = None,
        after_batch: Callable[[MixingWeights], None] | None = None,
    ) -> dict[str, float]:
        num_batches = self.train_stream.num_batches(self._batch_size)
        # The mixture of the batch in work. It is asked for as the batch is handed out, so that all
        # parts of a batch (`on_oom=halve`) are computed under the same one.
        current: Mixture

        def batches() -> Iterator[Batch]:
            nonlocal current
            for batch in self.train_stream.one_pass(self._batch_size):
                if before_batch is not None:
                    self._next = BatchShare(*batch, self._num_images)
                    before_batch()
                    self._next = None
                current = self.on_device(mixture())
                if after_batch is not None:
                    current = self._watched(current)
                yield batch
                if after_batch is not None:  # the weights have been updated by now
                    after_batch(self._gathered(current))
            self.update.besides = ()

        def forward(batch: Batch) -> LossAndLogits:
            images_BCHW, labels_B = batch
            supernet = self._trained_by_all(changing=current.active is not None)
            logits_BK = supernet(images_BCHW, current)
            return self._loss(logits_BK, labels_B), logits_BK

        with self._streams.global_torch("dropout"):  # alike in all processes, see `Dropout`
            metrics = train_epoch(
                batches(),
                forward,
                self.update,
                self._device,
                lambda done, loss: self._progress(done, num_batches, loss=loss),
                self._load,
                self._num_images,
            )
        # Running statistics can differ from process to process; all go on with one version.
        self._device.group.copy_of_first(list(as_module(self.supernet).buffers()))
        return metrics

    def _watched(self, mixture: Mixture) -> Mixture:
        """Return a mixture whose weights gather their gradient in the next update."""
        weights = {name: one.clone().requires_grad_() for name, one in mixture.weights.items()}
        self.update.besides = tuple(weights.values())
        return mixture._replace(weights=weights)

    def _gathered(self, mixture: Mixture) -> dict[str, Tensor]:
        """Return the gradient of the last update by the weights of its mixture, on the CPU.

        A cell type that no cell has, and that nothing depends on, has zeros.
        """
        leaves = mixture.weights.values()
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in leaves]
        # one exchange and one copy for all; the update weighs a process by the size of the group
        group = self._device.group
        whole = group.sum(torch.cat([one.flatten() for one in found])).cpu() / group.size
        parts = torch.split(whole, [one.numel() for one in found])
        pairs = zip(mixture.weights.items(), parts, strict=True)
        return {name: part.view_as(one) for (name, one), part in pairs}

    def _trained_by_all(self, changing: bool) -> Module:
        """Return the supernet as the processes of the group update it together.

        Args:
            changing: whether the parameters that are used differ from batch to batch.
        """
        if self._parallel is None:
            network = as_module(self.supernet)
            self._parallel = self._device.parallel(network, changing=changing)
            self._changing = changing
        # DistributedDataParallel is told once which parameters may lack a gradient.
        assert self._changing == changing, "paths, or mixtures of all, from the first batch on"
        return self._parallel

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        return self.train_epoch(lambda: Mixture.single(self._space, draw()))

    def draw_batch(self, num_images: int) -> Batch:
        return self.validation_stream.take(num_images)

    def draw_batches(self, sizes: Sequence[int]) -> list[Batch]:
        return self.validation_stream.take_apart(sizes)

    def score(
        self, candidates: Sequence[Mixture], batch: Batch, statistics: Statistics = "batch"
    ) -> Scores:
        """Compute cross-entropy and accuracy of each candidate on the same batch.

        With `batch` statistics (the default) batch norm normalises by the batch and the running
        statistics are left alone; those are of the mixture that was trained, and under them the
        loss mostly measures how unlike that mixture a candidate is.
        """
        on_device = [self.on_device(candidates[n]) for n in self._share(candidates)]

        def logits(images_BCHW: Tensor) -> Iterable[Tensor]:
            if all(mixture.is_plain for mixture in on_device) and not self._device.compiles:
                return self.supernet.each(images_BCHW, on_device, statistics)
            calls = partial(self.supernet, images_BCHW, statistics=statistics)  # may be compiled
            return map(calls, on_device)

        scores = population_scores(
            self._device, SCORING, logits, len(candidates), batch, self._metric
        )
        self.num_scorings += len(candidates)
        return scores

    def score_paths(self, genotypes: Sequence[Genotype], batch: Batch) -> Scores:
        """Score single architectures: nothing else is computed, which is five times as fast."""
        return self.score([Mixture.single(self._space, one) for one in genotypes], batch)

    def gradient(
        self, mixture: Mixture, batch: Batch | BatchShare, at_P: Tensor | None = None
    ) -> Gradient:
        """Differentiate under batch statistics; processes of a group share the images."""
        device, network = self._device, as_module(self.supernet)
        own = self._own_share(batch)
        here = self.on_device(mixture)
        # Leaves of this call: the caller's tensors and the shared weights get no gradients.
        weights, gates = _leaves(here.weights), _leaves(here.gates or {})
        at = _leaves({} if at_P is None else {"at": at_P})
        leaves = [*weights.values(), *gates.values(), *at.values()]
        logits = self._logits(Mixture(weights, gates or None, here.active), *at.values())

        def figures(parts: int) -> Tensor:
            """Return what these images add to loss, accuracy and the gradients, end to end."""
            total = torch.zeros((), device=device.torch)
            pairs = zip(
                portions(own.images_BCHW, parts), portions(own.labels_B, parts), strict=True
            )
            for images, labels in pairs:
                logits_PK = precise(logits(images))
                loss = functional.cross_entropy(logits_PK, labels)
                # weighed before it is differentiated: batch norm joins the losses of a group
                share = len(images) / own.num_images
                loss = loss * share
                # zeros for a weight whose operation is not active
                gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
                accuracy = (logits_PK.detach().argmax(1) == labels).float().mean() * share
                total = total + end_to_end([loss, accuracy, *gradients])
            return total

        # Where each process computes all images, batch norm already sees the whole batch.
        with nullcontext() if own.repeated else device.sharing_a_batch(network):
            # in one vector for a single exchange
            found = device.group.sum(device.in_parts(GRADIENT, len(own.labels_B), figures))
        num_parameters = 0 if at_P is None else len(at_P)
        mixed, of_parameters_P = torch.split(found, [len(found) - num_parameters, num_parameters])
        mixed = mixed.cpu()  # the weights' may be long, and stays where it is
        require_finite(mixed[0], "validation loss", f"{self._load.group}.learning_rate")
        each = iter(split_like([*weights.values(), *gates.values()], mixed[2:].float()))
        self.num_scorings += 1
        return Gradient(
            float(mixed[0]),
            float(mixed[1]),
            {name: next(each) for name in weights},
            {name: next(each) for name in gates} or None,
            None if at_P is None else of_parameters_P,
        )

    def _own_share(self, batch: Batch | BatchShare) -> BatchShare:
        """Return which images of a batch this process computes."""
        if isinstance(batch, BatchShare):
            return batch
        group, num_images = self._device.group, len(batch[1])
        if num_images // group.size < LEAST_PART:  # then each of them computes all
            return BatchShare(*batch, num_images * group.size, repeated=True)
        rows = group.share(num_images)
        images_BCHW, labels_B = (part[rows.start : rows.stop] for part in batch)
        return BatchShare(images_BCHW, labels_B, num_images)

    def _logits(self, mixture: Mixture, at_P: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Return what computes logits_BK of images by the shared weights, or by those of `at_P`."""
        if at_P is None:

            def by_shared(images_BCHW: Tensor) -> Tensor:
                with self._device.autocast():
                    return self.supernet(images_BCHW, mixture, statistics="batch")

            return by_shared
        network = as_module(self.supernet)
        names = [name for name, one in network.named_parameters() if one.requires_grad]
        weights = dict(zip(names, split_like(self.update.parameters, at_P), strict=True))

        def by_given(images_BCHW: Tensor) -> Tensor:
            # no autocast: differences of such gradients need all their digits
            arguments, keywords = (images_BCHW, mixture), {"statistics": "batch"}
            logits_BK: Tensor = functional_call(network, weights, arguments, keywords)
            return logits_BK

        return by_given

    def require_weights(self, what: str) -> None:
        """Do nothing: there are weights."""

    @property
    def learning_rate(self) -> float:
        return self.update.learning_rate

    def parameters(self) -> Tensor:
        return end_to_end(self.update.parameters)

    def unrolled(self, mixture: Mixture, batch: Batch | BatchShare) -> Tensor:
        at_P = self.parameters()
        gradient_P = self.gradient(mixture, batch, at_P).of_parameters_P
        assert gradient_P is not None
        return self.update.unrolled(at_P, gradient_P)

    def named_weights(self) -> dict[str, Tensor]:
        return dict(as_module(self.supernet).state_dict())

    def drop_skips(self, probability: float) -> None:
        self.supernet.skip_dropout = probability

    def next_batch(self) -> BatchShare:
        assert self._next is not None, "there is one within `before_batch` only"
        return self._next

    @property
    def _num_images(self) -> int:
        """Images of a batch of the training half."""
        return self.train_stream.size_of_batch(self._batch_size)

    def _share(self, candidates: Sequence[object]) -> range:
        """Return which of the candidates this process scores."""
        return self._device.group.share(len(candidates))

    def on_device(self, mixture: Mixture) -> Mixture:
        """Copy a mixture to the device of the supernet; `active` stays, it is read as Python."""
        place, dtype = self._device.torch, self._device.dtype
        gates = mixture.gates
        return Mixture(
            {name: upload(one, place, dtype) for name, one in mixture.weights.items()},
            None if gates is None else {n: upload(one, place, dtype) for n, one in gates.items()},
            mixture.active,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "supernet": as_module(self.supernet).state_dict(),
            "update": self.update.state_dict(),
            "train_stream": self.train_stream.state_dict(),
            "validation_stream": self.validation_stream.state_dict(),
            "num_scorings": self.num_scorings,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        as_module(self.supernet).load_state_dict(state["supernet"])
        self.update.load_state_dict(state["update"])
        self.train_stream.load_state_dict(state["train_stream"])
        self.validation_stream.load_state_dict(state["validation_stream"])
        self.num_scorings = state["num_scorings"]


@torch.no_grad()
def _inherit(network: Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights of another network where name and shape agree."""
    for name, own in network.state_dict().items():
        if name in weights and weights[name].shape == own.shape:
            own.copy_(weights[name])


def _leaves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, to be differentiated by."""
    return {name: one.detach().clone().requires_grad_() for name, one in tensors.items()}
