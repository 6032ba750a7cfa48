"""Ask SLURM what becomes of jobs, and keep its answers.

submitit asks sacct alone, which needs accounting: on a cluster without it, a job that has died is
waited for without end. squeue knows jobs until some minutes after their end, in every cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nasrun.runs.folder import now

LEDGER = "slurm.jsonl"  # in the folder of a sweep
LIVE = {"COMPLETING", "CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
        "RESIZING", "RESV_DEL_HOLD", "RUNNING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT",
        "STOPPED", "SUSPENDED"}  # fmt: skip
UNKNOWN = "UNKNOWN"
NOT_THERE = "Invalid job id specified"  # squeue, of a job that ended some minutes ago
OUT_OF_ORDER = ("DOWN", "DRAIN", "NotAvail")  # in the reason of a job that waits for a node
LEAST_SECONDS, MOST_SECONDS = 2.0, 30.0  # between questions; squeue forgets jobs after minutes
SETTLED_SECONDS = 10.0  # after which a job that has ended is not put back into the queue
NUM_LINES = 2  # of a job's log
OF_SLURM = ("slurmstepd", "srun: error", "error: ")  # lines of a log, which say why it has ended


@dataclass(frozen=True)
class State:
    """What SLURM says of a job: `state` and `reason` as it writes them."""

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def is_live(self) -> bool:
        return self.state in LIVE or self.state == UNKNOWN

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason not in ("", "None", self.state) else ""
        return f"{self.state}{reason}{f' on {self.nodes}' if self.nodes else ''}"


class Watcher:
    """What submitit's jobs ask for their state, in the place of its own.

    Args:
        home: the folder of the sweep, which gets a line for each change of a job.
    """

    def __init__(self, home: Path) -> None:
        self.states: dict[str, State] = {}
        self._numbers: Mapping[str, int] = {}
        self._ledger = home / LEDGER
        self._started = time.monotonic()
        self._asked = float("-inf")
        self._ended: dict[str, float] = {}  # when the state in which a job has ended was first seen
        self._broken_nodes = ""

    # -- the names are submitit's

    def register_job(self, job_id: str) -> None:
        self.states[job_id] = State(UNKNOWN)
        self._started = time.monotonic()

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        self._ask(mode)
        return self._state(job_id).state

    def get_info(self, job_id: str, mode: str = "standard") -> dict[str, str]:
        self._ask(mode)
        state = self._state(job_id)
        return {"State": state.state, "NodeList": state.nodes}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        self._ask(mode)
        return self._has_ended(job_id)

    def _state(self, job_id: str) -> State:
        return self.states.get(job_id, State(UNKNOWN))

    # -- ours

    def follow(self, numbers: Mapping[str, int]) -> None:
        """Follow these jobs, SLURM's name -> number in the sweep, and no others.

        submitit registers the array that they are the tasks of as well.
        """
        self._numbers = numbers
        self.states = {job_id: State(UNKNOWN) for job_id in numbers}

    def why_they_wait(self) -> str:
        """Return SLURM's reasons for which jobs are not running, and those of broken nodes."""
        waiting = [one.reason for one in list(self.states.values()) if one.state == "PENDING"]
        reasons = [reason for reason in dict.fromkeys(waiting) if reason not in ("", "None")]
        return "; ".join([*reasons, *([self._broken_nodes] if self._broken_nodes else [])])

    def _has_ended(self, job_id: str) -> bool:
        """Return whether a job has ended and stays so.

        A job that is pushed out or whose node fails has ended, for a moment, before it is put back.
        """
        return self._asked - self._ended.get(job_id, float("inf")) >= SETTLED_SECONDS

    def _ask(self, mode: str) -> None:
        waited = time.monotonic() - self._asked
        most = min(MOST_SECONDS, max(LEAST_SECONDS, (time.monotonic() - self._started) / 4))
        left = [job_id for job_id in self.states if not self._has_ended(job_id)]
        if any(job_id in self._ended for job_id in left):
            most = min(most, SETTLED_SECONDS)
        if mode == "cache" or not left or waited < (0.0 if mode == "force" else most):
            return
        found = states_of(left)
        self._asked = time.monotonic()
        changed = {key: found.get(key, self.states[key]) for key in left}
        changed = {key: state for key, state in changed.items() if state != self.states[key]}
        self.states.update(changed)
        for job_id, state in changed.items():
            if state.is_live:
                self._ended.pop(job_id, None)
            else:
                self._ended[job_id] = self._asked
        waits = {state.reason for state in self.states.values() if state.state == "PENDING"}
        broken = any(word in reason for reason in waits for word in OUT_OF_ORDER)
        self._broken_nodes = broken_nodes() if broken else ""
        self._note(changed)

    def _note(self, changed: Mapping[str, State]) -> None:
        lines = [
            {
                "time": now(),
                "job": self._numbers.get(job_id),
                "slurm_job": job_id,
                **asdict(state),
                "nodes_out_of_order": self._broken_nodes,
            }
            for job_id, state in changed.items()
        ]
        with suppress(OSError), self._ledger.open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)


def states_of(job_ids: Sequence[str]) -> Mapping[str, State]:
    """Return what SLURM says of jobs; nothing of those that it cannot be asked about just now."""
    main = sorted({job_id.partition("_")[0] for job_id in job_ids})
    known: dict[str, State] = {}
    for number in main:
        answer = _run("squeue", "--array", "--noheader", "--states=all", "--format=%F|%K|%T|%r|%N",
                      f"--jobs={number}")  # fmt: skip
        if answer.returncode != 0 and NOT_THERE not in answer.stderr:
            continue  # the controller starts anew, or is busy
        own = dict(_rows(answer.stdout))
        lost = [one for one in job_ids if one.partition("_")[0] == number and one not in own]
        known |= own
        if lost:
            known |= _of_accounting(number, lost)
    return known


def _rows(text: str) -> Iterable[tuple[str, State]]:
    for line in text.splitlines():
        job, task, state, reason, nodes = [*line.split("|"), "", "", "", "", ""][:5]
        yield (f"{job}_{task}" if task.isdigit() else job), State(state, reason, nodes)


def _of_accounting(number: str, job_ids: Sequence[str]) -> Mapping[str, State]:
    """Return what accounting says of jobs that ended some time ago, where there is any."""
    answer = _run("sacct", "--noheader", "--parsable2", "--allocations",
                  "--format=JobID,State,Reason,NodeList", f"--jobs={number}")  # fmt: skip
    found = {job_id: State("GONE", "SLURM no longer knows it") for job_id in job_ids}
    for line in answer.stdout.splitlines():
        job_id, state, reason, nodes = [*line.split("|"), "", "", "", ""][:4]
        if job_id in found and state:
            found[job_id] = State(state.split()[0], reason, nodes)  # "CANCELLED by 0"
    return found


def broken_nodes() -> str:
    """Return why nodes are down or drained, as their administrators have written."""
    answer = _run("sinfo", "--noheader", "--list-reasons", "--format=%n: %E")
    return "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip())


def last_words(log: Path) -> str:
    """Return what SLURM wrote last into the log of a job's errors."""
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        own = dict.fromkeys(line.strip() for line in lines if line.startswith(OF_SLURM))
        telling = [line for line in own if "STEP" not in line and "aborted" not in line]
        return "; ".join([*(telling or own)][:NUM_LINES])
    return ""


# ---------------------------------------------------------------------------- earlier launchers


def left_behind(home: Path) -> Mapping[str, State]:
    """Return the jobs of a sweep that an earlier launcher has left in the queue, or running.

    SLURM says which they are, and not the record of the sweep, which may be a stranger's.
    """
    answer = _run("squeue", "--array", "--noheader", f"--user={os.getuid()}",
                  "--format=%F|%K|%T|%r|%N|%o")  # fmt: skip
    root = f"{os.path.realpath(home)}/.submitit"
    scripts = ((line, line.split("|", 5)[-1]) for line in answer.stdout.splitlines())
    ours = [line for line, script in scripts if os.path.realpath(script).startswith(root)]
    return dict(_rows("\n".join(ours)))


def cancel_waiting(job_ids: Sequence[str]) -> None:
    """Take jobs out of the queue that have not begun, or that were put back into it."""
    _run("scancel", "--state=PENDING", *job_ids)


def stop(job_ids: Sequence[str], patience_s: float) -> None:
    """Take jobs out of the queue, and end those that run.

    They are first sent what Ctrl-C sends, with which they say that they were interrupted; of
    SLURM's own signal submitit's jobs take no notice.
    """
    if not job_ids:
        return
    until = time.monotonic() + patience_s
    try:
        cancel_waiting(job_ids)
        _run("scancel", "--signal=INT", *job_ids)
        while time.monotonic() < until and any(s.is_live for s in states_of(job_ids).values()):
            time.sleep(1.0)
    finally:
        _run("scancel", *job_ids)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))
