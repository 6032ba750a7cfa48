"""Find and read the genotypes in a text: a paste, a log, a module of genotypes, a JSON document.

Nothing is evaluated. A text is searched for everything that looks like a genotype, wherever it
stands; of several the last one is read, or the one of a given name, and the user is told which.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.errors import UsageError, brief, closest
from nasrun.genotypes import darts, macro_cnn, nasbench101, nasbench201
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.literal import MAX_LENGTH, NotLiteral, arguments, literal

Tell = Callable[[str], None]
"""Takes a sentence about what was chosen, left out or filled in."""

Read = Callable[[list[str]], Genotype]
"""Reads one genotype, and appends to a list what the user is to know."""

MAX_BYTES = 2**24  # of a file
MAX_DOCUMENT = 10**6  # characters of a JSON document; a longer one is searched like a log
MAX_FOUND = 10_000  # genotypes of a text, the last ones
MAX_EDGES_TEXT = 2_000  # characters of a NAS-Bench-201 string, with any spaces
MAX_BEFORE = 500  # characters before a genotype in which its name is looked for

_EXPECTED = (
    "expected Genotype(normal=[('operation', input), ...], reduce=[...]), JSON, "
    "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|, a matrix and operations of NAS-Bench-101, or "
    f"{macro_cnn.EXAMPLE}"
)
_START = re.compile(
    r"(?P<call>(?<!class )\bGenotype\s*\()"
    r"|(?P<plain>\bmacro_cnn\s*+\()"
    r"|(?P<mapping>\{\s*[\"'](?:space|(?:normal|reduce|reduction)(?:_concat)?)[\"']\s*:)"
    r"|(?P<matrix>\[\s*[\[(]\s*[01](?:\.0?)?\s*,)"
    r"|(?P<edges>\|[ \t]*\w++[ \t]*~(?:[|\w~+ \t]*\|)?)"
    r"|(?P<digits>(?<![\w.])[01]{4,49}\s*,\s*input\s[\w \-]*\boutput\b)"
)
_OPERATIONS = re.compile(r"\[\s*[\"']?input\b[^\[\]]*\]", re.IGNORECASE)
_NAME = re.compile(
    r"\b(\w++)[\"']?\s*+(?::\s*+[\w.]++\s*+(?==))?[=:]\s*+"
    r"(?:[\w.]*+\(\s*+)?(?:\w++\s*+=\s*+(?:[\w.]++\(\s*+)?)?(?:\w++\.)*$"
)
_PIECE = re.compile(r"\"(?:\\.|[^\"\\\n])*+\"|'(?:\\.|[^'\\\n])*+'|#[^\n]*|[()\[\]{}]")
_COMMENT = re.compile(r"#[^\n]*")
_COMMENT_LINE = re.compile(r"^[ \t]*#[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """Something that looks like a genotype."""

    read: Read
    name: str = ""
    line: int | None = None  # of a text; a document is known by its names

    @property
    def place(self) -> str:
        return "the document" if self.line is None else f"line {self.line}"

    def __str__(self) -> str:
        return f"{self.name} of {self.place}" if self.name else self.place


def is_text(value: str) -> bool:
    """Return whether a value is a genotype itself, right or wrong, and not the name of one."""
    return bool(_START.search(value)) or value.lstrip()[:1] in tuple("{[(|")


def parse(
    text: str, tell: Tell = lambda _: None, name: str | None = None, file: Path | None = None
) -> Genotype:
    """Return the last genotype in a text, or the last of those called `name`.

    `file` is where the text is from; the messages name it.

    Raises:
        UsageError: there is none, or it is wrong.
    """
    text = text.removeprefix("\ufeff")
    found = list(_found(text))
    if name is not None:
        found = _of_name(found, name, text)
    unread = list[Found]()
    for one in reversed(found):
        notes = list[str]()
        try:
            genotype = one.read(notes)
        except NotLiteral:  # cut off, or lines of code
            unread.append(one)
            continue
        except UsageError as error:
            place = f"{one}: " if len(found) > 1 else ""
            raise UsageError(f"{place}{error}{_others(one, found, file)}") from None
        if len(found) > 1 and name is None:
            tell(_which(one, unread) + _others(one, found, file))
        for note in notes:
            tell(note)
        return genotype
    raise UsageError(_nothing(text, unread))


def load(path: Path, tell: Tell = lambda _: None, name: str | None = None) -> Genotype:
    """Return what `parse` finds in a text file; a `UsageError` names the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read a genotype from {path}: {error}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{path} has more than {MAX_BYTES:,} bytes: give the part that has the genotype, "
            f"such as the last 100 lines (tail -n 100 LOG > genotype.txt)"
        )
    of_two_bytes = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if of_two_bytes else "utf-8", errors="replace")
    try:
        return parse(text, lambda note: tell(f"{path}: {note}"), name, path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _which(chosen: Found, unread: list[Found]) -> str:
    after = f" (what follows in {unread[-1].place} is cut off or computed)" if unread else ""
    return f"the last genotype is taken, {chosen}{after}"


def _others(chosen: Found, found: list[Found], file: Path | None) -> str:
    """Say what to type for the genotype before the chosen one that has another name."""
    before = found[: found.index(chosen)]
    names = [one.name for one in before if one.name not in ("", chosen.name)]
    return f"; for another type {file}:{names[-1]}" if file and names else ""


def _nothing(text: str, unread: list[Found]) -> str:
    """Say why there is no genotype in a text."""
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"the genotype is not valid JSON: {error}; and it is no Python literal"
    if unread:
        place = f" ({unread[0].place})" if "\n" in text else ""
        return f"this genotype is not understood{place}: it is cut off or computed; {_EXPECTED}"
    return f"'{' '.join(text[:60].split())}' is not a genotype: {_EXPECTED}"


def _of_name(found: list[Found], name: str, text: str) -> list[Found]:
    """Return those called `name`, which may be another name of one (`DARTS = DARTS_V2`)."""
    names, tried = {one.name for one in found} - {""}, set[str]()
    wanted = name
    while wanted not in names and wanted not in tried:
        tried.add(wanted)
        line = rf"^[ \t]*{re.escape(wanted)}\s*=\s*(\w+)[ \t]*(?:#.*)?$"
        wanted = next(iter(re.findall(line, text, re.MULTILINE)[-1:]), wanted)
    if wanted not in names:
        raise UsageError(f"there is no genotype '{brief(name)}' in it; {closest(name, names)}")
    return [one for one in found if one.name == wanted]


def _found(text: str) -> list[Found]:
    """List all that looks like a genotype, in its order."""
    try:
        document = _json_or_literal(text) if len(text) <= MAX_DOCUMENT else None
        found = list(_within(document, ""))
    except (NotLiteral, RecursionError):
        return list(_searched(text))
    if not found and isinstance(document, dict) and document.keys() & {"space", "cells"}:
        Genotype.from_json(document)  # says what is missing
    return found or list(_searched(text))


def _searched(text: str) -> Iterator[Found]:
    """Yield all that looks like a genotype anywhere in a text, lines that are comments left out."""
    text = _COMMENT_LINE.sub("", text)
    starts = list(deque(_START.finditer(text), maxlen=MAX_FOUND))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    line, counted = 1, 0
    for start, end in zip(starts, ends, strict=False):
        place = start.start()
        line, counted = line + text.count("\n", counted, place), place
        before = text[max(0, place - MAX_BEFORE) : place]
        read = _at(start, before, text[place : min(end, place + MAX_LENGTH)])
        if read is not None:
            named = _NAME.search(_COMMENT.sub("", before))
            yield Found(read, "" if named is None else named[1], line)


def _at(start: re.Match[str], before: str, text: str) -> Read | None:
    """Return what reads the genotype that begins at a place, or `None` where there is none.

    `text` reaches to the next beginning.
    """
    if start["edges"]:
        edges = start["edges"][:MAX_EDGES_TEXT]
        return lambda _: nasbench201.parse(edges)
    if start["digits"]:
        digits, _, names = start["digits"].partition(",")
        graph = digits.strip(), names.split()
        return lambda _: nasbench101.parse(*graph).genotype
    inside = _balanced(text)
    if start["matrix"]:
        operations = _OPERATIONS.search(text, len(inside)) or next(
            iter([*_OPERATIONS.finditer(before)][-1:]), None
        )
        if operations is None:
            return None
        names = operations[0]
        return lambda _: nasbench101.from_matrix(literal(inside), literal(names))
    if start["plain"]:
        return lambda _: _plain(inside)
    if start["call"]:
        return lambda notes: _called(inside, notes)
    return lambda notes: _of_mapping(_json_or_literal(inside), notes)


def _plain(text: str) -> Genotype:
    if not text:  # cut off
        raise NotLiteral
    return macro_cnn.parse(text.partition("(")[2].removesuffix(")"))


def _called(text: str, notes: list[str]) -> Genotype:
    fields = arguments(text, darts.FIELDS)
    for name in fields:
        if name not in darts.FIELDS:
            raise UsageError(f"a DARTS genotype has no '{name}'; {closest(name, darts.FIELDS)}")
    return darts.from_fields(fields, notes)


def _balanced(text: str) -> str:
    """Return the text up to the bracket that closes its first one; nothing where it is cut off."""
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += (piece[0] in "([{") - (piece[0] in ")]}")
        if depth == 0 and piece[0] in ")]}":
            return text[: piece.end()]
    return ""


def _json_or_literal(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return literal(text)


def _within(value: Any, name: str) -> Iterator[Found]:
    """Yield the genotypes in a JSON document, named by the keys under which they stand."""
    if isinstance(value, Mapping):
        if _is_genotype(value):
            yield Found(lambda notes: _of_mapping(value, notes), name)
        else:
            for key, inner in value.items():
                yield from _within(inner, str(key))
    elif _is_graph(value):
        yield Found(lambda _: nasbench101.from_matrix(*value), name)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner, name)
    elif isinstance(value, str):
        yield from (Found(one.read, name) for one in _searched(value))


MATRICES = ("module_adjacency", "matrix", "adjacency")
OPERATIONS = ("module_operations", "ops", "operations")


def _is_genotype(value: Mapping[Any, Any]) -> bool:
    keys = value.keys()
    return (
        {"space", "cells"} <= keys
        or ("normal" in keys and not keys.isdisjoint({"reduce", "reduction"}))
        or not (keys.isdisjoint(MATRICES) or keys.isdisjoint(OPERATIONS))
    )


def _is_graph(value: Any) -> bool:
    """Return whether a value is a matrix and a list of names."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, list) and part for part in value)
        and isinstance(value[0][0], list)
        and value[1][0] == "input"
    )


def _of_mapping(value: Any, notes: list[str]) -> Genotype:
    """Read the genotype of a dictionary."""
    if not isinstance(value, Mapping):
        raise NotLiteral
    for matrix in MATRICES:
        for operations in OPERATIONS:
            if matrix in value and operations in value:
                return nasbench101.from_matrix(value[matrix], value[operations])
    return Genotype.from_json(value) if "cells" in value else darts.from_fields(value, notes)
