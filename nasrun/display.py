from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nasrun.ui import console

SHOWN = {
    "loss": "loss",
    "train_loss": "loss",
    "accuracy": "accuracy",
    "train_accuracy": "accuracy",
    "val_accuracy": "val accuracy",
    "fitness_best": "fitness",
}
PERCENT = ("accuracy", "val accuracy", "best")


class Display:
    """The progress of a run: live bars with an ETA on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None
        self._outer: Any = None
        self._inner: Any = None
        self._phase = self._unit = ""
        self._total: int | None = None
        self._first = 0
        self._started = 0.0

    def start(self, phase: str, unit: str, total: int | None, done: int) -> None:
        """A new phase of `total` steps (if known), `done` of which an earlier run has made."""
        self.finish()
        self._phase, self._unit, self._total, self._first = phase, unit, total, done
        self._started = time.monotonic()
        if self._quiet or not console().is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console(),
            transient=True,
        )
        self._outer = self._bars.add_task(
            f"{phase} {unit}", total=total, completed=done, figures=""
        )
        self._inner = self._bars.add_task("", total=1, figures="", visible=False)
        self._bars.start()

    def progress(self, done: int, total: int, **figures: float) -> None:
        """Work inside a step."""
        if self._bars is not None:
            self._bars.update(
                self._inner,
                description="  in this one",
                total=total,
                completed=done,
                visible=True,
                figures=_format(figures),
            )

    def step(self, number: int, metrics: Mapping[str, float], best: float | None) -> str:
        """One step is done; returns its figures as they are shown."""
        figures = {label: metrics[key] for key, label in SHOWN.items() if key in metrics}
        if best is not None:
            figures["best"] = best
        text = _format(figures)
        if self._bars is not None:
            self._bars.update(self._outer, completed=number, figures=text)
            self._bars.update(self._inner, visible=False)
        elif not self._quiet:
            total = self._total or "?"
            self.message(f"{self._phase} {self._unit} {number}/{total}  {text}{self._eta(number)}")
        return text

    def message(self, text: str) -> None:
        if not self._quiet:
            console().print(text, markup=False, soft_wrap=True)

    def finish(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _eta(self, number: int) -> str:
        if self._total is None or number >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) / (number - self._first)
        return f"  ETA {_duration(seconds * (self._total - number))}"


def _format(figures: Mapping[str, float]) -> str:
    parts = []
    for name, value in figures.items():
        parts.append(f"{name} {value:.2%}" if name in PERCENT else f"{name} {value:.4g}")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
