"""Build pairs of supernets for the benchmarks: the textbook layout and ours, with equal weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.genotypes.darts import KNOWN_OPERATIONS as DARTS_OPERATIONS
from nasrun.genotypes.nasbench201 import EDGES, OPERATIONS
from nasrun.networks.darts.edges import NUM_EDGES
from nasrun.networks.darts.supernet import DartsSupernet
from nasrun.networks.nasbench201.supernet import NasBench201Supernet
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture
from nasrun.training.optimisers import SGD
from tests.oracles import darts_edge_major, nasbench201_edge_major

NUM_CLASSES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sizes; the defaults are PC-DARTS's search network at a quarter of its batch size."""
    parser.add_argument("--space", choices=("darts", "nasbench201"), default="darts")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="of nasbench201: per stage")
    parser.add_argument("--partial", type=int, default=4, help="partial_channels; 1 mixes them all")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")


def make(arguments: argparse.Namespace, which: str) -> Any:
    """Build the supernet `edge_major` or `state_major`, on the device."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    shape = TaskShape(3, (arguments.size, arguments.size), NUM_CLASSES)
    sizes = {"channels": arguments.channels, "cells": arguments.cells}
    fast: nn.Module
    if arguments.space == "darts":
        operations = DARTS_OPERATIONS[1:]
        fast = DartsSupernet(shape, operations, partial_channels=arguments.partial, **sizes)
        slow: Callable[[Any], nn.Module] = darts_edge_major.edge_major
    else:
        fast = NasBench201Supernet(
            shape, partial_channels=arguments.partial, active=None, skip_dropout=0.0, **sizes
        )
        slow = nasbench201_edge_major.EdgeMajorSupernet
    network = fast if which == "state_major" else slow(fast)
    return network.to(torch.device(arguments.device))


def draw_weights(arguments: argparse.Namespace, seed: int = 0) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"cell": (len(EDGES), len(OPERATIONS))}
    if arguments.space == "darts":
        shape = (NUM_EDGES, len(DARTS_OPERATIONS) - 1)
        shapes = {"normal": shape, "reduce": shape}
    return Mixture(
        {
            name: torch.randn(shape, generator=generator).softmax(1).to(arguments.device)
            for name, shape in shapes.items()
        }
    )


def draw_batch(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Draw images_BCHW and labels_B."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size, generator=generator)
    labels_B = torch.randint(NUM_CLASSES, (arguments.batch,), generator=generator)
    return images.to(arguments.device), labels_B.to(arguments.device)


def train_step(arguments: argparse.Namespace, which: str) -> Callable[[], None]:
    network, weights = make(arguments, which), draw_weights(arguments)
    images_BCHW, labels_B = draw_batch(arguments)
    optimiser = SGD(  # foreach is the default on a GPU
        network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4, foreach=True
    )

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(images_BCHW, weights), labels_B).backward()
        optimiser.step()

    return step


def difference(arguments: argparse.Namespace, slow: nn.Module, fast: nn.Module) -> float:
    """Compare the logits of both; return their difference, relative to the largest.

    Too large a one ends the program.
    """
    (images_BCHW, _), weights = draw_batch(arguments), draw_weights(arguments)
    with torch.no_grad():
        expected, found = (net(images_BCHW, weights, statistics="batch") for net in (slow, fast))
    apart = float((found - expected).abs().max() / expected.abs().max())
    if apart > 1e-3:
        sys.exit(f"the logits differ by {apart:.1e} of the largest")
    return apart
