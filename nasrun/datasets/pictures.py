"""Read one picture of a stranger within bounds, to 8 bits a channel, and say what is lost.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whose endings are looked for
MAX_PIXELS = 178_956_970  # of a picture, twice what Pillow warns of: from there on it refuses
MAX_SCALED = 2**22  # pixels of a scaled picture, so that a thin one does not become gigabytes
LEAST_RATIO = 4  # of the sides of a picture, up to which it is scaled as a whole in any case

# Tags of TIFF 6.0.
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0

TRANSPARENT = "are transparent in places, and the colours below are shown"
MORE_FRAMES = "have several frames or pages, and the first one is shown"

# What Pillow raises for a bad file.
UNREADABLE = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError)

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, a global one; `load` has dataset.max_pixels


class UnknownRange(ValueError):
    """The pixels of a picture are numbers, and nothing says which is black and which is white."""


def centre(
    file: str, scaled: int, size: int, max_pixels: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the middle of a picture, pixels_CHW, uint8, RGB; and what is lost, see `load`.

    The shorter side is scaled to `scaled` pixels, and of that the `size` x `size` pixels in the
    middle are taken. Of a thin picture only the middle is scaled.

    Raises:
        UNREADABLE: one of these.
    """
    from torchvision.transforms import functional

    picture, lost = load(file, max_pixels)
    picture = functional.resize(_not_too_long(picture, scaled), [scaled])
    return np.asarray(functional.center_crop(picture, [size])).transpose(2, 0, 1), lost


def load(file: str, max_pixels: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Return a picture in RGB, and what is lost: some of `TRANSPARENT`, `MORE_FRAMES`.

    A picture that says how the camera was held (EXIF's orientation) is turned upright, as viewers
    show it. Only formats that are data are opened: PostScript, which Pillow knows by its content
    whatever a file is called, is a program.

    Args:
        max_pixels: of the picture as it is stored; a larger one is not decoded.

    Raises:
        UNREADABLE: one of these.
    """
    if not os.path.isfile(file):  # a pipe would be waited for
        raise OSError("it is not a file")
    # of a file's name Pillow maps the bytes into memory, and then mixes up those of a turned TIFF
    with open(file, "rb") as stream, Image.open(stream, formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise ValueError(
                f"it has {width:,} x {height:,} pixels: type dataset.max_pixels={width * height} "
                "to read it all the same"
            )
        lost = tuple(_lost(picture))
        deep = picture.mode == "F" or picture.mode.startswith("I")
        return _upright((_eight_bits(picture) if deep else picture).convert("RGB")), lost


def unreadable(root: Path, file: str, error: Exception) -> str:
    """Say in one sentence why a picture cannot be used, and what to do."""
    where = f"dataset.root={root}: {file}"
    if isinstance(error, MemoryError):
        return f"{where} takes more memory to decode than there is; lower dataset.max_pixels"
    if isinstance(error, UnknownRange):
        return f"{where} {error}"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{where} is not a readable picture ({reason})"


def _upright(colours: Image.Image) -> Image.Image:
    """Turn and mirror the pixels of a picture as its EXIF says, which it still has.

    Broken tags are passed over: whatever Pillow raises for them, the pixels are sound.
    """
    with suppress(Exception):  # in place, so that what fails after the turn does not undo it
        ImageOps.exif_transpose(colours, in_place=True)
    return colours


def _not_too_long(picture: Image.Image, scaled: int) -> Image.Image:
    """Cut out the middle of a picture that would become huge when it is scaled.

    A picture is so thin that a short side of `scaled` pixels gives a very long one; any other is
    returned as it is, to the last bit.
    """
    width, height = picture.size
    longest = min(width, height) * max(LEAST_RATIO, MAX_SCALED // scaled**2)
    left, top = (max(0, side - longest) // 2 for side in picture.size)
    if (left, top) == (0, 0):
        return picture
    return picture.crop((left, top, left + min(width, longest), top + min(height, longest)))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale a grey picture of more bits from its range to 0 to 255, and round.

    Pillow's own conversion cuts off what is above 255.
    """
    tags: Any = getattr(picture, "tag_v2", {})
    most = 65535  # Pillow brings what PNG and PPM hold to this range
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
        kind = "floating" if picture.mode == "F" else "signed or 32-bit whole"
        raise UnknownRange(
            f"holds {kind} numbers, and nothing says which is black and which is white: scale them "
            "to 0 to 65535 and save it as a picture of 16 bits without a sign, or put them into an "
            ".npz file (dataset=npz dataset.file=FILE)"
        )
    if tags.get(BITS_PER_SAMPLE) == (12,):
        most = 4095
    values = np.arange(2**16, dtype=np.int64).clip(max=most)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = most - values
    table = (values * 255 + most // 2) // most
    return picture.convert("I").point(table.tolist(), "L")


def _lost(picture: Image.Image) -> Iterator[str]:
    """Yield what the conversion of a picture to RGB leaves out."""
    alpha = None
    if picture.getbands()[-1] in ("A", "a"):
        alpha = picture.getchannel(len(picture.getbands()) - 1)
    elif "transparency" in picture.info and not picture.mode.startswith("I"):
        alpha = picture.convert("RGBA").getchannel("A")
    if alpha is not None and np.asarray(alpha).min() < 255:
        yield TRANSPARENT
    # the other frames of a photograph (MPO) are small copies, and no loss
    if picture.format in ("PNG", "TIFF", "WEBP") and getattr(picture, "is_animated", False):
        yield MORE_FRAMES
