"""The documents hold what they promise: their links lead somewhere, their commands compose."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasrun.config.compose import to_typed
from nasrun.config.schema import RetrainCommandConfig, SearchConfig
from tests.compose import composed

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md",
         ROOT / "SECURITY.md"]  # fmt: skip
INSTALL_AND_SEARCH = "python -m pip install -e . && nasrun search strategy=egnas"
INSTALL_AND_CHECK = 'python -m pip install -e ".[test]" && scripts/check'
SCHEMAS = {"search": SearchConfig, "retrain": RetrainCommandConfig, "check": SearchConfig}

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
    """The verb and the overrides of all commands in a block that compose a configuration.

    A line with `...` is left out, since words of it are missing. `<date>` and `<run>` become plain
    words, because composing reads no run folder. Flags are left out, and so is the folder of
    `--from`, which is read before anything is composed.
    """
    for line in text.splitlines():
        if "..." in line.split("  #")[0]:
            continue
        plain = re.sub(r"<(\w+)>", r"\1", line)
        for command in re.split(r" && |; ", plain):
            words = shlex.split(command, comments=True)
            if "nasrun" not in words:
                continue
            verb, *rest = words[words.index("nasrun") + 1 :] or [""]
            if verb in SCHEMAS:
                if "--from" in rest:
                    del rest[rest.index("--from") : rest.index("--from") + 2]
                yield verb, [word for word in rest if not word.startswith("-")]


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
    command = "retrain" if verb == "retrain" else "search"
    if command == "retrain" and not any(word.startswith("space=") for word in overrides):
        overrides = [*overrides, "space=darts"]
    for job in ends_of_sweep(overrides):
        to_typed(composed(job, command), SCHEMAS[verb])


COMMANDS = [
    pytest.param(verb, overrides, id=f"{name(page)}: {verb} {' '.join(overrides)}")
    for page in PAGES
    for block in blocks(page, "sh", "text")
    for verb, overrides in commands(block)
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
@pytest.mark.parametrize(("verb", "overrides"), COMMANDS)
def test_commands_compose(verb: str, overrides: list[str]) -> None:
    compose_all(verb, overrides)


def test_commands_are_found_and_wrong_ones_fail() -> None:
    text = (
        "nasrun search -m seed=0,1 'fitness.zeta=range(0,3)'  # six ...\n"
        "nasrun search --from outputs/<date> seed=1; nasrun list spaces\n"
        "torchrun --nproc-per-node=2 -m nasrun retrain genotype=darts_v2\n"
        "nasrun search ... seed=1\n"
    )
    assert list(commands(text)) == [
        ("search", ["seed=0,1", "fitness.zeta=range(0,3)"]),
        ("search", ["seed=1"]),
        ("retrain", ["genotype=darts_v2"]),
    ]
    assert list(ends_of_sweep(["seed=0,1", "fitness.zeta=range(0,3)", "space=toy"])) == [
        ["seed=0", "fitness.zeta=0", "space=toy"],
        ["seed=1", "fitness.zeta=2", "space=toy"],
    ]
    for wrong in ("strategy=none_such", "no_key=1", "seed=word"):
        with pytest.raises(Exception, match=wrong.split("=")[0]):
            compose_all("search", [wrong])


@pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason='mkdocs-material is not installed: python -m pip install -e ".[docs]"',
)
def test_the_pages_can_be_built(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "results" / "dclenas" / "index.html").exists()
