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
        """Make a generator from the seed and `name` alone: fresh each time, never saved."""

    def derived(self, name: str) -> Streams:
        """Make streams from the seed and `name` alone: fresh each time, never saved."""

    def global_torch(self, name: str, rank: int = 0) -> AbstractContextManager[None]:
        """Seed torch's global generator from a stream within the context.

        Weights are initialised and dropout draws from it. Each rank gets other draws. Afterwards
        the generator is as it was.
        """
