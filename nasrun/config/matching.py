"""Tell which strategies, spaces and evaluators go together, by what they declare.

The declarations are read from the sources, so that a choice which cannot work is refused before
torch is imported, and those that would work are named. What depends on a file (does a table have
this dataset?) is told by whoever reads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nasrun.config import catalogue
from nasrun.config.declarations import constant
from nasrun.config.plugins import option
from nasrun.config.renamed import present
from nasrun.config.schema import SearchConfig
from nasrun.errors import Problem, enumerated

GROUPS = ("strategy", "space", "evaluator")


@dataclass(frozen=True)
class Choice:
    """An option of a group, and the class behind it."""

    option: str
    target: str

    def says(self, name: str) -> Any:
        """Return what the class declares."""
        return constant(self.target, name)


Choices = Mapping[str, Choice]
"""Group -> what was chosen."""


@dataclass(frozen=True)
class Rule:
    """What does not go together, why, and the groups of which another option mends it."""

    broken: Callable[[Choices], bool]
    reason: str
    mended_by: tuple[str, ...]
    otherwise: str = ""  # what else could be typed


def _needs_alphas(it: Choices) -> bool:
    return bool(it["strategy"].says("needs_alphas"))


def _has_alphas(it: Choices) -> bool:
    return bool(it["space"].says("differentiable"))


def _has_table(it: Choices) -> bool:
    return it["space"].says("name") in benchmark_spaces()


def _knows(it: Choices) -> bool:
    known = it["evaluator"].says("spaces")
    return not known or it["space"].says("name") in known


RULES = (
    Rule(
        lambda it: _needs_alphas(it) and not _has_alphas(it),
        "{strategy} works on alphas, which {space} does not have",
        ("space",),
        "choose a strategy that takes any space (nasrun list strategies)",
    ),
    Rule(
        lambda it: _needs_alphas(it) and not it["evaluator"].says("makes_scorers"),
        "{strategy} works on alphas, which {evaluator} does not score",
        ("evaluator",),
        "leave evaluator out",
    ),
    Rule(
        lambda it: not _needs_alphas(it) and not it["evaluator"].says("evaluates"),
        "{strategy} works on single architectures, which {evaluator} does not evaluate",
        ("evaluator",),
        "leave evaluator out",
    ),
    Rule(
        lambda it: it["evaluator"].says("needs_images") and it["space"].says("takes") == (),
        "{evaluator} trains networks, and {space} has none",
        ("evaluator", "space"),
    ),
    Rule(
        lambda it: it["evaluator"].says("needs_alphas") and not _has_alphas(it),
        "{evaluator} trains a supernet, and the architectures of {space} share none",
        ("evaluator", "space"),
    ),
    Rule(
        lambda it: it["evaluator"].says("reads_table") and not _has_table(it),
        "{evaluator} needs a benchmark table, and there is none of {space}",
        ("space", "evaluator"),
        "leave evaluator out",
    ),
    Rule(
        lambda it: not _knows(it),
        "{evaluator} knows no architectures of {space}",
        ("space", "evaluator"),
        "leave evaluator out",
    ),
    Rule(
        lambda it: (
            it["strategy"].says("needs_weights") and not it["evaluator"].says("needs_images")
        ),
        "{strategy} needs the weights of a supernet, and {evaluator} has none",
        ("evaluator",),
    ),
)


def mismatches(config: SearchConfig) -> Iterator[Problem]:
    """Yield a sentence about the first thing that does not go together; all nodes are sound."""
    chosen = {group: _choice(getattr(config, group)) for group in GROUPS}
    rule = next((rule for rule in RULES if rule.broken(chosen)), None)
    if rule is not None:
        words = {group: f"{group}={choice.option}" for group, choice in chosen.items()}
        yield Problem(rule.mended_by[0], f"{rule.reason.format(**words)}: {_remedy(rule, chosen)}")


def _choice(node: Mapping[str, Any]) -> Choice:
    return Choice(option(node), present(node["_target_"]))


def _remedy(rule: Rule, chosen: Choices) -> str:
    """Say what to type instead: options with which all rules hold, or at least this one."""
    for rules in (RULES, (rule,)):
        for group in rule.mended_by:
            names = list(_fitting(group, chosen, rules))
            if names:
                words = f"type {group}={enumerated(names, 'or')}"
                return ", or ".join([words, *filter(None, [rule.otherwise])])
    return rule.otherwise or "choose another strategy"


def _fitting(group: str, chosen: Choices, rules: tuple[Rule, ...]) -> Iterator[str]:
    """Yield the options of a group with which no rule is broken; of variants the method alone."""
    for name, target in targets(group).items():
        changed = {**chosen, group: Choice(name, target)}
        if not any(rule.broken(changed) for rule in rules):
            yield name


def targets(group: str) -> dict[str, str]:
    """Map the options of a group to the classes behind them, without variants."""
    root = catalogue.conf_dir()
    names = [one.name for one in catalogue.options(group, root) if not one.is_variant]
    return {name: str(catalogue.content(group, name, root)["_target_"]) for name in names}


def benchmark_spaces() -> set[str]:
    """Return the search spaces of which there are tables."""
    return {str(constant(target, "table", "space")) for target in targets("benchmark").values()}


def has_networks(space: str) -> bool:
    """Return whether the architectures of a space, by its name, stand for networks."""
    of_tables = {
        constant(target, "name")
        for target in targets("space").values()
        if constant(target, "takes") == ()
    }
    return space not in of_tables


def spaces_with_alphas() -> list[str]:
    """List the search spaces that strategies on alphas can search."""
    return [name for name, target in targets("space").items() if constant(target, "differentiable")]


def spaces_for(kind: str) -> list[str]:
    """List the spaces whose networks take inputs of a kind, without their variants."""
    return [
        name
        for name, target in targets("space").items()
        if kind in (constant(target, "takes") or ())
    ]
