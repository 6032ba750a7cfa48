"""Read arrays out of `.npz` files of strangers: no pickles, no more memory than they are worth.

A member is a header and its numbers. Its size is believed only where the header, the archive and
what deflate can pack agree on it, so that a header that claims 100 GB allocates nothing. Members
are read and never unpacked, so their names lead nowhere. numpy reads each array; the checks before
it are ours, because `numpy.load` allocates whatever a header claims.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from nasrun.compute.memory import shortage

MAX_DEFLATE = 1032  # deflate packs at most so many bytes into one (zlib, Technical Details)
MAX_MEMBERS = 1000

# What opening a cut, damaged, encrypted or hostile file can raise.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # also RecursionError and NotImplementedError
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an archive by their names; raise `ValueError` for too many."""
    found = archive.infolist()
    if len(found) > MAX_MEMBERS:
        raise ValueError(f"it has {len(found):,} members, and at most {MAX_MEMBERS:,} are read")
    return {info.filename.removesuffix(".npy"): info for info in found}


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array; raise one of `UNREADABLE` where it is not sound."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is packed in a way that numpy never uses")
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"it is in version {version} of the npy format; 1.0 and 2.0 are read")
        shape, _, dtype = read_header[version](stream)
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects, which are never loaded")
        claimed = math.prod(shape) * dtype.itemsize
        present = info.file_size - stream.tell()
        packed = min(info.compress_size, _length(archive)) * MAX_DEFLATE + stream.tell()
        if claimed != present or min(shape, default=0) < 0 or present > packed:
            raise ValueError(f"its header claims {claimed:,} bytes, which are not there")
    _require_room(claimed)
    with archive.open(info) as stream:
        return npy.read_array(stream, allow_pickle=False)


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file; raise one of `UNREADABLE` where one is not sound."""
    if not path.is_file():
        raise ValueError("it is not a file")  # opening a pipe would wait for ever
    if not zipfile.is_zipfile(path):
        raise ValueError("it has another format, or was cut off")
    with zipfile.ZipFile(path) as archive:
        found = members(archive)
        _require_room(sum(info.file_size for info in found.values()))
        return {name: read_member(archive, info) for name, info in found.items()}


def _length(archive: zipfile.ZipFile) -> int:
    """Return the bytes of the whole archive."""
    return Path(str(archive.filename)).stat().st_size


def _require_room(num_bytes: int) -> None:
    lacking = shortage(num_bytes)
    if lacking is not None:
        raise ValueError(f"it would take {lacking}")
