"""One picture of a stranger: deep ones are scaled, what is lost is said, sizes stay bounded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from nasrun.check import memory
from nasrun.config import plugins
from nasrun.datasets import pictures
from nasrun.datasets.imagefolder import load_imagefolder
from nasrun.datasets.pictures import (
    MAX_PIXELS,
    MORE_FRAMES,
    TRANSPARENT,
    UnknownRange,
    centre,
    load,
    unreadable,
)
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset
from tests.compose import node

GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = GREYS.astype(np.uint16) * 257  # 255 becomes 65535
ORIENTATION = 0x0112  # the tag of EXIF


def values(file: Path) -> np.ndarray:
    """pixels_HWC"""
    return np.asarray(load(str(file), MAX_PIXELS)[0])


def save_deep(kind: str, folder: Path, deep: np.ndarray = DEEP) -> Path:
    """A picture of 16 bits in one of the modes in which Pillow opens them."""
    file = folder / f"deep.{kind.rpartition(' ')[2]}"
    if kind == "I;16B tif":
        size = deep.shape[::-1]
        Image.frombytes("I;16B", size, deep.astype(">u2").tobytes()).save(file)
    else:
        Image.fromarray(deep).save(file)
    with Image.open(file) as picture:
        assert picture.mode == kind.partition(" ")[0]
    return file


@pytest.mark.parametrize("kind", ["I;16 png", "I;16 tif", "I;16B tif", "I pgm"])
def test_pictures_of_16_bits_are_those_of_8(kind: str, tmp_path: Path) -> None:
    assert np.array_equal(values(save_deep(kind, tmp_path)), np.stack([GREYS] * 3, axis=2))


UPRIGHT = {  # by the standard: where row 0 and column 0 of what is stored belong
    1: lambda stored: stored,  # top, left
    2: np.fliplr,  # top, right
    3: lambda stored: np.rot90(stored, 2),  # bottom, right
    4: np.flipud,  # bottom, left
    5: np.transpose,  # left, top
    6: lambda stored: np.rot90(stored, -1),  # right, top
    7: lambda stored: np.rot90(stored, 2).T,  # right, bottom
    8: np.rot90,  # left, bottom
}


@pytest.mark.parametrize("kind", ["8 png", "16 png", "8 tif", "16 tif"])
def test_pictures_are_turned_as_the_camera_was_held(kind: str, tmp_path: Path) -> None:
    bits, ending = kind.split()
    stored = (GREYS if bits == "8" else DEEP)[:5]
    file = tmp_path / f"held.{ending}"
    for orientation, turned in UPRIGHT.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.fromarray(stored).save(file, exif=exif)
        assert np.array_equal(values(file)[..., 0], turned(GREYS[:5])), orientation


def test_broken_exif_leaves_the_pixels_alone(tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    broken = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0"  # an orientation, cut off
    for exif in (b"Exif\0\0", broken, b"no EXIF at all"):
        Image.fromarray(GREYS).save(file, exif=exif)
        assert np.array_equal(values(file)[..., 0], GREYS)


def test_values_between_are_rounded(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257, 40_000, 65_535]], np.uint16)
    expected = [round(value / 257) for value in deep[0].tolist()]
    assert expected == [0, 0, 1, 1, 156, 255]
    assert values(save_deep("I;16 tif", tmp_path, deep))[0, :, 1].tolist() == expected


def test_of_12_bits_the_brightest_is_white(tmp_path: Path) -> None:
    """A TIFF by hand: two values in three bytes."""
    pixels = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10])  # 0x000, 0xfff, 0x800, 0x010
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(pixels)}
    start = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    file = tmp_path / "deep.tif"
    file.write_bytes(start + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
    expected = [0, 255, round(0x800 * 255 / 4095), round(0x010 * 255 / 4095)]
    assert values(file)[0, :, 0].tolist() == expected


def test_where_zero_is_white_it_stays_so(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "deep.tif", tiffinfo={262: 0})
    assert np.array_equal(values(tmp_path / "deep.tif")[..., 0], 255 - GREYS)


@pytest.mark.parametrize(("kind", "word"), [(np.float32, "floating"), (np.int32, "whole")])
def test_numbers_without_a_range_are_refused(kind: type, word: str, tmp_path: Path) -> None:
    file = tmp_path / "deep.tif"
    Image.fromarray(DEEP.astype(kind)).save(file)
    with pytest.raises(UnknownRange) as caught:
        load(str(file), MAX_PIXELS)
    text = unreadable(tmp_path, str(file), caught.value)
    assert text.startswith(f"dataset.root={tmp_path}: {file} holds ")
    assert word in text
    assert text.endswith("(dataset=npz dataset.file=FILE)")


# ---------------------------------------------------------------------------- what is lost


def lost(file: Path) -> tuple[str, ...]:
    return load(str(file), MAX_PIXELS)[1]


def test_transparency_and_further_frames_are_told(tmp_path: Path) -> None:
    file = tmp_path / "made.png"
    opaque = np.full((4, 4, 4), 255, np.uint8)
    Image.fromarray(opaque).save(file)
    assert lost(file) == ()
    opaque[0, 0, 3] = 254
    Image.fromarray(opaque).save(file)
    assert lost(file) == (TRANSPARENT,)
    Image.fromarray(GREYS).convert("P").save(file, transparency=3)
    assert lost(file) == (TRANSPARENT,)
    first, second = Image.fromarray(GREYS), Image.fromarray(255 - GREYS)
    first.save(tmp_path / "made.tif", save_all=True, append_images=[second])
    assert lost(tmp_path / "made.tif") == (MORE_FRAMES,)
    assert np.array_equal(values(tmp_path / "made.tif")[..., 0], GREYS)


# ---------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1)])
def test_a_thin_picture_takes_little(size: tuple[int, int], tmp_path: Path) -> None:
    """Scaled as a whole it would have 256 x 16,640,000 pixels."""
    grey = np.zeros(65_000, np.uint8)
    grey[32_450:32_550] = 200
    file = tmp_path / "thin.png"
    Image.fromarray(grey.reshape(size[::-1])).save(file)
    with memory.limited(2**29):
        pixels_CHW, _ = centre(str(file), 256, 224, MAX_PIXELS)
    assert pixels_CHW.shape == (3, 224, 224)
    assert (pixels_CHW == 200).all()


@pytest.mark.parametrize("shape", [(30, 40), (17, 500), (700, 9)])
def test_any_other_is_scaled_as_a_whole(shape: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    file = tmp_path / "made.png"
    Image.fromarray(pixels).save(file)
    whole = functional.resize(Image.fromarray(pixels), [18])
    expected = np.asarray(functional.center_crop(whole, [16])).transpose(2, 0, 1)
    assert np.array_equal(centre(str(file), 18, 16, MAX_PIXELS)[0], expected)


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    file = tmp_path / "made.png"
    Image.new("L", (11, 10)).save(file)
    with pytest.raises(ValueError, match=r"it has 11 x 10 pixels: type dataset.max_pixels=110 to"):
        load(str(file), 109)
    assert load(str(file), 110)[0].size == (11, 10)
    header = b"IHDR" + struct.pack(">II", 2**28, 10) + bytes([8, 0, 0, 0, 0])
    claimed = header + struct.pack(">I", zlib.crc32(header))
    content = file.read_bytes()
    file.write_bytes(content[:12] + claimed + content[12 + len(claimed) :])
    with pytest.raises(ValueError, match=r"268,435,456 x 10 pixels: type dataset.max_pixels=2684"):
        load(str(file), MAX_PIXELS)


@pytest.mark.parametrize("option", ["imagefolder", "imagenet"])
def test_runs_from_before_the_limit_was_a_key_go_on_with_the_same(option: str) -> None:
    made = node("dataset", option, root="a")
    assert made.pop("max_pixels") == MAX_PIXELS == 2 * (1024**3 // 4 // 3)
    assert list(plugins.faults(made, "dataset")) == []


# ---------------------------------------------------------------------------- a folder of them


def make_folder(root: Path, num_bits: int, most: int) -> Dataset:
    """Two classes in pictures of random greys from 0 to `most`."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ape", "bee"):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                grey = rng.integers(0, most + 1, (8, 8)).astype(f"uint{num_bits}")
                Image.fromarray(grey).save(root / part / name / f"{number}.png")
    return folder(root)


def folder(root: Path, **keys: int) -> Dataset:
    settings = {"crop_padding": None, "flip": True, "cutout_length": None, "limit": None, **keys}
    return load_imagefolder(name="mine", root=str(root), size=8, batch_size=4, **settings)


def test_pictures_of_12_bits_in_16_are_told(tmp_path: Path) -> None:
    notes = make_folder(tmp_path / "12", 16, 4095).notes
    assert "no value of the training pictures is above 16 of 255" in notes[-1]
    assert len(make_folder(tmp_path / "16", 16, 65_535).notes) == len(notes) - 1 == 1


def test_of_many_bad_pictures_a_few_are_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 8, 255)
    with pytest.raises(UsageError, match=r"^6 problems:") as caught:
        folder(tmp_path, max_pixels=63)
    assert str(caught.value).endswith(f"dataset.root={tmp_path}: and 1 more like these")


def test_want_of_memory_names_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, 8, 255)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pictures, "_not_too_long", fail)
    with pytest.raises(UsageError, match=r"0.png takes more memory .*; lower dataset.max_pixels"):
        folder(tmp_path)


def test_pictures_that_cannot_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path, 8, 255)
    monkeypatch.setattr("nasrun.compute.memory.memory_bytes", lambda: 12 * 3 * 64)
    folder(tmp_path)
    monkeypatch.setattr("nasrun.compute.memory.memory_bytes", lambda: 12 * 3 * 64 - 1)
    with pytest.raises(UsageError, match=r"12 pictures of dataset.size=8 .* would take .* memory"):
        folder(tmp_path)
