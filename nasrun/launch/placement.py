"""Run a job in a process and on a GPU of its own, and end it with the one who started it.

The processes of a pool live on from job to job, and when one of them is killed the pool ends with
all jobs in it. So each job runs in a fork of such a process, which has imported what jobs need and
does nothing else: a killed job costs that job, and none finds what one before it has left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nasrun.config.plugins import import_all
from nasrun.errors import RunError, UsageError
from nasrun.storage.folder_lock import FolderLock

OUTPUT_FILE = "output.txt"  # what a job says; the progress of all jobs has the terminal
INTERRUPTED = 130
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True)
class OneProcessEach:
    """What the processes of a pool call for each job.

    Args:
        jobs: does the job.
        slots: a folder for the locks by which jobs that run at once know their places.
        num_slots: how many of them run at once.
        gpus: as CUDA_VISIBLE_DEVICES names them; a job with `device=auto` sees one of them.
    """

    jobs: Callable[[DictConfig], float]
    slots: Path
    num_slots: int
    gpus: Sequence[str]

    def __call__(self, config: DictConfig) -> float:
        _import_what_jobs_need()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job hears it, and the parent stops all
        end_with(os.getppid())
        output = Path(HydraConfig.get().runtime.output_dir) / OUTPUT_FILE
        with self._gpu(config, HydraConfig.get().job.num) as gpu, TemporaryFile() as imported:
            code = _forked(lambda: self._run(config, gpu, output, imported))
            imported.seek(0)
            import_all(imported.read().decode().split())  # for the forks that follow
        with contextlib.suppress(OSError):
            if output.stat().st_size == 0:
                output.unlink()
        if code < 0:
            raise RunError(_death(-code))
        if code not in (0, INTERRUPTED):
            raise RunError(f"its process ended with exit code {code}; {output} may say why")
        return float("nan")  # its folder says it all

    def _run(self, config: DictConfig, gpu: str | None, output: Path, imported: IO[bytes]) -> None:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        if gpu is not None:  # torch looks when the first tensor goes to a GPU
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        self.jobs(config)
        imported.write("\n".join(sys.modules).encode())
        imported.flush()

    @contextmanager
    def _gpu(self, config: DictConfig, number: int) -> Iterator[str | None]:
        """Choose a GPU that as few others as possible use, for as long as the context lasts."""
        if config.device != "auto" or not self.gpus:
            yield None
            return
        with _slot(self.slots, self.num_slots) as slot:
            yield self.gpus[(number if slot is None else slot) % len(self.gpus)]


def _import_what_jobs_need() -> None:
    """Spend the seconds of these imports once, and not in every fork."""
    import sklearn.model_selection  # noqa: F401
    import torch.utils.tensorboard.summary  # noqa: F401

    import nasrun.engine.search  # noqa: F401
    from nasrun.runs.folder import environment

    environment()


@contextmanager
def _slot(folder: Path, count: int) -> Iterator[int | None]:
    """Hold the lowest number that no other process has; `None` where all are taken."""
    for number in range(count):
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(UsageError):
            lock = FolderLock(place)
            break
    else:
        yield None
        return
    try:
        yield number
    finally:
        lock.release()


def _forked(work: Callable[[], None]) -> int:
    """Do the work in a fork of this process; return its exit code.

    It is minus the number of the signal, where one has killed the fork.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where threads run
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        end_with(parent)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:  # nothing of the parent's is tidied up
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def end_with(parent: int) -> None:
    """Have this process interrupted when its parent ends, however that does; Linux only."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(DIE_WITH_PARENT, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before
            os.kill(os.getpid(), signal.SIGTERM)


def _death(number: int) -> str:
    name = signal.Signals(number).name
    memory = ", by the system for want of memory perhaps" if number == signal.SIGKILL else ""
    return f"its process was killed ({name}{memory})"
