"""Name the networks of torchvision that can be trained beside cells, as genotypes.

Such a genotype is a cell of one edge, and the network's name is the operation on it.
"""

from __future__ import annotations

from nasrun.genotypes.genotype import Cell, Edge, Genotype

SPACE, CELL = "torchvision", "network"
NETWORKS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "wide_resnet50_2"),
    *("densenet121", "densenet169"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mnasnet1_0"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_v2_s"),
)


def network_genotype(name: str) -> Genotype:
    """Return the genotype that stands for a network of torchvision."""
    edges = (Edge(name, 0, 1),)
    return Genotype(SPACE, (Cell(CELL, ("inputs", "logits"), edges),))


def named(text: str) -> Genotype | None:
    """Return what `resnet18` or `torchvision:resnet18` stands for; `None` for another text."""
    name = text.removeprefix(f"{SPACE}:")
    return network_genotype(name) if name in NETWORKS else None
