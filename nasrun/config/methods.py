"""Say in a line what each search strategy is, needs and costs; read from files, not imported.

The family is the folder of its module, the paper stands in brackets in the first line of its YAML,
and what it needs of a space and what a step costs is declared in its class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nasrun.config import catalogue, outside
from nasrun.config.declarations import constant, summary

GROUP = "strategy"
PAPER = re.compile(r"\((?:[^()]*, )?((?:[A-Za-z]+ )?\d{4})\)")


@dataclass(frozen=True)
class Method:
    """A strategy, and the variants that differ from it in values alone."""

    option: str
    gloss: str  # "DARTS (Liu et al., ICLR 2019): gradient descent on ..."
    needs: str  # of a space: any, alphas, or weights
    step: str  # its unit and what it costs: "epoch: 2 gradients a batch"
    variants: tuple[catalogue.Option, ...]

    @property
    def title(self) -> str:
        """Return what the gloss says before its colon: the name in the paper, and the paper."""
        return self.gloss.partition(": ")[0]

    @property
    def paper(self) -> str:
        """Return where and when it was published, as far as the gloss says it: `ICLR 2019`."""
        found = PAPER.search(self.gloss)
        return found[1] if found else ""


def families(root: Path) -> Mapping[str, tuple[Method, ...]]:
    """Group the strategies by the first sentence about the folder of their modules."""
    found = catalogue.options(GROUP, root)
    groups: dict[str, list[Method]] = {}
    for option in found:
        if not option.is_variant:
            target = str(catalogue.content(GROUP, option.name, root).get("_target_", ""))
            variants = [one for one in found if one.is_variant and one.root == option.name]
            groups.setdefault(_family(target), []).append(_method(option, target, tuple(variants)))
    return {_heading(name): tuple(groups[name]) for name in sorted(groups)}


def _method(
    option: catalogue.Option, target: str, variants: tuple[catalogue.Option, ...]
) -> Method:
    needs = "any"
    if constant(target, "needs_alphas"):
        needs = "weights" if constant(target, "needs_weights") else "alphas"
    step = [str(word) for name in ("unit", "step_cost") if (word := constant(target, name))]
    return Method(option.name, option.gloss, needs, ": ".join(step), variants)


def _family(target: str) -> str:
    """Return the folder of a class: `nasrun.strategies.gradient.darts.DARTS` -> `...gradient`.

    Those of a plug-in from outside are a family, by its name.
    """
    plugin = outside.owner(target.rpartition(".")[0])
    if plugin is not None:
        return plugin.name
    return target.rpartition(".")[0].rpartition(".")[0]


def _heading(family: str) -> str:
    if not family.startswith("nasrun."):
        return f"{family}: from outside, by --plugin or installed"
    name, text = family.rpartition(".")[2], summary(family)
    return f"{name}: {text[:1].lower()}{text[1:]}" if text else name
