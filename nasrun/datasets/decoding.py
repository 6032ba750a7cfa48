"""Decode pictures that do not fit in memory in worker processes, when they are needed.

Shapes: N pictures, M and B some of them, C channels (3), H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from nasrun.compute.transfers import upload
from nasrun.datasets.pictures import UNREADABLE, centre, load, unreadable
from nasrun.errors import RunError, UsageError, require
from nasrun.protocols.data import Batch

SCALED = 256 / 224  # the shorter side of a scaled test picture over that of the square cut from it
CHUNK = 32  # pictures that a worker decodes at a time; the workers share every batch


@dataclass(frozen=True)
class Framing:
    """How a picture becomes an image.

    Args:
        size: height and width of the image.
        crop_area: the least share of a picture that a training image shows.
        colour_jitter: the largest changes of brightness, contrast, saturation and hue in training.
        max_pixels: of a picture; a larger one is not decoded.

    Raises:
        UsageError: the hue changes by more than half of the circle.
    """

    size: int
    crop_area: float
    colour_jitter: tuple[float, ...]
    max_pixels: int

    def __post_init__(self) -> None:
        jitter = list(self.colour_jitter)
        allowed = "a list whose last value, the hue, is at most 0.5"
        require(jitter[3] <= 0.5, "dataset.colour_jitter", jitter, allowed)

    def middle(self, file: str) -> Tensor:
        """Return pixels_CHW, uint8: the middle of a picture, as it is tested."""
        scaled = round(SCALED * self.size)
        pixels_CHW, _ = centre(file, scaled, self.size, self.max_pixels)
        return torch.from_numpy(pixels_CHW.copy())

    def crop(self, file: str, seed: int) -> Tensor:
        """Return pixels_CHW, uint8: a random part of a picture, in random colours.

        Source: Szegedy et al., CVPR 2015. The seed decides, and not the process that decodes.
        """
        from torchvision import transforms

        vary = transforms.Compose(
            [
                transforms.RandomResizedCrop(self.size, scale=(self.crop_area, 1.0)),
                transforms.ColorJitter(*self.colour_jitter),
                transforms.PILToTensor(),
            ]
        )
        with torch.random.fork_rng(devices=[]):  # torchvision draws globally and takes no generator
            torch.default_generator.manual_seed(seed)
            pixels_CHW: Tensor = vary(load(file, self.max_pixels)[0])
            return pixels_CHW


@dataclass(frozen=True)
class Decoder:
    """Turns rows of a list of files into images; it travels to the worker processes.

    Args:
        root: the folder that the paths are relative to.
        files_N: paths, as bytes in an array; every worker would get its own copy of a list of
            texts.
    """

    root: Path
    files_N: np.ndarray
    framing: Framing

    def file(self, row: int) -> str:
        return str(self.root / os.fsdecode(self.files_N[row]))

    def pixels(self, row: int, seed: int | None) -> Tensor:
        """Return pixels_CHW, uint8: the middle of the picture, or with a seed a crop of it."""
        if seed is None:
            return self.framing.middle(self.file(row))
        # a seed for each picture, so that its crop does not depend on how chunks are made
        return self.framing.crop(self.file(row), (seed + row) % 2**63)


class Chunks(Dataset[Tensor | str]):
    """A dataset of chunks: images_BCHW of up to `CHUNK` pictures each.

    Where a file of a chunk cannot be read, the chunk is a sentence that says so.
    """

    def __init__(self, decoder: Decoder, rows: list[Tensor], seed: int | None) -> None:
        self.decoder = decoder
        self.rows = rows
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Tensor | str:
        images = []
        for row in self.rows[number].tolist():
            try:
                images.append(self.decoder.pixels(row, self.seed))
            except UNREADABLE as error:
                # an exception of a worker would arrive with the worker's traceback as its text
                return unreadable(self.decoder.root, self.decoder.file(row), error)
        return torch.stack(images)


class PictureSplit:
    """A `Split`: some of the files of a decoder, which all subsets share.

    Args:
        labels_M: int64, one per picture.
        rows_M: int64, which files are in the split, in this order.
        search_shares: of the pictures of each class, what a search trains and validates on.
        workers: processes that decode; 0 decodes in this one.
    """

    groups_N: Tensor | None = None

    def __init__(
        self,
        decoder: Decoder,
        labels_M: Tensor,
        rows_M: Tensor,
        search_shares: tuple[float, float],
        workers: int,
    ) -> None:
        self.labels_N = labels_M
        self.search_shares = search_shares
        self.decoder = decoder
        self.rows_N = rows_M
        self._workers = workers

    def __len__(self) -> int:
        return len(self.labels_N)

    def subset(self, indices_M: Tensor) -> PictureSplit:
        labels_M, rows_M = self.labels_N[indices_M], self.rows_N[indices_M]
        return PictureSplit(self.decoder, labels_M, rows_M, self.search_shares, self._workers)

    def batches(
        self, order_M: Tensor, batch_size: int, device: torch.device, crops: Generator | None = None
    ) -> Iterator[Batch]:
        """Yield (images_BCHW uint8, labels_B) on the device; the last batch may be smaller.

        With `crops`, from which one seed is drawn, the images are random crops, and else the
        middles.

        Raises:
            UsageError: a file is not a readable picture; the sentence names it.
        """
        seed = None if crops is None else int(torch.randint(2**62, (1,), generator=crops))
        rows_M, labels_M = self.rows_N[order_M], self.labels_N[order_M]
        batches = [torch.split(rows_B, CHUNK) for rows_B in torch.split(rows_M, batch_size)]
        chunks = [chunk for batch in batches for chunk in batch]
        loader = DataLoader(
            Chunks(self.decoder, chunks, seed),
            batch_size=None,
            num_workers=min(self._workers, len(chunks)),
            pin_memory=device.type == "cuda",
            generator=Generator(),  # unused; without it the global one would be drawn from
        )
        images = iter(loader)
        try:
            for labels_B, batch in zip(torch.split(labels_M, batch_size), batches, strict=True):
                parts = [_next(images).to(device, non_blocking=True) for _ in batch]
                yield torch.cat(parts), upload(labels_B, device)
        finally:
            del images  # ends the workers, which a traceback would keep alive


def _next(chunks: Iterator[Tensor | str]) -> Tensor:
    try:
        chunk = next(chunks)
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # it says so of one that has died
            raise
        raise RunError(
            "a process that decodes pictures was killed (out of memory?): lower dataset.workers or "
            "dataset.max_pixels"
        ) from error
    if isinstance(chunk, str):
        raise UsageError(f"{chunk}; put a sound copy in its place, then nasrun resume goes on")
    return chunk
