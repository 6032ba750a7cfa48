"""Record the results of a run while it runs: JSON lines, the log, TensorBoard, a tracker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nasrun.errors import RunError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.space import MixingWeights
from nasrun.runs.folder import RunFolder, now
from nasrun.runs.progress import Progress
from nasrun.runs.tracking import Tracking
from nasrun.storage.durable import AppendedFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nasrun.compute.process_group import (
        ProcessGroup,  # imports torch, which the commands do later
    )

MAX_SHARE_OF_TIME = 0.1
FIRST_PICTURE_S = 0.5  # importing matplotlib, mostly
SECONDS_BETWEEN_TELLING = 0.5

Begin = Callable[[RunFolder], Tracking]


def recorder_of(
    folder: RunFolder,
    log_name: str,
    group: ProcessGroup,
    begin: Begin | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Recorder:
    """Make the recorder of the first process of a group; the others get one that does nothing.

    Args:
        begin: begins to record with a tracker, where there is one.
        tell: shows a person what goes on with the tracker.
    """
    if not group.is_first:
        return Recorder()
    return RunRecorder(folder, log_name, Tracking() if begin is None else begin(folder), tell)


class Recorder:
    """Take what a run has to record, and record nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    def log(self, text: str) -> None:
        """Add a line to the log."""

    def progress(self, progress: Progress) -> None:
        """Say how far the run is, for those who look from outside."""

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Record the figures of a step."""

    def evaluations(self, step: int, evaluations: Sequence[Evaluation]) -> None:
        """Record the labels of a step."""

    def weights(
        self, step: int, weights: MixingWeights, operations: Sequence[str], *, always: bool
    ) -> None:
        """Draw mixing weights; where that takes too long, only if `always`."""

    def genotype(self, step: int, name: str, genotype: Genotype, *, always: bool) -> None:
        """Draw a cell; where that takes too long, only if `always`."""

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """Keep a plot, as `<name>.png` in the folder and as a picture in TensorBoard."""

    def hparams(
        self, settings: Mapping[str, str | float], metrics: Mapping[str, float | None]
    ) -> None:
        """Write the row of the run in TensorBoard's HParams tab."""

    def close(self) -> None:
        """Close all files; doing so twice is harmless."""


class RunRecorder(Recorder):
    """Records in a run folder. Use it as a context manager; closing twice is harmless.

    TensorBoard is a convenience: when it fails, the run goes on without it and says so once in the
    log. So is a tracker, whose failure is told besides. A failure to write anything else (a full
    disk) raises a `RunError`.
    """

    def __init__(
        self,
        folder: RunFolder,
        log_name: str,
        tracking: Tracking,
        tell: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._tracking = tracking
        self._tell = tell
        self._files: dict[str, AppendedFile] = {}
        self._log_name = f"{log_name}.log"
        self._events: Any = None
        self._events_failed = False
        self._last_drawn: Genotype | None = None
        self._started = time.monotonic()
        self._drawing_s = FIRST_PICTURE_S
        self._told = -SECONDS_BETWEEN_TELLING

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        try:
            self._tracking.end("done" if kind is None else "interrupted" if stopped else "failed")
            with suppress(RunError):  # the log cannot be written, which the run has said
                self._look_at_tracker()
        finally:  # a person may not want to wait for the tracker
            self.close()

    def log(self, text: str) -> None:
        self._append(self._log_name, f"{now()} {text}")

    def progress(self, progress: Progress) -> None:
        """Say how far the run is, not more often than those look who want to know."""
        just_told = time.monotonic() - self._told < SECONDS_BETWEEN_TELLING
        if just_told and progress.done != progress.total:
            return
        with suppress(RunError):  # what a full disk does to a run is told by what it must record
            progress.write(self._folder)
        self._told = time.monotonic()

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Write a line of `metrics.jsonl`; NaN and infinities become null, which JSON knows."""
        line = {name: value if np.isfinite(value) else None for name, value in values.items()}
        # the files come first: they are the record, TensorBoard only shows it
        self._append("metrics.jsonl", json.dumps({"phase": phase, "step": step, **line}))
        for name, value in values.items():
            self._scalar(step, f"{phase}/{name}", value)
        self._tracking.figures(step, {f"{phase}/{name}": one for name, one in values.items()})
        self._look_at_tracker()

    def evaluations(self, step: int, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            line = {
                "step": step,
                "genotype": evaluation.genotype.to_json(),
                "values": [v if np.isfinite(v) else None for v in evaluation.values],
                "cost_s": evaluation.cost_s,
                "details": dict(evaluation.details),
                "error": evaluation.error,
            }
            self._append("evaluations.jsonl", json.dumps(line))

    def weights(
        self, step: int, weights: MixingWeights, operations: Sequence[str], *, always: bool
    ) -> None:
        """Draw heat maps; see `_drawing`."""
        from nasrun.pictures import (
            plots,  # matplotlib: half a second that the first step need not wait for
        )

        with self._drawing(always) as wanted:
            for name, weights_EO in weights.items() if wanted else ():
                image = plots.pixels(plots.heat_map(weights_EO.cpu().numpy(), operations, name))
                self._picture(step, f"weights/{name}", image)

    def genotype(self, step: int, name: str, genotype: Genotype, *, always: bool) -> None:
        """Draw a picture of the cell, unless it is the one that was drawn last; see `_drawing`."""
        with self._drawing(always) as wanted:
            if wanted and genotype != self._last_drawn:
                from nasrun.pictures import cells

                self._picture(step, f"cells/{name}", cells.image(genotype))
                self._last_drawn = genotype

    @contextmanager
    def _drawing(self, always: bool) -> Iterator[bool]:
        """Tell whether to draw, and count the time that drawing takes.

        Where steps are so short that pictures would cost more than a tenth of the time, some are
        left out, unless `always`; a search of less than 5 seconds draws its end alone.
        """
        started = time.monotonic()
        yield always or self._drawing_s < MAX_SHARE_OF_TIME * (started - self._started)
        self._drawing_s += time.monotonic() - started

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """Keep a plot, as `<name>.png` in the folder and as a picture in TensorBoard."""
        from matplotlib.image import imsave

        from nasrun.pictures import plots

        image = plots.pixels(figure)
        with self._folder.replacing(f"{name}.png") as path:
            imsave(path, image)
        self._picture(step, f"plots/{name}", image)

    def hparams(
        self, settings: Mapping[str, str | float], metrics: Mapping[str, float | None]
    ) -> None:
        """Write the row of the run in TensorBoard's HParams tab; the metrics are scalars besides.

        `SummaryWriter.add_hparams` would make a subfolder, and with it a second run of the row.
        """
        known = {f"final/{name}": value for name, value in metrics.items()}
        self._tensorboard(None, lambda make: make.hparams(dict(settings), known))
        for name, value in known.items():
            if value is not None:
                self._scalar(0, name, value)
        self._tracking.figures(0, {name: one for name, one in known.items() if one is not None})

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._events is not None:
            self._events.close()
            self._events = None

    def _append(self, name: str, line: str) -> None:
        if name not in self._files:
            self._files[name] = self._folder.appended(name)
        with self._folder.in_words(name):
            self._files[name].write(f"{line}\n".encode())

    def _scalar(self, step: int, name: str, value: float) -> None:
        self._tensorboard(step, lambda make: [make.scalar(name, value)])

    def _picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        self._tensorboard(step, lambda make: [make.image(name, image_HWC, dataformats="HWC")])
        self._tracking.picture(step, name, image_HWC)

    def _look_at_tracker(self) -> None:
        trouble = self._tracking.trouble()
        if trouble is not None:
            self.log(f"warning: {trouble}")
            self._tell(f"warning: {trouble}")

    def _tensorboard(self, step: int | None, summaries: Callable[[Any], Iterable[Any]]) -> None:
        """Record what `summaries` makes with torch's module of summaries."""
        if self._events_failed:
            return
        try:
            from torch.utils.tensorboard import summary  # half a second to import

            if self._events is None:
                self._events = self._open_events()
            for one in summaries(summary):
                self._events.add(one, step)
        except Exception as error:  # whatever it is, it must not end a search
            self._events_failed = True
            self.log(f"TensorBoard has stopped ({error!r}); metrics.jsonl goes on")

    def _open_events(self) -> Any:
        from nasrun.storage.event_file import EventFile

        # a resumed run adds a file: TensorBoard shows all files of a folder as one run
        number = len(list((self._folder.path / "tensorboard").glob("*")))
        return EventFile(self._folder.appended, number)
