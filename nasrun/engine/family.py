"""Cut a family of networks out of one supernet: small ones to large ones, without a training each.

After once-for-all networks (Cai et al., ICLR 2020, arXiv 1908.09791): members are spread over the
range of multiply-adds; their weights are those of the supernet, and the statistics of batch norm
are measured anew for each. Before that the shared weights may be trained on for the members alone,
by the sandwich rule with distillation in place (Yu, Huang, ICCV 2019, arXiv 1903.05134): each batch
trains the largest, the smallest and two others, which are taught by the largest.

Deviation: members differ in their cells alone; width and depth are those of the supernet.

Shapes: B batch, K classes, N images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nasrun.compute.device import Device, precise
from nasrun.engine.family_choice import Candidate, by_cost, spread
from nasrun.engine.tuning import TUNING, accuracy_on, test_accuracy, tune
from nasrun.errors import UsageError, require
from nasrun.graphs.paths import effective_paths
from nasrun.protocols.data import Batch, Dataset, Split
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import (
    DifferentiableSpace,
    Mixture,
    Network,
    NetworkSize,
    Supernet,
    as_module,
)
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams
from nasrun.runs.model_file import SUPERNET_FILE
from nasrun.storage.durable import replacing
from nasrun.storage.tensor_files import read_tensors, write_tensors
from nasrun.training.loop import LossAndLogits, train_epoch
from nasrun.training.streams import BatchStream, halves
from nasrun.training.update import WeightUpdate

NUM_DRAWN = 3_000  # architectures among which members are chosen
NUM_TRIED = 8  # of like cost, of which the best becomes a member
MOST_HELD_OUT = 512  # images of the validation half by which members are chosen
TUNING_RATES = (0.1, 0.05, 0.02)  # of which one is chosen for the members
SCRATCH_EPOCHS = 30  # of a training from scratch that a member is compared with
NUM_TIMED = 20  # calls behind a latency
MOMENTUM = 0.1  # of the running statistics of every batch norm here
PROGRESS_FILE = "training.pt"
TRAINING = WeightTraining(
    learning_rate=0.1, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4, gradient_clip=5.0
)


@dataclass(frozen=True)
class Member:
    """A network of the family, and what was measured of it."""

    candidate: Candidate
    network: Network
    inherited_accuracy: float  # on the test images, before it was trained on alone
    test_accuracy: float
    latency_ms: float  # of one input on the device, median
    scratch_accuracy: float | None = None  # of its network trained from scratch, if it was


class Family:
    """The shared weights of a run, its space and its data.

    Args:
        folder: of a search that kept the weights of its supernet.
        seed: of the run; what is drawn here comes from it.

    Raises:
        UsageError: networks of the space inherit nothing, or there are no weights.
    """

    def __init__(
        self, folder: Path, space: DifferentiableSpace, dataset: Dataset, seed: int
    ) -> None:
        if not space.inherits:
            raise UsageError(
                f"networks of space={space.name}, as {folder} has it, take over no weights of a "
                "supernet: those of space=nasbench201 with space.partial_channels=1 do"
            )
        require_weights(folder)
        path = folder / SUPERNET_FILE
        weights = read_tensors(path)
        if weights is None:
            raise UsageError(f"{path} is cut off or altered: nasrun search --from {folder}")
        self.space, self.dataset = space, dataset
        self.device = Device("auto", "float32", False)
        self.streams = RandomStreams(seed).derived("family")
        self._seed = seed
        self.supernet: Supernet = space.supernet(dataset.shape)
        try:
            as_module(self.supernet).load_state_dict(weights)
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{path} does not fit the space of the run: {reason}") from None
        self.device.place(as_module(self.supernet))

    # ------------------------------------------------------------------ the choice

    def choose(self, count: int) -> list[Candidate]:
        """Choose members: the largest, the smallest, and others at even ratios of their cost.

        Of up to `NUM_TRIED` architectures of like cost the best one is taken, by its accuracy with
        the shared weights on images that are held out.

        Raises:
            UsageError: fewer members than two are asked for, or more than there are.
        """
        require(count >= 2, "--members", count, "at least 2")
        drawn = self._drawn()
        if len(drawn) < count:
            raise UsageError(f"--members {count}: the space has {len(drawn)} different networks")
        ends = (drawn[0].flops, drawn[-1].flops)
        alike = [[one for one in drawn if one.flops == flops] for flops in ends]
        rng = self.streams.numpy("tried")
        parts = [
            self._ranked([part[place] for place in rng.permutation(len(part))[:NUM_TRIED]])
            for part in [*alike, *by_cost(drawn, count)]
        ]
        return spread([part[0] for part in parts[:2]], parts[2:], count)

    def _drawn(self) -> list[Candidate]:
        """Draw architectures that compute something, no two of them the same, the small first."""
        rng = self.streams.numpy("drawn")
        found: dict[str, Candidate] = {}
        for _ in range(NUM_DRAWN):
            genotype = self.space.sample(rng)
            key = self.space.canonical(genotype)
            if key not in found and effective_paths(self.space.graph(genotype)):
                cost = self.space.params_and_flops(genotype, self.dataset.shape, NetworkSize())
                found[key] = Candidate(genotype, *cost)
        return sorted(found.values(), key=lambda one: one.flops)

    @torch.no_grad()
    def _ranked(self, part: Sequence[Candidate]) -> list[Candidate]:
        """Sort candidates by their accuracy on the held-out images, equals by the loss."""
        images_BCHW, labels_B = self._held_out
        scores = []
        for candidate in part:
            logits_BK = precise(self._path(candidate)(images_BCHW))
            right = (logits_BK.argmax(1) == labels_B).double().mean()
            scores.append((-float(right), float(functional.cross_entropy(logits_BK, labels_B))))
        return [part[place] for place in sorted(range(len(part)), key=scores.__getitem__)]

    @cached_property
    def _held_out(self) -> Batch:
        """Return images of the half on which the search has validated, and their labels."""
        _, validation = self._halves
        order_M = torch.arange(min(MOST_HELD_OUT, len(validation)))
        ((raw_BCHW, labels_B),) = validation.batches(order_M, MOST_HELD_OUT, self.device.torch)
        return self.device.images(self.dataset.normalise(raw_BCHW)), labels_B

    @cached_property
    def _halves(self) -> tuple[Split, Split]:
        """Return what the search has trained on, and what it has validated on."""
        return halves(self.dataset.train, RandomStreams(self._seed).fresh("halves"))

    def _path(self, candidate: Candidate) -> Callable[[Tensor], Tensor]:
        """Return what computes logits_BK by the shared weights, under the batch's statistics."""
        weights = self.space.one_hot(candidate.genotype)
        active = {name: weights_EO > 0 for name, weights_EO in weights.items()}
        place = self.device.torch
        on_device = {name: one.to(place) for name, one in weights.items()}
        gates = self.space.one_hot_gates(candidate.genotype)
        gates = {name: one.to(place) for name, one in gates.items()}
        mixture = Mixture(on_device, gates, active)
        return lambda images: self.supernet(images, mixture, statistics="batch")

    # ------------------------------------------------------------------ the training

    def train(
        self, members: Sequence[Candidate], epochs: int, folder: Path, progress: Progress
    ) -> None:
        """Train the shared weights on for the members, on the whole training set.

        After each epoch all that a further call needs is in the folder, to go on from there.
        """
        require(epochs >= 0, "--epochs", epochs, "at least 0")
        network = as_module(self.supernet)
        update = WeightUpdate(network.parameters(), TRAINING, num_epochs=epochs)
        paths = [self._path(member) for member in members]
        names = [self.space.canonical(member.genotype) for member in members]
        recipe = {"epochs": epochs, "members": names}
        done = _restored(folder / PROGRESS_FILE, recipe, network, update)
        for epoch in range(done + 1, epochs + 1):
            streams = self.streams.derived(f"epoch {epoch}")
            batches = BatchStream(
                self.dataset, self.dataset.train, self.device, streams.torch("batches"),
                augment=True,
            )  # fmt: skip
            forward = sandwich(paths, streams.numpy("others"))
            one_pass = batches.one_pass(self.dataset.batch_size)
            found = train_epoch(one_pass, forward, update, self.device)
            state = {"network": network.state_dict(), "update": update.state_dict()}
            with replacing(folder / PROGRESS_FILE) as path:
                write_tensors(path, {"recipe": recipe, "epoch": epoch, **state})
            progress(epoch, epochs, loss=found["loss"], accuracy=found["accuracy"])

    # ------------------------------------------------------------------ the members

    def tuning_rate(
        self, members: Sequence[Candidate], epochs: int, progress: Progress
    ) -> float | None:
        """Choose the learning rate at which members are trained on alone, if they are.

        The smallest and the middle member are trained on the half that the search has trained on,
        and asked about the other one, which the shared weights have seen at all rates alike. Test
        images are not looked at.
        """
        if epochs == 0:
            return None
        train, validation = self._halves
        found = dict[float, float]()
        for rate in TUNING_RATES:
            accuracies = []
            for candidate in (members[0], members[len(members) // 2]):
                built = self._inheriting(candidate)
                self._tune(built, candidate, epochs, rate, progress, train)
                network = as_module(built)
                accuracies.append(accuracy_on(validation, network, self.dataset, self.device))
            found[rate] = float(np.mean(accuracies))
        return max(found, key=found.__getitem__)

    def _inheriting(self, candidate: Candidate) -> Network:
        """Build a network with the shared weights and statistics of its own."""
        built = self.space.network(candidate.genotype, self.dataset.shape, NetworkSize())
        network, weights = as_module(built), as_module(self.supernet).state_dict()
        network.load_state_dict(self.space.inherited(candidate.genotype, weights))
        self.device.place(network)
        recalibrate(built, self.dataset, self.device)
        return built

    def _tune(
        self, built: Network, candidate: Candidate, epochs: int, rate: float, progress: Progress,
        split: Split | None = None,
    ) -> None:  # fmt: skip
        streams = self.streams.derived(f"member {self.space.canonical(candidate.genotype)}")
        training = replace(TUNING, learning_rate=rate)
        network = as_module(built)
        tune(network, self.dataset, self.device, streams, epochs, progress, training, split)
        recalibrate(built, self.dataset, self.device)

    def member(
        self, candidate: Candidate, epochs: int, rate: float | None, progress: Progress
    ) -> Member:
        """Build the network of a member: inherited weights, and statistics of its own.

        It is trained on alone for some epochs at a learning rate, where that is asked for.
        """
        built = self._inheriting(candidate)
        network = as_module(built)
        inherited = accuracy = test_accuracy(network, self.dataset, self.device)
        if rate is not None:
            self._tune(built, candidate, epochs, rate, progress)
            accuracy = test_accuracy(network, self.dataset, self.device)
        return Member(candidate, built, inherited, accuracy, self._latency(built))

    def from_scratch(self, candidate: Candidate, progress: Progress) -> float:
        """Train the network of a member from random weights; return its accuracy in the test."""
        streams = self.streams.derived(f"scratch {self.space.canonical(candidate.genotype)}")
        with streams.global_torch("network"):
            built = self.space.network(candidate.genotype, self.dataset.shape, NetworkSize())
        network = as_module(built)
        tune(network, self.dataset, self.device, streams, SCRATCH_EPOCHS, progress, TRAINING)
        return test_accuracy(network, self.dataset, self.device)

    @torch.inference_mode()
    def _latency(self, network: Network) -> float:
        """Return the median milliseconds of a call with one input, after three to warm up."""
        shape = self.dataset.shape
        images = self.device.images(torch.zeros(1, shape.channels, *shape.size)).to(
            self.device.torch
        )
        times = []
        for _ in range(NUM_TIMED + 3):
            started = time.perf_counter()
            network(images).cpu()  # which waits for the device
            times.append(1000 * (time.perf_counter() - started))
        return float(np.median(times[3:]))


def require_weights(folder: Path) -> None:
    """Raise a `UsageError` unless a search has kept the weights of its supernet in the folder."""
    if not (folder / SUPERNET_FILE).is_file():
        raise UsageError(
            f"{folder} has no {SUPERNET_FILE}: a search keeps it whose networks take over weights "
            "of its supernet, such as nasrun search space=nasbench201 strategy=random "
            "evaluator=shared_weights"
        )


def sandwich(
    paths: Sequence[Callable[[Tensor], Tensor]], rng: np.random.Generator
) -> Callable[[Batch], LossAndLogits]:
    """Return the loss of a batch: of the largest by labels, of three others by what that one says.

    The others are the smallest, the first of the paths, and two at random, if there are so many.
    """

    def forward(batch: Batch) -> LossAndLogits:
        images_BCHW, labels_B = batch
        logits_BK = paths[-1](images_BCHW)
        taught_BK = precise(logits_BK.detach()).softmax(1)
        losses = [functional.cross_entropy(precise(logits_BK), labels_B)]
        inner = rng.permutation(np.arange(1, len(paths) - 1))[:2].tolist()
        for place in [0, *inner]:
            other_BK = precise(paths[place](images_BCHW))
            losses.append(functional.cross_entropy(other_BK, taught_BK))
        return torch.stack(losses).mean(), logits_BK

    return forward


def _restored(
    path: Path, recipe: Mapping[str, Any], network: torch.nn.Module, update: WeightUpdate
) -> int:
    """Take over the state of an earlier call that asked for the same; return its epochs."""
    saved = read_tensors(path) if path.is_file() else None
    if saved is None or saved.get("recipe") != recipe:
        return 0
    network.load_state_dict(saved["network"])
    update.load_state_dict(saved["update"])
    return int(saved["epoch"])


@torch.no_grad()
def recalibrate(network: Network, dataset: Dataset, device: Device, batch_size: int = 512) -> None:
    """Measure the statistics of every batch norm anew, on the training images as they are.

    Each is the mean over batches of what a batch has.
    """
    module = as_module(network).train()
    running = {name: one for name, one in module.named_buffers() if ".running_" in f".{name}"}
    totals = {name: torch.zeros_like(one) for name, one in running.items()}
    order_M, number = torch.arange(len(dataset.train)), 0
    for raw_BCHW, _ in dataset.train.batches(order_M, batch_size, device.torch):
        for one in running.values():
            one.zero_()
        network(device.images(dataset.normalise(raw_BCHW)))
        # from zeros, one update leaves the share `MOMENTUM` of what the batch has
        for name, one in running.items():
            totals[name] += one / MOMENTUM
        number += 1
    for name, one in running.items():
        one.copy_(totals[name] / number)
    module.eval()
