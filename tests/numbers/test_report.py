"""The statistics of a report, against scipy and by hand; groups, curves and published facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nasrun.report import curves, formats, records, statistics, tables
from nasrun.report.analysis import Report, analyse
from nasrun.report.collect import collect
from nasrun.report.groups import separating_keys
from nasrun.report.published import all_published
from nasrun.report.text_table import ReportTable, text_cell
from tests.made_runs import make_grid, make_run

FIRST = [0.91, 0.93, 0.92, 0.95, 0.94, 0.90, 0.96, 0.93]
SECOND = [0.90, 0.93, 0.94, 0.91, 0.92, 0.88, 0.91, 0.90]


def report_on(*folders: Path, **options) -> Report:
    return analyse(*collect(folders), **options)


def test_interval_is_that_of_scipy() -> None:
    expected = stats.bootstrap(
        (FIRST,), np.mean, n_resamples=10_000, method="percentile",
        rng=np.random.default_rng(0), vectorized=True,
    ).confidence_interval  # fmt: skip
    summary = statistics.summarise(FIRST)
    assert summary.interval == pytest.approx(tuple(expected), abs=1e-12)
    assert summary.mean == pytest.approx(0.93)
    assert summary.std == pytest.approx(np.std(FIRST, ddof=1))
    assert statistics.summarise([0.5]) == statistics.Summary(1, 0.5, None, None)


def test_comparison_is_that_of_scipy() -> None:
    found = statistics.compare(FIRST, SECOND, higher_is_better=True)
    gains = (np.array(FIRST) - SECOND).round(12)  # 1 0 -2 4 2 2 5 3 hundredths
    assert found.p == pytest.approx(stats.wilcoxon(gains, zero_method="pratt").pvalue)
    assert (found.n, found.wins, found.ties, found.losses) == (8, 6, 1, 1)
    assert found.difference == pytest.approx(0.15 / 8)
    # ranks of 1 0 2 4 2 2 5 3: 2 1 4 7 4 4 8 6; negative: 4, positive: 31
    assert found.effect == pytest.approx((31 - 4) / 35)
    reverse = statistics.compare(FIRST, SECOND, higher_is_better=False)
    assert (reverse.wins, reverse.losses) == (1, 6)


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@pytest.mark.parametrize(
    ("num_seeds", "num_comparisons", "p_holm", "verdict"),
    [
        (5, 1, None, "cannot tell"),  # 2 / 2**5 is above .05
        (6, 1, 0.03125, "first"),
        (6, 2, 0.0625, "cannot tell"),  # not even this outcome is significant beside another
        (8, 2, 0.015625, "first"),
    ],
)
def test_verdicts(num_seeds: int, num_comparisons: int, p_holm, verdict: str) -> None:
    better = [0.5 + 0.01 * seed for seed in range(num_seeds)]
    one = statistics.compare(better, [0.4] * num_seeds, higher_is_better=True)
    judged = statistics.judge([one] * num_comparisons, higher_is_better=True)[0]
    assert (judged.p_holm, judged.verdict) == (p_holm, verdict)


def test_no_difference_and_the_worse_first() -> None:
    same = statistics.compare([0.5] * 8, [0.5] * 8, higher_is_better=True)
    worse = statistics.compare([0.1 * i for i in range(8)], [0.9] * 8, higher_is_better=True)
    judged = statistics.judge([same, worse], higher_is_better=True)
    assert [item.verdict for item in judged] == ["no difference shown", "second"]
    assert (judged[0].p_holm, judged[0].effect, judged[1].effect) == (1.0, 0.0, -1.0)


def test_pairs_of_groups_against_scipy(tmp_path: Path) -> None:
    make_grid(tmp_path, {(1.0, 0.4): FIRST, (1.0, 0.2): SECOND[:7]})
    (pair,) = report_on(tmp_path).pairs
    assert (pair.first.name, pair.second.name) == ("eta=0.2", "eta=0.4")  # zeta is the same
    gains = (np.array(SECOND[:7]) - FIRST[:7]).round(12)  # seed 7 has no partner
    assert pair.comparison.n == 7
    assert pair.comparison.p == pytest.approx(stats.wilcoxon(gains, zero_method="pratt").pvalue)


def test_groups_are_named_by_what_was_typed(tmp_path: Path) -> None:
    for number, (strategy, width) in enumerate([("a", 8), ("b", 8), ("a", 16), ("b", 16)]):
        for seed in (0, 1):
            make_run(
                tmp_path / f"{number}-{seed}", seed=seed,
                overrides=[f"strategy={strategy}", f"predictor.width={width}"],
                config={
                    "strategy": {"_target_": f"nasrun.strategies.{strategy}.S", "width": width},
                    "predictor": {"width": width, "encoder_seed": seed},  # a seed is no setting
                    "name": f"run {number}", "dataset": {"name": "digits", "root": f"/{number}"},
                },
            )  # fmt: skip
    runs, _ = collect([tmp_path])
    assert separating_keys(runs) == ("strategy", "predictor.width")
    report = analyse(runs, [])
    assert [row.group.name for row in report.rows] == [
        "a, width=8", "a, width=16", "b, width=8", "b, width=16"
    ]  # fmt: skip
    assert [row.summary.n for row in report.rows] == [2] * 4
    pooled = analyse(runs, [], by=["strategy"])
    assert [(row.group.name, row.summary.n) for row in pooled.rows] == [("a", 4), ("b", 4)]
    assert pooled.pairs[0].comparison.n == 4  # paired by seed and width


def test_what_was_not_typed_separates_too(tmp_path: Path) -> None:
    make_run(tmp_path / "0", config={"budget": {"epochs": 10}, "strategy": {"num_epochs": 10}})
    make_run(tmp_path / "1", config={"budget": {"epochs": 50}, "strategy": {"num_epochs": 50}})
    names = [row.group.name for row in report_on(tmp_path).rows]
    assert names == ["epochs=10", "epochs=50"]


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a", accuracy=0.5, record={"finished": "2026-01-01T00:00:00+00:00"})
    make_run(tmp_path / "b", accuracy=0.6, record={"finished": "2026-01-02T00:00:00+00:00"})
    report = report_on(tmp_path, tmp_path / "a")
    assert [row.values for row in report.rows] == [(0.6,)]
    (left_out,) = report.left_out
    assert (left_out.folder.name, left_out.status) == ("a", "repeated")


def test_curves_by_hand(tmp_path: Path) -> None:
    steps = [
        {"phase": "search", "step": 1, "seconds": 1.0, "labels": 0.0},
        {"phase": "search", "step": 2, "seconds": 2.0, "labels": 2.0, "best_val_accuracy": 0.6,
         "regret": 0.3, "held_out_tau": 0.5},
        {"phase": "search", "step": 3, "seconds": 4.0, "labels": 4.0, "best_val_accuracy": 0.8,
         "regret": 0.1, "held_out_tau": 0.7},
        {"phase": "retrain", "step": 1, "seconds": 100.0, "val_accuracy": 1.0},
    ]  # fmt: skip
    make_run(tmp_path / "0", seed=0, errors=[None, 0.4, 0.5, 0.2], steps=steps)
    make_run(tmp_path / "1", seed=1, errors=[0.6, 0.3], steps=steps)
    sets = {item.name: item for item in report_on(tmp_path).curve_sets}
    (labels,) = sets["evaluations"].curves.values()
    assert labels.x.tolist() == [2, 3, 4]  # the first label of one run failed
    assert labels.mean == pytest.approx([(0.3 + 0.2) / 2, (0.3 + 0.2) / 2, (0.1 + 0.2) / 2])
    assert (labels.low[0], labels.high[0]) == pytest.approx((0.2, 0.3))
    (seconds,) = sets["seconds"].curves.values()
    assert (seconds.x[0], seconds.x[-1]) == (3.0, 7.0)
    assert (seconds.mean[0], seconds.mean[-1]) == pytest.approx((0.3, 0.1))
    (tau,) = sets["tau"].curves.values()
    assert (tau.x.tolist(), tau.mean.tolist()) == ([2, 4], [0.5, 0.7])
    assert "steps" not in sets
    assert sets["evaluations"].y_label == "best so far: regret"


def test_band_is_a_bootstrap_of_whole_runs() -> None:
    values = np.random.default_rng(1).random((9, 3))
    found = curves.mean_curve(np.arange(3.0), values)
    for column in range(3):
        low, high = statistics.interval(values[:, column])
        assert (found.low[column], found.high[column]) == pytest.approx((low, high), abs=0.02)


def test_gpu_days_are_those_of_gpus(tmp_path: Path) -> None:
    make_run(tmp_path / "0", config={"a": 1}, record={"device": "cuda:0 (NVIDIA H100)"})
    make_run(tmp_path / "1", config={"a": 2})
    report = report_on(tmp_path)
    assert [row.means["gpu_days"] for row in report.rows] == [pytest.approx(0.01), None]
    assert [(point.days, point.paid) for point in report.points] == [(0.01, "GPU"), (0.01, "CPU")]


def test_published_facts() -> None:
    known = {item.name: item for item in all_published()}
    paper, again = known["egnas_table_4"], known["reproduction_table_1"]
    cells = {
        item.name: [
            float(item.cell(row, column)[0]) for row in item.rows for column in item.columns
        ]
        for item in (paper, again)
    }
    assert (min(cells[paper.name]), max(cells[paper.name])) == (80.68, 85.53)
    assert (min(cells[again.name]), max(cells[again.name])) == (83.096, 84.088)
    assert paper.cell("1", "0.40") == ("85.53", "3.71")  # however the numbers are written
    assert paper.cell("1.0", "0.3") is None
    seeds = known["reproduction_table_2"].rows[:4]
    assert np.mean([float(row[1]) for row in seeds]) == pytest.approx(2.735)
    assert np.mean([float(row[2]) for row in seeds]) == pytest.approx(17.91)
    points = list(known["egnas_table_1"].points("cifar10"))
    assert ("EG-NAS", 0.1, 2.53) in points
    assert len(points) == 19  # ResNet was not searched for
    assert ("EG-NAS", 0.1, 16.22) in known["egnas_table_1"].points("cifar100")
    assert known["egnas_table_1"].points_dataset("digits") == "cifar10"
    for item in known.values():
        assert all(len(row) == len(item.columns) for row in item.rows) or item.kind == "grid"


def test_one_shot_accuracies_are_not_compared_with_labels_in_silence(tmp_path: Path) -> None:
    for number, errors in enumerate([[], [0.3, 0.2]]):
        make_run(
            tmp_path / str(number), seed=0, accuracy=None, errors=errors,
            overrides=[f"strategy={number}"], config={"strategy": number},
        )  # fmt: skip
    (told,) = [note for note in report_on(tmp_path).notes if "cannot be compared" in note]
    assert "shared weights" in told
    for number in (0, 1):
        make_run(tmp_path / f"retrained{number}", seed=0, config={"strategy": number})
    assert not any("cannot be compared" in note for note in report_on(tmp_path).notes)


TABLE = {"signal": "mean test accuracy (the table has no validation column)", "regret": 0.01,
         "test_accuracy": 0.9314}  # fmt: skip


def test_long_texts_are_wrapped_in_latex() -> None:
    """A sentence in a column of its own width ran off the page, as pdflatex showed."""
    texts = [tuple(map(text_cell, ("egnas", "a sentence of the guard, " * 3, "1")))]
    table = ReportTable("w", "Warnings", ("group", "warning", "runs"), tuple(texts), "", 2)
    assert r"\begin{tabular}{lp{0.6\linewidth}r}" in formats.latex([table])


def test_the_accuracy_of_a_search_is_named_by_what_its_table_declares(tmp_path: Path) -> None:
    """On NAS-Bench-101 without a validation column a search sees test accuracies."""
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, accuracy=None, errors=[0.2],
                 result={"table": TABLE})  # fmt: skip
    report = report_on(tmp_path, metric="search_val_accuracy")
    assert report.metric.unit == "search mean test accuracy, %"
    (told,) = [note for note in report.notes if "has seen" in note]
    assert told.endswith(f"what the search has seen is the {TABLE['signal']}")
    columns = tables.groups(report_on(tmp_path)).columns
    assert "search mean test acc %" in columns
    assert "search val acc %" not in columns
    assert f"Searches have seen the {TABLE['signal']}." in tables.groups(report).note
    assert r"\footnotesize std: over the n runs" in formats.latex(tables.all_tables(report))
    assert [record["signal"] for record in records.runs(report)] == [TABLE["signal"]] * 3
    assert records.groups(report)[0]["signal"] == TABLE["signal"]
    shared = make_run(tmp_path / "shared", accuracy=None, result={"table": TABLE, "scorings": 9})
    assert report_on(shared, metric="search_val_accuracy").metric.unit == (
        "search shared-weight validation accuracy, %"  # the table was asked for the result
    )


def test_accuracies_of_trained_networks_and_of_shared_weights_are_columns_apart(
    tmp_path: Path,
) -> None:
    for name, errors, accuracy in (("random", [0.2], 0.8), ("darts", [], 0.3)):
        for seed in range(2):
            make_run(tmp_path / f"{name}{seed}", seed=seed, errors=errors, accuracy=0.9,
                     config={"strategy": name},
                     result={"search_val_accuracy": accuracy})  # fmt: skip
    table = tables.groups(report_on(tmp_path))
    names = ("search shared-weight val acc %", "search val acc %")
    places = [table.columns.index(name) for name in names]
    shown = {row[0].text: [row[place].text for place in places] for row in table.rows}
    assert shown == {"random": ["-", "80.00"], "darts": ["30.00", "-"]}


def test_a_search_on_a_landscape_is_no_point_of_cost(tmp_path: Path) -> None:
    for name, landscape in (("landscape", True), ("supernet", None)):
        make_run(tmp_path / name, accuracy=None, config={"evaluator": name},
                 result={"table": {**TABLE, "landscape": landscape}, "scorings": 9})  # fmt: skip
    report = report_on(tmp_path)
    assert [point.name for point in report.points] == ["evaluator=supernet"]
    assert any("the accuracy on the table's landscape" in note for note in report.notes)


def test_an_interval_by_cluster_is_wider_where_clusters_differ() -> None:
    """By hand: three clusters of two equal values have the bootstrap of three values; and it is
    that of independent values where each is a cluster of its own."""
    values, clusters = np.array([0.1, 0.1, 0.2, 0.2, 0.6, 0.6]), [1, 1, 2, 2, 3, 3]
    found = statistics.interval(values, clusters)
    assert found == pytest.approx((0.1, 0.6))  # three times the same one of three: p = 1 / 27
    alone = statistics.interval(values)
    assert alone[0] > 0.1
    assert alone[1] < 0.6
    assert statistics.interval(values, range(6)) == pytest.approx(alone, abs=0.02)
    assert statistics.interval(values[:4], clusters[:4]) is None  # two clusters
    weights_RN = statistics.bootstrap_weights(6, clusters)
    assert weights_RN.sum(axis=1) == pytest.approx(1)
    assert weights_RN.mean(axis=0) == pytest.approx(1 / 6, abs=0.01)
    # mean of 3 clusters' counts: 1 +- sqrt(2/3), and each value half of its cluster's
    assert (weights_RN[:, :2].sum(axis=1)).std() == pytest.approx(np.sqrt(2 / 3) / 3, rel=0.03)


def test_runs_that_share_an_encoder_are_a_named_cluster(tmp_path: Path) -> None:
    accuracies = [0.1, 0.6, 0.2, 0.1, 0.6, 0.2]
    for seed, accuracy in enumerate(accuracies):
        nodes = {"encoder_seed": seed % 3, "own_seed": seed}
        make_run(tmp_path / str(seed), seed=seed, accuracy=accuracy,
                 config={"predictor": nodes, "strategy": {"predictor": nodes}})  # fmt: skip
        make_run(tmp_path / f"floor{seed}", seed=seed, accuracy=0.0,
                 config={"predictor": {"width": 9}}, overrides=["predictor.width=9"])  # fmt: skip
    report = report_on(tmp_path)
    (row,) = [row for row in report.rows if row.group.shared_seeds]
    assert row.group.shared_seeds.keys == ("predictor.encoder_seed",)
    assert row.summary.interval == pytest.approx((0.1, 0.6))
    (pair,) = report.pairs
    assert sorted(map(abs, pair.comparison.interval)) == pytest.approx([0.1, 0.6])
    assert (pair.comparison.n, pair.comparison.units, pair.comparison.p) == (6, 3, None)
    assert tables.verdict_text(pair).startswith("cannot tell (3 clusters), about ")
    assert records.pairs(report)[0]["units"] == 3
    (told,) = [note for note in report.notes if "by cluster" in note]
    assert "6 runs share 3 values of predictor.encoder_seed: intervals are by cluster" in told
    assert "p and effect are of the mean differences of the clusters, at least 6 of them" in told


def test_p_by_cluster_is_that_of_the_cluster_means() -> None:
    """Twelve pairs in six clusters: p is that of six values, all above 0: 2 / 2**6."""
    gains, clusters = [0.3, 0.1] * 6, [place // 2 for place in range(12)]
    zeros = [0.0] * 12
    assert statistics.compare(gains, zeros, True).p == pytest.approx(2 / 2**12, rel=1.5)
    found = statistics.compare(gains, zeros, True, clusters)
    assert (found.n, found.units, found.p) == (12, 6, pytest.approx(2 / 2**6))
    (judged,) = statistics.judge([found], higher_is_better=True)
    assert judged.verdict == "first"
    # of means that are 0.1, 0.1, 0.1 and -0.3 each, the ranks are 2, 2, 2 and -4
    few = statistics.compare([0.2, 0.0] * 3 + [-0.3, -0.3], [0.0] * 8, True, clusters[:8])
    assert few.effect == pytest.approx((6 - 4) / 10)


def test_pairs_that_share_a_seed_in_either_group_are_one_cluster(tmp_path: Path) -> None:
    """Encoders 0 0 1 1 2 2 in one group and 9 8 8 7 7 6 in the other link all six pairs; without
    the other group there are three clusters."""
    encoders = {"a": [0, 0, 1, 1, 2, 2], "b": [9, 8, 8, 7, 7, 6], "c": [None] * 6}
    for name, seeds in encoders.items():
        for seed, encoder_seed in enumerate(seeds):
            config = {"strategy": {"name": name}, "predictor": {"encoder_seed": encoder_seed}}
            make_run(tmp_path / name / str(seed), seed=seed, accuracy=0.1 * seed, config=config,
                     overrides=[f"strategy.name={name}"])  # fmt: skip
    units = {
        (pair.first.name, pair.second.name): pair.comparison.units
        for pair in report_on(tmp_path).pairs
    }
    assert list(units.values()) == [1, 3, 4]


def test_a_seed_that_all_runs_share_is_told(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, config={"predictor": {"encoder_seed": 0}})
    (told,) = [note for note in report_on(tmp_path).notes if "other values" in note]
    assert "all runs have predictor.encoder_seed=0" in told


def test_runs_of_other_threads_that_are_pooled_are_told(tmp_path: Path) -> None:
    for seed, threads in enumerate([1, 2, 2]):
        for precision in ("float32", "float64"):
            make_run(tmp_path / precision / str(seed), seed=seed, result={"threads": threads},
                     record={"precision": precision, "processes": 1})  # fmt: skip
    (told,) = [note for note in report_on(tmp_path / "float32").notes if "threads" in note]
    assert "from runs with 1 and 2 threads: in float32 the same seed gives another run" in told
    assert not any("threads" in note for note in report_on(tmp_path / "float64").notes)


def test_comparisons_of_unequal_knowledge_are_marked(tmp_path: Path) -> None:
    """Ten seeds of three groups: two know nothing, and one the size of networks."""
    for name, knowledge, accuracy in (
        ("blind", [], 0.8), ("random", None, 0.7), ("large", ["size"], 0.9)
    ):  # fmt: skip
        for seed in range(10):
            result = {"strategy": name} | ({} if knowledge is None else {"knowledge": knowledge})
            folder = tmp_path / f"{name}{seed}"
            words, config = [f"strategy={name}"], {"strategy": {"name": name}}
            make_run(
                folder, seed=seed, accuracy=accuracy, overrides=words, config=config, result=result
            )
    report = report_on(tmp_path)
    marked = {
        frozenset((pair.first.name, pair.second.name)): tables.verdict_text(pair)
        for pair in report.pairs
    }
    assert marked[frozenset(("blind", "random"))] == "A is better"
    assert marked[frozenset(("blind", "large"))] == "B is better (unequal knowledge)"
    assert [row["knowledge"] for row in records.groups(report)] == ["nothing", "size", "nothing"]
    (note,) = [note for note in report.notes if "knew" in note]
    assert "blind; random knew nothing; large knew size" in note


def test_scores_by_a_table_and_by_a_proxy_are_unequal_knowledge(tmp_path: Path) -> None:
    """A run of an earlier version says no proxy: its scores were those of the table."""
    for name, proxy in (("earlier", {}), ("table", {"proxy": None}), ("ours", {"proxy": "snip"})):
        result = {"strategy": name, "knowledge": ["zero_cost"], **proxy}
        config = {"strategy": {"name": name}}
        make_run(tmp_path / name, overrides=[f"strategy={name}"], config=config, result=result)
    known = {item.name: item.knowledge for item in report_on(tmp_path).grouping.groups}
    assert known == {"earlier": "zero_cost", "table": "zero_cost", "ours": "zero_cost by snip"}
