"""Renew a report while jobs run, until all of them have ended or a person has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nasrun.report.collect import Collected, LeftOut, collect
from nasrun.storage.folder_lock import in_use

SECONDS_BETWEEN_LOOKS = 5.0
REST = 10  # times what a look takes of the processor, which the jobs need

Renew = Callable[[Collected, int | None], Path]
"""Writes a report, whose page is loaded anew after so many seconds, and returns the page."""


def watch(
    folders: Sequence[Path],
    renew: Renew,
    say: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Renew a report whenever a run has got further; return a sentence for the end.

    The last page, which is written when no job is left that a process works on, is loaded once.

    Raises:
        KeyboardInterrupt: with the sentence for the end, where a person has stopped it.
    """
    page: Path | None = None
    before: object = None
    try:
        while True:
            started = time.process_time()
            found = collect(folders)
            num_open = sum(_goes_on(item) for item in found[1])
            state = [run.folder for run in found[0]], found[1], num_open
            if state != before:
                renew_s = int(SECONDS_BETWEEN_LOOKS) if num_open else None
                page = renew(found, renew_s)
                say(f"{len(found[0])} runs are done, {num_open} to come: {page}")
            before = state
            if not num_open:
                return f"report: {page}; no job is at work any more"
            wait(max(SECONDS_BETWEEN_LOOKS, REST * (time.process_time() - started)))
    except KeyboardInterrupt:
        written = "nothing is written" if page is None else f"the report stands as it is: {page}"
        raise KeyboardInterrupt(f"no longer watching; {written}") from None


def _goes_on(item: LeftOut) -> bool:
    """Return whether a process is at work on a run, or on the sweep that it waits in."""
    if item.status == "running":
        return in_use(item.folder)
    return item.status == "not begun" and any(map(in_use, list(item.folder.parents)[:2]))
