"""What every dataset of `conf/dataset/` promises; a new YAML file is tested from the start.

Datasets with a `file` or `root` key get small made files. One that needs others, which are not
here, is skipped with its own message.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torchvision.datasets import CIFAR10

from nasrun.datasets.table_column import load_table_column
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset

CONF = Path(__file__).parents[2] / "conf" / "dataset"
COLUMNS = sorted(  # of benchmark tables, which have no inputs
    path.stem for path in CONF.glob("*.yaml") if ".table_column." in path.read_text()
)
NAMES = sorted({path.stem for path in CONF.glob("*.yaml")} - set(COLUMNS))


def make_npz(path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 30), ("test", 12)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 3
    np.savez(path, **arrays)


def make_beats(path: Path) -> None:
    """Packed heart beats of two patients of either set: five of each class and patient."""
    rng = np.random.default_rng(0)
    labels, records = (part.flatten() for part in np.meshgrid(
        np.repeat(np.arange(5), 5), (101, 106, 100, 103)))  # fmt: skip
    np.savez(
        path,
        first=rng.integers(900, 1100, len(labels)),
        delta=rng.integers(-9, 10, (len(labels), 259), dtype=np.int8),
        label=labels,
        record=records,
    )


def make_pictures(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test", "val"):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def make_cifar(root: Path) -> None:
    """Files in the layout of the official ones, a hundred images each."""
    images = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    parts = {f"cifar-10-batches-py/data_batch_{n}": ("labels", 10) for n in range(1, 6)}
    parts |= {"cifar-10-batches-py/test_batch": ("labels", 10)}
    parts |= {f"cifar-100-python/{name}": ("fine_labels", 100) for name in ("train", "test")}
    for name, (key, num_classes) in parts.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({"data": images, key: [n % num_classes for n in range(200)]}))
    for folder, names in (
        ("cifar-10-batches-py/batches.meta", "label_names"),
        ("cifar-100-python/meta", "fine_label_names"),
    ):
        (root / folder).write_bytes(pickle.dumps({names: [str(n) for n in range(100)]}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    make_npz(folder / "made.npz")
    make_beats(folder / "beats.npz")
    make_pictures(folder)
    make_cifar(folder)
    return folder


@pytest.fixture(scope="module", params=NAMES)
def dataset(request: pytest.FixtureRequest, files: Path) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        # The made files cannot have the checksums of the official ones.
        patch.setattr(CIFAR10, "_check_integrity", lambda self: True)
        patch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
        return build(request.param, files)


def build(name: str, files: Path, **overrides: object) -> Dataset:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, _, attribute = config.pop("_target_").rpartition(".")
    if "file" in config:
        config["file"] = str(files / ("beats.npz" if name.startswith("ecg") else "made.npz"))
    if "root" in config:
        config["root"] = str(files)
    load = getattr(importlib.import_module(module), attribute)
    try:
        return load(**config | overrides)
    except UsageError as error:
        if overrides:
            raise
        pytest.skip(f"needs files that are not here: {error}")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_a_table_says_that_it_has_no_inputs(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^dataset\.name={name} is a column .* evaluator=table"):
        load_table_column(name=yaml.safe_load((CONF / f"{name}.yaml").read_text())["name"])


def test_name_and_gloss(dataset: Dataset) -> None:
    assert dataset.name in NAMES  # the option has the name that the records bear
    assert (CONF / f"{dataset.name}.yaml").read_text().startswith("# ")


def test_shapes_and_labels(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.test):
        raw, labels = next(split.batches(torch.arange(len(split)), 5, torch.device("cpu")))
        assert raw.shape == (5, dataset.shape.channels, *dataset.shape.size)
        assert raw.dtype in (torch.uint8, torch.float32)
        assert labels.dtype == split.labels_N.dtype == torch.int64
        assert len(split) == len(split.labels_N)
        assert split.labels_N.min() >= 0
        assert split.labels_N.max() < dataset.shape.num_classes
    counts = torch.bincount(dataset.train.labels_N, minlength=dataset.shape.num_classes)
    assert counts.min() >= 2


def test_batches_follow_the_order(dataset: Dataset) -> None:
    cpu = torch.device("cpu")
    order = torch.tensor([4, 0, 3, 3, 1])
    batches = list(dataset.train.batches(order, 2, cpu))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    singles = [next(dataset.train.batches(order[k : k + 1], 1, cpu)) for k in range(5)]
    assert torch.equal(torch.cat([raw for raw, _ in batches]), torch.cat([r for r, _ in singles]))
    assert torch.equal(torch.cat([labels for _, labels in batches]), dataset.train.labels_N[order])


def test_subset_of_a_subset(dataset: Dataset) -> None:
    cpu = torch.device("cpu")
    subset = dataset.train.subset(torch.tensor([5, 2, 0, 1])).subset(torch.tensor([3, 0]))
    raw, labels = next(subset.batches(torch.tensor([0, 1]), 2, cpu))
    expected_raw, expected = next(dataset.train.batches(torch.tensor([1, 5]), 2, cpu))
    assert len(subset) == 2
    assert torch.equal(raw, expected_raw)
    assert torch.equal(labels, expected)


def test_augmentation_repeats_and_leaves_its_input_alone(dataset: Dataset) -> None:
    raw, _ = next(dataset.train.batches(torch.arange(8), 8, torch.device("cpu")))
    before = raw.clone()
    results = [
        dataset.augment(raw, torch.Generator().manual_seed(seed), cutout=True) for seed in (1, 1, 2)
    ]
    assert torch.equal(raw, before)
    assert results[0].shape == raw.shape
    assert results[0].dtype == raw.dtype
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_normalised_values(dataset: Dataset) -> None:
    count = len(dataset.train)
    raw, _ = next(dataset.train.batches(torch.arange(count), count, torch.device("cpu")))
    normalised = dataset.normalise(raw)
    assert normalised.dtype == torch.float32
    if dataset.name in ("cifar10", "cifar100", "imagenet"):  # official statistics, but made files
        return
    all_but_channels = (0, *range(2, normalised.dim()))
    assert normalised.mean(all_but_channels).abs().max() < 1e-4
    assert (normalised.std(all_but_channels, correction=0) - 1).abs().max() < 1e-4


def test_what_a_person_should_know_is_said_in_lines(dataset: Dataset) -> None:
    assert all(isinstance(note, str) and "\n" not in note for note in dataset.notes)


def test_fingerprint(dataset: Dataset) -> None:
    assert len(dataset.fingerprint()) == 64
    assert dataset.fingerprint() == dataset.fingerprint()
