"""The generated parts of the documents are up to date, and say what the code says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval, Len, Lt

from nasrun.config import catalogue
from nasrun.config.ranges import declaration
from nasrun.protocols.settings import AtMost, NumLabels, OneOf, Positive, Unit
from scripts import make_reference

REMEDY = "python scripts/make_reference.py"
PAGES = make_reference.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    is_current = page.read_text(encoding="utf-8") == PAGES[page]
    assert is_current, f"{page.name} differs from conf/ and the docstrings: {REMEDY}"


def test_every_generated_part_stands_in_one_page() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    found = sorted(name for text in texts for _, name, _ in make_reference.PART.findall(text))
    assert found == sorted(make_reference.PARTS)


def test_keys_say_default_declaration_and_comment(tmp_path: Path) -> None:
    page = PAGES[make_reference.DOCS / "reference" / "keys.md"]
    line = (
        "| `budget.evaluations` | `20` | whole number 1 to 1,000,000 (labels) | true evaluations |"
    )
    assert line in page.partition("### `budget=short`")[2].partition("###")[0]
    for group in (*catalogue.groups(make_reference.CONF), make_reference.LAUNCHERS):
        for option in catalogue.options(group, make_reference.CONF):
            assert f"`{group}={option.name}`" in page


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (NumLabels | None, "whole number 1 to 1,000,000 (labels) or null"),
        (Positive, "number > 0"),
        (Annotated[float, Interval(ge=0, lt=1)], "number in [0, 1)"),
        (Annotated[int, Ge(2), AtMost("num_labels")], "whole number ≥ 2, at most num_labels"),
        (Annotated[float, Lt(3), Unit("s")], "number < 3 (s)"),
        (Annotated[list[float], Len(2, 2)], "list of 2: number"),
        (Annotated[str, OneOf("stop", "halve")], "stop or halve"),
        (Literal[10, 100], "10 or 100"),
    ],
)
def test_a_declaration_in_words(hint: object, words: str) -> None:
    assert declaration(hint) == words


def test_keys_of_one_name_keep_their_own_comments(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    text = "one:\n  size: 1  # of one\ntwo:\n  size: 2\nsize: 3  # of neither\n"
    (tmp_path / "group" / "option.yaml").write_text(text)
    own = catalogue.own("group", "option", tmp_path)
    assert own.keys == {"group.one.size": 1, "group.two.size": 2, "group.size": 3}
    assert own.glosses == {"group.one.size": "of one", "group.size": "of neither"}


def test_a_variant_chooses_before_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for name, extends, choice in (("base", "", "x"), ("variant", "  - base\n", "y")):
        text = f"defaults:\n{extends}  - override /two@_global_.two: {choice}\n"
        (tmp_path / "one" / f"{name}.yaml").write_text(text)
    assert catalogue.own("one", "base", tmp_path).choices == {"two": "x"}
    assert catalogue.own("one", "variant", tmp_path).choices == {"two": "y"}


def test_deviations_are_the_points_of_the_docstring() -> None:
    text = "A.\n\nDeviations, as printed:\n- one\n  line\n- `two`\n\nShapes: N."
    assert list(make_reference.deviations_of(text)) == ["One line", "`two`"]
    assert list(make_reference.deviations_of("A.\n\nDeviation: a: b.")) == ["A: b."]
    assert list(make_reference.deviations_of("No deviations are listed.")) == []


def test_protocols_keep_signatures_and_lose_bodies() -> None:
    source = (
        "class Part:\n"
        '    """A part."""\n\n'
        "    size: int  # in units\n\n"
        "    def known(self) -> int:\n"
        '        """Return one."""\n'
        "        return 1\n\n"
        "    def bare(self, x: int) -> int:\n"
        "        return x\n\n"
        "    def _own(self) -> None:\n"
        "        pass\n"
    )
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    assert make_reference.stub(node, source.splitlines()) == (
        "class Part:\n"
        '    """A part."""\n\n'
        "    size: int  # in units\n\n"
        "    def known(self) -> int:\n"
        '        """Return one."""\n\n'
        "    def bare(self, x: int) -> int: ..."
    )


def test_tables_escape_what_markdown_would_read() -> None:
    assert make_reference.table(["a"], [["x* <n> | `<n> * 2`"]]) == (
        "| a |\n| --- |\n| x\\* &lt;n> \\| `<n> * 2` |"
    )
