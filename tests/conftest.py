"""Tests run on one thread: their tensors are tiny, and subprocesses must agree bit for bit."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in subprocesses
