"""Train a network on that has weights already, and measure it. Shapes: B batch, K classes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nasrun.compute.device import Device, precise
from nasrun.protocols.data import Batch, Dataset, Split
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.state import Progress, Streams
from nasrun.training.loop import LossAndLogits, predict, train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate

TUNING = WeightTraining(
    learning_rate=0.05, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4, gradient_clip=5.0
)


def tune(
    network: nn.Module,
    dataset: Dataset,
    device: Device,
    streams: Streams,
    epochs: int,
    progress: Progress,
    training: WeightTraining = TUNING,
    split: Split | None = None,
) -> None:
    """Train for some epochs by SGD and a cosine, on a split or the whole training set."""
    device.place(network)
    update = WeightUpdate(network.parameters(), training, num_epochs=epochs)
    batches = BatchStream(
        dataset, split or dataset.train, device, streams.torch("batches"), augment=True
    )

    def forward(batch: Batch) -> LossAndLogits:
        images_BCHW, labels_B = batch
        logits_BK: Tensor = network(images_BCHW)
        return functional.cross_entropy(precise(logits_BK), labels_B), logits_BK

    network.train()
    for epoch in range(1, epochs + 1):
        found = train_epoch(batches.one_pass(dataset.batch_size), forward, update, device)
        progress(epoch, epochs, loss=found["loss"])
    network.eval()


def test_accuracy(network: nn.Module, dataset: Dataset, device: Device) -> float:
    """Measure the share of test images that a network in evaluation mode gets right."""
    return accuracy_on(dataset.test, network, dataset, device)


def accuracy_on(split: Split, network: nn.Module, dataset: Dataset, device: Device) -> float:
    """Measure the share of a split that a network in evaluation mode gets right."""
    logits_NK, labels_N = predict(device.place(network), dataset, split, device)
    return float((logits_NK.argmax(1) == labels_N).double().mean())
