"""What is said, before a run begins, of its data and of batches that do not suit them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.cli.main import main
from nasrun.compute.device import Device
from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.datasets.images import Resident
from nasrun.engine import batches
from nasrun.engine.wiring import Wiring, load_dataset
from nasrun.errors import OutOfMemory, UsageError
from nasrun.training.streams import BatchStream, cut_to_fit, halves, num_of_halves
from tests.compose import composed

QUICK = ["space=nasbench201", "dataset.limit=41", "budget.evaluations=1", "strategy=random",
         "evaluator.epochs=1", "evaluator.channels=2", "evaluator.cells=1"]  # fmt: skip


def wiring(*words: str) -> Wiring:
    return Wiring(to_typed(composed([*QUICK, *words]), SearchConfig))


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["retrain=none"], [("dataset.batch_size", 64, 20)]),
        (["retrain=none", "evaluator.batch_size=21"], [("evaluator.batch_size", 21, 20)]),
        (["retrain=none", "dataset.batch_size=20"], []),
        (
            ["retrain=short", "retrain.batch_size=40", "retrain.validation=0.5",
             "dataset.batch_size=16"],
            [("retrain.batch_size", 40, 20)],
        ),
        (["retrain=short", "retrain.batch_size=41", "dataset.batch_size=16"], []),
        (
            ["strategy=egnas", "evaluator=shared_weights", "strategy.batch_size=30",
             "retrain=none"],
            [("strategy.batch_size", 30, 20)],
        ),
    ],
)  # fmt: skip
def test_batches_larger_than_the_set(words: list[str], sizes: list[tuple[str, int, int]]) -> None:
    """Of 41 images a search trains on 20."""
    if "strategy=egnas" in words:
        words = [*words, "budget.epochs=2", "population.size=4"]
        base = ["space=nasbench201", "dataset.limit=41"]
        own = Wiring(to_typed(composed([*base, *words]), SearchConfig))
    else:
        own = wiring(*words)
    found = [note for note in batches.notes(own) if "batch_size" in note]
    assert len(found) == len(sizes)
    for note, (key, size, images) in zip(found, sizes, strict=True):
        assert note.startswith(f"warning: {key}={size} is more than the {images} images that the ")


def test_the_number_of_a_half_is_that_of_halves() -> None:
    train = wiring("retrain=none").dataset.train
    parts = halves(train, np.random.default_rng(0))
    assert tuple(map(len, parts)) == num_of_halves(train) == (20, 21)


def test_a_batch_that_processes_cannot_share() -> None:
    words = ["space=nasbench201", "dataset.limit=41", "retrain=short", "retrain.batch_size=4"]
    own: Any = Wiring(to_typed(composed(words), SearchConfig))
    batches.require_possible(own)
    own.device.group = SimpleNamespace(size=2)
    batches.require_possible(own)
    own.device.group = SimpleNamespace(size=3)
    with pytest.raises(UsageError, match=r"^3 processes cannot share a batch of 4 .*\(retrain.ba"):
        batches.require_possible(own)
    trained: Any = wiring("retrain=none", "evaluator=train", "evaluator.batch_size=4")
    trained.device.group = SimpleNamespace(size=9)
    batches.require_possible(trained)  # they share candidates, and no batches


@pytest.mark.parametrize("key", ["dataset.batch_size", "evaluator.batch_size"])
def test_a_batch_of_one_is_refused_before_the_run(
    key: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["search", *QUICK, f"{key}=1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"nasrun: {key}=1 must be at least 2\n"
    assert list(tmp_path.iterdir()) == []


def test_what_was_read_is_logged_at_the_start_of_a_run(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    labels = np.arange(12) % 2
    np.savez("made.npz", x_train=images, y_train=labels, x_test=images[::2], y_test=labels[::2])
    words = ["dataset=npz", "dataset.file=made.npz", "retrain=none", "hydra.run.dir=run"]
    main(["search", *QUICK[:1], *QUICK[2:], *words])
    notes = [
        "dataset npz: 12 training + 6 test images of 2 classes: 0: 6 + 6, 1: 6 + 0",
        "dataset npz: warning: no test images of 1: the test accuracy says nothing of them",
        "warning: dataset.batch_size=64 is more than the 6 images that the search trains on: each "
        "batch has all of them, and each epoch is one update",
    ]
    assert capsys.readouterr().out.splitlines()[2:5] == notes  # after where and what it is
    lines = (tmp_path / "run" / "search.log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines[:3]] == notes


# ---------------------------------------------------------------------------- want of memory


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 3 bytes")])
def test_want_of_memory_while_images_are_loaded(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(plugins, "build", fail)
    node = {"_target_": "nasrun.datasets.imagefolder.load_imagefolder", "size": 8, "limit": None}
    with pytest.raises(OutOfMemory) as caught:
        load_dataset(node)
    assert str(caught.value) == (
        "out of memory while the images of dataset=imagefolder were loaded: lower dataset.size or "
        "dataset.limit"
    )


def test_want_of_memory_on_the_device_names_the_images() -> None:
    class Large:
        device, nbytes = torch.device("cpu"), 3_500_000_000

        def to(self, _: torch.device) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    images: Any = Resident(Large())  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory, match=r"the images take 3.5 GB on cuda; lower dataset.limit"):
        images.on(torch.device("cuda"))


# ---------------------------------------------------------------------------- images of one epoch


def test_batches_of_one_draw_have_no_image_in_common() -> None:
    """Of 21 images, each of which is a number; two calls may return the same ones."""
    images = Numbered(21)
    stream = BatchStream(
        images, images.train, Device("cpu", "float32", False), torch.Generator(), augment=False
    )  # type: ignore[arg-type]
    for sizes, cut in (([8, 12], [8, 12]), ([16, 32], [7, 13]), ([9, 9, 9], [7, 7, 7])):
        for _ in range(5):
            drawn = [labels_B for _, labels_B in stream.take_apart(sizes)]
            assert list(map(len, drawn)) == cut
            assert len(torch.cat(drawn).unique()) == sum(cut)
    passes = [set(stream.take(16)[1].tolist()) for _ in range(2)]
    assert passes[0] & passes[1]


@pytest.mark.parametrize(
    ("sizes", "num_images", "cut"),
    [
        ([256, 512], 25_000, [256, 512]),
        ([256, 512], 719, [239, 479]),
        ([512] * 4, 719, [179] * 4),
        ([256, 2], 5, [3, 2]),
        ([256, 512], 4, [2, 2]),
        ([8, 8, 16], 4, [2, 2]),  # the last ones
    ],
)
def test_sizes_are_cut_in_proportion(sizes: list[int], num_images: int, cut: list[int]) -> None:
    assert cut_to_fit(sizes, num_images) == cut


def test_the_images_of_the_selection_are_others_and_a_cut_is_told() -> None:
    """EG-NAS promises it; the validation half has 21 images here."""
    words = ["space=nasbench201", "space.cells=1", "dataset.limit=41", "population.size=3",
             "strategy=egnas", "retrain=none", "strategy.warmup=0", "strategy.fitness_batches=2",
             "strategy.fitness_images=8", "strategy.selection_images=16"]  # fmt: skip
    own = Wiring(to_typed(composed(words), SearchConfig))
    strategy: Any = own.strategy
    found = strategy.look_around()
    pixels = [images_BCHW.flatten(1) for images_BCHW, _ in [*found.batches, *found.selection]]
    assert list(map(len, pixels)) == [5, 5, 10]
    assert len(torch.cat(pixels).unique(dim=0)) == 20
    (told,) = [note for note in batches.notes(own) if "two batches" in note]
    assert told.endswith(
        "on 21 images: cut strategy.fitness_images=8 to 5 and strategy.selection_images=16 to 10"
    )


class Numbered:
    """A dataset and its only split: each image is its own label."""

    def __init__(self, num_images: int) -> None:
        self.labels_N, self.train = torch.arange(num_images), self

    def __len__(self) -> int:
        return len(self.labels_N)

    def batches(self, order_M: torch.Tensor, *_: object) -> Any:
        yield order_M.float().view(-1, 1, 1, 1), order_M

    def normalise(self, raw_BCHW: torch.Tensor) -> torch.Tensor:
        return raw_BCHW
