"""Train a derived network from scratch: `Retraining` is driven epoch by epoch, like a search.

The reported test accuracy is that of the last epoch, and the test set is looked at only then.
Shapes: B batch, C channels, H height, W width, K classes, N images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from nasrun.compute.device import Load
from nasrun.config.schema import RetrainConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Batch, Split
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.result import ClassFigures, Retrained
from nasrun.protocols.space import Network, NetworkSize, TrainingHints, as_module
from nasrun.runs.model_file import ModelRecord
from nasrun.training.balance import ClassLoss
from nasrun.training.costs import measure, require_room
from nasrun.training.loop import LogitsAndLabels, LossAndLogits, predict, train_epoch
from nasrun.training.quality import Quality, confusion
from nasrun.training.schedule import Shape
from nasrun.training.streams import BatchStream, apart
from nasrun.training.update import WeightUpdate

LOAD = Load("retraining", "retrain", "retrain.channels or retrain.cells")
MOST_CONFUSED = 20  # classes whose confusion a person can read, as a table of all pairs
TOP = 5  # the other accuracy that is usual on ImageNet; with fewer classes it says nothing


class Retraining:
    """The network of a genotype, trained by SGD as in the recipe `config`."""

    unit: ClassVar[str] = "epoch"

    def __init__(self, wiring: Wiring, genotype: Genotype, config: RetrainConfig) -> None:
        self.config = config
        self._wiring = wiring
        self._device = wiring.device
        self.epoch = 0
        size = network_size(config)
        shape = wiring.dataset.shape
        self.params, self.flops = measure_network(wiring, genotype, size)
        # a stream of its own: the same seed gives the same weights, whatever a search has drawn
        with wiring.streams.global_torch("retrain_network"):
            self.network = wiring.space.network(genotype, shape, size)
        self._device.place(as_module(self.network))
        # what runs in several processes; `network` itself is tested and saved
        self._parallel = self._device.parallel(_WithAuxiliary(self.network))
        # what a genotype says of its own training comes before the recipe
        self.hints: TrainingHints = wiring.space.training_hints(genotype)
        self.update = WeightUpdate(
            as_module(self.network).parameters(),
            config.training.with_rate(self.hints.learning_rate),
            num_epochs=config.epochs,
            nesterov=config.nesterov,
            schedule=cast(Shape, config.schedule),
            warmup_epochs=config.warmup_epochs,
        )
        train, self._validation = self._splits()
        self.stream = BatchStream(
            wiring.dataset,
            train,
            wiring.device,
            wiring.streams.torch("retrain"),
            augment=True,
            cutout=config.cutout,
        )
        self._loss = ClassLoss(wiring.dataset, train, config.label_smoothing)
        self._batch_size = self.hints.batch_size or config.batch_size or wiring.dataset.batch_size

    def _splits(self) -> tuple[Split, Split | None]:
        from sklearn.model_selection import train_test_split

        train = self._wiring.dataset.train
        if self.config.validation == 0:
            return train, None
        if train.groups_N is not None:
            return apart(train, self.config.validation, self._wiring.streams.numpy("holdout"))
        kept, held_out = train_test_split(
            np.arange(len(train)),
            test_size=self.config.validation,
            stratify=train.labels_N.numpy(),
            random_state=int(self._wiring.streams.numpy("holdout").integers(2**32)),
        )
        return train.subset(torch.from_numpy(kept)), train.subset(torch.from_numpy(held_out))

    @property
    def total_steps(self) -> int:
        return self.config.epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.epochs

    def step(self) -> StepReport:
        """Train for one epoch; the drop-path probability rises linearly to its final value."""
        self.network.drop_path = self.config.drop_path * self.epoch / self.config.epochs
        as_module(self.network).train()
        num_batches = self.stream.num_batches(self._batch_size)
        # each process has other images of a batch, and drops other paths of them
        with self._wiring.streams.global_torch("dropout", self._device.group.rank):
            metrics = train_epoch(
                self.stream.one_pass(self._batch_size),
                self._forward,
                self.update,
                self._device,
                lambda done, loss: self._wiring.progress(done, num_batches, loss=loss),
                LOAD,
                self.stream.size_of_batch(self._batch_size),
            )
        # running statistics differ, unless batch norm is synchronised: the first process's hold
        self._device.group.copy_of_first(list(as_module(self.network).buffers()))
        self.epoch += 1
        if self._validation is not None:
            metrics["val_accuracy"] = self._accuracy(self._validation)
        return StepReport(metrics)

    def _forward(self, batch: Batch) -> LossAndLogits:
        images_BCHW, labels_B = batch
        logits_BK, auxiliary_BK = self._parallel(images_BCHW)
        loss = self._loss(logits_BK, labels_B)
        # the auxiliary head only helps the gradient to reach the first cells
        if auxiliary_BK is not None:
            loss = loss + self.config.auxiliary_weight * self._loss(auxiliary_BK, labels_B)
        return loss, logits_BK

    def _predict(self, split: Split) -> LogitsAndLabels:
        as_module(self.network).eval()
        return predict(self.network, self._wiring.dataset, split, self._device)

    def _accuracy(self, split: Split) -> float:
        return top_accuracy(*self._predict(split), 1)

    def result(self, seconds: float) -> Retrained:
        """Measure the network, after training of so many seconds: the only look at test data."""
        dataset = self._wiring.dataset
        logits_NK, labels_N = self._predict(dataset.test)
        num_classes = dataset.shape.num_classes
        counts_KK = confusion(logits_NK.argmax(1), labels_N, num_classes).long().numpy()
        quality = Quality(dataset.reading.classes, counts_KK)
        return Retrained(
            epochs=self.epoch,
            seconds=seconds,
            val_accuracy=None if self._validation is None else self._accuracy(self._validation),
            test_accuracy=top_accuracy(logits_NK, labels_N, 1),
            macro_f1=quality.macro_f1,
            balanced_accuracy=quality.balanced_accuracy,
            params=self.params,
            flops=self.flops,
            test_top5_accuracy=(
                top_accuracy(logits_NK, labels_N, TOP) if num_classes > TOP else None
            ),
            classes=tuple(
                ClassFigures(
                    name=row["class"],
                    count=row["count"],
                    sensitivity=row["recall"],
                    positive_predictivity=row["precision"],
                )
                for row in quality.per_class()
            ),
            confusion=(
                tuple(map(tuple, counts_KK.tolist())) if num_classes <= MOST_CONFUSED else None
            ),
        )

    def record(self, genotype: Genotype) -> ModelRecord:
        """Describe the network, so that it can be built and fed without the data."""
        size, shape = network_size(self.config), self._wiring.dataset.shape
        return ModelRecord(
            genotype=genotype,
            space=dict(self._wiring.settings.space),
            channels=size.channels,
            cells=size.cells,
            stem=size.stem,
            auxiliary=size.auxiliary,
            input_channels=shape.channels,
            input_size=shape.size,
            reading=self._wiring.dataset.reading,
        )

    def model_state(self) -> dict[str, Tensor]:
        return dict(as_module(self.network).state_dict())

    def last_metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "network": as_module(self.network).state_dict(),
            "update": self.update.state_dict(),
            "stream": self.stream.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        as_module(self.network).load_state_dict(state["network"])
        self.update.load_state_dict(state["update"])
        self.stream.load_state_dict(state["stream"])


class _WithAuxiliary(nn.Module):
    """What is computed in training, as a module of its own for those that wrap one."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = as_module(network)
        self._compute = network.with_auxiliary

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits_BK, and those of the auxiliary head, if there is one."""
        return self._compute(images_BCHW)


def top_accuracy(logits_NK: Tensor, labels_N: Tensor, count: int) -> float:
    """Return the share of images whose class is among the `count` with the largest logits."""
    top_NC = logits_NK.topk(count).indices if count > 1 else logits_NK.argmax(1, keepdim=True)
    return float((top_NC == labels_N[:, None]).any(1).double().mean())


def require_possible(config: RetrainConfig, train: Split) -> None:
    """Raise a `UsageError` unless as many images can be held out as are to be."""
    counts_K = np.unique(train.labels_N.numpy(), return_counts=True)[1]
    num_classes, num_images = len(counts_K), len(train)
    # as scikit-learn rounds
    num_held_out = math.ceil(config.validation * num_images)
    enough = num_classes <= num_held_out <= num_images - num_classes and min(counts_K) >= 2
    allowed = (
        f"0, or hold out at least one image of each of the {num_classes} classes, and leave one "
        f"(of {num_images} images, and {min(counts_K)} of the smallest class)"
    )
    require(config.validation == 0 or enough, "retrain.validation", config.validation, allowed)


def network_size(config: RetrainConfig) -> NetworkSize:
    return config.size


def measure_network(wiring: Wiring, genotype: Genotype, size: NetworkSize) -> tuple[int, int]:
    """Count trainable parameters and multiply-adds, without the auxiliary head."""
    plain = NetworkSize(channels=size.channels, cells=size.cells, stem=size.stem)
    # only shapes are needed: nothing is allocated before it is known to fit
    with torch.device("meta"):
        network = wiring.space.network(genotype, wiring.dataset.shape, plain)
    require_room(as_module(network), "retrain.channels, retrain.cells")
    return measure(network, wiring.dataset.shape)
