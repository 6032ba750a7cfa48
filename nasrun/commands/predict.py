"""`nasrun predict RUN INPUT...`: what a retrained network says of pictures or arrays."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError
from nasrun.runs import run_names
from nasrun.storage.durable import replacing
from nasrun.terminal import console

if TYPE_CHECKING:
    from nasrun.engine.ask import Prediction

FORMATS = ("csv", "jsonl")


def main(arguments: Sequence[str]) -> None:
    """Print a line for each input, or write them into a file.

    Raises:
        UsageError: the run has no network, or an input cannot be read.
    """
    parser = argument_parser("predict")
    parser.add_argument("run")
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    run = run_names.path_of(parsed.run, run_names.NETWORK)
    if parsed.top < 1:
        raise UsageError(f"--top {parsed.top}: it must be at least 1")
    from nasrun.engine import ask, trained  # torch

    network = trained.load(run)
    said = ask.predictions(network, ask.unlabelled(network, parsed.inputs), parsed.top)
    lines = _as_csv(said) if parsed.format == "csv" else _as_json(said)
    if parsed.out is None:
        for line in lines:
            console.say(line)
        return
    text = "".join(f"{line}\n" for line in lines)
    try:
        with replacing(parsed.out) as path:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {parsed.out} cannot be written: {error.strerror}") from None
    console.say(f"predictions: {parsed.out}, {text.count(chr(10)) - 1:,} lines")


def _as_csv(said: Iterable[Prediction]) -> Iterable[str]:
    """Yield a heading, then a line for each input."""
    heading = False
    for one in said:
        pairs = list(zip(one.classes, one.probabilities, strict=True))
        if not heading:
            columns = [f"{name}_{n}" for n in range(1, len(pairs) + 1) for name in ("class", "p")]
            yield _row(["input", *columns])
            heading = True
        yield _row([one.name, *(part for name, p in pairs for part in (name, f"{p:.6f}"))])


def _row(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _as_json(said: Iterable[Prediction]) -> Iterable[str]:
    for one in said:
        pairs = zip(one.classes, one.probabilities, strict=True)
        classes = [{"class": name, "probability": round(p, 6)} for name, p in pairs]
        yield json.dumps({"input": one.name, "classes": classes})
