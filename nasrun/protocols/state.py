"""Define what is saved in a checkpoint, named random streams, and progress inside a step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch


class Stateful(Protocol):
    """What a checkpoint saves: tensors and plain values, to be read without unpickling objects."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Progress(Protocol):
    """A callback for work inside a step: how much is done, and a few figures to show."""

    def __call__(self, done: int, total: int, **figures: float) -> None: ...


class Streams(Protocol):
    """Named, independent generators from one seed; their states are in every checkpoint."""

    def numpy(self, name: str) -> np.random.Generator: ...

    def torch(self, name: str) -> torch.Generator: ...

    def fresh(self, name: str) -> np.random.Generator:
        """A generator of its own, from the seed and `name` alone: fresh each time, never saved."""

    def derived(self, name: str) -> Streams:
        """Streams of their own, from the seed and `name` alone: fresh each time, never saved."""

    def global_torch(self, name: str, rank: int = 0) -> AbstractContextManager[None]:
        """Within the context, torch's global generator is seeded from the stream (weights are
        initialised and dropout draws from it), for each rank otherwise; afterwards it is as it
        was."""
