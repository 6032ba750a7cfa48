"""`nasrun list`, and the reading of `conf/` that it shares with help, completion and hints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nasrun.cli.main import main
from nasrun.commands.list import plural, strategies
from nasrun.config import catalogue
from nasrun.config.compose import register
from nasrun.errors import UsageError
from tests.commands.refusal import refused

FILES = {
    "search.yaml": """
        defaults:
          - _self_
          - space: small
          - optional extra: null
          - strategy: plain
          - recipe: null
        seed: 0   # of everything
        space:
          cells: 1
        hydra:
          job:
            name: x
        """,
    "space/small.yaml": "# Two cells\n# and more\ncells: 2  # how many\nnested:\n  deep: 1\n",
    "space/large.yaml": "# Nine cells\ndefaults: [small]\ncells: 9\n",
    "strategy/plain.yaml": "_target_: a.B\n_partial_: true\nflag: false\nempty: {}\nlist: [1, 2]\n",
    "strategy/guided.yaml": """
        # With a predictor
        defaults:
          - plain
          - inner: one
          - /predictor@guide: ridge
          - /predictor@_global_.second: ridge
          - _self_
        flag: true
        """,
    "strategy/inner/one.yaml": "value: 1\n",
    "predictor/ridge.yaml": "# Ridge regression\npenalty: 0.1\n",
    "recipe/both.yaml": """
        # @package _global_
        # Table 1
        defaults:
          - override /strategy: guided
          - override /space: large
        seed: 7
        """,
    "extra/more.yaml": "# More\nwords: a # b\n",
    "hydra/job_logging/quiet.yaml": "version: 1\n",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small conf folder with every kind of entry that a defaults list may have."""
    for name, text in FILES.items():
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")
    return tmp_path / "conf"


def composed_by_hydra(primary: str, root: Path, chosen: dict[str, str]) -> dict[str, object]:
    overrides = [f"{group}={option}" for group, option in chosen.items()]
    with initialize_config_dir(str(root), version_base="1.3"):
        config = compose(primary, overrides)
    content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    return dict(catalogue._leaves(content))


def test_groups_and_options(root: Path) -> None:
    assert catalogue.groups(root) == (
        "extra", "predictor", "recipe", "space", "strategy",
    )  # fmt: skip
    options = [(option.name, option.gloss) for option in catalogue.options("space", root)]
    assert options == [("small", "Two cells"), ("large", "Nine cells")]
    assert [option.root for option in catalogue.options("space", root)] == ["small", "small"]
    assert [option.gloss for option in catalogue.options("recipe", root)] == ["Table 1"]
    assert catalogue.options("unknown", root) == ()


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"space": "large"},
        {"extra": "more"},
        {"strategy": "guided"},
        {"recipe": "both"},
        {"recipe": "both", "strategy": "plain"},
    ],
    ids=str,
)
def test_composition_equals_hydras(chosen: dict[str, str], root: Path) -> None:
    composition = catalogue.compose("search", root, chosen)
    assert composition.keys == composed_by_hydra("search", root, chosen)


@pytest.mark.parametrize("primary", ["search", "retrain"])
def test_composition_of_the_real_files_equals_hydras(primary: str) -> None:
    register()
    root = catalogue.conf_dir()
    groups = catalogue.compose(primary, root).choices
    names = {
        group: [option.name for option in catalogue.options(group, root, groups)]
        for group in groups
    }
    assert "egnas_imagenet_transfer" in names["experiment"]
    assert ("egnas_cifar10" in names["experiment"]) == (primary == "search")
    # Every option at least once, but one of each group at a time: all pairs would take minutes.
    for turn in range(max(map(len, names.values()))):
        chosen = {group: found[turn % len(found)] for group, found in names.items() if found}
        ours = catalogue.compose(primary, root, chosen).keys
        theirs = composed_by_hydra(primary, root, chosen)
        # The schema names nodes that the files leave out.
        missing = {key: value for key, value in theirs.items() if key not in ours}
        assert ours | missing == theirs, chosen
        assert set(missing.values()) <= {"???"}


@pytest.mark.parametrize("group", ["strategy", "evaluator"])
def test_options_that_choose_other_options_do_so_as_in_hydra(group: str) -> None:
    register()
    root = catalogue.conf_dir()
    texts = {path.stem: path.read_text() for path in (root / group).glob("*.yaml")}
    choosing = [name for name, text in texts.items() if "- override /" in text]
    assert choosing
    for option in catalogue.options(group, root):
        if option.name not in choosing:
            continue  # Hydra takes a fifth of a second for each
        ours = catalogue.compose("search", root, {group: option.name}).keys
        theirs = composed_by_hydra("search", root, {group: option.name})
        assert ours == {key: value for key, value in theirs.items() if value != "???"}


def test_every_option_says_what_it_is() -> None:
    root = catalogue.conf_dir()
    options = [
        option for group in catalogue.groups(root) for option in catalogue.options(group, root)
    ]
    assert [f"{option.group}/{option.name}" for option in options if not option.gloss] == []


def test_glosses_and_choices(root: Path) -> None:
    composition = catalogue.compose("search", root, {"space": "large", "unknown": "x"})
    assert composition.glosses == {"seed": "of everything", "space.cells": "how many"}
    assert composition.choices == {
        "space": "large", "extra": None, "strategy": "plain", "recipe": None,
    }  # fmt: skip


def test_a_file_that_is_not_yaml_is_named(root: Path) -> None:
    (root / "space" / "small.yaml").write_text("a: [")
    with pytest.raises(UsageError, match=r"small\.yaml is not valid YAML: .*line 1"):
        catalogue.compose("search", root)


@pytest.mark.parametrize("word", ["space", "spaces"])
def test_list_one_kind(word: str, root: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(catalogue, "conf_dir", lambda: root)
    main(["list", word])
    assert capsys.readouterr().out == "space=...\n  small    Two cells\n    large  Nine cells\n"


def test_list_everything(root: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(catalogue, "conf_dir", lambda: root)
    main(["list"])
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "extra=...", "", "predictor=...", "", "recipe=...", "", "space=...", "", "strategy=...",
        "", "genotype=...",
    ]  # fmt: skip
    assert "DARTS public code (Liu et al. 2019); 3,349,342 parameters on CIFAR-10\n" in text
    assert re.search(r"^    guided +With a predictor$", text, re.MULTILINE)


def test_strategies_are_listed_by_family_and_fit_a_terminal() -> None:
    shown = strategies(catalogue.conf_dir())
    for width in (80, 120):
        lines = ["".join(text for text, _ in line).rstrip() for line in shown.lines(width)]
        assert max(map(len, lines)) <= width
        families = [line.partition(":")[0] for line in lines if re.match(r"[a-z]+: search", line)]
        assert families == sorted(families)
        row = next(line for line in lines if line.startswith("  idarts "))
        paper = "ICML 2021" if width == 80 else "iDARTS (Zhang et al., ICML 2021)"
        assert re.fullmatch(
            rf"  idarts +{re.escape(paper)} +weights +epoch: about 3 gradients a batch", row
        )
    plain = shown.plain()
    for option in catalogue.options("strategy", catalogue.conf_dir()):
        assert re.search(rf"^ +{option.name} .*{re.escape(option.gloss)}$", plain, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strategeis"], "there is no kind 'strategeis': did you mean strategies"),
        (["a", "b"], "unrecognized arguments: b"),
    ],
    ids=str,
)
def test_unknown_kind(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["list", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_plural() -> None:
    assert [plural(word) for word in ("strategy", "space", "fitness")] == [
        "strategies", "spaces", "fitnesses",
    ]  # fmt: skip


def test_options_of_an_own_folder_are_listed_and_helped_with(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "budget/tiny.yaml": "# Three epochs\nepochs: 3\nevaluations: 3\nseconds: null\n",
        "strategy/many.yaml": "# Mine\ndefaults:\n  - egnas\n  - _self_\nnum_starts: 9  # many\n",
    }.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    main(["list", "budgets", "--config-dir", "mine"])
    assert re.search(r"^  tiny +Three epochs$", capsys.readouterr().out, re.MULTILINE)
    main(["list", "strategies", "-cd=mine"])
    assert re.search(r"^ +many +Mine$", capsys.readouterr().out, re.MULTILINE)
    main(["search", "--config-dir=mine", "strategy=many", "--help"])
    assert "strategy.num_starts=9 " in capsys.readouterr().out
    main(["list", "budgets"])
    assert "tiny" not in capsys.readouterr().out
    # an option with a built-in name is not taken by Hydra, and not shown
    (tmp_path / "mine" / "budget" / "smoke.yaml").write_text("# Theirs\nepochs: 77\n")
    main(["search", "--config-dir=mine", "budget=smoke", "--cfg", "job", "--package", "budget"])
    assert "77" not in capsys.readouterr().out
    main(["list", "budgets", "--config-dir", "mine"])
    assert "Theirs" not in capsys.readouterr().out
    said = refused(capsys, "list", "--config-dir=nowhere")
    assert said == "nasrun: --config-dir=nowhere: there is no such folder\n"


def test_a_configuration_is_printed_with_comments_on_request(capsys) -> None:
    main(["search", "--cfg", "job", "strategy=dclenas", "--comments"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  size: null  # ") for line in lines)
    assert "seed: 0  # every random draw of the run comes from it" in lines
    assert "predictor:" in lines  # what stands there in conf/ is about its absence
    main(["search", "--cfg", "job", "--package", "budget", "--comments"])
    assert "epochs: 10  # of a supernet, warm-up included" in capsys.readouterr().out.splitlines()
    main(["search", "--cfg", "job", "--package", "budget"])
    assert "epochs: 10" in capsys.readouterr().out.splitlines()
    assert "--comments goes with --cfg job" in refused(capsys, "search", "--comments")
