"""Define what records a run elsewhere, beside TensorBoard: MLflow, trackio, Weights & Biases.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run before its first step.

    `group` is the name of the sweep that it is a job of. `settings` are dotted key -> value of the
    resolved configuration, and group -> chosen option; `tags` are strategy, space, dataset, seed,
    command and commit, as far as they are known.
    """

    name: str
    group: str | None
    settings: Mapping[str, object]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Figures:
    """Scalars of one step, named as in TensorBoard: `search/val_accuracy`.

    `time_s` is when they were recorded, in seconds since 1970.
    """

    step: int
    values: Mapping[str, float]
    time_s: float


class Tracker(Protocol):
    """Record one run. All methods but `reach` are called by one thread, which is not the run's.

    Whatever one of them raises ends the recording and never the run. Where a setting is an address,
    it is declared as `Annotated[str, Location()] | None`: the address in the record of a run is
    nobody's word, so whoever resumes the run is asked for it.
    """

    needs: ClassVar[tuple[str, ...]]  # packages that a user installs for it

    def reach(self) -> None:
        """Raise an exception that says why nothing can be recorded, before the run begins."""

    def begin(self, run: TrackedRun, known: Mapping[str, str]) -> Mapping[str, str]:
        """Begin to record a run, or go on with it; return what finds it again.

        That is kept in the run folder, and is `known` when the run is resumed; empty before. It
        must not hold an address that is then trusted: the folder may be a stranger's.
        """

    def last_step(self, metric: str) -> int | None:
        """Return the last step that is recorded of a metric; `None` for none."""

    def figures(self, rows: Sequence[Figures]) -> None:
        """Record the scalars of some steps."""

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        """Record a picture, uint8, such as `cells/search`; a tracker without pictures does not."""

    def end(self, outcome: Outcome, files: Mapping[str, Path]) -> None:
        """End the recording; keep the files (name in the run folder -> path), if it keeps any."""
