"""Know the plug-ins from outside of this package, which a person has typed or installed.

`--plugin my_module` names a module whose file has a folder `conf/` beside it, with groups and
options like ours. A distribution does the same by an entry point of the group `nasrun.plugins`.
Either is the person's word that the code may run; a file, such as the record of a run, is not, so
what a record names is asked for and never imported by itself. Of such a module only those classes
and functions can be targets that its own `conf/` names, in the group in which they stand there.

Nothing is imported here but what a dotted name stands in, so that help and listing stay fast.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from nasrun.errors import UsageError, enumerated

FLAG = "--plugin"
ENTRY_POINTS = "nasrun.plugins"
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
MOST_NAMED = 20  # plug-ins in the record of a run


@dataclass(frozen=True)
class Outside:
    """A plug-in from outside: the name of its module, its file, its `conf/`, its targets.

    `targets` are group -> targets that the options of the group name; `typed` is false for one
    that is installed.
    """

    name: str
    file: Path
    conf: Path
    targets: Mapping[str, frozenset[str]]
    typed: bool

    @property
    def checksum(self) -> str:
        """Return a checksum of its sources and options."""
        package = self.file.parent
        sources = package.rglob("*.py") if self.file.stem == "__init__" else [self.file]
        files = sorted({*sources, *self.conf.rglob("*.yaml")})
        together = b"".join(path.read_bytes() for path in files)
        return hashlib.sha256(together).hexdigest()[:16]


_known: dict[str, Outside] = {}  # what a person has said is said for the process


def taken(words: Sequence[str], built_in: Path) -> list[str]:
    """Take `--plugin MODULE` out of the words of a command line, and make it known.

    Args:
        built_in: our own `conf/`, whose options stay what they are.

    Raises:
        UsageError: there is no such module, or it is no plug-in.
    """
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        flag, equals, value = word.partition("=")
        if flag != FLAG:
            others.append(word)
            continue
        if not equals:
            value = waiting.pop(0) if waiting else ""
        for name in value.split(","):
            use(name, built_in)
    use_installed(built_in)
    return others


def use(name: str, built_in: Path, *, typed: bool = True) -> None:
    """Make a plug-in known, by the name of its module; twice is once.

    Raises:
        UsageError: there is no such module, or it is no plug-in.
    """
    if name in _known:
        return
    if not NAME.fullmatch(name):
        raise UsageError(f"{FLAG} {name}: type the name of a module, such as {FLAG} my_module")
    file = _file(name)
    if file is None:
        raise UsageError(
            f"{FLAG} {name}: there is no module of that name, neither installed nor in this folder"
        )
    conf = file.parent / "conf"
    if conf == built_in or not any(conf.glob("*/*.yaml")):
        raise UsageError(
            f"{FLAG} {name}: {conf} has no options; a plug-in has some, such as "
            f"{conf / 'strategy' / 'mine.yaml'}"
        )
    _require_new(name, conf, built_in)
    _known[name] = Outside(name, file, conf, _targets(name, conf), typed)


@functools.cache
def use_installed(built_in: Path) -> None:
    """Make known what distributions offer as entry points."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        use(point.module, built_in, typed=False)


def _file(name: str) -> Path | None:
    """Return the source of a module; one in the current folder is found as Python finds others."""
    here = str(Path.cwd())
    for folder in ("", here):
        if folder and folder not in sys.path:
            sys.path.append(folder)  # at the end: it hides nothing
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            spec = None
        if spec is not None and spec.origin is not None and spec.has_location:
            return Path(spec.origin)
    return None


def _require_new(name: str, conf: Path, built_in: Path) -> None:
    for path in conf.glob("*/*.yaml"):
        for folder in (built_in, *folders()):
            if (folder / path.parent.name / path.name).is_file():
                raise UsageError(
                    f"{FLAG} {name}: {path.parent.name}={path.stem} is there already, in "
                    f"{folder}: call {path} something else"
                )


def _targets(name: str, conf: Path) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for path in conf.glob("*/*.yaml"):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        target = content.get("_target_") if isinstance(content, dict) else None
        if isinstance(target, str) and target.startswith(f"{name}."):
            found.setdefault(path.parent.name, set()).add(target)
    return {group: frozenset(names) for group, names in found.items()}


def folders() -> list[Path]:
    """Return the `conf/` of each plug-in."""
    return [one.conf for one in _known.values()]


def typed() -> list[str]:
    """Return the names of those that were typed."""
    return [one.name for one in _known.values() if one.typed]


def typed_checksums() -> dict[str, str]:
    """Return name -> checksum of those that were typed, for the record of a sweep."""
    return {one.name: one.checksum for one in _known.values() if one.typed}


def names() -> list[str]:
    return list(_known)


def allows(target: str, group: str | None = None) -> bool:
    """Return whether a target is one of a plug-in: of one group, or of any."""
    return any(
        target in targets
        for one in _known.values()
        for its, targets in one.targets.items()
        if group in (None, its)
    )


def owner(module: str) -> Outside | None:
    """Return the plug-in that a module belongs to."""
    for one in _known.values():
        inside = one.file.stem == "__init__" and module.startswith(f"{one.name}.")
        if module == one.name or inside:
            return one
    return None


def source(module: str) -> Path | None:
    """Return the source of a module of a plug-in."""
    one = owner(module)
    if one is None or module == one.name:
        return None if one is None else one.file
    path = one.file.parent.joinpath(*module.removeprefix(f"{one.name}.").split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def recorded(targets: Iterable[object]) -> dict[str, str]:
    """Return name -> checksum of the plug-ins behind some targets, for the record of a run."""
    found = (owner(str(target).rpartition(".")[0]) for target in targets)
    used = {one.name: one for one in found if one is not None}
    return {name: one.checksum for name, one in used.items()}


def require(record: object, what: str, words: str) -> list[str]:
    """Ask for the plug-ins that a record names and nobody has typed; say which have changed.

    Args:
        record: name -> checksum; it may be a stranger's.
        what: whose record it is.
        words: the command that is to be typed again.

    Raises:
        UsageError: one of them is not known, or it is no such record.
    """
    if record is None:
        return []
    if not (
        isinstance(record, Mapping)
        and len(record) <= MOST_NAMED
        and all(isinstance(one, str) and NAME.fullmatch(one) for one in record)
    ):
        raise UsageError(f"what {what} says of its plug-ins is not understood")
    missing = [name for name in record if name not in _known]
    if missing:
        raise UsageError(
            f"{what} was made with a plug-in from outside, {enumerated(missing)}, which is code "
            f"that runs only when you say so: {words} {FLAG} {','.join(missing)}"
        )
    return [
        f"{name} has changed since {what} was made with it; the result may differ"
        for name, checksum in record.items()
        if _known[name].checksum != checksum
    ]
