"""Files of tensors and plain values: written at once, and read without unpickling objects."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """As `torch.save`, which hides a full disk behind errors of its own; raises `OSError`."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    path.write_bytes(buffer.getbuffer())


def read_tensors(path: Path) -> dict[str, Any] | None:
    """On the CPU; `None` for a file that is cut, altered or not of this kind. Raises `OSError` for
    one that cannot be read."""
    buffer = io.BytesIO(path.read_bytes())
    try:
        # torch writes a checksum of each part, and does not look at it when it reads
        sound = ZipFile(buffer).testzip() is None
        buffer.seek(0)
        content = torch.load(buffer, map_location="cpu", weights_only=True) if sound else None
    except MemoryError:
        raise
    except Exception:  # zipfile and torch raise many kinds for a broken file
        return None
    return content if isinstance(content, dict) else None


def num_bytes(state: object) -> int:
    """Of all tensors in a nested state."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(num_bytes, state.values()))
    return sum(map(num_bytes, state)) if isinstance(state, list | tuple) else 0
