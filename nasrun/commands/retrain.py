"""Train a known architecture from scratch."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.launch.launch import launch
from nasrun.launch.prepare_retrain import prepare


def main(arguments: Sequence[str]) -> None:
    launch("retrain", prepare, arguments)
