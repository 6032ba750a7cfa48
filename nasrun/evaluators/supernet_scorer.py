"""Train and score one supernet that holds the weights of all architectures.

Weight sharing: Pham et al. 2018.

It trains the weights under mixing weights that the strategy chooses, and scores candidates without
training them. Shapes: B batch, C channels, H height, W width, K classes, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, functional

from nasrun.compute.device import LEAST_PART, Load, precise
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import Batch
from nasrun.protocols.scorer import Gradient, Scores
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import DifferentiableSpace, Mixture, Statistics, as_module
from nasrun.protocols.state import Progress, Streams
from nasrun.training.costs import is_large, require_room
from nasrun.training.loop import LossAndLogits, portions, train_epoch
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate, require_finite

SIZES = "space.channels or space.cells"
SCORING = Load("scoring of candidates", None, f"strategy.fitness_images, {SIZES}")
GRADIENT = Load("gradient by the mixture", None, f"the number of its images, {SIZES}")


class SupernetScorer:
    """A `Scorer`: the supernet of a space, its optimiser and the halves of the training set.

    Args:
        streams, progress: `None` takes those of the context.
        group: the group of the configuration to which the settings below belong.
        num_epochs, training: SGD with a cosine schedule, see `training.update.WeightUpdate`.
        batch_size: images per update; `None` takes the dataset's.
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
        if is_large(space, supernet.get("channels"), supernet.get("cells")):
            # Built without data first: what does not fit is refused before its memory is asked for.
            with torch.device("meta"):
                shadow = as_module(space.supernet(dataset.shape, **supernet))
            require_room(shadow, "space.channels, space.cells")
        # Layers draw their weights from torch's global generator.
        with streams.global_torch("supernet"):
            self.supernet = space.supernet(dataset.shape, **supernet)
        device.place(as_module(self.supernet))
        self.update = WeightUpdate(
            as_module(self.supernet).parameters(),
            training,
            num_epochs=num_epochs,
        )
        self._parallel: Module | None = None  # for the updates; made with the first one
        self._changing = False  # which parameters are updated, from batch to batch
        train, validation = halves(dataset.train, streams.fresh("halves"))
        self.train_stream = BatchStream(
            dataset, train, device, streams.torch("train"), augment=True
        )
        self.validation_stream = BatchStream(
            dataset, validation, device, streams.torch("validation"), augment=False
        )

    def train_epoch(
        self, mixture: Callable[[], Mixture], before_batch: Callable[[], None] | None = None
    ) -> dict[str, float]:
        num_batches = self.train_stream.num_batches(self._batch_size)
        # The mixture of the batch in work. It is asked for as the batch is handed out, so that all
        # parts of a batch (`on_oom=halve`) are computed under the same one.
        current: Mixture

        def batches() -> Iterator[Batch]:
            nonlocal current
            for batch in self.train_stream.one_pass(self._batch_size):
                if before_batch is not None:
                    before_batch()
                current = self.on_device(mixture())
                yield batch

        def forward(batch: Batch) -> LossAndLogits:
            images_BCHW, labels_B = batch
            supernet = self._trained_by_all(changing=current.active is not None)
            logits_BK = supernet(images_BCHW, current)
            return functional.cross_entropy(precise(logits_BK), labels_B), logits_BK

        with self._streams.global_torch("dropout", self._device.group.rank):
            metrics = train_epoch(
                batches(),
                forward,
                self.update,
                self._device,
                lambda done, loss: self._progress(done, num_batches, loss=loss),
                self._load,
                self.train_stream.size_of_batch(self._batch_size),
            )
        # Running statistics can differ from process to process; all go on with one version.
        self._device.group.copy_of_first(list(as_module(self.supernet).buffers()))
        return metrics

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

        return self._scores(logits, len(candidates), batch)

    def score_paths(self, genotypes: Sequence[Genotype], batch: Batch) -> Scores:
        """Score single architectures: nothing else is computed, which is five times as fast."""
        return self.score([Mixture.single(self._space, one) for one in genotypes], batch)

    def gradient(self, mixture: Mixture, batch: Batch) -> Gradient:
        """Differentiate under batch statistics; processes of a group share the images."""
        device, group, num_images = self._device, self._device.group, len(batch[1])
        rows, times = group.share(num_images), 1
        if num_images // group.size < LEAST_PART:  # then each of them computes all
            rows, times = range(num_images), group.size
        images_BCHW, labels_B = (part[rows.start : rows.stop] for part in batch)
        here = self.on_device(mixture)
        # Leaves of this call: the caller's mixture and the shared weights get no gradients.
        weights = {name: one.clone().requires_grad_() for name, one in here.weights.items()}
        gates = None
        if here.gates is not None:
            gates = {name: one.clone().requires_grad_() for name, one in here.gates.items()}
        leaves = [*weights.values(), *(gates or {}).values()]
        mixed = Mixture(weights, gates, here.active)

        def figures(parts: int) -> Tensor:
            """Return what these images add to the gradients (end to end), loss and accuracy."""
            total = torch.zeros((), device=device.torch)
            pairs = zip(portions(images_BCHW, parts), portions(labels_B, parts), strict=True)
            for images, labels in pairs:
                with device.autocast():
                    logits_PK = precise(self.supernet(images, mixed, statistics="batch"))
                loss = functional.cross_entropy(logits_PK, labels)
                # weighed before it is differentiated: batch norm joins the losses of a group
                share = len(images) / (times * num_images)
                loss = loss * share
                # zeros for a weight whose operation is not active
                gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
                accuracy = (logits_PK.detach().argmax(1) == labels).float().mean() * share
                each = [*(one.flatten() for one in gradients), loss.detach()[None], accuracy[None]]
                total = total + torch.cat(each)
            return total

        # Where each process computes all images, batch norm already sees the whole batch.
        shared = device.sharing_a_batch(as_module(self.supernet)) if times == 1 else nullcontext()
        with shared:
            found = group.sum(device.in_parts(GRADIENT, len(images_BCHW), figures)).cpu()
        # In one vector for a single exchange and a single copy: gradients, loss, accuracy.
        *parts, loss, accuracy = torch.split(found, [*(leaf.numel() for leaf in leaves), 1, 1])
        require_finite(loss, "validation loss", f"{self._load.group}.learning_rate")
        shaped = iter(part.view_as(leaf).float() for part, leaf in zip(parts, leaves, strict=True))
        self.num_scorings += 1
        return Gradient(
            float(loss),
            float(accuracy),
            {name: next(shaped) for name in weights},
            None if gates is None else {name: next(shaped) for name in gates},
        )

    def _share(self, candidates: Sequence[object]) -> range:
        """Return which of the candidates this process scores."""
        return self._device.group.share(len(candidates))

    @torch.no_grad()
    def _scores(
        self, logits: Callable[[Tensor], Iterable[Tensor]], num_candidates: int, batch: Batch
    ) -> Scores:
        """Compute scores from the logits_BK of this process's candidates on given images."""
        images_BCHW, labels_B = batch

        def population(parts: int) -> Tensor:
            """Return logits_NBK; in parts, batch statistics are those of each part."""
            with self._device.autocast():
                return torch.cat(
                    [
                        torch.stack([precise(logits_BK) for logits_BK in logits(part)])
                        for part in portions(images_BCHW, parts)
                    ],
                    dim=1,
                )

        device, group = self._device, self._device.group
        # Empty rows for a process without candidates, which must take part in the gathering, too.
        figures = [torch.empty(0, 2, dtype=torch.float64, device=device.torch)]
        losses = [torch.empty(0, len(labels_B), dtype=device.dtype, device=device.torch)]
        if group.share(num_candidates):  # else there are more processes than candidates
            for logits_BK in device.in_parts(SCORING, len(images_BCHW), population):
                each_B = functional.cross_entropy(logits_BK, labels_B, reduction="none")
                loss = functional.cross_entropy(logits_BK, labels_B)
                accuracy = (logits_BK.argmax(1) == labels_B).double().mean()
                losses.append(each_B[None])
                figures.append(torch.stack([loss.double(), accuracy])[None])
        figures_N2 = group.gather(torch.cat(figures), num_candidates)
        losses_NB = group.gather(torch.cat(losses), num_candidates)
        self.num_scorings += len(losses_NB)
        figures_3N = torch.stack([*figures_N2.T, comparison_noise(losses_NB)])
        loss_N, accuracy_N, noise_N = figures_3N.cpu().numpy()  # one transfer for all
        return Scores(loss_N, accuracy_N, noise_N if len(losses_NB) > 1 else None)

    def on_device(self, mixture: Mixture) -> Mixture:
        """Copy a mixture to the device of the supernet; `active` stays, it is read as Python."""
        place, dtype = self._device.torch, self._device.dtype
        gates = mixture.gates
        return Mixture(
            {name: weights_EO.to(place, dtype) for name, weights_EO in mixture.weights.items()},
            None
            if gates is None
            else {name: gates_E.to(place, dtype) for name, gates_E in gates.items()},
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


def comparison_noise(losses_NB: Tensor) -> Tensor:
    """Estimate how exact each loss is when candidates are compared: noise_N, float64.

    It is the standard error of each candidate's mean loss less the mean of all candidates that did
    not fail: what makes an image hard for all of them says nothing of one.
    """
    sound_N = losses_NB.isfinite().all(dim=1)
    apart_NB = (losses_NB - losses_NB[sound_N].mean(dim=0)).double()
    return apart_NB.std(dim=1) / math.sqrt(losses_NB.shape[1])
