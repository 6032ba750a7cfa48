"""Where the results of a run go while it runs: JSON lines, the log, TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nasrun.genotype import Genotype
from nasrun.protocols import Evaluation, MixingWeights
from nasrun.runs import RunFolder, now

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHARE_OF_TIME = 0.1


class RunRecorder:
    """Records in a run folder. Use as a context manager; closing twice is harmless.

    TensorBoard is a convenience: when its writer fails (a full disk, a dying thread), the run goes
    on without it and says so once in the log.
    """

    def __init__(self, folder: RunFolder, log_name: str) -> None:
        self._folder = folder
        self._files: dict[str, IO[str]] = {}
        self._log_name = f"{log_name}.log"
        self._writer: Any = None
        self._writer_failed = False
        self._last_drawn: Genotype | None = None
        self._started = time.monotonic()
        self._drawing_s = 0.0

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, text: str) -> None:
        self._append(self._log_name, f"{now()} {text}")

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """One line of `metrics.jsonl`; NaN and infinities become null, which JSON knows."""
        line = {name: value if np.isfinite(value) else None for name, value in values.items()}
        self._append("metrics.jsonl", json.dumps({"phase": phase, "step": step, **line}))
        for name, value in values.items():
            self._tensorboard("add_scalar", f"{phase}/{name}", value, step)

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
        """Heat maps; see `_drawing`."""
        from nasrun import plots  # matplotlib: half a second that the first step need not wait for

        with self._drawing(always) as wanted:
            for name, weights_EO in weights.items() if wanted else ():
                image = plots.pixels(plots.heat_map(weights_EO.cpu().numpy(), operations, name))
                self._tensorboard("add_image", f"weights/{name}", image, step, dataformats="HWC")

    def genotype(self, step: int, name: str, genotype: Genotype, *, always: bool) -> None:
        """A picture of the cell, when it is not the one that was drawn last; see `_drawing`."""
        with self._drawing(always) as wanted:
            if wanted and genotype != self._last_drawn:
                from nasrun import drawing

                image = drawing.image(genotype)
                self._tensorboard("add_image", f"cells/{name}", image, step, dataformats="HWC")
                self._last_drawn = genotype

    @contextmanager
    def _drawing(self, always: bool) -> Iterator[bool]:
        """Whether to draw: where steps are so short that pictures would cost more than a tenth of
        the time, some are left out, unless `always`."""
        started = time.monotonic()
        yield always or self._drawing_s < MAX_SHARE_OF_TIME * (started - self._started)
        self._drawing_s += time.monotonic() - started

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """A plot, as `<name>.png` in the folder and as a picture in TensorBoard."""
        from matplotlib.image import imsave

        from nasrun import plots

        image = plots.pixels(figure)
        with self._folder.replacing(f"{name}.png") as path:
            imsave(path, image)
        self._tensorboard("add_image", f"plots/{name}", image, step, dataformats="HWC")

    def hparams(
        self, settings: Mapping[str, str | float], metrics: Mapping[str, float | None]
    ) -> None:
        """The row of the run in TensorBoard's HParams tab; the metrics are scalars besides.

        `SummaryWriter.add_hparams` would make a subfolder, and with it a second run of the row.
        """
        known = {f"final/{name}": value for name, value in metrics.items()}

        def write(writer: Any) -> None:
            from torch.utils.tensorboard.summary import hparams

            for part in hparams(dict(settings), known):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(part)
            for name, value in known.items():
                if value is not None:
                    writer.add_scalar(name, value, 0)

        self._on_writer(write)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()
        if self._writer is not None:
            self._tensorboard("flush")

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._writer is not None:
            self._tensorboard("close")
            self._writer = None

    def _append(self, name: str, line: str) -> None:
        if name not in self._files:
            self._files[name] = (self._folder.path / name).open("a", encoding="utf-8")
        self._files[name].write(line + "\n")
        self._files[name].flush()

    def _tensorboard(self, method: str, *arguments: Any, **keywords: Any) -> None:
        self._on_writer(lambda writer: getattr(writer, method)(*arguments, **keywords))

    def _on_writer(self, act: Callable[[Any], None]) -> None:
        if self._writer_failed:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder.path / "tensorboard"))
            act(self._writer)
        except Exception as error:  # whatever it is, it must not end a search
            self._writer_failed = True
            self.log(f"TensorBoard has stopped ({error!r}); metrics.jsonl goes on")
