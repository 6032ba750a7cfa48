"""Tests run on one thread: their tensors are tiny, and subprocesses must agree bit for bit.
They have a cache folder of their own: what they find there, they made."""

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in subprocesses

# A shell has its background jobs ignore Ctrl-C, and so would the runs that are tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_cache = tempfile.TemporaryDirectory(prefix="nasrun-cache-")  # kept until the process ends
os.environ["XDG_CACHE_HOME"] = _cache.name


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A run that was interrupted ignores further signals, since its process ends; ours goes on."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def made_table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The setting of a table on NAS-Bench-201 with made accuracies."""
    import numpy as np

    from tests import made_tables

    file = tmp_path_factory.mktemp("tables") / "made.npz"
    np.savez(file, **made_tables.nasbench201())
    return f"evaluator.file={file}"
