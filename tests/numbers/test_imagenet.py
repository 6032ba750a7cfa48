"""ImageNet in its folder layout: what a worker decodes, what a search may see, what is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import train_test_split

from nasrun.compute.device import Device
from nasrun.datasets.decoding import Decoder
from nasrun.datasets.digits import load_digits
from nasrun.datasets.imagenet import load_imagenet
from nasrun.errors import RunError, UsageError
from nasrun.protocols.data import Split
from nasrun.training.streams import BatchStream, halves
from tests import made_images

CPU = torch.device("cpu")


def imagenet(root: Path | None, **keys: Any) -> Any:
    defaults = {"image_size": 16, "search_train": 0.1, "search_validation": 0.025, "workers": 0}
    defaults |= {"batch_size": 8, "limit": None, "crop_area": 0.08, "flip": True}
    defaults |= {"colour_jitter": [0.4, 0.4, 0.4, 0.2], "cutout_length": None}
    return load_imagenet(
        name="imagenet", root=None if root is None else str(root), **defaults | keys
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_images.imagenet(tmp_path_factory.mktemp("imagenet"))


def images_of(split: Split, seed: int | None = None, batch_size: int = 100) -> torch.Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = split.batches(torch.arange(len(split)), batch_size, CPU, generator)
    return torch.cat([images_BCHW for images_BCHW, _ in batches])


def picture_folder(root: Path, pixels_HWC: np.ndarray, count: int = 2) -> Path:
    """Two classes of one picture, many times; saved without loss."""
    for part in ("train", "val"):
        for name in ("n1", "n2"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(pixels_HWC).save(root / part / name / f"{number}.png")
    return root


# ---------------------------------------------------------------------------- pixels


def test_tested_are_the_pixels_in_the_middle(tmp_path: Path) -> None:
    """An image size of 7 is cut from a shorter side of 8, as 224 from 256: nothing is scaled."""
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    dataset = imagenet(picture_folder(tmp_path, pixels_HWC), image_size=7)
    expected = torch.from_numpy(pixels_HWC[0:7, 4:11].transpose(2, 0, 1).copy())
    for split in (dataset.test, dataset.train):
        assert torch.equal(images_of(split), expected.expand(4, 3, 7, 7))


def test_a_crop_shows_at_least_its_share_of_the_picture(tmp_path: Path) -> None:
    """Red and green of the picture are its coordinates, and say what a crop shows of it."""
    rows, columns = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    pixels_HWC = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    folder = picture_folder(tmp_path, pixels_HWC, count=20)
    dataset = imagenet(folder, image_size=64, crop_area=0.25, colour_jitter=[0.0] * 4)
    coordinates = images_of(dataset.train, seed=0)[:, :2].flatten(2).int()
    extents = coordinates.amax(2) - coordinates.amin(2) + 1
    share_N = extents.double().prod(1) / 256**2
    assert 0.23 < share_N.min() < 0.4
    assert 0.8 < share_N.max() <= 1
    corners = coordinates.amin(2)
    assert len(torch.unique(corners, dim=0)) > 30  # of 40, each at a place of its own
    assert images_of(dataset.train, seed=0)[:, 2].max() == 0  # no jitter: blue stays as it was


def test_grey_and_cmyk_pictures_become_rgb(made: Path) -> None:
    images = images_of(imagenet(made).test)
    grey, cmyk = images[2], images[4]  # by their names: the third and the fifth of a class
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    picture = Image.open(made / "val" / "n00000000" / "val_4.JPEG")
    assert picture.mode == "CMYK"
    assert cmyk.float().mean() == pytest.approx(np.asarray(picture.convert("RGB")).mean(), abs=12)


def test_neither_workers_nor_batches_decide_what_is_seen(made: Path) -> None:
    expected = images_of(imagenet(made).train, seed=1)
    two_workers = imagenet(made, workers=2).train
    assert torch.equal(images_of(two_workers, seed=1, batch_size=37), expected)
    assert not torch.equal(images_of(imagenet(made).train, seed=2), expected)
    plain = images_of(imagenet(made).train)
    assert torch.equal(images_of(two_workers), plain)
    assert (images_of(imagenet(made).train, seed=1) != plain).flatten(1).any(1).all()


def test_the_global_generator_is_left_alone(made: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for workers in (0, 1):
        images_of(imagenet(made, workers=workers).train.subset(torch.arange(4)), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_goes_on_at_an_epoch_boundary(made: Path) -> None:
    def stream() -> BatchStream:
        device = Device("cpu", "float32", compile_networks=False)
        generator = torch.Generator().manual_seed(3)
        dataset = imagenet(made)
        return BatchStream(dataset, dataset.train, device, generator, augment=True)

    first = stream()
    epochs = [torch.cat([images for images, _ in first.one_pass(16)]) for _ in range(2)]
    second = stream()
    list(second.one_pass(16))
    state = second._generator.get_state()
    third = stream()
    third._generator.set_state(state)
    again = torch.cat([images for images, _ in third.one_pass(16)])
    assert torch.equal(again, epochs[1])
    assert not torch.equal(again, epochs[0])


def test_normalised_by_the_official_statistics(made: Path) -> None:
    dataset = imagenet(made)
    raw = torch.tensor([255, 0, 124], dtype=torch.uint8)[None, :, None, None]
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (124 / 255 - 0.406) / 0.225]
    assert dataset.normalise(raw).flatten().tolist() == pytest.approx(expected, abs=1e-5)


# ---------------------------------------------------------------------------- shares


def test_a_search_sees_shares_of_each_class_and_none_of_the_test_pictures(made: Path) -> None:
    dataset = imagenet(made, search_train=0.5, search_validation=0.2)
    train, validation = halves(dataset.train, np.random.default_rng(0))
    assert torch.bincount(train.labels_N).tolist() == [10] * 4
    assert torch.bincount(validation.labels_N).tolist() == [4] * 4
    files = [split.decoder.files_N[split.rows_N.numpy()] for split in (train, validation)]
    assert len({*files[0], *files[1]}) == 56
    assert all(file.startswith(b"train/") for file in (*files[0], *files[1]))
    again, _ = halves(dataset.train, np.random.default_rng(0))
    other, _ = halves(dataset.train, np.random.default_rng(1))
    assert torch.equal(again.rows_N, train.rows_N)
    assert not torch.equal(other.rows_N, train.rows_N)


def test_small_sets_give_one_picture_of_each_class(made: Path) -> None:
    """Ten and 2.5 % of 80 are 8 and 2, and there are four classes."""
    train, validation = halves(imagenet(made).train, np.random.default_rng(0))
    assert torch.bincount(train.labels_N).tolist() == [2] * 4
    assert torch.bincount(validation.labels_N).tolist() == [1] * 4


def test_halves_of_other_data_are_those_that_they_were() -> None:
    digits = load_digits(name="digits", batch_size=64, limit=None, crop_padding=1, cutout_length=4)
    split = digits.train
    seed = int(np.random.default_rng(4).integers(2**32))
    labels_N = split.labels_N.numpy()
    rows = train_test_split(np.arange(1437), test_size=0.5, stratify=labels_N, random_state=seed)
    for half, expected in zip(halves(split, np.random.default_rng(4)), rows, strict=True):
        assert half._rows_N.tolist() == expected.tolist()  # type: ignore[attr-defined]


def test_limit_and_fingerprint(made: Path) -> None:
    limited = imagenet(made, limit=12)
    assert torch.bincount(limited.train.labels_N).tolist() == [3] * 4
    prints = {
        imagenet(made, **keys).fingerprint() for keys in ({}, {"limit": 12}, {"image_size": 8})
    }
    assert len(prints) == 3
    assert imagenet(made, workers=2).fingerprint() == imagenet(made).fingerprint()


# ---------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["cut", "empty", "text"])
def test_a_broken_picture_is_named(kind: str, workers: int, tmp_path: Path) -> None:
    made_images.imagenet(tmp_path, train=2, val=1)
    bad = tmp_path / "train" / "n00000002" / "train_1.JPEG"
    content = {"cut": bad.read_bytes()[:500], "empty": b"", "text": b"a picture of a cat\n"}[kind]
    bad.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        images_of(imagenet(tmp_path, workers=workers).train, seed=0, batch_size=3)
    text = str(caught.value)
    assert text.startswith(f"dataset.root={tmp_path}: {bad} is not a readable picture (")
    assert text.endswith("; put a sound copy in its place, then nasrun resume goes on")
    assert "\n" not in text


def test_a_decoder_that_is_killed_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "pixels", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RunError, match=r"was killed \(out of memory\?\): lower dataset.workers"):
        images_of(imagenet(made, workers=1).train, seed=0, batch_size=3)


def test_a_deep_picture_is_scaled_and_a_floating_one_named(tmp_path: Path) -> None:
    made_images.imagenet(tmp_path, train=2, val=1)
    for number in range(4):
        deep = np.full((40, 40), 120 * 257 + number, np.uint16)
        Image.fromarray(deep).save(tmp_path / "train" / "n00000000" / f"deep_{number}.png")
    images = images_of(imagenet(tmp_path).train, seed=None, batch_size=4)
    assert (images[:4] == 120).all()
    file = tmp_path / "val" / "n00000000" / "float.tif"
    Image.fromarray(np.zeros((40, 40), np.float32)).save(file)
    with pytest.raises(UsageError, match=f"{file} holds floating numbers, .*nasrun resume goes on"):
        images_of(imagenet(tmp_path).test, seed=None, batch_size=4)


def test_faint_channels_are_told_where_a_few_pictures_show_them(tmp_path: Path) -> None:
    white_HWC = np.full((20, 20, 3), 255, np.uint8)
    white_HWC[9, 9] = 0
    picture_folder(tmp_path, white_HWC, count=20)
    (tmp_path / "train" / "n1" / "0.png").write_bytes(b"broken, which is found when it is needed")
    (told,) = [note for note in imagenet(tmp_path).notes if "nearly constant" in note]
    assert "3 of 3 channels of the 31 training images that were looked at are nearly" in told


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    made_images.imagenet(tmp_path, train=2, val=1)
    (tmp_path / "val").rename(tmp_path / "test")  # as in the official archive, without labels
    with pytest.raises(UsageError, match=r"no folder .*/val; the pictures .* and in val/<class>/"):
        imagenet(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("search_validation", 0.95, "a share above 0 of what dataset.search_train leaves"),
        ("colour_jitter", [0.4, 0.4, 0.4, 0.6], "the hue, is at most 0.5"),
        ("limit", 7, "a whole number of at least 8"),
    ],
)
def test_keys_out_of_range(key: str, value: object, allowed: str, made: Path) -> None:
    with pytest.raises(UsageError, match=rf"dataset.{key}=.* is not possible: .*{allowed}"):
        imagenet(made, **{key: value})
