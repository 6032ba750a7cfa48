"""Read a run folder from Python, as carefully as the commands read it: it may be a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.api.frames import table
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.source import resolve
from nasrun.protocols.result import Result
from nasrun.runs.folder import RUN_FILE, read_json, require_own_files
from nasrun.runs.json_lines import read_lines
from nasrun.runs.result_file import read_result
from nasrun.runs.sweep import SWEEP_FILE

if TYPE_CHECKING:
    from nasrun.engine.trained import Standalone


@dataclass(frozen=True)
class Run:
    """A run folder, of `nasrun.search`, of `nasrun.retrain`, or of the commands.

    Files are read when they are asked for, so that a run which is still going on can be watched.

    Attributes:
        path: the folder.

    Raises:
        UsageError: each attribute, where its file is missing or damaged; the text names it.
    """

    path: Path

    @property
    def record(self) -> Mapping[str, Any]:
        """Return `run.json`: command, overrides, seed, versions, device, status, times."""
        record = read_json(self.path / RUN_FILE)
        if not isinstance(record, dict):
            raise UsageError(f"{self.path / RUN_FILE} is not the record of a run")
        return record

    @property
    def status(self) -> str:
        """Return "running", "done", "failed" or "interrupted"."""
        return str(self.record.get("status"))

    @property
    def result(self) -> Result:
        """Return what the run has found; accuracies are fractions in [0, 1], times seconds."""
        return read_result(self.path)

    @property
    def genotype(self) -> Genotype:
        """Return the architecture that was found; it is there before the run is done."""
        return resolve(str(self.path))

    @property
    def metrics(self) -> Any:
        """Return `metrics.jsonl`, a row per step of search and retraining, in order.

        A `pandas.DataFrame` where pandas is installed, else a list of mappings.
        """
        return table(read_lines(self.path / "metrics.jsonl")[0])

    @property
    def evaluations(self) -> Any:
        """Return `evaluations.jsonl`, a row per true evaluation, in order; as `metrics`."""
        return table(read_lines(self.path / "evaluations.jsonl")[0])

    def network(self) -> Standalone:
        """Build the retrained network with its weights, in evaluation mode, on the CPU.

        It normalises for itself: inputs are raw values, float32, of shape [batch, channels, *size]
        (pictures: 0 to 255), it computes (raw - mean) / deviation with the figures of its training
        data, channel by channel (buffers `mean` and `deviation`), and returns logits
        [batch, classes]. `network().network` is the part that takes normalised inputs. Names of
        the classes are in `nasrun.engine.trained.load(path).record.reading.classes`.
        """
        from nasrun.engine.trained import load  # torch

        return load(self.path).network


def opened(path: Path) -> Run:
    """Return the run of a folder.

    Raises:
        UsageError: it is none, or its files lead out of it.
    """
    if (path / SWEEP_FILE).is_file():
        raise UsageError(f"{path} is a sweep: load one of its jobs, such as {path / '0'}")
    if not (path / RUN_FILE).is_file():
        raise UsageError(f"{path} is no run folder: it has no {RUN_FILE}")
    require_own_files(path)
    return Run(path.absolute())
