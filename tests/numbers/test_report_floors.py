"""What a report says beside the groups: ranks of all, cells without a search, what papers print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from scipy import stats

from nasrun.config.catalogue import conf_dir
from nasrun.genotypes.published import named_cells
from nasrun.report import formats, tables
from nasrun.report.analysis import Report, analyse
from nasrun.report.collect import collect
from nasrun.report.published import all_published
from nasrun.report.ranking import rank
from tests.compose import options
from tests.made_runs import make_run

VALUES = {  # of three seeds; the ranks by hand: 1 1 1, 2.5 2 3, 2.5 3 2
    "first": [0.9, 0.8, 0.7],
    "second": [0.5, 0.6, 0.3],
    "third": [0.5, 0.4, 0.5],
}


def by_seed(values: dict[str, list[float]]) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(column)) for name, column in values.items()}


def test_ranks_by_hand_and_friedman_by_scipy() -> None:
    found = rank("digits", by_seed(VALUES), higher_is_better=True)
    assert found.mean_ranks == {"first": 1.0, "second": 2.5, "third": 2.5}
    assert found.p == pytest.approx(stats.friedmanchisquare(*VALUES.values()).pvalue)
    # W: squares of the rank sums 3, 7.5, 7.5 from their mean 6, by 9 (27 - 3) / 12 - 3 * 6 / 12
    assert found.agreement == pytest.approx((9 + 2 * 2.25) / (18 - 1.5))
    reverse = rank("digits", by_seed(VALUES), higher_is_better=False)
    assert reverse.mean_ranks == {"first": 3.0, "second": 1.5, "third": 1.5}
    assert reverse.p == pytest.approx(found.p)


def test_ranks_need_three_groups_on_three_common_seeds() -> None:
    values = by_seed(VALUES)
    assert rank("digits", {name: values[name] for name in ("first", "third")}, True) is None
    values["third"] = {seed + 1: value for seed, value in values["third"].items()}
    assert rank("digits", values, True) is None  # seeds 1 and 2 are left
    equal = rank("digits", by_seed({name: [0.5, 0.6, 0.7] for name in "abc"}), True)
    assert (equal.p, equal.agreement, equal.mean_ranks["a"]) == (1.0, 0.0, 2.0)


def looked_up(val: float, test: float) -> dict[str, float]:
    return {"val_accuracy": val, "test_accuracy": test}


def table_run(folder: Path, strategy: str, seed: int, test: float, **result) -> None:
    table = {
        "signal": "validation accuracy", "regret": 0.1, **looked_up(0.8, test),
        "datasets": {"cifar10": looked_up(0.8, test), "cifar100": looked_up(0.5, 0.4)},
        "control": {"name": "all 3x3", "percentile": 99.0, **looked_up(0.90, 0.93)},
        "references": [
            {"name": "resnet", "percentile": 99.5, **looked_up(0.908, 0.939), "datasets": {
                "cifar10": looked_up(0.908, 0.939), "cifar100": looked_up(0.705, 0.709)}},
            {"percentile": 1.0}, "not a cell",
        ],
    }  # fmt: skip
    make_run(
        folder / f"{strategy}-{seed}", seed=seed, accuracy=None, dataset="cifar10",
        overrides=[f"strategy={strategy}"], config={"strategy": {"name": strategy}},
        result={"strategy": strategy, "space": "nasbench201", "table": table, **result},
    )  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Report:
    for seed in range(3):
        table_run(tmp_path, "egnas_paper", seed, 0.91 + 0.01 * seed, scorings=100)
        table_run(tmp_path, "darts", seed, 0.543, scorings=50)
        table_run(tmp_path, "random", seed, 0.937, evaluations=20, label_seconds=3600.0)
    return analyse(*collect([tmp_path]))


def shown(report: Report, name: str) -> list[tuple[str, ...]]:
    (table,) = [one for one in tables.all_tables(report) if one.name == name]
    return [tuple(cell.text for cell in row) for row in table.rows]


def test_ours_stand_below_the_published_row(report: Report) -> None:
    rows = shown(report, "egnas_table_3")
    names = [row[0] for row in rows]
    assert names[names.index("ResNet") + 1] == "ours: resnet, without a search"
    assert names[names.index("Random") + 1] == "ours: random (cifar10)"
    assert names[names.index("EG-NAS") + 1] == "ours: egnas_paper (cifar10)"
    assert names[-1] == "ours: all 3x3, without a search"  # which the paper does not have
    assert rows[1] == (names[1], "90.80", "93.90", "70.50", "70.90", "-", "-")
    egnas = rows[names.index("EG-NAS") + 1]
    assert egnas[1:5] == ("80.00 ± 0.00", "92.00 ± 1.00", "50.00 ± 0.00", "40.00 ± 0.00")
    assert len(rows) == 13 + 3 + 2


def test_cells_that_need_no_search_have_a_table(report: Report) -> None:
    assert shown(report, "references") == [
        ("all 3x3", "90.00", "93.00", "-", "-"),
        ("resnet", "90.80", "93.90", "70.50", "70.90"),
    ]


def test_programs_read_the_same_from_json(report: Report) -> None:
    content = json.loads(formats.as_json(report))
    assert content["rankings"][0]["mean_ranks"] == {"darts": 3.0, "egnas_paper": 2.0, "random": 1.0}
    assert content["references"][0] == {
        "name": "all 3x3", "space": "nasbench201", "val.cifar10": 0.9, "test.cifar10": 0.93
    }  # fmt: skip


def test_ranks_and_costs_of_all_are_told(report: Report) -> None:
    assert shown(report, "ranks") == [
        ("random", "1.00"), ("egnas_paper", "2.00"), ("darts", "3.00")
    ]  # fmt: skip
    (cost,) = [note for note in report.notes if note.startswith("cost of all")]
    assert cost == (
        "cost of all 9 searches together: 7,776 s, 450 candidates scored, 60 true evaluations, "
        "labels whose training took the makers of the table 3.0 h"
    )
    columns = tables.groups(report).columns
    place = columns.index("scorings")
    assert [row[place].text for row in tables.groups(report).rows] == ["50", "100", "-"]


def test_groups_that_pool_methods_stand_at_the_end(tmp_path: Path) -> None:
    for strategy in ("gdas", "setn"):
        table_run(tmp_path, strategy, 0, 0.9)
    names = [row[0] for row in shown(analyse(*collect([tmp_path]), by=["space"]), "egnas_table_3")]
    assert names[-2].startswith("ours: nasbench201")


def test_methods_of_published_tables_are_ours() -> None:
    ours = {*options("strategy"), *named_cells("nasbench201")}
    for item in all_published():
        rows = [row[0] for row in item.rows] if item.kind == "rows" else []
        assert set(item.methods) <= set(rows), item.name
        named = [name for names in item.methods.values() for name in names]
        assert set(named) <= ours, item.name
        assert len(set(named)) == len(named), item.name
    table_3 = next(item for item in all_published() if item.name == "egnas_table_3")
    recipe = yaml.safe_load((conf_dir() / "experiment/nasbench201_table3.yaml").read_text())
    swept = recipe["hydra"]["sweeper"]["params"]["strategy"].split(",")
    assert {table_3.place(name) for name in swept} == {*range(1, 12)}  # all but ResNet, the optimum
    table_1 = next(item for item in all_published() if item.name == "egnas_table_1")
    recipe = yaml.safe_load((conf_dir() / "experiment/darts_table1.yaml").read_text())
    swept = recipe["hydra"]["sweeper"]["params"]["strategy"].split(",")
    # not ResNet, nor AmoebaNet-A and NSGANetV1-A2, whose searches the house has not
    assert {table_1.place(name) for name in swept} == {*range(20)} - {0, 2, 4}
