"""Say how many images, or signals, of which classes there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

MOST_NAMED = 12  # classes; where there are more, only the range of their sizes is told


def class_counts(
    names: Sequence[str],
    train_N: Sequence[int] | np.ndarray,
    test_N: Sequence[int] | np.ndarray,
    kind: str = "images",
) -> Iterator[str]:
    """Yield one sentence with the numbers of images, and one on classes without test images.

    Args:
        names: of the classes.
        train_N, test_N: labels in [0, number of classes).
        kind: what the inputs are called.
    """
    train_K, test_K = (
        np.bincount(np.asarray(labels_N, dtype=np.int64), minlength=len(names))
        for labels_N in (train_N, test_N)
    )
    if len(names) <= MOST_NAMED:
        counts = zip(names, train_K, test_K, strict=True)
        each = ", ".join(f"{name}: {train:,} + {test:,}" for name, train, test in counts)
    else:
        each = f"{_range(train_K)} + {_range(test_K)} each"
    yield (
        f"{len(train_N):,} training + {len(test_N):,} test {kind} of {len(names):,} classes: {each}"
    )
    without = [name for name, count in zip(names, test_K, strict=True) if count == 0]
    if without:
        named = ", ".join(without[:MOST_NAMED]) + (", ..." if len(without) > MOST_NAMED else "")
        yield f"warning: no test {kind} of {named}: the test accuracy says nothing of them"


def _range(counts_K: np.ndarray) -> str:
    least, most = int(counts_K.min()), int(counts_K.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
