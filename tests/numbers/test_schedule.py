"""Learning rates by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nasrun.protocols.settings import WeightTraining
from nasrun.training.schedule import linear
from nasrun.training.update import WeightUpdate


def update(**settings: Any) -> WeightUpdate:
    sgd = {"learning_rate": 0.5, "learning_rate_min": 0.0, "momentum": 0.9, "weight_decay": 0.0}
    sgd |= {name: settings.pop(name) for name in sgd.keys() & settings.keys()}
    training = WeightTraining(**sgd, gradient_clip=0.0)
    return WeightUpdate(
        [torch.nn.Parameter(torch.ones(1))], training, **{"num_epochs": 4} | settings
    )


def rates(update: WeightUpdate, num_epochs: int) -> list[float]:
    found = []
    for _ in range(num_epochs):
        found.append(update.learning_rate)
        update.step(update.parameters[0].sum())
        update.end_epoch()
    return found


def test_linear_with_a_gentle_end() -> None:
    """15 epochs: by a tenth until the last step, a fifth of which is left five times."""
    expected = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02]
    assert [linear(epoch, 15) for epoch in range(15)] == pytest.approx(expected)
    assert [linear(epoch, 4) for epoch in range(4)] == [1, 0.75, 0.5, 0.25]  # too short for an end


def test_warmup_of_the_imagenet_recipe() -> None:
    """250 epochs, 5 of warm-up: the line falls from 0.5 by 0.5 / 245."""
    found = rates(update(num_epochs=250, schedule="linear", warmup_epochs=5), 6)
    line = [0.5 * (245 - epoch) / 245 for epoch in range(6)]
    warm = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert found == pytest.approx([a * b for a, b in zip(line, warm, strict=True)])


def test_cosine_with_and_without_warmup() -> None:
    expected = [0.1 + 0.2 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert rates(update(learning_rate_min=0.1), 4) == pytest.approx(expected)
    expected[0] *= 0.5
    assert rates(update(learning_rate_min=0.1, warmup_epochs=2), 4) == pytest.approx(expected)


def test_a_schedule_goes_on(tmp_path: Any) -> None:
    settings: dict[str, Any] = {"num_epochs": 12, "schedule": "linear", "warmup_epochs": 3}
    whole = rates(update(**settings), 12)
    first = update(**settings)
    rates(first, 5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = update(**settings)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert rates(second, 7) == whole[5:]
