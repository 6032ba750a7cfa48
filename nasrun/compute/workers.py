"""Run worker processes, each of which answers one task at a time.

The death of a worker costs its task a second attempt.

Workers are fresh Python processes (one that has computed on several threads must not be forked),
which start when they are first needed, share the threads of this process, leave Ctrl-C to it, and
end with it, however it ends. `multiprocessing` would start them too, but not in a process that
joblib has started, and it runs the main module again in each.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from nasrun.compute import cancellation
from nasrun.errors import RunError
from nasrun.terminal import console

ATTEMPTS = 2  # attempts at a task whose workers die
LOOK_EVERY_S = 1.0  # for a signal that has not been raised
PATIENCE_S = 10.0  # how long a silent worker may take to end
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}  # signals that only this process handles

PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from nasrun.compute.workers import work; work(int(sys.argv[1]))"
)

Make = Callable[[int, int], Callable[[Any], Any]]


class Died(RunError):
    """The answer to a task whose workers have died; its text says of what."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    task: int | None = None  # the place of the task that it works on


class Workers:
    """Up to `count` processes that answer tasks. Tasks and answers are plain values.

    Args:
        make: called in each process with its number, from 0, and of how many threads it may make
            use: returns what answers a task there. A function of a module, or a `partial` of one.
    """

    def __init__(self, make: Make, count: int) -> None:
        self.count = count
        self._make = make
        self._workers: list[_Worker | None] = [None] * count

    @property
    def threads(self) -> int:
        """Return the threads of each process: a fair share of this process's."""
        import torch

        return max(1, torch.get_num_threads() // self.count)

    def answers(self, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield the place of each task and its answer, in the order in which they are finished.

        `Died` is the answer to a task whose worker dies twice.

        Raises:
            Exception: what a worker raised, which ends them all.
        """
        waiting, deaths = deque(range(len(tasks))), Counter[int]()
        num_left = len(tasks)
        try:
            while num_left > 0:
                cancellation.look()
                self._hand_out(tasks, waiting)
                for worker, answer in self._heard():
                    place, worker.task = worker.task, None
                    assert place is not None
                    if isinstance(answer, Died):
                        deaths[place] += 1
                        if deaths[place] < ATTEMPTS:
                            console.complain(
                                f"a worker process died ({answer}): a new one takes over"
                            )
                            waiting.appendleft(place)
                            continue
                        answer = Died(f"its worker process died twice ({answer})")
                    elif isinstance(answer, Exception):
                        raise answer
                    num_left -= 1
                    yield place, answer
        except BaseException:  # nobody waits for the other answers
            self.close()
            raise

    def close(self) -> None:
        """End the processes; the next task starts new ones."""
        for worker in self._workers:
            if worker is not None:
                self._end(worker)

    def _hand_out(self, tasks: Sequence[Any], waiting: deque[int]) -> None:
        """Give waiting tasks to the workers that have none, and start workers where needed."""
        for number, worker in enumerate(self._workers):
            if not waiting or (worker is not None and worker.task is not None):
                continue
            if worker is None or worker.process.poll() is not None:
                worker = self._start(number)
            worker.task = waiting.popleft()
            with suppress(OSError):  # it has died just now; `_heard` finds out
                worker.connection.send(tasks[worker.task])

    def _heard(self) -> Iterator[tuple[_Worker, Any]]:
        """Wait for busy workers, for a while; yield those that have answered or died.

        Each comes with its answer, or with what it died of.
        """
        busy = [one for one in self._workers if one is not None and one.task is not None]
        ready = wait([one.connection for one in busy], LOOK_EVERY_S)
        for worker in busy:
            if worker.connection not in ready:
                continue
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(PATIENCE_S)
                answer = Died(_cause(worker.process.returncode))
                self._end(worker)
            yield worker, answer

    def _start(self, number: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        place = str(theirs.fileno())
        with theirs, _signals_blocked():  # until the new process handles them
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, place, *sys.path],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            worker = self._workers[number] = _Worker(process, ours)
        with suppress(OSError):  # it has died already; `_heard` finds out
            ours.send((self._make, number, self.threads))
        return worker

    def _end(self, worker: _Worker) -> None:
        self._workers[self._workers.index(worker)] = None
        worker.connection.close()
        worker.process.kill()  # it has nothing to save
        worker.process.wait()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals: processes started within begin so, and this one gets them afterwards."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _cause(exit_code: int | None) -> str:
    """Say in words how a process ended."""
    if exit_code is not None and exit_code < 0:
        hint = "; out of memory?" if -exit_code == signal.SIGKILL else ""
        return f"signal {-exit_code}{hint}"
    return f"exit code {exit_code}"


def work(place: int) -> None:
    """Answer tasks, or send what was raised, until the run needs no more: the life of a worker.

    Args:
        place: the file descriptor of the connection with the run.
    """
    connection: Connection[Any, Any] = Connection(place)
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_run, args=(place,), daemon=True).start()
    answer: Callable[[Any], Any] | None = None
    with suppress(EOFError, ConnectionError):
        make, number, num_threads = connection.recv()  # receiving it imports its modules
        while True:
            task = connection.recv()
            try:
                answer = answer or make(number, num_threads)
                reply = answer(task)
            except Exception as error:  # whatever it is, the run deals with it
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                reply = error
            connection.send(reply)


def _end_with_run(place: int) -> None:
    """End this process as soon as nobody is at the other end of the connection."""
    other_end = select.poll()
    other_end.register(place, 0)  # a hang-up is reported in any case
    other_end.poll()
    os._exit(1)
