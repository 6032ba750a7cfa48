"""Search for an architecture, then retrain it from scratch."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.launch.launch import launch
from nasrun.launch.prepare_search import prepare


def main(arguments: Sequence[str]) -> None:
    launch("search", prepare, arguments)
