"""MLflow (mlflow.org): experiments in a database beside the outputs, or on a server."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from nasrun.errors import UsageError
from nasrun.protocols.settings import Location, plugin
from nasrun.protocols.tracker import Figures, Outcome, TrackedRun, Tracker
from nasrun.trackers.answering import require_answer, without_secrets

if TYPE_CHECKING:
    import numpy as np

MOST_METRICS, MOST_SETTINGS = 1000, 100  # of one request, by MLflow's own limits
MOST_CHARACTERS = 6000  # of the value of a setting
STATUS: Mapping[Outcome, str] = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@plugin
class Mlflow(Tracker):
    """A run of MLflow: metrics, parameters, tags, pictures and files as artefacts.

    Jobs of a sweep are runs of an experiment that is called like the sweep, and bear its name as
    the tag `sweep`.
    """

    needs: ClassVar[tuple[str, ...]] = ("mlflow",)

    uri: Annotated[str, Location()] | None
    experiment: str | None

    def __post_init__(self) -> None:
        named = self.uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._place = named or f"sqlite:///{Path.cwd()}/mlflow.db"
        self._connection: Any = None
        self._run = ""

    def reach(self) -> None:
        require_answer(self._place)
        self._client.search_experiments(max_results=1)  # of a new database it makes the tables

    def begin(self, run: TrackedRun, known: Mapping[str, str]) -> Mapping[str, str]:
        require_answer(self._place)
        if known:
            _require_there(self._place)
            self._run = self._client.get_run(known["run"]).info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return known
        from mlflow.entities import Param

        experiment = self.experiment or run.group or "nasrun"
        tags = {**run.tags, **({"sweep": run.group} if run.group else {})}
        if "commit" in run.tags:  # as MLflow's own pages show it
            tags["mlflow.source.git.commit"] = run.tags["commit"]
        made = self._client.create_run(self._id_of(experiment), run_name=run.name, tags=tags)
        self._run = made.info.run_id
        settings = [Param(key, str(run.settings[key])[:MOST_CHARACTERS]) for key in run.settings]
        for first in range(0, len(settings), MOST_SETTINGS):
            self._client.log_batch(self._run, params=settings[first : first + MOST_SETTINGS])
        return {"run": self._run, "experiment": experiment, "uri": without_secrets(self._place)}

    def last_step(self, metric: str) -> int | None:
        history = self._client.get_metric_history(self._run, _key(metric))
        return max((one.step for one in history), default=None)

    def figures(self, rows: Sequence[Figures]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_key(name), value, int(1000 * row.time_s), row.step)
            for row in rows
            for name, value in row.values.items()
        ]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[first : first + MOST_METRICS])

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        # a step that is done again replaces its picture
        self._client.log_image(self._run, image_HWC, artifact_file=f"{name}/{step:06}.png")

    def end(self, outcome: Outcome, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            folder = os.path.dirname(name) or None
            self._client.log_artifact(self._run, str(path), folder)
        self._client.set_terminated(self._run, STATUS[outcome])

    @property
    def _client(self) -> Any:
        if self._connection is None:
            # nothing leaves this machine, and nothing is printed, unless somebody has asked for it
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # of each retry
            if self._place.startswith("sqlite:"):
                _require_databases()
            self._connection = MlflowClient(self._place)
        return self._connection

    def _id_of(self, experiment: str) -> str:
        """Return the id of an experiment, which another job may just have made."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(experiment))
            except MlflowException:
                found = self._client.get_experiment_by_name(experiment)
                if found is None:
                    raise
        return str(found.experiment_id)


def _require_databases() -> None:
    try:
        import alembic  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            "mlflow-skinny alone writes to servers; for a database on this machine type "
            "python -m pip install mlflow"
        ) from None


def _require_there(place: str) -> None:
    """Raise a `UsageError` where a database would be made, in which the run cannot be."""
    path = place.removeprefix("sqlite:///")
    if path != place and not os.path.exists(path):
        raise UsageError(
            f"{path} does not exist; where it is now: nasrun resume RUN tracker.uri=sqlite:///..."
        )


def _key(metric: str) -> str:
    """Return the name of a metric in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", metric)
