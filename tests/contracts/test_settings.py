"""Hold every declared setting to what runs: its type, its range, its default, its message."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nasrun.config import plugins, ranges
from nasrun.config.catalogue import conf_dir
from nasrun.config.checks import all_faults
from nasrun.config.compose import to_typed
from nasrun.config.declarations import constant, declared
from nasrun.config.schema import PLUGINS, SearchConfig
from nasrun.testing.options import require_declared
from tests.compose import composed

TARGETS = {  # target -> its group; options share targets
    target: group
    for group in PLUGINS
    for file in (conf_dir() / group).glob("*.yaml")
    for target in re.findall(r"^_target_: (\S+)", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_what_is_read_from_the_source_is_what_runs(target: str) -> None:
    require_declared(target)


CAPABILITIES = {
    "strategy": ("unit", "step_cost", "needs_alphas", "needs_weights", "predicts"),
    "space": ("name", "differentiable"),
    "evaluator": (
        "needs_images",
        "evaluates",
        "makes_scorers",
        "needs_alphas",
        "reads_table",
        "spaces",
    ),
}


@pytest.mark.parametrize("target", sorted(t for t, g in TARGETS.items() if g in CAPABILITIES))
def test_what_a_class_declares_is_read_from_the_source_as_it_is(target: str) -> None:
    kind = plugins.target({"_target_": target})
    for name in CAPABILITIES[TARGETS[target]]:
        assert constant(target, name) == getattr(kind, name), name


def outside(hint: Any) -> Iterator[Any]:
    """Values next to each end of the range of a number, on the wrong side."""
    whole = not ranges.fits(0.5, hint)
    bounds = ranges.Range.of(hint)
    if bounds.low is not None:
        step = 1 if whole else 1e-9
        yield bounds.low if bounds.strict_low else bounds.low - step
    if bounds.high is not None:
        step = 1 if whole else 1e-9 * max(1.0, bounds.high)
        yield bounds.high if bounds.strict_high else bounds.high + step
    if whole and bounds.high is None:
        yield ranges.LARGEST + 1


def numeric() -> Iterator[tuple[str, str, Any]]:
    for target, group in TARGETS.items():
        known = declared(target)
        assert known is not None
        for name, setting in known.settings.items():
            if ranges.fits(5, setting.hint) and setting.hint is not Any:
                yield target.rpartition(".")[2], f"{group}.{name}", setting.hint


NUMBERS = list(numeric())


@pytest.mark.parametrize(("kind", "key", "hint"), NUMBERS, ids=[f"{k}-{n}" for k, n, _ in NUMBERS])
def test_just_outside_its_range_a_number_is_refused(kind: str, key: str, hint: Any) -> None:
    for value in [*outside(hint), math.nan, math.inf, "x"]:
        text = ranges.problem(key, value, hint)
        assert text is not None, value
        assert text.startswith(f"{key}="), value


def test_most_numbers_have_a_range() -> None:
    """What has none is free by its nature, such as the weights of the fitness."""
    free = {key for _, key, hint in NUMBERS if ranges.fits(0.5, hint) and not list(outside(hint))}
    assert len(NUMBERS) > 100
    assert free == {"strategy.xi", "strategy.zeta", "strategy.eta"}


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["strategy.warmup=1.0"], ["strategy.warmup=1.0 must be in [0, 1)"]),
        (["strategy.num_starts=0"], ["strategy.num_starts=0 must be at least 1"]),
        (["strategy.sigma=0.0"], ["strategy.sigma=0.0 must be above 0"]),
        (
            ["strategy.statistics=update"],
            ["strategy.statistics=update must be batch or running"],
        ),
        (["population.size=1"], ["population.size=1 must be at least 2"]),
        (
            ["strategy=dclenas", "budget.evaluations=9", "strategy.num_initial=10"],
            ["strategy.num_initial=10 must be at most budget.evaluations=9"],
        ),
        (
            ["strategy=dclenas", "strategy.num_infill=0", "strategy.crossover=1.5"],
            [
                "strategy.num_infill=0 must be at least 1",
                "strategy.crossover=1.5 must be in [0, 1]",
            ],
        ),
        (
            ["strategy=genetic", "budget.evaluations=20", "population.size=21"],
            ["population.size=21 must be at most budget.evaluations=20"],
        ),
        (
            ["space.channels=15", "space.partial_channels=4"],
            ["space.channels=15 cannot be divided by space.partial_channels=4: type "
             "space.channels=16, or space.partial_channels=1"],
        ),
        (
            ["space=nasbench201", "space.channels=0", "space.cells=0", "space.partial_channels=0"],
            ["space.channels=0 must be at least 1", "space.cells=0 must be in [1, 100]",
             "space.partial_channels=0 must be at least 1"],
        ),
        (["space=nasbench101", "space.channels=4"], ["space.channels=4 must be at least 5"]),
        (["space.stem=vit"], ["space.stem=vit must be cifar or imagenet"]),
        (["dataset=npz"], ["dataset.file=null must be an .npz file with x_train, y_train, x_test, "
                           "y_test"]),
        (["dataset=npz", "dataset.file=a", "dataset.layout=first"],
         ["dataset.layout=first must be auto or channels_last or channels_first or signals"]),
        (["dataset=imagenet", "dataset.root=a", "dataset.colour_jitter=[0.1,0.1]"],
         ["dataset.colour_jitter=[0.1, 0.1] must be a list of at least 4 values"]),
        (["device=gpu"], ["device=gpu must be auto, cpu, cuda or cuda:<n>"]),
    ],
    ids=lambda words: " ".join(words)[:60],
)  # fmt: skip
def test_sentences(words: list[str], sentences: list[str]) -> None:
    if not any(word.startswith("strategy=") for word in words):
        words = ["strategy=egnas", *words]
    found = dict.fromkeys(all_faults(to_typed(composed(words), SearchConfig)))
    assert list(found) == sentences


def test_three_wrong_values_in_three_plug_ins_are_one_message_before_torch(tmp_path) -> None:
    """A session without torch: its import would fail."""
    words = ["strategy.sigma=-1", "dataset.batch_size=0", "space.cells=0", "hydra.run.dir=run"]
    program = f"""
import sys
import types
sys.modules["torch"] = None
from nasrun.cli.main import main
main(["search", *{words!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "nasrun: 3 problems:",
        "- dataset.batch_size=0 must be at least 2",
        "- space.cells=0 must be in [1, 100]",
        "- strategy.sigma=-1 must be above 0",
    ]
    assert list(tmp_path.iterdir()) == []
