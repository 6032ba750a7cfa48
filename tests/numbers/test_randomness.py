"""Random streams: named, independent of the order of use, resumable, and never global."""

from __future__ import annotations

import numpy as np
import torch

from nasrun.randomness import RandomStreams


def test_a_stream_depends_on_seed_and_name_only() -> None:
    first, second = RandomStreams(5), RandomStreams(5)
    second.numpy("other").random(7)
    second.torch("another")
    assert first.numpy("search").random() == second.numpy("search").random()
    assert first.numpy("search").random() != RandomStreams(6).numpy("search").random()
    draws = {RandomStreams(5).numpy(name).random() for name in ("a", "b", "c", "d")}
    assert len(draws) == 4


def test_state_goes_through_torch_save(tmp_path) -> None:
    streams = RandomStreams(1)
    streams.numpy("a").random(3)
    torch.randn(3, generator=streams.torch("b"))
    torch.save(streams.state_dict(), tmp_path / "state.pt")
    expected = streams.numpy("a").random(), torch.randn(2, generator=streams.torch("b"))
    other = RandomStreams(99)
    held = other.numpy("a")  # a holder of the generator sees the restored state
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert held.random() == expected[0]
    assert torch.equal(torch.randn(2, generator=other.torch("b")), expected[1])


def test_the_global_generator_is_lent_and_given_back() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    streams = RandomStreams(0)
    with streams.global_torch("init"):
        first = torch.randn(3)
    with streams.global_torch("init"):
        second = torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    with RandomStreams(0).global_torch("init"):
        assert torch.equal(torch.randn(3), first)


def test_numpy_is_not_touched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    RandomStreams(0).numpy("x").random(10)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
