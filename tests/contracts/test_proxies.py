"""Every proxy of `conf/proxy` that is computed on networks keeps what a proxy promises."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from tests.compose import composed, options

CELLS = ((3, 3, 3, 3, 3, 3), (3, 2, 1, 3, 2, 1), (0, 0, 0, 0, 0, 0))  # the last one has no path


def kind(proxy: str):
    return plugins.target(composed([f"proxy={proxy}"]).proxy)


COMPUTED = [proxy for proxy in options("proxy") if kind(proxy).takes_time]


def wired(proxy: str, seed: int = 0, **settings: int) -> Wiring:
    words = ["space=nasbench201", "space.channels=4", "space.cells=1", "dataset=digits",
             "dataset.limit=100", "strategy=rank_by_proxy", f"proxy={proxy}", f"seed={seed}",
             *(f"proxy.{key}={value}" for key, value in settings.items())]  # fmt: skip
    return Wiring(to_typed(composed(words), SearchConfig))


@functools.cache
def values(proxy: str, seed: int = 0, backwards: bool = False) -> list[float]:
    """The scores of the cells in their order, whichever is computed first."""
    wiring = wired(proxy, seed)
    genotypes = [wiring.space.decode(genes) for genes in CELLS]
    asked = genotypes[::-1] if backwards else genotypes
    found_N1 = wiring.zero_cost.values(asked)
    assert found_N1.shape == (len(CELLS), 1)
    assert found_N1.dtype == np.float64
    found = found_N1[:, 0].tolist()
    return found[::-1] if backwards else found


@pytest.mark.parametrize("proxy", COMPUTED)
def test_it_prefers_a_cell_to_one_without_a_path(proxy: str) -> None:
    best, second, without = values(proxy)
    assert np.isfinite([best, second]).all()
    # which is lower, or not finite, and so last
    assert not np.isfinite(without) or without < best


@pytest.mark.parametrize("proxy", COMPUTED)
def test_the_seed_decides_a_score_and_not_what_was_scored_before(proxy: str) -> None:
    assert np.array_equal(values(proxy, backwards=True), values(proxy), equal_nan=True)
    seeded = values(proxy, seed=1)[:2]
    draws_weights = proxy not in ("params", "flops")
    assert (seeded != values(proxy)[:2]) == draws_weights


@pytest.mark.parametrize("proxy", COMPUTED)
def test_it_says_what_it_is(proxy: str) -> None:
    wiring = wired(proxy, num_architectures=7)
    scores = wiring.zero_cost
    assert scores.names == (kind(proxy).name,) == (proxy,)
    assert scores.how.startswith(proxy)
    assert scores.num_affordable == 7
    assert ("inputs of digits" in scores.how) == kind(proxy).needs_images


@pytest.mark.parametrize("proxy", [name for name in COMPUTED if kind(name).needs_images])
def test_small_data_has_fewer_images_and_that_is_said(proxy: str) -> None:
    assert wired(proxy, num_images=1000).zero_cost.how == f"{proxy} on 50 training inputs of digits"
