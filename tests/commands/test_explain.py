"""`nasrun explain`: keys, options and groups, and what is close to a word that is none."""

from __future__ import annotations

import pytest

from nasrun.cli.completion import candidates
from nasrun.cli.main import main
from nasrun.config import catalogue, explanations

ROOT = catalogue.conf_dir()


def told(capsys: pytest.CaptureFixture[str], word: str) -> list[str]:
    main(["explain", word])
    return capsys.readouterr().out.splitlines()


def test_a_key_of_a_strategy(capsys) -> None:
    lines = told(capsys, "strategy.xi")
    assert lines[0] == "strategy.xi: step size of Eq. 8; paper: 0.6"
    facts = dict(line.strip().split("  ", 1) for line in lines[1:6])
    assert {name: text.strip() for name, text in facts.items()} == {
        "can be": "number",
        "default": "0.6 (with strategy=egnas)",
        "paper": "0.6",
        "type": "nasrun search strategy.xi=...",
        "read by": "EGNAS, nasrun/strategies/egnas/egnas.py",
    }
    assert [line.split() for line in lines[7:9]] == [["set", "by:"], ["strategy=egnas", "0.6"]]
    assert told(capsys, "xi") == lines


def test_a_key_that_others_read() -> None:
    facts = dict(explanations.explain("population.size", ROOT).facts)
    assert facts["can be"] == "whole number 2 to 10,000 or null"
    assert facts["read by"].startswith("strategy.population_size of dclenas, ")
    facts = dict(explanations.explain("strategy.zeta", ROOT).facts)
    assert facts["instead"] == "type fitness.zeta, whose value it takes"
    facts = dict(explanations.explain("budget.seconds", ROOT).facts)
    assert (facts["can be"], facts["read by"]) == ("number > 0 (s) or null", "nasrun search")


def test_a_key_of_another_option_than_the_default() -> None:
    told_of = explanations.explain("strategy.order", ROOT)
    facts = dict(told_of.facts)
    assert facts["type"] == "nasrun search strategy=darts strategy.order=..."
    assert ("strategy=darts_second_order", "2") in told_of.tables["set by"]
    assert dict(explanations.explain("genotype", ROOT).facts)["type"].startswith("nasrun retrain")


def test_options_and_groups(capsys) -> None:
    paper = explanations.explain("egnas_paper", ROOT)
    assert ("extends", "strategy=egnas") in paper.facts
    assert dict(paper.tables["keys"])["strategy.num_starts=5"] == "N, evolution strategies per " \
        "epoch; paper: 5; whole number ≥ 1"  # fmt: skip
    chosen = dict(explanations.explain("experiment=dclenas_ecg", ROOT).facts)["chooses"]
    assert "strategy=dclenas" in chosen
    assert "  default  short" in told(capsys, "budget")
    for word in ("strategy=egnas", "benchmark=nasbench101", "retrain"):
        assert [line for line in told(capsys, word) if len(line) > 80] == []


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("strategy.xii", "did you mean strategy.xi?"),
        ("strategy=egnass", "there is no strategy=egnass; did you mean egnas"),
        ("egnass", "did you mean strategy=egnas?"),
        ("lr", "did you mean retrain.learning_rate"),
        ("budgett", "did you mean budget?"),
        ("zeta", "zeta can be fitness.zeta or strategy.zeta: type one of them"),
    ],
)
def test_what_is_close(word: str, hint: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explain", word])
    assert caught.value.code == 2
    assert hint in capsys.readouterr().err


def test_every_key_of_every_option_is_known() -> None:
    known = explanations.all_keys(ROOT).keys
    for group in catalogue.groups(ROOT):
        for path in (ROOT / group).glob("*.yaml"):
            if group != "experiment":
                missing = catalogue.own(group, path.stem, ROOT).keys.keys() - known.keys()
                assert not missing, path


def test_completion_offers_words_to_explain() -> None:
    assert candidates("nasrun explain strategy.x", ROOT) == ["strategy.xi "]
    assert candidates("nasrun explain strategy=egnas_p", ROOT) == ["strategy=egnas_paper "]
    assert candidates("nasrun explain budg", ROOT) == ["budget ", "budget."]
