"""Notice where a host would wait for a GPU, on a machine that has none.

torch's `meta` device stands in for the GPU: it is another place than the host, whose tensors have
shapes and no numbers. What a host can only know by waiting is refused there by torch itself
(`item`, `bool`, `tolist`) or here; so is a copy that does not go through `compute/transfers.py`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
HOST_ONLY = (list, bool)  # as an index, sent to the device in every call
SIZES_THAT_DEPEND_ON_NUMBERS = ("nonzero", "masked_select", "_unique", "bincount")


class Waited(AssertionError):
    """The host would wait for the device, or make the device wait."""


def _are_sent_rightly() -> bool:
    files = [frame.filename for frame in traceback.extract_stack()]
    return any(file.endswith("compute/transfers.py") for file in files)


def _devices(values: object) -> set[str]:
    return {one.device.type for one in tree_leaves(values) if isinstance(one, torch.Tensor)}


class _Operators(TorchDispatchMode):
    """Look at all operators, those of the backward pass, too."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        name, places = str(func), _devices((args, kwargs))
        if "meta" in places and any(part in name for part in SIZES_THAT_DEPEND_ON_NUMBERS):
            raise Waited(f"{name}: the host waits to know how large the result is")
        result = func(*args, **kwargs)
        if {"cpu", "meta"} <= places | _devices(result) and not _are_sent_rightly():
            raise Waited(f"{name}: a copy between host and device that one of them waits for")
        return result


class _Calls(TorchFunctionMode):
    """Look at the calls of Python, in which lists are still lists."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            tensor, index = args[:2]
            parts: Iterable[object] = index if isinstance(index, tuple) else (index,)
            if tensor.is_meta and any(isinstance(part, HOST_ONLY) for part in parts):
                raise Waited(f"the index {index} is copied to the device in every call")
        result = func(*args, **(kwargs or {}))
        made = getattr(func, "__name__", "") in ("tensor", "as_tensor", "new_tensor")
        if made and _devices(result) == {"meta"} and not _are_sent_rightly():
            raise Waited("numbers of Python are copied to the device in every call")
        return result


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise `Waited`, or torch's own error, where host and device would wait for each other."""
    with _Operators(), _Calls():
        yield
