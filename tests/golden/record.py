#!/usr/bin/env python3
"""Record the golden trajectories anew: all, or those whose names hold one of the given words.

    python tests/golden/record.py
    python tests/golden/record.py toy_egnas retrain

Every value that changes is printed, also where it is only its last digit. On the machine of the
recording, with the libraries of then, a change of the code that changes no behaviour prints
nothing; a recording that should change is committed with the reason.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

from tests import conftest  # noqa: E402, F401  # before torch: one thread, and an empty cache folder
from tests.golden.trajectories import cases, deviations, differences, read, trajectory, write  # noqa: E402

MOST_SHOWN = 20  # changes of a case


def main(words: Sequence[str]) -> None:
    for case in cases():
        if words and not any(word in case.name for word in words):
            continue
        if case.missing:
            print(f"{case.name}: not recorded: {case.missing}")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            found = trajectory(case, Path(scratch))
        if not case.file.exists():
            print(f"{case.name}: recorded for the first time")
        else:
            changes = list(differences(read(case), found, tolerance=0))
            grave = deviations(read(case), found)
            print(f"{case.name}: {len(changes)} changes, {len(grave)} that the test does not allow")
            for line in (grave or changes)[:MOST_SHOWN]:
                print(f"    {line}")
        write(case, found)


if __name__ == "__main__":
    main(sys.argv[1:])
