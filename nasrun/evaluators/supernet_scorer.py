"""One supernet that holds the weights of all architectures (weight sharing: Pham et al. 2018).

It trains the weights under mixing weights that the strategy chooses, and scores candidates without
training them. Shapes: B batch, C channels, H height, W width, K classes, N candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module, functional

from nasrun.compute.device import Load
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import Batch
from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import DifferentiableSpace, MixingWeights, Statistics, as_module
from nasrun.protocols.state import Progress, Streams
from nasrun.training.costs import is_large, require_room
from nasrun.training.loop import LossAndLogits, portions, train_epoch
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate

SIZES = "space.channels or space.cells"
SCORING = Load("scoring of candidates", None, f"strategy.fitness_images, {SIZES}")


class SupernetScorer:
    """A `Scorer`: the supernet of a space, its optimiser and the two halves of the training set.

    Args:
        streams, progress: `None` takes those of the context.
        group: of the configuration, to which the settings below belong.
        num_epochs, learning_rate, learning_rate_min, momentum, weight_decay, gradient_clip: SGD
            with a cosine schedule, see `training.update.WeightUpdate`.
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
        learning_rate: float,
        learning_rate_min: float,
        momentum: float,
        weight_decay: float,
        gradient_clip: float,
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
            with torch.device("meta"):
                shadow = as_module(space.supernet(dataset.shape, **supernet))
            require_room(shadow, "space.channels, space.cells")
        with streams.global_torch("supernet"):
            self.supernet = space.supernet(dataset.shape, **supernet)
        device.place(as_module(self.supernet))
        self.update = WeightUpdate(
            as_module(self.supernet).parameters(),
            num_epochs=num_epochs,
            learning_rate=learning_rate,
            learning_rate_min=learning_rate_min,
            momentum=momentum,
            weight_decay=weight_decay,
            gradient_clip=gradient_clip,
        )
        self._parallel: Module | None = None  # for the updates; made with the first one
        self._changing = False  # which parameters are updated, from batch to batch
        train, validation = halves(dataset.train, streams.numpy("halves"))
        self.train_stream = BatchStream(
            dataset, train, device, streams.torch("train"), augment=True
        )
        self.validation_stream = BatchStream(
            dataset, validation, device, streams.torch("validation"), augment=False
        )

    def train_epoch(
        self,
        weights: Callable[[], MixingWeights],
        before_batch: Callable[[], None] | None = None,
        *,
        gates: Callable[[], Mapping[str, Tensor]] | None = None,
        active: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> dict[str, float]:
        """Like `weights`, `gates` and `active` are asked for each batch; see `Supernet`."""
        num_batches = self.train_stream.num_batches(self._batch_size)
        mixture: dict[str, Any] = {}
        if self._parallel is None:
            network = as_module(self.supernet)
            self._parallel = self._device.parallel(network, changing=active is not None)
            self._changing = active is not None
        assert self._changing == (active is not None), "paths, or mixtures, from the first epoch on"
        supernet = self._parallel

        def batches() -> Iterator[Batch]:
            for batch in self.train_stream.one_pass(self._batch_size):
                if before_batch is not None:
                    before_batch()
                mixture["weights"] = self.on_device(weights())
                mixture["gates"] = None if gates is None else self.on_device(gates())
                mixture["active"] = None if active is None else active()
                yield batch

        def forward(batch: Batch) -> LossAndLogits:
            images_BCHW, labels_B = batch
            logits_BK = supernet(images_BCHW, **mixture)
            return functional.cross_entropy(logits_BK.float(), labels_B), logits_BK

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
        self._device.group.copy_of_first(list(as_module(self.supernet).buffers()))
        return metrics

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        path: Path

        def next_path() -> None:
            nonlocal path
            path = Path.of(self._space, draw())

        return self.train_epoch(
            lambda: path.weights,
            before_batch=next_path,
            gates=lambda: path.gates,
            active=lambda: path.active,
        )

    def draw_batch(self, num_images: int) -> Batch:
        return self.validation_stream.take(num_images)

    def score(
        self, candidates: Sequence[MixingWeights], batch: Batch, statistics: Statistics = "batch"
    ) -> Scores:
        """Cross-entropy and accuracy of each candidate on the same batch.

        With `batch` statistics (the default) batch norm normalises by the batch and the running
        statistics are left alone; those are of the mixture that was trained, and under them the
        loss mostly measures how unlike that mixture a candidate is.
        """
        on_device = [self.on_device(candidates[n]) for n in self._share(candidates)]

        def logits(images_BCHW: Tensor) -> Iterable[Tensor]:
            if not self._device.compiles:
                return self.supernet.each(images_BCHW, on_device, statistics)
            calls = partial(self.supernet, images_BCHW, statistics=statistics)  # are compiled
            return map(calls, on_device)

        return self._scores(logits, len(candidates), batch)

    def score_paths(self, genotypes: Sequence[Genotype], batch: Batch) -> Scores:
        """Like `score`, of single architectures under batch statistics: nothing else is computed,
        which is five times as fast."""
        chosen = [genotypes[n] for n in self._share(genotypes)]
        paths = [Path.of(self._space, genotype)._asdict() for genotype in chosen]
        on_device = [{name: self.on_device(part) for name, part in path.items()} for path in paths]

        def logits(images_BCHW: Tensor) -> Iterable[Tensor]:
            return (self.supernet(images_BCHW, **path, statistics="batch") for path in on_device)

        return self._scores(logits, len(genotypes), batch)

    def _share(self, candidates: Sequence[object]) -> range:
        """Which of them this process scores."""
        return self._device.group.share(len(candidates))

    @torch.no_grad()
    def _scores(
        self, logits: Callable[[Tensor], Iterable[Tensor]], num_candidates: int, batch: Batch
    ) -> Scores:
        """From the logits_BK of this process's candidates on given images."""
        images_BCHW, labels_B = batch

        def population(parts: int) -> Tensor:
            """logits_NBK; in parts, batch statistics are those of each part."""
            with self._device.autocast():
                return torch.cat(
                    [
                        torch.stack([logits_BK.float() for logits_BK in logits(part)])
                        for part in portions(images_BCHW, parts)
                    ],
                    dim=1,
                )

        device, group = self._device, self._device.group
        figures = [torch.empty(0, 2, dtype=torch.float64, device=device.torch)]
        losses = [torch.empty(0, len(labels_B), device=device.torch)]
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

    def on_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self._device.torch) for name, tensor in tensors.items()}

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


class Path(NamedTuple):
    """The arguments with which a supernet computes one architecture and nothing besides."""

    weights: dict[str, Tensor]  # cell type -> weights_EO, one-hot
    gates: dict[str, Tensor]  # cell type -> gates_E
    active: dict[str, Tensor]  # cell type -> active_EO, bool

    @classmethod
    def of(cls, space: DifferentiableSpace, genotype: Genotype) -> Path:
        weights = space.one_hot(genotype)
        active = {name: weights_EO > 0 for name, weights_EO in weights.items()}
        return cls(weights, space.one_hot_gates(genotype), active)


def comparison_noise(losses_NB: Tensor) -> Tensor:
    """noise_N, float64: the standard error of each candidate's mean loss, as compared with the mean
    of all that did not fail. What makes an image hard for all of them says nothing of one."""
    sound_N = losses_NB.isfinite().all(dim=1)
    apart_NB = (losses_NB - losses_NB[sound_N].mean(dim=0)).double()
    return apart_NB.std(dim=1) / math.sqrt(losses_NB.shape[1])
