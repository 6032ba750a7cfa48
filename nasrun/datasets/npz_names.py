"""Recognise the arrays of a data set by the names that people give them.

Shapes: N images, K classes.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

NAMES = ("x_train", "y_train", "x_test", "y_test")

WORDS = {  # what a word in a name can mean
    "x": ("x", "image", "images", "data"),
    "y": ("y", "label", "labels", "target", "targets"),
    "train": ("train", "training"),
    "test": ("test", "testing"),
}
MEANING = {word: meaning for meaning, words in WORDS.items() for word in words}


def recognise(
    members: Collection[str], wanted: Sequence[str] = NAMES
) -> tuple[dict[str, str], list[str]]:
    """Return which member is which of `NAMES`; and what is missing or ambiguous, in sentences.

    A member of the very name is always taken. Otherwise case, order and the ending of a file do
    not matter: `X_train`, `train_images` (MedMNIST) and `x_train.npy` are all `x_train`. Where
    only test arrays are wanted, `images` and `labels` are these.

    >>> recognise(["train_images", "Y_train.npy", "val_images"])[0]
    {'x_train': 'train_images', 'y_train': 'Y_train.npy'}
    """
    found, problems, missing = {}, [], []
    words = {"x": "x_test", "y": "y_test"} if not {"x_train", "y_train"} & {*wanted} else {}
    for name in wanted:
        candidates = [name] if name in members else [m for m in members if _meaning(m) == name]
        candidates = candidates or [m for m in members if words.get(_word(m)) == name]
        if len(candidates) == 1:
            found[name] = candidates[0]
        elif candidates:
            problems.append(f"{' and '.join(candidates)} could all be {name}: keep one of them")
        else:
            missing.append(name)
    if missing:
        has = textwrap.shorten(", ".join(members), 120, placeholder=" ...") or "nothing"
        problems.append(f"there is no {' and no '.join(missing)} in it (it has {has})")
    return found, problems


def told_names(members: Iterable[str], named: Mapping[str, str]) -> Iterator[str]:
    """Say which members are taken for which of `NAMES`, and which are not used."""
    others = [f"{member} is {name}" for name, member in named.items() if member != name]
    if others:
        yield f"of the arrays {', '.join(others)}"
    unused = [member for member in members if member not in named.values()]
    if unused:
        yield f"not used: {textwrap.shorten(', '.join(unused), 120, placeholder=' ...')}"


def _meaning(member: str) -> str | None:
    """Return the one of `NAMES` that a member means, if it means one.

    >>> _meaning("train_labels"), _meaning("xtrain"), _meaning("train_mean")
    ('y_train', 'x_train', None)
    """
    text = member.lower().rpartition("/")[2].removesuffix(".npy")
    joined = re.fullmatch(r"([xy])(train|test)", text)
    words = joined.groups() if joined else re.split(r"[\W_]+", text)
    meanings = {MEANING.get(word) for word in words}
    fitting = [name for name in NAMES if len(words) == 2 and meanings == {*name.split("_")}]
    return fitting[0] if fitting else None


def _word(member: str) -> str:
    """Return the meaning of a name of one word, such as x for `images`; nothing for others."""
    return MEANING.get(member.lower().removesuffix(".npy"), "")


def plain_labels(name: str, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return labels_N of labels in a form that can mean one thing only, and what was done.

    [N, 1] is [N], and one-hot [N, K] is the place of the one; true and false are 1 and 0. What is
    none of these is returned as it is.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        return plain_labels(name, labels[:, 0])
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biuf" and len(labels):
        ones_NK = labels == 1
        if ((labels == 0) | ones_NK).all() and (ones_NK.sum(1) == 1).all():
            done = f"{name} is one-hot; its labels are 0 to {labels.shape[1] - 1}"
            return ones_NK.argmax(1), [done]
    return (labels.astype(np.uint8) if labels.dtype.kind == "b" else labels), []
