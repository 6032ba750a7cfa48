"""Find pictures in folders named after their classes, and say which files are left out and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nasrun.datasets.arrays import balanced_rows
from nasrun.errors import raise_together

Pictures = list[tuple[str, int]]  # (file, label)

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
NUM_ENDINGS = 5  # of files that are left out, which are named
HIDDEN = "of hidden names (.* and __MACOSX)"
OUTSIDE = "in no folder of a class"


@dataclass(frozen=True)
class Found:
    """The classes, the labelled files of both parts, and what a person should know of them."""

    classes: list[str]
    train: Pictures
    test: Pictures
    notes: list[str]


@dataclass
class _Part:
    """The files of `train`, or of the test set, by their classes in order."""

    name: str
    files: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> how many
    endings: Counter[str] = field(default_factory=Counter)  # of those that are no pictures
    problems: list[str] = field(default_factory=list)

    def note(self) -> Iterator[str]:
        """Yield one sentence on the files that are left out, if there are any."""
        reasons = [f"{count:,} {reason}" for reason, count in sorted(self.left_out.items())]
        if self.endings:
            ordered = sorted(self.endings.items(), key=lambda item: (-item[1], item[0]))
            named = [f"{count:,} {ending}" for ending, count in ordered]
            named[NUM_ENDINGS:] = ["..."] if len(named) > NUM_ENDINGS else []
            total = sum(self.endings.values())
            reasons.append(
                f"{total:,} of other endings than {' '.join(ENDINGS)}: {', '.join(named)}"
            )
        if reasons:
            total = sum(self.left_out.values()) + sum(self.endings.values())
            yield f"{total:,} files of {self.name} are left out ({'; '.join(reasons)})"


def find(root: Path, test_names: Sequence[str], limit: int | None) -> Found:
    """Find the pictures of `root`; labels count the classes of `train` in order.

    Args:
        test_names: folders beside `train` that may hold the test pictures; the first there wins.
        limit: of the training pictures, see `balanced_rows`.

    Raises:
        UsageError: names all that is wrong with the folders.
    """
    there = [name for name in test_names if (root / name).is_dir()]
    names = "train", there[0] if there else test_names[-1]
    layout = " or ".join(f"{name}/<class>/" for name in test_names)
    raise_together(
        f"dataset.root={root}: there is no folder {root / name}; the pictures must lie in "
        f"train/<class>/ and in {layout}"
        for name in names
        if not (root / name).is_dir()
    )
    train, test = (_scan(root / name) for name in names)
    raise_together(f"dataset.root={root}: {text}" for text in _problems(train, test))
    label_of = {name: label for label, name in enumerate(train.files)}
    pictures, test_pictures = (
        [(file, label_of[name]) for name, files in part.files.items() for file in files]
        for part in (train, test)
    )
    if limit is not None:
        labels_N = np.array([label for _, label in pictures])
        pictures = [pictures[row] for row in balanced_rows(labels_N, limit, len(label_of))]
    notes = [*train.note(), *test.note()]
    notes += [
        f"the test pictures are those of {there[0]}; {name} is not used" for name in there[1:]
    ]
    return Found(list(label_of), pictures, test_pictures, notes)


def _scan(root: Path) -> _Part:
    """Walk one part, through links too; a folder that cannot be listed is a problem."""
    part = _Part(root.name)
    found: dict[str, list[str]] = {}
    walk = os.walk(
        root,
        followlinks=True,
        onerror=lambda error: part.problems.append(
            f"{error.filename} cannot be read ({error.strerror})"
        ),
    )
    for folder, subfolders, names in walk:
        inside = Path(folder).relative_to(root).parts
        if not inside:
            part.files = {name: [] for name in sorted(subfolders) if not is_hidden(name)}
        hidden = any(map(is_hidden, inside))
        for name in names:
            if hidden or is_hidden(name):
                part.left_out[HIDDEN] += 1
            elif not inside:
                part.left_out[OUTSIDE] += 1
            elif not name.lower().endswith(ENDINGS):
                part.endings[os.path.splitext(name)[1].lower() or "without one"] += 1
            else:
                found.setdefault(folder, []).append(os.path.join(folder, name))
    for folder in sorted(found):
        part.files[Path(folder).relative_to(root).parts[0]] += sorted(found[folder])
    return part


def is_hidden(name: str) -> bool:
    """Return whether a tool has made it for itself: Jupyter, git and macOS do."""
    return name.startswith(".") or name == "__MACOSX"


def _problems(train: _Part, test: _Part) -> Iterator[str]:
    for part in (train, test):
        yield from part.problems
    if train.problems or test.problems:
        return  # what cannot be read would be told to be missing
    if len(train.files) == 0:
        yield "train has no folder of a class"
    elif len(train.files) == 1:
        yield f"train has the one class {next(iter(train.files))}; a classification needs two"
    for name in test.files:
        if name not in train.files:
            yield f"the class {name} has test pictures, but there is no folder train/{name}"
    if not any(test.files.values()):
        yield f"{test.name} has no picture in a folder of a class"
    for name, files in train.files.items():
        if len(files) < 2:
            has = "one picture" if files else f"no picture ({' '.join(ENDINGS)})"
            yield f"train/{name} has {has}; a search needs two (training, validation)"
