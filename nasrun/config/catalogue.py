"""Read with PyYAML alone what `conf/` offers: groups, options, keys and their one-line glosses.

Help, listing, completion and hints must answer at once, so they read the files themselves; a run
is composed by Hydra. `compose` follows Hydra's rules for the defaults lists that `conf/` uses
(groups, `_self_`, relative and absolute entries, `@package`, `override`); a test holds it against
Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nasrun.config import outside, own_folder
from nasrun.errors import UsageError

HIDDEN_GROUPS = ("hydra",)  # settings of Hydra itself, not choices of a run


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a group, `conf/<group>/<name>.yaml`; the gloss is its first comment line.

    A variant takes over another option of its group, the root, and changes some of its values.
    """

    group: str
    name: str
    gloss: str
    root: str

    @property
    def is_variant(self) -> bool:
        return self.root != self.name

    @property
    def label(self) -> str:
        """Return the name as a list shows it: a variant indented, below its root."""
        return f"  {self.name}" if self.is_variant else self.name


@dataclass
class Composition:
    """A composed primary config: dotted key -> value, its trailing comment, group -> option."""

    keys: dict[str, Any] = field(default_factory=dict)
    glosses: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str | None] = field(default_factory=dict)


def conf_dir() -> Path:
    """Find `conf/` beside the package (a checkout), else the copy inside the package (a wheel)."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    # An editable install may hold a stale copy as well, so the checkout comes first.
    return beside if (beside / "search.yaml").is_file() else package / "conf"


def files(root: Path, pattern: str) -> list[Path]:
    """Return the files of `root`, then those of other folders, each in order; of a name the first.

    As for Hydra, an option of another folder does not take the place of a built-in one.
    """
    found: dict[Path, Path] = {}
    for folder in _folders(root):
        for path in sorted(folder.glob(pattern)):
            found.setdefault(path.relative_to(folder), path)
    return list(found.values())


def file(root: Path, group: str, option: str) -> Path:
    """Return where an option is: in `root`, or else beside it; where it would be, for none."""
    places = [folder / group / f"{option}.yaml" for folder in _folders(root)]
    return next((path for path in places if os.path.isfile(path)), places[0])


def _folders(root: Path) -> list[Path]:
    return [root, *own_folder.folders(), *outside.folders()]


def groups(root: Path) -> tuple[str, ...]:
    """Return the config groups: every folder of `root` with a YAML file."""
    names = {path.parent.name for path in files(root, "*/*.yaml")}
    return tuple(sorted(names.difference(HIDDEN_GROUPS)))


def options(group: str, root: Path, within: Iterable[str] | None = None) -> tuple[Option, ...]:
    """List the choices of a group, each followed by its variants; empty for an unknown group.

    `within` are the groups of a command: recipes that choose options of others are left out.
    """
    paths = files(root, f"{group}/*.yaml")
    if within is not None:
        known = set(within)
        paths = [path for path in paths if known.issuperset(name for name, _ in _overrides(path))]
    found = [Option(group, path.stem, _first_comment(path), _root(path)) for path in paths]
    return tuple(sorted(found, key=lambda option: (option.root, option.is_variant, option.name)))


def _root(path: Path) -> str:
    """Return the option that a file takes over and whose target it keeps, or else its own name."""
    content = _read(path)
    extended = [name for key, name in _entries(content) if not key and name != "_self_"]
    own = "_target_" in content or not extended
    return path.stem if own else _root(_beside(path, extended[0]))


def content(group: str, option: str, root: Path) -> dict[str, Any]:
    """Return what the file of an option says, as it stands there; empty without such a file."""
    return _read(file(root, group, option))


def own(group: str, option: str, root: Path) -> Composition:
    """Return the keys that the file of an option gives itself, without those that it extends.

    The choices are the options that the file takes in other groups.
    """
    path = file(root, group, option)
    composition = Composition()
    for name, choice in _overrides(path):
        composition.choices.setdefault(name, choice)  # before that of a file that it extends
    text = path.read_text(encoding="utf-8")
    _add_keys(composition, _read(path), text, group.replace("/", "."))
    return composition


def _first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("# ").rstrip()
        if text and not text.startswith("@package"):
            return text
    return ""


def compose(primary: str, root: Path, chosen: Mapping[str, str] | None = None) -> Composition:
    """Compose `conf/<primary>.yaml` with the default options, or those `chosen` per group.

    Options that do not exist contribute nothing. Raises `UsageError` for a file that is not YAML.
    """
    chosen = chosen or {}
    composition = Composition()
    content = _read(root / f"{primary}.yaml")
    composition.choices = {
        group: chosen.get(group, option) for group, option in _group_entries(content)
    }
    # As in Hydra: the command line wins, then the later group of the primary's defaults list.
    decided = set(chosen)
    for group in reversed(list(composition.choices)):
        option = composition.choices[group]
        for name, value in _overrides(file(root, group, str(option))):
            if name not in decided:
                composition.choices[name] = value
                decided.add(name)
    _merge(composition, root, root / f"{primary}.yaml", "")
    return composition


def chosen_options(words: Sequence[str], root: Path) -> dict[str, str]:
    """Read the group options on a command line; of a comma-separated list the last."""
    pairs = (word.partition("=") for word in words)
    known = groups(root)
    return {key: value.rpartition(",")[2] for key, _, value in pairs if key in known and value}


def _read(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):  # pathlib's raises for a name that is too long
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return content if isinstance(content, dict) else {}


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (key, option) of each entry of a defaults list; a bare name is ("", name)."""
    defaults = content.get("defaults") or []
    if "_self_" not in defaults:
        defaults = [*defaults, "_self_"]  # where Hydra puts it
    for entry in defaults:
        if isinstance(entry, dict):
            yield from entry.items()
        else:
            yield "", entry


def _overrides(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield (group, option) that a file chooses for other groups; what it extends comes last."""
    entries = list(_entries(_read(path)))
    for key, option in entries:
        if key.startswith("override "):
            yield key.removeprefix("override ").partition("@")[0].strip().lstrip("/"), option
    for key, option in reversed(entries):
        if not key and option != "_self_":
            yield from _overrides(_beside(path, option))


def _group_entries(content: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for key, option in _entries(content):
        name = key.removeprefix("optional ").strip().lstrip("/")
        if name and not name.startswith(("override ", "hydra/")):
            yield name, option


def _merge(composition: Composition, root: Path, path: Path, package: str) -> None:
    """Add the keys of one file and, in the order of its defaults list, those it refers to."""
    content = _read(path)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    header = re.match(r"#\s*@package\s+(\S+)", text)
    if header:
        package = "" if header[1] == "_global_" else header[1].removeprefix("_global_.")
    parent = _group_of(path, root)
    for key, option in _entries(content):
        if option == "_self_":
            _add_keys(composition, content, text, package)
        elif not key:
            _merge(composition, root, _beside(path, option), package)
        elif not key.startswith("override "):
            name, _, place = key.removeprefix("optional ").strip().partition("@")
            group = name.lstrip("/") if name.startswith("/") or not parent else f"{parent}/{name}"
            if not parent:
                option = composition.choices.get(key.removeprefix("optional ").lstrip("/"), option)
            if option is not None:
                target = _package(place or name.lstrip("/").replace("/", "."), package)
                _merge(composition, root, file(root, group, option), target)


def _beside(path: Path, option: str) -> Path:
    """Return the file of another option of the same group; another folder may extend ours."""
    own = path.with_name(f"{option}.yaml")
    return own if os.path.isfile(own) else file(conf_dir(), path.parent.name, option)


def _group_of(path: Path, root: Path) -> str:
    folder = next(one for one in _folders(root) if path.is_relative_to(one))
    return path.parent.relative_to(folder).as_posix().removeprefix(".")


def _package(place: str, parent: str) -> str:
    """Return where an entry goes: relative to the file that names it, or from `_global_`."""
    if place == "_here_":
        return parent
    if place == "_global_" or place.startswith("_global_."):
        return place.removeprefix("_global_").lstrip(".")
    return f"{parent}.{place}" if parent else place


def _add_keys(
    composition: Composition, content: Mapping[str, Any], text: str, package: str
) -> None:
    comments = _comments(text)
    prefix = f"{package}." if package else ""
    composition.keys.pop(package, None)  # the null that stood for the group
    for key, value in _leaves(content):
        composition.keys[prefix + key] = value
        if key in comments:
            composition.glosses[prefix + key] = comments[key]


def _comments(text: str) -> dict[str, str]:
    """Map each dotted key to the comment behind it; indentation nests the keys."""
    found: dict[str, str] = {}
    above: dict[int, str] = {}
    for indent, name, comment in re.findall(
        r"^( *)(\w+):[^#\n]*?(?: # *(.+?))? *$", text, re.MULTILINE
    ):
        above = {depth: key for depth, key in above.items() if depth < len(indent)}
        above[len(indent)] = name
        if comment:
            found[".".join(above.values())] = comment
    return found


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; no defaults lists, Hydra's node or keys like `_target_`."""
    for name, value in content.items():
        if str(name).startswith("_") or (not prefix and name in ("defaults", "hydra")):
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
