"""Networks that leave: asked about new inputs, measured, and exported to run without nasrun."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score

from nasrun.cli.main import main
from nasrun.engine import compress
from nasrun.engine.ask import Quality
from nasrun.engine.trained import load
from nasrun.engine.wiring import load_dataset
from nasrun.launch.replay import recorded_node
from nasrun.protocols.data import TaskShape
from nasrun.runs.model_file import WEIGHTS_FILE
from nasrun.storage.tensor_files import read_tensors
from nasrun.training.costs import measure

CELLS = {
    "darts": ["space=darts", "space.channels=4", "space.cells=3"],
    "nasbench201": ["space=nasbench201", "space.channels=4", "space.cells=1"],
    "nasbench101": ["space=nasbench101", "space.channels=8", "space.cells=1"],
    "macro_cnn": ["space=macro_cnn", "space.channels=4"],
    "nasnet": ["space=nasnet", "genotype=nasnet_a", "space.channels=4", "space.cells=3"],
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue squares, which any network tells apart, as files of every mode."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 8)):
        for label, colour in enumerate(((200, 30, 40), (30, 60, 200))):
            folder = root / part / ("red", "blue")[label]
            folder.mkdir(parents=True)
            for number in range(count):
                noisy = np.clip(np.array(colour) + rng.normal(0, 20, (20, 16, 3)), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def runs(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("runs")
    for name, chosen in CELLS.items():
        given = [] if any("genotype=" in one for one in chosen) else ["genotype=random"]
        main(["retrain", *given, *chosen, "retrain=smoke", "dataset=imagefolder",
              f"dataset.root={pictures}", "dataset.size=8", "dataset.batch_size=12",
              f"hydra.run.dir={home / name}"])  # fmt: skip
    return {name: home / name for name in CELLS}


def test_a_network_is_built_again_without_its_data(runs: dict[str, Path]) -> None:
    for name, folder in runs.items():
        network = load(folder)
        assert network.record.reading.classes == ("blue", "red"), name
        assert network.logits(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)).shape == (3, 2)


def test_pictures_are_read_as_in_the_test_of_the_training(
    runs: dict[str, Path], pictures: Path, capsys, tmp_path: Path
) -> None:
    run = runs["nasbench201"]
    main(["evaluate", str(run), "--json"])
    tested = json.loads(capsys.readouterr().out)
    reported = json.loads((run / "result.json").read_text())["retrain"]
    assert tested["accuracy"] == pytest.approx(reported["test_accuracy"])
    assert tested["macro_f1"] == pytest.approx(reported["macro_f1"])
    main(["evaluate", str(run), str(pictures / "test"), "--json"])
    assert json.loads(capsys.readouterr().out) == tested

    out = tmp_path / "said.csv"
    main(["predict", str(run), str(pictures / "test"), "--top", "1", "--out", str(out)])
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["input", "class_1", "p_1"]
    right = sum(Path(name).parent.name == said for name, said, _ in rows[1:])
    assert right / (len(rows) - 1) == pytest.approx(tested["accuracy"])


def test_a_picture_of_any_mode_is_the_same_picture(runs: dict[str, Path], tmp_path: Path, capsys):
    rgb = Image.fromarray(np.full((16, 16, 3), (200, 30, 40), dtype=np.uint8))
    rgb.save(tmp_path / "rgb.png")
    rgb.convert("RGBA").save(tmp_path / "rgba.png")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    files = [str(tmp_path / f"{name}.png") for name in ("rgb", "rgba", "palette")]
    main(["predict", str(runs["darts"]), *files, "--format", "jsonl"])
    said = [json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines()]
    assert said[0] == said[1] == said[2]
    assert {one["class"] for one in said[0]} == {"red", "blue"}


TURNED = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
          6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
"""EXIF orientation -> how the pixels are stored of a picture that viewers turn upright."""


def test_predict_says_what_the_test_loop_says_of_any_picture(
    runs: dict[str, Path], pictures: Path, tmp_path: Path, capsys
) -> None:
    """Of every mode, and turned by EXIF: the pixels and logits of a dataset of the same files."""
    blue = tmp_path / "test" / "blue"
    shutil.copytree(pictures / "train", tmp_path / "train")
    blue.mkdir(parents=True)
    (tmp_path / "test" / "red").mkdir()
    shutil.copy(next((pictures / "test" / "red").iterdir()), tmp_path / "test" / "red" / "r.png")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    pixels[:, :10] = (30, 60, 200)  # wide, and the left side is another than the right one
    upright = Image.fromarray(pixels)
    upright.save(blue / "upright.png")
    for orientation, stored in TURNED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = upright.transpose(Image.Transpose[stored])
        turned.save(blue / f"exif{orientation}.png", exif=exif)
    for mode in ("L", "LA", "1", "P", "RGBA"):
        upright.convert(mode).save(blue / f"{mode}.png")
    upright.convert("CMYK").save(blue / "CMYK.tif")
    deep = np.asarray(upright.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(blue / "deep.png")

    run = runs["nasbench201"]
    node = {**recorded_node(run, "dataset"), "root": str(tmp_path)}
    dataset = load_dataset(node)
    ((raw, _),) = dataset.test.batches(torch.arange(len(dataset.test)), 99, torch.device("cpu"))
    tested = load(run).logits(raw).softmax(1)[:, 0].tolist()  # of blue, file by file
    main(["predict", str(run), str(tmp_path / "test"), "--format", "jsonl"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [{one["class"]: one["probability"] for one in line["classes"]} for line in lines]
    assert [one["blue"] for one in said] == pytest.approx(tested, abs=1e-6)
    of = {Path(line["input"]).stem: one["blue"] for line, one in zip(lines, said, strict=True)}
    assert len(of) == 16
    for orientation in TURNED:
        assert of[f"exif{orientation}"] == pytest.approx(of["upright"], abs=1e-6)
    assert of["deep"] == pytest.approx(of["L"], abs=1e-6)
    assert of["L"] != pytest.approx(of["upright"], abs=1e-5)  # so a difference would show


def test_arrays_are_asked_as_well(runs: dict[str, Path], tmp_path: Path, capsys) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", x_test=images, y_test=np.array([0, 1, 1, 0, 1]))
    main(["predict", str(runs["darts"]), str(tmp_path / "new.npz"), "--format", "jsonl"])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = load(runs["darts"]).logits(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    for line, probabilities in zip(said, expected.softmax(1).tolist(), strict=True):
        found = {one["class"]: one["probability"] for one in line["classes"]}
        assert [found["blue"], found["red"]] == pytest.approx(probabilities, abs=1e-6)
    main(["evaluate", str(runs["darts"]), str(tmp_path / "new.npz"), "--json"])
    right = (expected.argmax(1) == torch.tensor([0, 1, 1, 0, 1])).float().mean()
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(float(right))


def test_quality_by_hand_and_by_scikit_learn() -> None:
    confusion = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    found = Quality(("a", "b", "c"), confusion)
    assert found.accuracy == pytest.approx(5 / 6)
    rows = found.per_class()
    assert (rows[0]["precision"], rows[0]["recall"]) == (1.0, 0.75)
    assert (rows[1]["precision"], rows[1]["recall"]) == (pytest.approx(2 / 3), 1.0)
    assert (rows[2]["count"], rows[2]["f1"]) == (0, 0.0)
    true, said = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]
    assert found.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))


@pytest.mark.parametrize(
    "name",
    [
        "nasbench201",
        *(
            pytest.param(name, marks=pytest.mark.processes)
            for name in ("darts", "nasbench101", "macro_cnn", "nasnet")
        ),
    ],
)
def test_a_program_of_torch_does_what_the_network_does(
    name: str, runs: dict[str, Path], tmp_path: Path, capsys
) -> None:
    """In a process in which nasrun cannot be imported; a difference of logits would be an error."""
    main(["export", str(runs[name]), "--format", "torch", "--out", str(tmp_path)])
    assert "model.pt2" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.pt2"}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("darts", "python"), ("macro_cnn", "python"),
        ("nasbench201", "onnx,int8"), ("macro_cnn", "onnx,int8"),
        ("nasnet", "onnx,python"),
    ],
)  # fmt: skip
def test_other_formats(name: str, form: str, runs: dict[str, Path], tmp_path, capsys) -> None:
    needed = {"python": ["safetensors"], "onnx": ["onnxscript", "onnxruntime"], "int8": []}
    for module in (module for one in form.split(",") for module in needed[one]):
        pytest.importorskip(module)
    main(["export", str(runs[name]), "--format", form, "--out", str(tmp_path)])
    told = capsys.readouterr().out
    files = {"python": "model.py", "onnx": "model.onnx", "int8": "model.int8.onnx"}
    assert all(files[one] in told for one in form.split(","))
    if "python" in form:
        text = (tmp_path / "model.py").read_text()
        assert "nasrun" not in text
        assert ("# blocks.0" if name == "macro_cnn" else "# cells.0") in text
        # only what comes before the first part normalises; what is between parts is the network's
        places = [line.strip() for line in text.partition("def forward")[2].splitlines()
                  if line.strip().startswith("#")]  # fmt: skip
        assert places.count("# normalisation") == 1
        assert places[0] == "# normalisation"
        assert "# network" in places


def test_an_auxiliary_head_is_no_part_of_a_network_that_is_asked(tmp_path: Path) -> None:
    main(["retrain", "genotype=darts_v2", "dataset=synthetic", "dataset.size=32", "retrain=smoke",
          "dataset.num_train=32", "dataset.num_test=8", "dataset.batch_size=16", "retrain.epochs=1",
          "retrain.channels=2", "retrain.cells=3", "retrain.auxiliary_weight=0.4",
          f"hydra.run.dir={tmp_path}"])  # fmt: skip
    saved = {name.partition(".")[0] for name in read_tensors(tmp_path / WEIGHTS_FILE)}
    trained = load(tmp_path)
    kept = {name.partition(".")[0] for name in trained.network.network.state_dict()}
    assert saved - kept == {"auxiliary_head"}
    record = trained.record
    shape = TaskShape(record.input_channels, record.input_size, len(record.reading.classes))
    found = json.loads((tmp_path / "result.json").read_text())["retrain"]
    # as nasrun compress counts them
    assert measure(trained.network.network, shape) == (found["params"], found["flops"])


def test_half_of_the_channels_are_cut_in_every_layer(runs: dict[str, Path]) -> None:
    pytest.importorskip("torch_pruning")
    for name, folder in runs.items():
        original = load(folder)
        small = compress.pruned(original, 0.5)
        kept = original.network.state_dict()
        assert small(torch.zeros(3, 3, 8, 8)).shape == (3, 2), name
        sizes = [sum(one.numel() for one in net.parameters()) for net in (original.network, small)]
        assert sizes[1] < 0.6 * sizes[0] or name == "nasbench101", name  # whose sums fix its widths
        assert all(
            torch.equal(kept[key], one) for key, one in original.network.state_dict().items()
        )
        if name == "macro_cnn":
            stem = next(one for one in small.modules() if isinstance(one, torch.nn.Conv2d))
            assert stem.weight.shape == (4, 3, 3, 3)  # retrain=smoke has 8 channels


@pytest.mark.processes
def test_a_network_is_made_smaller(runs: dict[str, Path], tmp_path: Path, capsys) -> None:
    for package in ("torch_pruning", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    words = ["--keep", "0.5", "--epochs", "2", "--out", str(tmp_path)]
    main(["compress", str(runs["macro_cnn"]), *words])
    told = capsys.readouterr().out
    assert "original" in told
    found = json.loads((tmp_path / "compressed.json").read_text())
    before, after = found["original"], found["pruned"]
    assert after["params"] < 0.5 * before["params"]
    assert after["files"]["onnx"]["bytes"] < before["files"]["onnx"]["bytes"]
    assert after["files"]["onnx"]["accuracy"] == found["test_accuracy"]["tuned"]  # all 16 pictures


def refused(capsys: Any, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert caught.value.code == 2
    return str(capsys.readouterr().err)


def test_what_cannot_be_is_told_in_one_sentence(
    runs: dict[str, Path], pictures: Path, tmp_path: Path, capsys
) -> None:
    run = str(runs["darts"])
    (tmp_path / "text.png").write_text("no picture")
    np.savez(tmp_path / "wide.npz", x_test=np.zeros((2, 9, 9, 3), dtype=np.uint8))
    (tmp_path / "classes" / "green").mkdir(parents=True)
    cases = {
        ("predict", run, str(tmp_path / "text.png")): "is not a readable picture",
        ("predict", run, str(tmp_path / "none.png")): "there is no file",
        ("predict", run, str(tmp_path / "wide.npz")): "the network takes numbers, 3 x 8 x 8",
        ("predict", run, str(tmp_path), "--top", "0"): "--top 0: it must be at least 1",
        ("predict", str(tmp_path), str(pictures)): "is no run folder",
        ("evaluate", run, str(tmp_path / "classes")): "green is none of the classes",
        ("export", run, "--format", "onxx"): "did you mean onnx",
        ("compress", run, "--keep", "1.5"): "--keep=1.5 is not possible",
    }
    for words, sentence in cases.items():
        assert sentence in refused(capsys, *words), words


def test_a_half_run_and_a_diverged_one_are_refused(
    runs: dict[str, Path], tmp_path: Path, capsys
) -> None:
    half = tmp_path / "half"
    shutil.copytree(runs["darts"], half)
    weights = torch.load(half / "model.pt", weights_only=True)
    next(iter(weights.values())).fill_(float("nan"))
    torch.save(weights, half / "model.pt")
    assert "the training has diverged" in refused(capsys, "export", str(half))
    (half / "model.pt").write_bytes(b"PK")
    assert "does not fit the network" in refused(capsys, "predict", str(half), "x.png")
    (half / "model.json").unlink()
    record = {**json.loads((half / "run.json").read_text()), "status": "interrupted"}
    (half / "run.json").write_text(json.dumps(record))
    assert f"nasrun resume {half}" in refused(capsys, "export", str(half))
