"""Write tensors and plain values to a file at once, and read them without unpickling objects."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor


class _Sink:
    """A file that remembers why it could not be written, which torch hides behind other errors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file as `torch.save` does, without a copy in memory; raise `OSError`."""
    with path.open("wb") as file:
        sink = _Sink(file)
        try:
            torch.save(dict(content), cast(BinaryIO, sink))
        except Exception:
            if sink.error is not None:
                raise sink.error from None
            raise


def read_tensors(path: Path) -> dict[str, Any] | None:
    """Read a file to the CPU; return `None` where it is cut, altered or not of this kind.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            # torch writes a checksum of each part, and does not look at it when it reads
            archive = ZipFile(file)
            if not _is_modest(archive, path.stat().st_size) or archive.testzip() is not None:
                return None
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (MemoryError, OSError):
            raise
        except Exception:  # zipfile and torch raise many kinds for a broken file
            return None
    return content if isinstance(content, dict) else None


def packed(content: Mapping[str, Any]) -> bytes:
    """Write tensors and plain values as `write_tensors` does, for another process of the run."""
    buffer = BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """Read on the CPU what `packed` has written."""
    found: dict[str, Any] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    return found


def _is_modest(archive: ZipFile, num_bytes: int) -> bool:
    """Return whether the parts are stored unpacked, as torch does it.

    A packed part could be endless.
    """
    parts = archive.infolist()
    stored = all(part.compress_type == ZIP_STORED for part in parts)
    return stored and sum(part.file_size for part in parts) <= num_bytes


def num_bytes(state: object) -> int:
    """Count the bytes of all tensors in a nested state."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(num_bytes, state.values()))
    return sum(map(num_bytes, state)) if isinstance(state, list | tuple) else 0
