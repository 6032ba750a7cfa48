"""Read arrays, numbers, texts and plain containers out of a pickle; refuse anything else.

A pickle is a program. This reader gives it no function of Python or numpy to call: the names that
numpy writes when it pickles an array lead to stand-ins of this file, and every other name stops it.
Ours, because numpy reads a pickle with all its powers, and torch's reader of weights reads files of
torch alone.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What reading a cut, damaged or hostile pickle can raise.
UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def read(path: Path) -> dict[str, Any]:
    """Read the dictionary in a pickle file; its values are arrays or what literals can say.

    Raises:
        UNREADABLE: one of these; an `UnpicklingError` where the file wants something else.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        # latin1: how bytes of Python 2, such as those of an array, become texts of Python 3.
        content = _Reader(stream, encoding="latin1").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(f"it holds no dictionary, but a {type(content).__name__}")
    return {str(key): _plain(value) for key, value in content.items()}


class _Reader(pickle.Unpickler):
    """An unpickler to which every name but those of the stand-ins is unknown."""

    def find_class(self, module: str, name: str) -> Any:
        make = STAND_INS.get((module, name))
        if make is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and is not run")
        # A function of its own each time: a pickle can set attributes of what it is given.
        return lambda *arguments: make(*arguments)


class _Type:
    """A stand-in for `numpy.dtype`: whole numbers, floating numbers and bool, no objects."""

    def __init__(self, name: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf]\d{1,2}", name):
            raise pickle.UnpicklingError(f"it holds an array of the type {name}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]  # byte order: <, > or =; | is none
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A stand-in for `numpy.ndarray`, which is pickled empty, with its contents as a state."""

    array: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, in_columns, content = state
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        self.fill(content, kind, shape, "F" if in_columns else "C")

    def fill(self, content: bytes, kind: _Type, shape: tuple[int, ...], order: Any) -> None:
        if not isinstance(kind, _Type) or not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("it holds an array without a type or contents")
        sizes = all(type(length) is int and length >= 0 for length in shape)
        if not sizes or math.prod(shape) * kind.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(
                f"an array claims to be {shape}, and has {len(content):,} bytes"
            )
        self.array = np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _from_buffer(content: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    """Make an array as protocol 5 does."""
    result = _Array()
    result.fill(content, kind, shape, "F" if order == "F" else "C")
    return result


def _encode(text: str, encoding: str) -> bytes:
    """Encode a text to bytes; this is how Python 3 writes bytes in the older protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes a text in {encoding}")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """Return no bytes; this is how Python 3 writes `b""` in the older protocols."""
    return b""


def _refuse(*_: object) -> None:
    raise pickle.UnpicklingError("it makes an array in no way that numpy writes")


STAND_INS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _refuse,  # named by numpy, and never called
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    **{
        (f"numpy.{core}.{module}", name): make
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, make in (
            ("multiarray", "_reconstruct", lambda *_: _Array()),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _plain(value: Any) -> Any:
    """Return an array in place of its stand-in; raise for anything that is no plain value."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, _Type) or callable(value):
        raise pickle.UnpicklingError("it holds something besides arrays and plain values")
    return value
