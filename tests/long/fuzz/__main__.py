"""Feeds the program broken, absurd and hostile input, and checks how it answers.

A trial may end well, or with exit code 2 and one sentence, or, where a run itself fails, with 1.
It must not show a traceback, hang, take much memory, run code that came with the input, leave a
run folder behind when it refused to run, or touch a file outside its folder. Most trials call the
program inside this process; some start a process of their own. The last line is a summary.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in processes of their own

from tests.long.fuzz.trials import KINDS, SHARES, fuzz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300, help="in total, over all kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--processes", type=int, default=30, help="of the trials, in their own")
    parser.add_argument("--first", type=int, default=0, help="number of the first one that is made")
    arguments = parser.parse_args()
    shares = {kind: SHARES[kind] for kind in arguments.kinds}
    num_faults = fuzz(
        arguments.trials, arguments.seed, shares, arguments.processes, arguments.first
    )
    sys.exit(1 if num_faults else 0)


if __name__ == "__main__":
    main()
