"""Which strategies, spaces and evaluators go together, as their sources declare it."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace

import pytest

from nasrun.config import checks, matching
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from tests.compose import composed


def told(*overrides: str) -> list[str]:
    """What is wrong with a configuration, without building anything."""
    choices = dict(word.split("=") for word in overrides)
    return list(checks.all_faults(to_typed(composed(overrides), SearchConfig, choices)))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["strategy=darts", "space=nasbench101"],
            "strategy=darts works on alphas, which space=nasbench101 does not have: type "
            "space=darts, nasbench201 or toy, or choose a strategy that takes any space "
            "(nasrun list strategies)",
        ),
        (
            ["strategy=egnas_paper", "space=nasbench101", "evaluator=table"],
            "strategy=egnas_paper works on alphas, which space=nasbench101 does not have: type "
            "space=nasbench201, or choose",
        ),
        (
            ["strategy=egnas", "evaluator=train"],
            "strategy=egnas works on alphas, which evaluator=train does not score: type "
            "evaluator=darts_landscape or shared_weights, or leave evaluator out",
        ),
        (
            ["strategy=genetic", "evaluator=shared_weights", "space=nasbench101"],
            "evaluator=shared_weights trains a supernet, and the architectures of "
            "space=nasbench101 share none: type evaluator=supernet_and_table, table or train",
        ),
        (
            ["strategy=egnas", "evaluator=table", "space=darts"],
            "evaluator=table needs a benchmark table, and there is none of space=darts: type "
            "space=nasbench201, or leave evaluator out",
        ),
        (
            ["strategy=random", "evaluator=darts_landscape", "space=nasbench201"],
            "evaluator=darts_landscape knows no architectures of space=nasbench201: type "
            "space=darts, or leave evaluator out",
        ),
        (
            ["strategy=idarts", "evaluator=table", "space=nasbench201"],
            "strategy=idarts needs the weights of a supernet, and evaluator=table has none: type "
            "evaluator=shared_weights or supernet_and_table",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_one_sentence(overrides: list[str], sentence: str) -> None:
    (problem,) = told(*overrides)
    # other spaces of the same kind may stand between those that are named here
    for part in sentence.split("space=darts, nasbench201 or toy"):
        assert part in problem
    assert "\n" not in problem


def test_a_fault_in_a_node_is_told_before_what_does_not_go_together() -> None:
    (problem,) = told("strategy=darts", "space=nasbench101", "strategy.order=3")
    assert "strategy.order=3" in problem


def problem(targets: dict[str, str]) -> str | None:
    nodes = {group: {"_target_": target} for group, target in targets.items()}
    return next(matching.mismatches(SimpleNamespace(**nodes)), None)


def test_each_option_that_is_named_mends_what_was_told() -> None:
    """Over one strategy of each kind, and all spaces and evaluators."""
    known = {group: matching.targets(group) for group in matching.GROUPS}
    strategies = [known["strategy"][name] for name in ("idarts", "gdas", "genetic")]
    others = (known["space"].values(), known["evaluator"].values())
    told = set()
    for each in itertools.product(strategies, *others):
        targets = dict(zip(matching.GROUPS, each, strict=True))
        if text := problem(targets):
            group, names = re.search(r": type (\w+)=([\w, ]+?)(?:, or |$)", text).groups()
            for name in re.split(", | or ", names):
                assert problem({**targets, group: known[group][name]}) != text, text
            told.add(text.partition(":")[0])
    assert len(told) > 10


def test_benchmarks_say_of_which_space_they_are() -> None:
    assert {"nasbench101", "nasbench201"} <= matching.benchmark_spaces()
