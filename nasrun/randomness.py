"""Make named, independent random streams from one seed.

Every consumer of randomness gets its own stream by name, so that adding one never shifts another,
and all states are in every checkpoint, so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RandomStreams:
    """Make `numpy(name)` and `torch(name)` generators on first use; see `protocols.state.Streams`.

    >>> streams = RandomStreams(0)
    >>> first = streams.numpy("search").random()
    >>> first == RandomStreams(0).numpy("search").random()
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._numpy: dict[str, np.random.Generator] = {}
        self._torch: dict[str, torch.Generator] = {}

    def numpy(self, name: str) -> np.random.Generator:
        if name not in self._numpy:
            self._numpy[name] = self.fresh(name)
        return self._numpy[name]

    def torch(self, name: str) -> torch.Generator:
        """Return a generator on the CPU: the same draws whatever device the data is on."""
        if name not in self._torch:
            generator = torch.Generator()
            generator.manual_seed(int(self._sequence(name).generate_state(1, np.uint64)[0] >> 1))
            self._torch[name] = generator
        return self._torch[name]

    def derived(self, name: str) -> RandomStreams:
        """Make streams from the seed and `name` alone: fresh at each call, and in no checkpoint.

        They are for work that may be repeated, in any order, with the same outcome.
        """
        return RandomStreams(int(self._sequence(name).generate_state(1, np.uint64)[0]))

    def fresh(self, name: str) -> np.random.Generator:
        """Make the generator that `numpy` first gives for `name`, at each call and never saved."""
        return np.random.Generator(np.random.PCG64(self._sequence(name)))

    @contextmanager
    def global_torch(self, name: str, rank: int = 0) -> Iterator[None]:
        """Seed torch's global generator from the stream `name`, and restore it afterwards.

        Processes of different rank get other draws, and their streams stay alike. Weight
        initialisation and dropout inside modules draw globally and take no generator; this is the
        one place where they are given theirs.
        """
        seed = int(torch.randint(2**62, (1,), generator=self.torch(name)))
        gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(seed + rank)
            yield

    def _sequence(self, name: str) -> np.random.SeedSequence:
        # The children of a SeedSequence are told apart by their spawn key; a key made from the
        # name instead of a counter does not depend on who asked first.
        return np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(name.encode()),))

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "numpy": {name: rng.bit_generator.state for name, rng in self._numpy.items()},
            "torch": {name: generator.get_state() for name, generator in self._torch.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if type(state["seed"]) is not int:
            raise TypeError(f"the seed of the streams is {type(state['seed']).__name__}")
        self.seed = state["seed"]
        for name, numpy_state in state["numpy"].items():
            self.numpy(name).bit_generator.state = numpy_state
        for name, torch_state in state["torch"].items():
            self.torch(name).set_state(torch_state)
