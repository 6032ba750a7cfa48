"""Define what is saved in a checkpoint, named random streams, and progress inside a step."""

from __future__ import annotations

from collections.abc import Mapping
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


class Streams(Stateful, Protocol):
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


def require_alike(fresh: object, saved: object, where: str = "state") -> None:
    """Raise a `TypeError` where a saved state is not of the types that a fresh one declares.

    A file may come from another program: what has the wrong type is found here, and not at its
    first use, long after it was read. `None`, an empty mapping and an empty list declare nothing of
    what comes in their place, an empty tensor its kind of numbers alone; whoever puts something
    there checks it in `load_state_dict`.
    """
    import torch

    if fresh is None:
        return
    if isinstance(fresh, torch.Tensor):
        if not isinstance(saved, torch.Tensor) or saved.dtype != fresh.dtype:
            raise TypeError(f"{where} is {_kind(saved)}, and should be {_kind(fresh)}")
        if fresh.numel() > 0 and saved.shape != fresh.shape:
            raise TypeError(f"{where} has the shape {[*saved.shape]}, not {[*fresh.shape]}")
    elif isinstance(fresh, Mapping):
        if not isinstance(saved, Mapping):
            raise TypeError(f"{where} is {_kind(saved)}, and should be a mapping")
        for key, value in fresh.items():
            if key not in saved:
                raise TypeError(f"{where} lacks {key!r}")
            require_alike(value, saved[key], f"{where}.{key}")
    elif isinstance(fresh, list | tuple):
        if not isinstance(saved, list | tuple):
            raise TypeError(f"{where} is {_kind(saved)}, and should be a list")
        for i, (value, other) in enumerate(zip(fresh, saved, strict=False)):
            require_alike(value, other, f"{where}[{i}]")
    else:  # a whole number is a number, and true is none
        allowed = (float, int) if isinstance(fresh, float) else (type(fresh),)
        if type(saved) not in allowed:
            raise TypeError(f"{where} is {_kind(saved)}, and should be {_kind(fresh)}")


def _kind(value: object) -> str:
    """Name the type of a value, and of a tensor the kind of its numbers."""
    import torch

    name = type(value).__name__
    return f"{name} of {value.dtype}" if isinstance(value, torch.Tensor) else name
