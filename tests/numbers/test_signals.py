"""Signals of a person: arrays, rows of text, and which spaces take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.identity import decisive, signature
from nasrun.config.schema import SearchConfig
from nasrun.datasets.inputs import from_arrays, from_rows
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.report.metrics import of_class
from tests.compose import composed


def arrays(path: Path, *shape: int) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        path,
        x_train=rng.normal(3.0, 2.0, (12, *shape)), y_train=np.arange(12) % 3,
        x_test=rng.normal(size=(6, *shape)), y_test=np.arange(6) % 3,
    )  # fmt: skip
    return path


def wired(file: Path, *words: str) -> Wiring:
    given = ["dataset=npz", f"dataset.file={file}", "strategy=random", "retrain=none", *words]
    return Wiring(to_typed(composed(given), SearchConfig, {"space": "darts", "dataset": "npz"}))


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [((20,), "auto", (1, (20,))), ((20,), "signals", (1, (20,))), ((2, 20), "signals", (2, (20,)))],
)
def test_arrays_of_signals(
    shape: tuple[int, ...], layout: str, expected: tuple[int, tuple[int]], tmp_path: Path
) -> None:
    file = arrays(tmp_path / "made.npz", *shape)
    dataset = wired(file, "space=toy", f"dataset.layout={layout}").dataset
    assert (dataset.shape.channels, dataset.shape.size) == expected
    assert dataset.shape.kind == "signals"
    raw, _ = next(dataset.train.batches(torch.arange(12), 12, torch.device("cpu")))
    normalised = dataset.normalise(raw)
    assert normalised.mean((0, 2)).abs().max() < 1e-5
    assert dataset.notes[0].startswith("12 training + 6 test signals of 3 classes")
    assert dataset.reading.white is None


def test_a_space_of_images_is_refused_for_signals_with_those_that_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        wired(arrays(tmp_path / "made.npz", 20), "space=darts")
    assert str(error.value) == (
        "space=darts takes images, and dataset=npz has signals of the size 20: "
        "type space=cell1d or space=cell1d_darts or space=toy"
    )


def test_rows_of_text_are_signals(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("a,b,c,d\n1,2,3,4\n\n5,6,7,8e0\n")
    (found,) = from_rows(file, 2, (2,))
    assert found.names == [f"{file}:2", f"{file}:4"]
    assert found.raw_BCHW.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert found.raw_BCHW.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("1,2,3\n4,5\n", "row 2 has 2 values, and the network takes signals of 3 samples"),
        ("1,2,3\n4,x,6\n", "row 2 has 'x', which is no finite number"),
        ("1,2,nan\n", "row 1 has 'nan', which is no finite number"),
        ("1,2,1e99\n", "row 1 has '1e99', which is no finite number"),
    ],
)
def test_rows_that_are_no_signals(content: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        list(from_rows(file, 1, (3,)))


def test_rows_are_read_a_batch_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("".join(f"{number}\n" for number in range(130)))
    parts = [one.raw_BCHW.flatten().tolist() for one in from_rows(file, 1, (1,))]
    assert [len(part) for part in parts] == [64, 64, 2]
    assert [value for part in parts for value in part] == list(range(130))


def test_test_arrays_of_signals_may_have_their_channels_last(tmp_path: Path) -> None:
    signals = np.random.default_rng(0).normal(size=(4, 9, 2))
    np.savez(tmp_path / "last.npz", x_test=signals)
    (found,) = from_arrays(tmp_path / "last.npz", 2, (9,), labelled=False)
    assert found.raw_BCHW == pytest.approx(signals.transpose(0, 2, 1))
    np.savez(tmp_path / "flat.npz", x_test=signals[:, :, 0])
    (found,) = from_arrays(tmp_path / "flat.npz", 1, (9,), labelled=False)
    assert found.raw_BCHW.shape == (4, 1, 9)


@pytest.mark.parametrize("name", ["x", "images", "Data", "test_images", "x_test"])
def test_inputs_alone_may_have_any_name_that_means_them(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "new.npz", **{name: np.ones((3, 9)), "mean": np.zeros(2)})
    (found,) = from_arrays(tmp_path / "new.npz", 1, (9,), labelled=False)
    assert found.raw_BCHW.shape == (3, 1, 9)


def test_which_inputs_are_meant_is_not_guessed(tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", images=np.ones((3, 9)), data=np.ones((3, 9)))
    with pytest.raises(UsageError, match="images and data could all be x_test: keep one of them"):
        list(from_arrays(tmp_path / "new.npz", 1, (9,), labelled=False))


def test_a_run_without_a_metric_of_its_own_is_the_run_that_it_was() -> None:
    plain, other = (to_typed(composed(words), SearchConfig) for words in ([], ["metric=accuracy"]))
    assert "metric" not in decisive(plain)
    assert decisive(other)["metric"] == "accuracy"
    assert signature(plain) != signature(other)


def test_a_report_knows_the_figures_of_one_class() -> None:
    class Run:
        result = {"retrain": {"classes": [{"name": "V", "sensitivity": 0.25}, "damaged"]}}  # noqa: RUF012

    metric = of_class("sensitivity:V")
    assert metric is not None
    assert metric.of(Run()) == 0.25  # type: ignore[arg-type]
    assert of_class("sensitivity:N").of(Run()) is None  # type: ignore[union-attr, arg-type]
    assert of_class("sensitivity") is None
    assert of_class("colour:V") is None
