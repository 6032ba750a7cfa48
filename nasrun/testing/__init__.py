"""Offer what every plug-in promises as tests; those of this package and of others inherit them.

They need pytest (the extra `test`). A plug-in's own test file subclasses a contract, and says which
option of which module is tested:

    from nasrun.testing import OptionContract, StrategyContract

    class TestMine(StrategyContract, OptionContract):
        plugin, group, option = "my_module", "strategy", "mine"
"""

import pytest

for _room in ("options", "strategies", "trackers"):
    pytest.register_assert_rewrite(f"nasrun.testing.{_room}")

from nasrun.testing.options import OptionContract  # noqa: E402
from nasrun.testing.strategies import StrategyContract  # noqa: E402
from nasrun.testing.trackers import TrackerContract  # noqa: E402

__all__ = ["OptionContract", "StrategyContract", "TrackerContract"]
