"""Let a sweep set keys that only the options have that it sweeps over.

Before the jobs of a sweep Hydra composes a configuration of its own, the master, for itself: with
the words of the command line, but without those that are swept. `-m strategy=darts,pcdarts
strategy.alpha_images=16` then fails, since the default strategy has no such key. Each job is
composed from all words once more, so that a key which fits nowhere is told there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig


@contextmanager
def lenient_master() -> Iterator[None]:
    """Have the master configuration of a sweep pass over settings that it has no place for.

    Hydra offers no way to say so, and the two methods are replaced for a while; hydra-core is
    pinned, and a test knows when they are gone.
    """
    load, apply = ConfigLoaderImpl.load_configuration, ConfigLoaderImpl._apply_overrides_to_config
    is_master = False

    def load_noting(self: ConfigLoaderImpl, *args: Any, **named: Any) -> DictConfig:
        nonlocal is_master
        is_master = RunMode.MULTIRUN in (*args, *named.values())
        try:
            return load(self, *args, **named)
        finally:
            is_master = False

    def apply_fitting(overrides: Sequence[Override], cfg: DictConfig) -> None:
        for one in overrides:
            try:
                apply([one], cfg)
            except ConfigCompositionException:
                if not is_master or one.is_hydra_override():
                    raise

    ConfigLoaderImpl.load_configuration = load_noting  # type: ignore[method-assign]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply_fitting)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]
        ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply)  # type: ignore[method-assign]
