"""`nasrun.training.optimisers`: the same numbers as torch's own, and no compiler imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from nasrun.training import optimisers

SETTINGS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "Adam": {"lr": 0.1, "betas": (0.5, 0.9)},
    "AdamW": {"lr": 0.1, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_equal_to_those_of_torch(name: str) -> None:
    """Three steps, a schedule, and a state that either can load."""
    found = []
    for home in (optimisers, torch.optim):
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        optimiser = getattr(home, name)([parameter], **SETTINGS[name])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3)
        for _ in range(3):
            optimiser.zero_grad(set_to_none=True)
            (parameter**3).sum().backward()
            optimiser.step()
            schedule.step()
        found.append((parameter.detach(), optimiser))
    (ours, our_optimiser), (theirs, torchs) = found
    assert torch.equal(ours, theirs)
    torchs.load_state_dict(our_optimiser.state_dict())
    our_optimiser.load_state_dict(torchs.state_dict())


def test_no_compiler_is_imported() -> None:
    program = """
import sys, torch
from nasrun.protocols.settings import WeightTraining
from nasrun.training.update import WeightUpdate
parameter = torch.nn.Parameter(torch.ones(2))
training = WeightTraining(learning_rate=0.1, learning_rate_min=0.0, momentum=0.9,
                          weight_decay=0.0, gradient_clip=1.0)
update = WeightUpdate([parameter], training, num_epochs=2)
loss = parameter.square().sum()
update.add(loss, 0.5)
update.step(loss)
update.end_epoch()
update.load_state_dict(update.state_dict())
for name in ("torch._dynamo", "sympy", "matplotlib", "sklearn", "torchvision", "cma"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", program], check=True)
