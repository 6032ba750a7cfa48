"""What every strategy promises (`nasrun.testing`), asked of each option of `conf/strategy`."""

from __future__ import annotations

import pytest

from nasrun.testing.strategies import StrategyEnds, StrategyRepeats
from tests.compose import methods, options


class TestEveryOption(StrategyEnds):
    @pytest.fixture(params=options("strategy"))
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.param


class TestEveryMethod(StrategyRepeats):
    @pytest.fixture(params=methods("strategy"))  # variants differ in values alone
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.param
