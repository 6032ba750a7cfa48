"""Write a trained network by exporters, and prove that each file does what the network does.

Shapes: B batch, C channels, H height, W width, N images, K classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasrun.config import catalogue, plugins
from nasrun.engine.trained import Trained
from nasrun.errors import RunError, UsageError, closest
from nasrun.protocols.data import Dataset
from nasrun.protocols.exporter import Exporter, Source
from nasrun.protocols.plain import to_plain
from nasrun.storage.durable import replacing

NUM_COMPARED, NUM_CALIBRATING = 256, 256  # test images, training images
REPEATS = 30  # calls behind a latency
HARNESS = """
import json, sys, time
sys.modules["nasrun"] = None  # so that an import of it fails
{loader}
import numpy
logits = load(sys.argv[1])
raw = numpy.load(sys.argv[2])
parts = [logits(raw[i : i + 32]) for i in range(0, len(raw), 32)]
numpy.save(sys.argv[3], numpy.concatenate(parts))
latency = {{}}
for size in (1, 32):
    batch = numpy.resize(raw, (size, *raw.shape[1:]))
    times = []
    for _ in range({repeats} + 3):
        started = time.perf_counter()
        logits(batch)
        times.append(1000 * (time.perf_counter() - started))
    latency[size] = [numpy.percentile(times[3:], share) for share in (50, 95)]
print(json.dumps(latency))
"""


@dataclass(frozen=True)
class Exported:
    """A file, and what a fresh process measured of it. Latencies are (p50, p95) in ms."""

    name: str
    path: Path
    num_bytes: int
    accuracy: float  # on the images that are compared
    difference: float  # of logits, at most
    latency_ms: Mapping[int, tuple[float, float]]  # by the size of the batch; one thread


def exporters(names: Iterable[str]) -> dict[str, Exporter]:
    """Build the exporters that are named.

    Raises:
        UsageError: one of them does not exist, or needs a package that is not there.
    """
    root = catalogue.conf_dir()
    known = [option.name for option in catalogue.options("exporter", root)]
    found = dict[str, Exporter]()
    for name in names:
        if name not in known:
            raise UsageError(f"--format {name} does not exist; {closest(name, known)}")
        exporter: Exporter = plugins.build(catalogue.content("exporter", name, root))
        missing = plugins.not_installed(exporter.needs)
        if missing:
            raise UsageError(
                f"--format {name} needs {', '.join(missing)}: type python -m pip install "
                f"{' '.join(missing)}"
            )
        found[name] = exporter
    return found


def export(
    trained: Trained,
    dataset: Dataset,
    chosen: Mapping[str, Exporter],
    folder: Path,
    num_compared: int = NUM_COMPARED,
) -> tuple[list[Exported], float]:
    """Write every format, and compare each with the network on so many test images.

    Returns:
        What was written, and the accuracy of the network itself on these images.

    Raises:
        RunError: a file does not do what the network does.
        UsageError: the folder cannot be written.
    """
    raw_NCHW, labels_N = _some(dataset.test, num_compared)
    calibration_NCHW = None
    if any(exporter.calibrates for exporter in chosen.values()):
        calibration_NCHW, _ = _some(dataset.train, NUM_CALIBRATING)
    source = Source(trained.network, raw_NCHW[:2].clone(), calibration_NCHW)
    expected_NK = trained.logits(raw_NCHW).numpy()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "model.json") as path:
            path.write_text(json.dumps(to_plain(trained.record), indent=2) + "\n", encoding="utf-8")
        found = [
            _proved(name, exporter, source, raw_NCHW, expected_NK, labels_N.numpy(), folder)
            for name, exporter in chosen.items()
        ]
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}") from None
    return found, _accuracy(expected_NK, labels_N.numpy())


def _accuracy(logits_NK: np.ndarray, labels_N: np.ndarray) -> float:
    return float((logits_NK.argmax(1) == labels_N).mean())


def _some(split: Any, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Read images that lie evenly over a split: raw_NCHW, float32, and labels_N."""
    rows = np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(np.int64)
    batches = list(split.batches(torch.from_numpy(rows), 64, torch.device("cpu")))
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    return images.float(), labels


def _proved(
    name: str,
    exporter: Exporter,
    source: Source,
    raw_NCHW: torch.Tensor,
    expected_NK: np.ndarray,
    labels_N: np.ndarray,
    folder: Path,
) -> Exported:
    """Write one format, load it in a process without this package, and measure it there."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    path = exporter.write(source, folder)
    written = [one for one in folder.iterdir() if before.get(one) != one.stat().st_mtime_ns]
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch, "raw.npy"), Path(scratch, "logits.npy")
        np.save(given, raw_NCHW.numpy())
        program = HARNESS.format(loader=exporter.loader, repeats=REPEATS)
        done = subprocess.run(
            [sys.executable, "-c", program, str(path.absolute()), str(given), str(answer)],
            capture_output=True, text=True, cwd=scratch, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise RunError(f"{path} cannot be loaded in a process without nasrun: {reason[0]}")
        found_NK = np.load(answer, allow_pickle=False)
        latency = json.loads(done.stdout.splitlines()[-1])
    difference = float(np.abs(found_NK - expected_NK).max())
    if exporter.tolerance is not None:
        allowed = exporter.tolerance * max(1.0, float(np.abs(expected_NK).max()))
        if not difference <= allowed:
            raise RunError(
                f"{path} does not do what the network does: logits differ by {difference:.2g}, and "
                f"{allowed:.2g} is allowed"
            )
    return Exported(
        name,
        path,
        sum(one.stat().st_size for one in written if one.name != "model.json"),
        _accuracy(found_NK, labels_N),
        difference,
        {int(size): (times[0], times[1]) for size, times in latency.items()},
    )
