"""trackio (github.com/gradio-app/trackio): local, and with the calls of Weights & Biases."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from nasrun.errors import UsageError
from nasrun.protocols.settings import Location, Matches, Meaning, plugin
from nasrun.protocols.tracker import Figures, Outcome, TrackedRun, Tracker
from nasrun.trackers.answering import require_answer

if TYPE_CHECKING:
    import numpy as np


@plugin
class Trackio(Tracker):
    """A run of trackio: metrics, settings and pictures. Jobs of a sweep are a group.

    It keeps them in `TRACKIO_DIR` on this machine, unless `uri` or `TRACKIO_SERVER_URL` names a
    server, or `TRACKIO_SPACE_ID` a Space of Hugging Face.
    """

    needs: ClassVar[tuple[str, ...]] = ("trackio",)

    project: str
    uri: Annotated[str, Location(), Matches(r"https?://.+"), Meaning("http://host:port")] | None

    def __post_init__(self) -> None:
        self._server = self.uri or os.environ.get("TRACKIO_SERVER_URL")
        self._is_local = not (self._server or os.environ.get("TRACKIO_SPACE_ID"))
        self._run: Any = None

    def reach(self) -> None:
        space = os.environ.get("TRACKIO_SPACE_ID")
        tokens = "write_token=" in (self._server or "") or os.environ.get("TRACKIO_WRITE_TOKEN")
        if self._server and not space and not tokens:
            raise UsageError(
                "a server of trackio wants its write token: type export TRACKIO_WRITE_TOKEN=..."
            )
        require_answer(self._server or "")
        self._library.SQLiteStorage.validate_project_name(self.project)

    def begin(self, run: TrackedRun, known: Mapping[str, str]) -> Mapping[str, str]:
        require_answer(self._server or "")
        # a run is found again by its name, so no other one may have it
        name = known.get("run") or f"{run.name}-{uuid.uuid4().hex[:6]}"
        with redirect_stdout(io.StringIO()):
            self._run = self._library.init(
                project=self.project,
                name=name,
                group=run.group,
                config={**run.settings, **run.tags},
                resume="must" if known else "never",
                server_url=self.uri,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return {"run": name, "project": self.project}

    def last_step(self, metric: str) -> int | None:
        steps = (row["step"] for row in self._rows_before if metric in row)
        return max(steps, default=None)

    def figures(self, rows: Sequence[Figures]) -> None:
        for row in rows:
            self._run.log(dict(row.values), step=row.step)

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        self._run.log({name: self._library.Image(image_HWC)}, step=step)

    def end(self, outcome: Outcome, files: Mapping[str, Path]) -> None:
        """End the recording; trackio knows no outcome, and files only as versions of a project."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()

    @property
    def _library(self) -> Any:
        if self._is_local:  # it would ask Hugging Face who you are
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import trackio

        return trackio

    @cached_property
    def _rows_before(self) -> Sequence[Mapping[str, Any]]:
        """Return what was recorded of the run before it was resumed."""
        library, run = self._library, self._run.name
        if self._is_local:
            return library.SQLiteStorage.get_logs(self.project, run)
        client = library.RemoteClient(self._server or os.environ["TRACKIO_SPACE_ID"], verbose=False)
        return client.predict(project=self.project, run=run, api_name="/get_logs")
