#!/usr/bin/env python3
"""Write the generated parts of the documents from `conf/`, annotations and docstrings.

    python scripts/make_reference.py

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; what is around it is written by
hand. Sources are parsed, never imported, so that torch need not be there.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nasrun.config import catalogue, ranges, schema  # noqa: E402
from nasrun.config.declarations import declared  # noqa: E402

CONF, PACKAGE, DOCS = ROOT / "conf", ROOT / "nasrun", ROOT / "docs"
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
LAUNCHERS = "hydra/launcher"
MODULES = sorted(PACKAGE.rglob("*.py"))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table; empty where there are no rows."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *map(list, rows)]
    shown = [[escaped(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown) if len(lines) > 2 else ""


def escaped(text: str) -> str:
    """Write a text in which Markdown sees no tags and no emphasis; code and bold words stay."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
    plain = [part.replace("*", "\\*").replace("<", "&lt;") for part in parts[::2]]
    return "".join(a + b for a, b in zip(plain, [*parts[1::2], ""], strict=True))


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def first_sentence(text: str) -> str:
    """Return the first paragraph up to a full stop that ends a sentence, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`0-9]\.) (?=[A-Z`])", paragraph)[0]


def targets() -> Iterator[tuple[str, str, str]]:
    """Yield group, option and target of each option that names a target itself, so no variants."""
    for group in catalogue.groups(CONF):
        for option in catalogue.options(group, CONF):
            target = catalogue.content(group, option.name, CONF).get("_target_")
            if target is not None:
                yield group, option.name, target


def extended(group: str, option: str) -> list[str]:
    """Return the options that an option extends."""
    defaults = catalogue.content(group, option, CONF).get("defaults", [])
    return [name for name in defaults if isinstance(name, str) and name != "_self_"]


def target_of(group: str, option: str) -> str | None:
    """Return the target of an option, or of what it extends."""
    own = catalogue.content(group, option, CONF).get("_target_")
    return own or next((target_of(group, base) for base in extended(group, option)), None)


# -- keys


def keys() -> str:
    """Write every group, option and key: default, what is declared, comment."""
    chosen = {group: None for name in ("search", "retrain") for group in composed(name).choices}
    sections = ["## Without a group\n", table(COLUMNS, root_keys())]
    for group in [*chosen, *(name for name in catalogue.groups(CONF) if name not in chosen)]:
        sections += [f"\n## {group}\n", group_keys(group)]
    sections += [f"\n## {LAUNCHERS}\n", group_keys(LAUNCHERS)]
    return "\n".join(sections)


COLUMNS = ("key", "default", "declared", "what it is")
WITHOUT_KEYS = ("benchmark", "network")  # groups whose options say what they are in their gloss


@functools.cache
def composed(primary: str) -> catalogue.Composition:
    return catalogue.compose(primary, CONF)


def root_keys() -> Iterator[tuple[str, ...]]:
    """Yield the keys of the two primary configurations themselves, those of a search first."""
    hints = {
        f"{part}.{name}": hint
        for part in ("sweep", "constraint")
        for name, hint in fields(schema.PARTS[part]).items()
    }
    shown = set(composed("search").choices)
    for primary, skeleton in (
        ("search", schema.SearchConfig),
        ("retrain", schema.RetrainCommandConfig),
    ):
        own = catalogue.own("", primary, CONF)
        for key in own.keys:
            if key not in shown:
                yield row(key, key, own, {**hints, **fields(skeleton)})
        shown |= own.keys.keys()


def fields(skeleton: type) -> Mapping[str, Any]:
    return typing.get_type_hints(skeleton, include_extras=True)


def group_keys(group: str) -> str:
    """Write the options of a group, and a table of keys for each that has some."""
    options = catalogue.options(group, CONF)
    default = composed("search").choices.get(group)
    sections = []
    rows = []
    for option in options:
        own = catalogue.own(group, option.name, CONF)
        keys_of_it = table(*described(group, option.name, own))
        word = f"`{group}={option.name}`"
        remarks = []
        if own.choices:
            chosen = (f"`{name}={choice}`" for name, choice in own.choices.items())
            remarks.append(f"Chooses {', '.join(chosen)}.")
        if bases := [f"`{group}={base}`" for base in extended(group, option.name)]:
            remarks.append(
                f"Extends {', '.join(bases)}" + ("; keys that differ:" if keys_of_it else ".")
            )
        if (keys_of_it or remarks) and group not in WITHOUT_KEYS:
            text = " ".join([escaped(f"{option.gloss}."), *remarks])
            sections.append(f"### {word}\n\n{text}\n\n{keys_of_it}".rstrip())
            word = f"[{word}](#{anchor(group, option.name)})"
        rows.append((word + " (default)" * (option.name == default), option.gloss))
    return "\n\n".join([table(("option", "what it is"), rows), *sections])


def anchor(group: str, option: str) -> str:
    return re.sub(r"[^\w-]", "", f"{group}={option}".lower())


def described(group: str, option: str, own: catalogue.Composition) -> tuple[tuple[str, ...], Any]:
    """Return the columns and rows of the keys of one option."""
    if group == LAUNCHERS:
        rows = [(f"`{key}`", *value_and_gloss(own, key)) for key in own.keys]
        return ("key", "default", "what it is"), rows
    target = target_of(group, option)
    known = declared(target) if target else None
    if known is not None:
        hints = {name: setting.hint for name, setting in known.settings.items()}
    else:
        hints = dict(fields(schema.PARTS[group])) if group in schema.PARTS else {}
    return COLUMNS, [row(key, key.partition(".")[2], own, hints) for key in own.keys]


def row(
    key: str, name: str, own: catalogue.Composition, hints: Mapping[str, Any]
) -> tuple[str, ...]:
    value, gloss = value_and_gloss(own, key)
    known = ranges.declaration(hints[name]) if name in hints else ""
    return f"`{key}`", value, known, gloss


def value_and_gloss(own: catalogue.Composition, key: str) -> tuple[str, str]:
    value = own.keys[key]
    if value == "???":
        return "none: required", own.glosses.get(key, "")
    text = "null" if value is None else str(value)
    text = text.lower() if isinstance(value, bool) else text.replace("'", "")
    return f"`{text}`", own.glosses.get(key, "")


# -- strategies


def strategies() -> str:
    """Write one entry per strategy: its first sentence, its paper, its command, its variants."""
    sections = []
    found = {target: option for group, option, target in targets() if group == "strategy"}
    family = None
    for target, option in sorted(found.items(), key=lambda pair: pair[0].split(".")[:-1]):
        path = module_path(target)
        if path.parent != family:
            family = path.parent
            sections.append(f"## {family.name}\n\n{docstring(family / '__init__.py')}")
        sections.append(entry(option, target, docstring(path)))
    return "\n\n".join(sections) + "\n"


def entry(option: str, target: str, text: str) -> str:
    _, _, rest = text.partition("\n\n")
    paper = " ".join(rest.split("\n\n")[0].split()).rstrip(":.") + "." * bool(rest)
    lines = [f"### `strategy={option}`\n", f"**{first_sentence(text)}** {linked(paper)}\n"]
    lines += [f"```sh\nnasrun search strategy={option}\n```\n"]
    variants = [
        (f"[`{other.name}`](keys.md#{anchor('strategy', other.name)})", other.gloss)
        for other in catalogue.options("strategy", CONF)
        if target_of("strategy", other.name) == target and other.name != option
    ]
    source = module_path(target).relative_to(ROOT).as_posix()
    lines += [f"[Keys](keys.md#{anchor('strategy', option)}); source `{source}`."]
    return "\n".join(lines) + ("\n\n" + table(("variant", "what differs"), variants)) * bool(
        variants
    )


def linked(text: str) -> str:
    """Add the addresses of the papers that a text names."""
    text = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"doi (10\.\S+[^\s.,])", r"[doi \1](https://doi.org/\1)", text)


def module_path(target: str) -> Path:
    return ROOT.joinpath(*target.split(".")[:-1]).with_suffix(".py")


# -- deviations


def deviations() -> str:
    """Write what the docstrings list under `Deviations`, with the option or module that has it."""
    words = {module_path(target): f"`{group}={option}`" for group, option, target in targets()}
    first = ("strategies", "predictors")
    rows = []
    for path in sorted(MODULES, key=lambda path: (*first, room(path)).index(room(path))):
        where = words.get(path, f"`{path.relative_to(ROOT).as_posix()}`")
        rows += [(where, linked(text)) for text in deviations_of(docstring(path))]
    return table(("where", "what differs, and why"), rows) + "\n"


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def deviations_of(text: str) -> Iterator[str]:
    """Yield the points of the paragraph that begins with `Deviation`, each on one line."""
    found = re.search(r"^Deviations?[^:]*:(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    for point in re.split(r"^- ", found[1] if found else "", flags=re.MULTILINE):
        if line := " ".join(point.split()):
            yield line[0].upper() + line[1:]


# -- protocols


def protocols() -> str:
    """Write the public classes of `nasrun/protocols/`, as they stand there, without bodies."""
    sections = []
    for path in sorted((PACKAGE / "protocols").glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        public = [
            stub(node, source.splitlines())
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        section = f"## {path.stem}\n\n{ast.get_docstring(tree)}"
        if public:  # some have functions alone
            code = "\n\n\n".join(public)
            section += f"\n\n```python\n{code}\n```"
        sections.append(section)
    return "\n\n".join(sections) + "\n"


def stub(node: ast.ClassDef, lines: list[str]) -> str:
    """Return the source of a class in which public functions keep signature and docstring."""
    first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
    kept = set(range(first, (node.end_lineno or 0) + 1))
    more = {}
    for part in node.body:
        if not isinstance(part, ast.FunctionDef):
            continue
        begin = min([part.lineno, *(one.lineno for one in part.decorator_list)])
        whole = range(begin, (part.end_lineno or 0) + 1)
        if part.name.startswith("_") and not part.name.endswith("__"):
            kept -= set(whole)
            continue
        documented = ast.get_docstring(part) is not None
        head = part.body[0].end_lineno if documented else part.body[0].lineno - 1
        if part.body[0].lineno > part.lineno:  # else the body is `...` on the line itself
            kept -= set(range((head or 0) + 1, whole.stop))
            if not documented:
                more[head] = " ..."
    text = "\n".join(lines[number - 1] + more.get(number, "") for number in sorted(kept))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip()


# -- architecture


def rooms() -> str:
    """Write one row per folder of the package."""
    rows = []
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        rows.append((f"`{folder.name}/`", first_paragraph(folder / "__init__.py")))
    return table(("room", "what it does"), rows) + "\n"


def modules() -> str:
    """Write the whole tree, one line per module."""
    lines = []
    for path in sorted(MODULES, key=lambda path: [part.lower() for part in path.parts]):
        depth = len(path.relative_to(PACKAGE).parts) - 1
        if path.stem == "__init__":
            if depth:
                lines.append(f"{'  ' * (depth - 1)}{path.parent.name}/")
            continue
        name = f"{'  ' * depth}{path.name}"
        lines.append(f"{name:<28}  {first_paragraph(path)}")
    return "```text\n" + "\n".join(lines) + "\n```\n"


def first_paragraph(path: Path) -> str:
    return " ".join(docstring(path).split("\n\n")[0].split())


PARTS: Mapping[str, Callable[[], str]] = {
    make.__name__: make for make in (keys, strategies, deviations, protocols, rooms, modules)
}


def pages() -> dict[Path, str]:
    """Return each page that has a generated part, as it should be."""
    found = {}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if PART.search(text):
            found[path] = PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", text)
    return found


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
