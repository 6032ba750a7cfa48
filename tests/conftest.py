"""Tests run on one thread: their tensors are tiny, and subprocesses must agree bit for bit.
They have a cache folder of their own: what they find there, they made."""

import os
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in subprocesses

_cache = tempfile.TemporaryDirectory(prefix="nasrun-cache-")  # kept until the process ends
os.environ["XDG_CACHE_HOME"] = _cache.name
