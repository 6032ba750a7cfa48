"""Cells on signals by the command line: retrained, asked, measured and exported."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.cli.main import main
from nasrun.engine.trained import load
from tests.commands.pictures import without_pictures

SIZES = {"cell1d": ["space.channels=4", "space.cells=1"],
         "cell1d_darts": ["space.channels=4", "space.cells=3"]}  # fmt: skip
CELL = "|conv_5~0|+|max_pool_3~0|sep_conv_5~1|+|skip_connect~0|dil_conv_5~1|avg_pool_3~2|"
PAIRS = [("conv_7", 0), ("max_pool_3", 1), ("sep_conv_5", 0), ("skip_connect", 1),
         ("dil_conv_5", 0), ("avg_pool_3", 3), ("skip_connect", 0), ("conv_3", 4)]  # fmt: skip
GENOTYPES = {"cell1d": CELL, "cell1d_darts": f"Genotype(normal={PAIRS}, reduce={PAIRS})"}


BEATS = Path(os.environ.get("NASRUN_DATA", "")) / "ecg_mitbih_beats_small.npz"


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slow and quick waves on two channels, [N, L, C]."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 32), ("test", 12)):
        labels = np.arange(count) % 2
        phases = rng.uniform(0, 7, (count, 1, 2))
        waves = np.sin(np.arange(25)[:, None] * (0.2 + 0.6 * labels[:, None, None]) + phases)
        arrays |= {f"x_{part}": (100 * waves).astype(np.int16), f"y_{part}": labels}
    path = tmp_path_factory.mktemp("waves") / "waves.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def runs(waves: Path) -> dict[str, Path]:
    for name, sizes in SIZES.items():
        (waves.parent / f"{name}.txt").write_text(GENOTYPES[name])
        main(["retrain", f"genotype={waves.parent / name}.txt", f"space={name}", *sizes,
              "retrain=smoke", "retrain.epochs=1",
              "dataset=npz", "dataset.layout=signals", f"dataset.file={waves}",
              "dataset.batch_size=16",
              f"hydra.run.dir={waves.parent / name}"])  # fmt: skip
    return {name: waves.parent / name for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_a_network_is_measured_and_asked(
    name: str, runs: dict[str, Path], waves: Path, tmp_path: Path, capsys
) -> None:
    main(["evaluate", str(runs[name]), str(waves), "--json"])
    tested = json.loads(capsys.readouterr().out)
    reported = json.loads((runs[name] / "result.json").read_text())["retrain"]
    assert tested["accuracy"] == pytest.approx(reported["test_accuracy"])

    with np.load(waves, allow_pickle=False) as arrays:
        signals_NLC = arrays["x_test"]
    np.savez(tmp_path / "new.npz", x_test=signals_NLC.transpose(0, 2, 1))
    main(["predict", str(runs[name]), str(tmp_path / "new.npz"), "--format", "jsonl"])
    said = [json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines()]
    raw_NCL = torch.from_numpy(signals_NLC.transpose(0, 2, 1).copy())
    expected = load(runs[name]).logits(raw_NCL).softmax(1).tolist()
    for classes, probabilities in zip(said, expected, strict=True):
        found = {one["class"]: one["probability"] for one in classes}
        assert [found["0"], found["1"]] == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "form"), [("cell1d", "torch,onnx,int8,python"), ("cell1d_darts", "onnx,python")]
)
def test_exports_do_what_the_network_does(
    name: str, form: str, runs: dict[str, Path], tmp_path: Path, capsys
) -> None:
    """In a process in which nasrun cannot be imported; a difference of logits would be an error."""
    for package in ("safetensors", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    main(["export", str(runs[name]), "--format", form, "--out", str(tmp_path)])
    assert "model.onnx" in capsys.readouterr().out
    text = (tmp_path / "model.py").read_text()
    assert "network(signals_BCL)" in text
    assert "torch.ops" not in text  # each line is a call that a person knows


def test_signals_of_another_length_are_refused(
    runs: dict[str, Path], tmp_path: Path, capsys
) -> None:
    np.savez(tmp_path / "short.npz", x_test=np.zeros((2, 24, 2)))
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(runs["cell1d"]), str(tmp_path / "short.npz")])
    assert caught.value.code == 2
    assert "the network takes numbers, 2 x 25" in capsys.readouterr().err


@pytest.mark.skipif(not BEATS.is_file(), reason="NASRUN_DATA has no ecg_mitbih_beats_small.npz")
def test_egnas_finds_cells_of_two_kinds_for_heart_beats(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """From real beats to predictions, by the method that the space was made for."""
    without_pictures(monkeypatch)
    main(["search", "strategy=egnas", "space=cell1d_darts", *SIZES["cell1d_darts"],
          "dataset=ecg_mitbih", f"dataset.file={BEATS}", "dataset.limit=80",
          "dataset.batch_size=16", "budget=smoke", "population.size=3",
          "retrain=smoke", "retrain.epochs=1", "retrain.channels=4",
          f"hydra.run.dir={tmp_path}"])  # fmt: skip
    capsys.readouterr()
    found = json.loads((tmp_path / "result.json").read_text())
    assert set(found["genotype"]["cells"]) == {"normal", "reduce"}
    assert [one["name"] for one in found["retrain"]["classes"]] == ["N", "S", "V", "F", "Q"]
    assert found["metric"] == "macro_f1"
    assert found["scorings"] > 0
    signals = np.zeros((2, 260), dtype=np.float32)
    np.savez(tmp_path / "two.npz", x_test=signals)
    main(["predict", str(tmp_path), str(tmp_path / "two.npz"), "--format", "jsonl"])
    said = [json.loads(line)["classes"][0]["class"] for line in capsys.readouterr().out.split("\n")
            if line]  # fmt: skip
    assert len(said) == 2
    assert said[0] == said[1]
