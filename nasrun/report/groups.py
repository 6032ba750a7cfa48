"""Group runs that differ in nothing but the seed, and name each group by what sets it apart."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Genotype
from nasrun.report.collect import LeftOut, Run, shown
from nasrun.report.statistics import Clusters

# Where a run was made and how it is called is no setting of the method.
NO_SETTINGS = {"name", "device", "floor", "dataset.root", "dataset.download"}
CELL = "cell"  # of a retraining: the key that stands for what was typed as its genotype
OF_CELL = {"genotype", "network"}
NAME = re.compile(r"[A-Za-z][\w+-]{0,39}", re.ASCII)  # a published cell, a network; no path or text
FIRST = ("strategy", "dataset", "space")
SETTING = ("experiment",)  # groups whose options set keys of others
REPEATING = ("strategy.", "evaluator.")  # nodes that repeat the values of other groups


@dataclass(frozen=True)
class SharedSeeds:
    """Runs that share a seed of another kind than their own, such as that of an encoder.

    `of_run` says for each run in which cluster it is, by the values of `keys`.
    """

    keys: tuple[str, ...]
    of_run: tuple[Hashable, ...]

    @property
    def count(self) -> int:
        return len(set(self.of_run))


@dataclass(frozen=True)
class Group:
    """Runs of equal settings. `settings` are texts, by the keys that tell the groups apart."""

    name: str
    settings: dict[str, str]
    dataset: str
    runs: tuple[Run, ...]
    pooled: tuple[str, ...] = ()  # keys other than the seed that differ within the group

    @cached_property
    def shared_seeds(self) -> SharedSeeds | None:
        return shared_seeds(self.runs)

    @property
    def knowledge(self) -> str:
        """Return what the searches knew of architectures besides labels, as a person reads it."""
        known = {" and ".join(run.knowledge) or "nothing" for run in self.runs}
        return " or ".join(sorted(known))

    @property
    def clusters(self) -> Clusters:
        return None if self.shared_seeds is None else self.shared_seeds.of_run


@dataclass(frozen=True)
class Grouping:
    """All groups; `keys` tell them apart, and `others` differ inside them."""

    keys: tuple[str, ...]
    others: tuple[str, ...]
    groups: tuple[Group, ...]

    def pair(self, run: Run) -> Hashable:
        """Return what two runs of different groups must have in common to be compared.

        That is the seed, and all settings over which a group pools.
        """
        return run.seed, tuple(str(value_of(run, key)) for key in self.others)


def group(runs: Sequence[Run], by: Sequence[str] | None) -> Grouping:
    """Group runs by the keys in `by`, and always by the dataset; `None`: by all that differs.

    Raises:
        UsageError: no run has such a key.
    """
    apart = separating_keys(runs)
    keys = apart if by is None else tuple(_known(key, runs) for key in by)
    if len({run.dataset for run in runs}) > 1 and not {"dataset", "dataset.name"} & set(keys):
        keys = ("dataset", *keys)
    others = tuple(key for key in apart if key not in keys)
    found: dict[tuple[Hashable, ...], list[Run]] = {}
    for run in runs:
        values = tuple(value_of(run, key) for key in keys)
        found.setdefault((run.dataset, *values), []).append(run)
    groups = sorted((_group(keys, others, members) for members in found.values()), key=_order)
    return Grouping(keys, others, tuple(_with_own_names(groups)))


def _with_own_names(groups: Sequence[Group]) -> Iterator[Group]:
    """Add numbers to equal names (of values that were cut, say)."""
    seen: dict[str, int] = {}
    for item in groups:
        count = seen[item.name] = seen.get(item.name, 0) + 1
        yield item if count == 1 else replace(item, name=f"{item.name} #{count}")


def _group(keys: Sequence[str], others: Sequence[str], members: Sequence[Run]) -> Group:
    first = members[0]
    settings = {key: text_of(value_of(first, key)) for key in keys}
    pooled = tuple(key for key in others if len({value_of(run, key) for run in members}) > 1)
    ordered = sorted(members, key=lambda run: (run.seed is None, run.seed or 0, str(run.folder)))
    return Group(name_of(settings, first), settings, first.dataset, tuple(ordered), pooled)


def name_of(settings: Mapping[str, str], run: Run) -> str:
    """Name a group by its settings: `dclenas, zeta=0.4`.

    An option stands by its name, a key by its last part where that is clear; what a run does not
    have is left out.
    """
    if not settings:
        strategy = run.text("strategy") or cell_of(run) or run.kind
        return f"{strategy} on {run.space}"
    last = [key.rpartition(".")[2] for key in settings]
    parts = []
    for (key, value), short in zip(settings.items(), last, strict=True):
        if is_group_key(run, key):
            parts += [] if value_of(run, key) is None else [value]
        else:
            parts.append(f"{short if last.count(short) == 1 else key}={value}")
    return ", ".join(parts) or "without"


def _order(item: Group) -> list[tuple[bool, float, str]]:
    """Return a key that sorts numbers by size, before texts in alphabetical order."""
    return [natural(text) for text in (item.dataset, *item.settings.values())]


def natural(text: str) -> tuple[bool, float, str]:
    """Return a key by which numbers are sorted as numbers, and come before other texts."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def separating_keys(runs: Sequence[Run]) -> tuple[str, ...]:
    """Find few keys that tell all different settings apart.

    Typed keys are preferred to those that follow from them.
    """
    different: dict[Hashable, Run] = {}
    for run in runs:
        different.setdefault(settings_of(run), run)
    samples = list(different.values())

    def parts(keys: Sequence[str]) -> int:
        return len({tuple(value_of(run, key) for key in keys) for run in samples})

    chosen: list[str] = []
    for key in _candidates(samples):
        if parts(chosen) == len(samples):
            break
        if parts([*chosen, key]) > parts(chosen):
            chosen.append(key)
    for key in reversed(chosen):
        fewer = [other for other in chosen if other != key]
        if key not in FIRST and parts(fewer) == parts(chosen):
            chosen = fewer
    return tuple(chosen)


def _candidates(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the keys that may tell runs apart, the most telling ones first.

    What people compare comes first; then typed keys, after them those that set others; then what
    differs, the shallow keys before the deep ones, and last what merely repeats another key.
    """
    typed = dict.fromkeys(key for run in runs for key in run.overrides if _is_setting(key))
    retrained = [run for run in runs if run.kind == "retrain"]
    if len({cell_of(run) for run in retrained}) > 1 or 0 < len(retrained) < len(runs):
        yield CELL if len(retrained) == len(runs) else "strategy"
    yield from (key for key in FIRST if key in typed)
    yield from sorted((key for key in typed if key not in FIRST), key=lambda k: k in SETTING)
    leaves = dict.fromkeys(key for run in runs for key in run.config if _is_setting(key))
    differing = [key for key in leaves if len({value_of(run, key) for run in runs}) > 1]
    differing.sort(key=lambda key: (key.startswith(REPEATING), key.count("."), key))
    for key in differing:
        yield key.removesuffix("._target_")
    yield "kind"


@lru_cache(maxsize=10_000)  # the runs of a sweep have the same keys
def _is_setting(key: str) -> bool:
    """Return whether a key is a setting of the method.

    Seeds are none, and neither are the place and the name of a run.
    """
    if key in OF_CELL:
        return False
    return not _is_seed(key) and key not in NO_SETTINGS and not key.startswith(("hydra.", "sweep."))


def shared_seeds(runs: Sequence[Run]) -> SharedSeeds | None:
    """Return what runs share besides their settings; `None` where each has seeds of its own."""
    keys = sorted(
        {key for run in runs for key in run.config if _is_seed(key) and key != "seed"},
        key=lambda key: (key.startswith(REPEATING), key),
    )
    found: dict[tuple[int, ...], tuple[str, list[Any]]] = {}
    for key in keys:
        values = [run.config.get(key) for run in runs]
        places = {value: values.index(value) for value in values}
        shares = 1 < len(places) < len(runs)
        if shares:  # one that divides the runs as another key does is but its copy
            found.setdefault(tuple(places[value] for value in values), (key, values))
    if not found:
        return None
    by_key = [values for _, values in found.values()]
    return SharedSeeds(tuple(key for key, _ in found.values()), tuple(zip(*by_key, strict=True)))


def constant_seeds(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the seeds of other kinds that are the same in all of several runs."""
    first = runs[0].config
    return {
        key: value
        for key, value in first.items()
        if _is_seed(key)
        and key != "seed"
        and not key.startswith(REPEATING)
        and value is not None
        and len(runs) > 1
        and all(run.config.get(key) == value for run in runs)
    }


@lru_cache(maxsize=10_000)
def _is_seed(key: str) -> bool:
    last = key.rpartition(".")[2]
    return last == "seed" or last.endswith("_seed")


def settings_of(run: Run) -> Hashable:
    """Return what the runs of one group have in common."""
    settings = frozenset((k, v) for k, v in run.config.items() if _is_setting(k))
    return run.kind, cell_of(run), settings


def is_group_key(run: Run, key: str) -> bool:
    """Return whether a key chooses an option of a config group, like `strategy`."""
    return key not in run.config and key != "kind"


def value_of(run: Run, key: str) -> Any:
    """Return the recorded value of a key.

    For a config group it is the option that was chosen; `None` where there is neither.
    """
    if key == "kind":
        return run.kind
    if key == "dataset" and f"{key}.name" in run.overrides:  # its option says less
        return run.overrides[f"{key}.name"]
    if key == CELL or (key == "strategy" and run.kind == "retrain"):
        return cell_of(run)
    if key in run.config:
        return run.config[key]
    if key in run.overrides:
        return run.overrides[key]
    if key in run.choices:
        return run.choices[key]
    target = str(run.config.get(f"{key}._target_", ""))
    if target:
        return target.split(".")[-2:][0]  # its module, by the rules of the house
    return run.text(key) if key in FIRST else None


def cell_of(run: Run) -> str | None:
    """Return what a retraining is of: a name that was typed, else the short id of the genotype.

    `None` for a search. Random cells, which differ from seed to seed, have one name.
    """
    if run.kind != "retrain":
        return None
    typed = run.config.get("network", run.overrides.get("network")) or run.config.get("genotype")
    if isinstance(typed, str) and NAME.fullmatch(typed):
        return f"{typed} retrained"
    try:
        return f"cell {Genotype.from_json(run.result.get('genotype')).short_id} retrained"
    except UsageError:
        return "cell unknown retrained"


def text_of(value: object) -> str:
    """Write a value as it is typed on the command line, in one line of printable letters."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return shown(text)[:80]


def _known(key: str, runs: Sequence[Run]) -> str:
    if not runs or any(key in run.config or value_of(run, key) is not None for run in runs):
        return key
    names = {name for run in runs[:20] for name in run.config if _is_setting(name)}
    names |= {name.partition(".")[0] for name in names}
    raise UsageError(f"--by {key}: no run has this key; {closest(key, names)}")


def without_repetitions(runs: Sequence[Run]) -> tuple[list[Run], list[LeftOut]]:
    """Keep only the last of runs of the same configuration and the same seeds.

    The others would look like more evidence than there is.
    """
    latest: dict[Hashable, Run] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: run.finished):
        identity = (
            run.seed,
            frozenset((k, v) for k, v in run.config.items() if k not in NO_SETTINGS),
        )
        older = latest.pop((run.kind, identity), None)
        latest[run.kind, identity] = run
        if older is not None:
            repeated.append(LeftOut(older.folder, "repeated", f"done again in {shown(run.folder)}"))
    kept = {id(run) for run in latest.values()}
    return [run for run in runs if id(run) in kept], repeated
