"""Read the official file of NAS-Bench-101.

That is `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`.

The official library needs TensorFlow 1, which Python 3.11 has not got; `nasbench_pytorch` has the
networks and no reader. The format is simple, so it is read here, and nothing in it is executed. A
record has a length (8 bytes), a checksum of it (4), the content, and a checksum of that (4). The
content is JSON: graph hash, epochs, matrix (0 and 1, row by row), operations (comma-separated), and
a protocol buffer in base 64. That is `ModelMetrics` of the benchmark's repository: field 1,
repeated, an evaluation, of which the third is the end of training; field 2 the parameters. Of an
evaluation, fields 2, 4 and 5 are the seconds of training, validation and test accuracy.

Written after that repository's code and tried on files made with Google's protobuf library, not on
the official files. The checksums are left alone: whatever is damaged does not pass the checks of an
import, which compute each hash anew.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nasrun.errors import UsageError
from nasrun.genotypes.nasbench101 import Graph, parse
from nasrun.protocols.state import Progress

EPOCHS, NUM_REPEATS = 108, 3
IMAGES_PER_REPEAT = 9_984  # in the validation part, and in the test part
MAX_RECORD = 1 << 20  # bytes; real ones have a few hundred
DAMAGED = (  # what reading a damaged record can raise
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
    struct.error,
    UsageError,
)


@dataclass
class Sums:
    """The cells of a file, with sums over their trainings; one entry per cell, in file order."""

    graphs: list[Graph] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    params: list[int] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)  # right answers
    test: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def read(path: Path, progress: Progress) -> tuple[list[Graph], list[str], dict[str, np.ndarray]]:
    """Return the cells, their hashes, and the columns: sums and means over the three trainings.

    Raises:
        UsageError: it is another file, or a cut or damaged one.
    """
    row_of: dict[str, int] = {}
    sums = Sums()
    position = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            for number, record in enumerate(_records(file)):
                if number % 1000 == 0:
                    progress(position, size)
                _add(sums, row_of, record)
                position = file.tell()
        progress(size, size)
    except DAMAGED as error:
        raise UsageError(
            f"{path} is not an official file of NAS-Bench-101, or is damaged after byte "
            f"{position:,}: {error}"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if set(sums.repeats) != {NUM_REPEATS}:
        incomplete = len(sums.repeats) - sums.repeats.count(NUM_REPEATS)
        raise UsageError(
            f"{path} must have {NUM_REPEATS} trainings of {EPOCHS} epochs of each cell, and "
            f"{incomplete} of its {len(sums.repeats)} cells have another number"
        )
    columns: dict[str, np.ndarray] = {
        "params": np.array(sums.params, dtype=np.uint32),
        "val_correct_sum": np.array(sums.validation, dtype=np.uint16),
        "test_correct_sum": np.array(sums.test, dtype=np.uint16),
        "train_seconds": np.array(sums.seconds) / NUM_REPEATS,
    }
    return sums.graphs, list(row_of), columns


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of each record, without its length and checksums."""
    while header := file.read(12):
        (length,) = struct.unpack_from("<Q", header)
        if length > MAX_RECORD:
            raise ValueError(f"a record claims to have {length:,} bytes")
        content = file.read(length + 4)
        if len(header) < 12 or len(content) < length + 4:
            raise ValueError("the last record is cut off")
        yield content[:-4]


def _add(sums: Sums, row_of: dict[str, int], record: bytes) -> None:
    """Take in one training, if it is one of 108 epochs."""
    graph_hash, epochs, adjacency, operations, metrics = json.loads(record)
    if epochs != EPOCHS:
        return
    parts = list(_fields(base64.b64decode(metrics, validate=True)))
    final = dict(_fields([value for number, value in parts if number == 1][2]))
    params = dict(parts)[2]
    if not (isinstance(params, int) and params < 1 << 32):
        raise ValueError("the number of parameters is none")
    row = row_of.setdefault(str(graph_hash), len(row_of))
    if row == len(sums.graphs):
        sums.graphs.append(parse(adjacency, operations.split(",")))
        sums.params.append(params)
        for column in (sums.repeats, sums.validation, sums.test, sums.seconds):
            column.append(0)
    sums.repeats[row] += 1
    sums.seconds[row] += final[2]
    sums.validation[row] += _right_answers(final[4])
    sums.test[row] += _right_answers(final[5])


def _right_answers(accuracy: float) -> int:
    if not 0 <= accuracy <= 1:
        raise ValueError(f"an accuracy is {accuracy}")
    return round(accuracy * IMAGES_PER_REPEAT)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of each field of a protocol buffer: whole numbers, doubles, bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        value: int | float | bytes
        if key & 7 == 0:
            value, position = _varint(message, position)
        elif key & 7 == 1:
            (value,) = struct.unpack_from("<d", message, position)
            position += 8
        elif key & 7 == 2:
            length, position = _varint(message, position)
            value = message[position : position + length]
            position += length
        else:
            raise ValueError(f"a field has the wire type {key & 7}")
        yield key >> 3, value
    if position > len(message):
        raise ValueError("a field is cut off")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return a whole number in groups of seven bits, low ones first, and the position after it."""
    value = shift = 0
    while shift < 64:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise ValueError("a whole number is too long")
