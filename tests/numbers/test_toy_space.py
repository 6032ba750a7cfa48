"""The toy space: its optimum is the one that its docstring derives."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from nasrun.networks.toy import GAINS_EO, bands
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, NetworkSize
from nasrun.spaces.toy import Toy

SPACE = Toy()
SHAPE = TaskShape(1, (6, 4), 2)


def two_classes():
    """Both classes once, with bands y u_e: images of 24 pixels, two per piece."""
    generator = torch.Generator().manual_seed(0)
    unit_EF = F.normalize(torch.randn(3, 4, generator=generator), dim=1)
    image_HW = unit_EF.flatten().repeat_interleave(2).view(6, 4)
    images_BCHW = torch.stack([image_HW, -image_HW])[:, None]
    torch.testing.assert_close(bands(images_BCHW), torch.stack([unit_EF, -unit_EF]))
    return images_BCHW, torch.tensor([0, 1]), unit_EF


def best_weights(supernet, unit_EF):
    supernet.directions_EKF.data = 3.0 * torch.stack([unit_EF, -unit_EF], dim=1)
    return supernet


def loss_at(gain):
    return math.log1p(math.exp(-math.sqrt(2) * gain))


def test_loss_of_all_genotypes_and_the_optimum():
    images, labels, unit_EF = two_classes()
    supernet = best_weights(SPACE.supernet(SHAPE), unit_EF)
    losses = {}
    for genotype in SPACE.enumerate():
        logits = supernet(images, Mixture(SPACE.one_hot(genotype)))
        losses[SPACE.canonical(genotype)] = F.cross_entropy(logits.double(), labels).item()
        gain = sum(GAINS_EO[e][o] for e, o in enumerate(SPACE.encode(genotype)))
        assert math.isclose(losses[SPACE.canonical(genotype)], loss_at(gain), rel_tol=1e-4)
    assert len(losses) == 64
    assert min(losses, key=losses.get) == "dba"
    assert f"{losses['dba']:.1e}" == "4.3e-08"


def test_gradients_of_the_mixing_weights():
    images, labels, unit_EF = two_classes()
    supernet = best_weights(SPACE.supernet(SHAPE), unit_EF)
    weights_EO = torch.full((3, 4), 0.05, requires_grad=True)
    gain = 0.05 * 21
    F.cross_entropy(supernet(images, Mixture({"cell": weights_EO})), labels).backward()
    slope = -math.sqrt(2) / (1 + math.exp(math.sqrt(2) * gain))
    torch.testing.assert_close(weights_EO.grad, slope * torch.tensor(GAINS_EO))


def test_training_reaches_the_best_weights():
    images, labels, _ = two_classes()
    torch.manual_seed(0)
    network = SPACE.network(SPACE.decode([1, 0, 2]), SHAPE, NetworkSize())  # gains 1, 1, 1
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(400):
        optimiser.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
    assert math.isclose(loss.item(), loss_at(3.0), rel_tol=1e-3)


def test_gates_and_active_scale_the_gains():
    images, labels, unit_EF = two_classes()
    supernet = best_weights(SPACE.supernet(SHAPE), unit_EF)
    weights = {"cell": torch.full((3, 4), 0.1)}
    gates = {"cell": torch.tensor([1.0, 0.0, 2.0])}
    logits = supernet(images, Mixture(weights, gates))
    expected = 0.1 * (7 + 2 * 7)
    assert math.isclose(F.cross_entropy(logits, labels).item(), loss_at(expected), rel_tol=1e-5)
    active = {"cell": torch.tensor(GAINS_EO) < 3}
    for logits in (
        supernet(images, Mixture(weights, active=active)),
        best_weights(SPACE.supernet(SHAPE, active=active), unit_EF)(images, Mixture(weights)),
    ):
        loss = F.cross_entropy(logits, labels).item()
        assert math.isclose(loss, loss_at(0.1 * 9), rel_tol=1e-5)


def test_signals_too():
    network = SPACE.network(SPACE.decode([3, 1, 0]), TaskShape(1, (260,), 5), NetworkSize())
    assert network(torch.randn(2, 1, 260)).shape == (2, 5)
