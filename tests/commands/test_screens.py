"""What a terminal of 40, 80 and 120 columns shows of a search, and of jobs that run at once."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from nasrun.terminal import console
from nasrun.terminal.pace import Pace, Tally
from nasrun.terminal.progress import Board, Display


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=[40, 80, 120])
def terminal(request, monkeypatch) -> Console:
    found = Console(
        file=io.StringIO(), width=request.param, height=12, force_terminal=True, color_system=None
    )
    monkeypatch.setattr(console, "console", lambda stderr=False: found)
    return found


def shown(terminal: Console, *what: object) -> list[str]:
    drawn = Console(
        file=io.StringIO(), width=terminal.width, force_terminal=True, color_system=None
    )  # fmt: skip - one on which nothing is live
    for one in what:
        drawn.print(one)
    assert isinstance(drawn.file, io.StringIO)
    return [line.rstrip() for line in drawn.file.getvalue().splitlines()]


def test_a_search_keeps_bar_count_and_eta_at_every_width(terminal: Console) -> None:
    """Three of 50 steps, each of 100 s, and 40 % of the fourth: 46.6 steps are left."""
    clock = Clock()
    display = Display(clock=clock)
    display.start("search", "epoch", 50, 0)
    for number in range(1, 5):
        for done in range(1, 11 if number < 4 else 5):
            clock.now += 10
            display.progress(done, 10, loss=2.3, accuracy=0.125)
        if number < 4:
            figures = {"train_loss": 2.1, "train_accuracy": 0.3, "val_accuracy": 0.25}
            display.step(number, {**figures, "fitness_best": 1.2345}, best=0.5)
    lines = shown(terminal, *display._bars.get_renderables())
    display.finish()
    assert re.fullmatch(r"search epoch  [━╸ ]+ 3/50 ETA 1:17:40", lines[0])
    assert re.fullmatch(r"  in this one [━╸ ]+ 4/10 ETA 1:00", lines[1])
    text = " ".join(" ".join(lines[2:]).split())
    assert text == (
        "loss 2.1 accuracy 30.00% val accuracy 25.00% fitness 1.234 best 50.00% "
        "loss 2.3 accuracy 12.50%"
    )
    assert max(map(len, lines)) <= terminal.width


def test_a_sweep_one_by_one_has_a_bar_of_its_own(terminal: Console) -> None:
    """Three of 15 jobs took an hour, and the fourth began ten minutes ago."""
    clock = Clock()
    jobs = Tally(15, clock=clock)
    for _ in range(3):
        clock.now += 1200
        jobs.add()
    display = Display(clock=clock, jobs=jobs)
    display.start("search", "epoch", 50, 0)
    clock.now += 600
    display.step(1, {"train_loss": 2.1}, None)
    lines = shown(terminal, *display._bars.get_renderables())
    display.finish()
    assert re.fullmatch(r"all jobs     [━╸ ]+ 3/15 ETA 3:50:00", lines[0])
    assert re.fullmatch(r"search epoch [━╸ ]+ 1/50 ETA 8:10:00", lines[1])
    assert max(map(len, lines)) <= terminal.width
    assert (jobs.place, str(jobs)) == ("4 of 15", "3 of 15 jobs, ETA 3:50:00")


def test_jobs_at_once_keep_name_count_and_eta_at_every_width(terminal: Console) -> None:
    settings = "strategy=regularized_evolution fitness.zeta=0.4 population.size=25 seed=12"
    board = Board()
    board.draw(
        [("job 12", settings, "search epoch 3/50", 0.06, "ETA 1:17:40"),
         ("job 13", settings, "starts", None, "")],
        "3 of 16 jobs done, 2 running, 11 waiting, ETA 2:00:00",
    )  # fmt: skip
    lines = shown(terminal, board._live.renderable)
    board.close()
    wide = terminal.width >= 80
    if wide:
        assert re.match(r"job 12 stra\S+.* search epoch 3/50 [━╸ ]{8,} +ETA 1:17:40$", lines[0])
    assert max(map(len, lines)) <= terminal.width


def test_an_eta_is_known_however_long_a_step_takes() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.remaining(20) is None  # nothing was done since it began
    clock.now += 3600
    pace.reached(12)
    assert pace.remaining(20) == 4 * 3600
    clock.now += 600  # of the next step
    assert pace.remaining(20) == 4 * 3600 - 600
    assert pace.remaining(None) is None
