"""The long tests, in short: broken input, and runs that are killed."""

from __future__ import annotations

import os

import pytest

from tests.long import crash, limits
from tests.long.fuzz.trials import fuzz


@pytest.mark.processes
def test_fuzz(capsys) -> None:
    shares = {"genotypes": 55, "datasets": 35, "tables": 4, "reports": 1, "run folders": 2,
              "checkpoints": 2, "config folders": 1, "overrides": 1}  # fmt: skip
    num_faults = fuzz(200, 7, shares, num_processes=0)
    said = capsys.readouterr().out
    assert num_faults == 0, said
    assert said.splitlines()[-1].startswith("200 trials, 0 in processes of their own: ")


@pytest.mark.slow
@pytest.mark.skipif("NASRUN_DATA" not in os.environ, reason="the tables are in NASRUN_DATA")
def test_no_search_breaks_a_limit() -> None:
    for number in range(50):
        _, search, wrong = limits.trial(number)
        assert wrong == [], search


@pytest.mark.slow
def test_crash(capsys) -> None:
    num_lost = crash.crash(len(crash.JOBS), 1, list(crash.JOBS))
    assert num_lost == 0, capsys.readouterr().out
