"""The documents hold what they promise: their links lead somewhere, their commands are accepted."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasrun.cli import help
from nasrun.commands import resume
from nasrun.config.catalogue import conf_dir
from nasrun.config.commands import COMMANDS
from nasrun.config.compose import to_typed
from nasrun.config.flags import flags_first
from nasrun.config.schema import RetrainCommandConfig, SearchConfig
from nasrun.errors import UsageError
from nasrun.runs import run_names
from tests.compose import composed

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md",
         ROOT / "SECURITY.md"]  # fmt: skip
INSTALL_AND_SEARCH = "python -m pip install -e . && nasrun search strategy=egnas"
INSTALL_AND_CHECK = 'python -m pip install -e ".[test]" && scripts/check'

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    """What stands between the fences of these languages."""
    return [body for language, body in FENCE.findall(page.read_text()) if language in languages]


def anchors(page: Path) -> set[str]:
    """What links may say after `#`: headings as GitHub spells them in addresses."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    """The relative links of a page that lead to no file, or to no heading of it."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):  # another host; tests need no network
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The verb and the words of every nasrun command in a text.

    A word `...` is left out, and a line that has one inside of a word, since something is missing.
    `<date>` and `<run>` become plain words.
    """
    for line in text.splitlines():
        plain = re.sub(r"<(\w+)>", r"\1", re.split(r"\s# ", line)[0])
        for command in re.split(r" && |; ", plain):
            if not re.search(r"(^|\s)nasrun\s", command):
                continue
            words = [word for word in shlex.split(command) if word != "..."]
            verb, *rest = words[words.index("nasrun") + 1 :]
            if not any("..." in word for word in rest):
                yield verb, rest


def inline(page: Path) -> Iterator[str]:
    """The commands in the prose of a page; without forms such as `nasrun list [KIND]`, and without
    those that are only named."""
    for code in re.findall(r"`(nasrun \w+ [^`|\[]+)`", FENCE.sub("", page.read_text())):
        if code != "nasrun data import" and not re.search(r"<[^>]* ", code):
            yield " ".join(code.split())


def ends_of_sweep(overrides: list[str]) -> Iterator[list[str]]:
    """The overrides of the first and the last job of a sweep; of one run, its own."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in parsed
    ]
    yield [str(choices[0]) for choices in values]
    if any(len(choices) > 1 for choices in values):
        yield [str(choices[-1]) for choices in values]


def compose_all(verb: str, overrides: list[str]) -> None:
    """Composes and types each of these jobs; a retraining has the space of its genotype."""
    given = {word.partition("=")[0] for word in overrides}
    is_retraining = verb == "retrain" or "genotype" in given
    if is_retraining and "space" not in given:
        overrides = [*overrides, "space=darts"]
    for job in ends_of_sweep(overrides):
        typed = RetrainCommandConfig if is_retraining else SearchConfig
        to_typed(composed(job, "retrain" if is_retraining else "search"), typed)


class Parsed(Exception):
    """Raised in place of what a command does with its arguments."""


def accept(verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose, list or parse what a command is given; nothing is run or read."""
    if "--help" in words:
        help.page(verb, conf_dir())
    elif COMMANDS[verb].config:
        compose_all(verb, [word for word in flags_first(words) if not word.startswith("-")])
    elif verb == "resume":  # it has one argument, and looks for the folder
        monkeypatch.setattr(run_names, "TOP", Path("nowhere"))
        with pytest.raises(UsageError, match=r"neither a run nor|no run or sweep|is for a sweep"):
            resume.main(words)
    elif verb == "list":
        import_module("nasrun.commands.list").main(words)
    else:
        parse = argparse.ArgumentParser.parse_args

        def stop(*arguments: object) -> NoReturn:
            parse(*arguments)
            raise Parsed

        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Parsed):
                import_module(f"nasrun.commands.{verb}").main(words)


# What `test_add_a_strategy.py`, `test_from_outside.py` and `test_trackers.py` run.
RUN_ELSEWHERE = ("one_plus_one", "my_module", "csv_tracker")
TOLD = [
    (page, verb, words)
    for page in PAGES
    for text in (*blocks(page, "sh", "text"), *inline(page))
    for verb, words in commands(text)
    if not any(name in word for word in words for name in RUN_ELSEWHERE)
]


def test_readme_is_one_page() -> None:
    assert len(README.read_bytes()) <= 6000


def test_readme_begins_with_the_two_commands() -> None:
    """`.ci/run` runs them, and people copy them."""
    first, second = blocks(README, "sh")[:2]
    assert (first.strip(), second.strip()) == (INSTALL_AND_SEARCH, INSTALL_AND_CHECK)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A word\n[a](#a-word) [b](#other) [c](none.md) [d](page.md#a-word)\n")
    assert list(broken_links(page)) == ["#other", "none.md"]


# `conf/hydra/launcher/` names its files like the launchers' own schemas, which is what is wanted.
@pytest.mark.filterwarnings("ignore:\\s+'hydra/launcher:UserWarning")
@pytest.mark.parametrize(
    ("verb", "words"),
    [pytest.param(*rest, id=f"{name(page)}: {shlex.join(rest[1])}") for page, *rest in TOLD],
)
def test_commands_are_accepted(
    verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(verb, words, monkeypatch)


def test_commands_are_found_and_wrong_ones_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "nasrun search -m seed=0,1 'fitness.zeta=range(0,3)'  # six ...\n"
        "nasrun search --from outputs/<date> seed=1; nasrun list spaces\n"
        "torchrun --nproc-per-node=2 -m nasrun retrain genotype=darts_v2\n"
        "nasrun search ... seed=1\n"
        "next  nasrun retrain retrain=...\n"
        "nasrun: it's no command\n"
    )
    assert list(commands(text)) == [
        ("search", ["-m", "seed=0,1", "fitness.zeta=range(0,3)"]),
        ("search", ["--from", "outputs/date", "seed=1"]),
        ("list", ["spaces"]),
        ("retrain", ["genotype=darts_v2"]),
        ("search", ["seed=1"]),
    ]
    page = tmp_path / "page.md"
    page.write_text("`nasrun show x --out\ny`, `nasrun list [KIND]`, `nasrun resume <a folder>`\n")
    assert list(inline(page)) == ["nasrun show x --out y"]
    assert list(ends_of_sweep(["seed=0,1", "fitness.zeta=range(0,3)", "space=toy"])) == [
        ["seed=0", "fitness.zeta=0", "space=toy"],
        ["seed=1", "fitness.zeta=2", "space=toy"],
    ]
    for wrong in ("strategy=none_such", "no_key=1", "seed=word", "--multi", "--cfg"):
        with pytest.raises(Exception, match=wrong.split("=")[0]):
            accept("search", wrong.split(), monkeypatch)
    for verb, words in (("show", "a b"), ("data", "import x"), ("list", "x"), ("resume", "a b")):
        with pytest.raises((UsageError, AssertionError)):  # of the message expected of resume
            accept(verb, words.split(), monkeypatch)
