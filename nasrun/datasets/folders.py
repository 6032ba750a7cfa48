"""Find pictures in folders named after their classes, and say which files are left out and why."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nasrun.datasets.arrays import balanced_rows
from nasrun.errors import UsageError, raise_together

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
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise UsageError(_layout(root, missing, test_names))
    train, test = (_scan(root / name) for name in names)
    return _labelled(root, train, test, there[1:], limit)


def find_and_split(
    root: Path, test_names: Sequence[str], limit: int | None, share: float, seed: int
) -> Found:
    """Find the pictures of `root`/<class>/, or of `root`/train/<class>/, and part them.

    Test pictures are a share of each class: those that come first by a checksum of their name and
    the seed, so that a picture that is added later moves few of the others.

    Raises:
        UsageError: names all that is wrong with the folders.
    """
    there = [name for name in test_names if (root / name).is_dir()]
    top = root / "train"
    if top.is_dir() and there:
        raise UsageError(
            f"dataset.root={root} has the test pictures in {there[0]} already: leave "
            "dataset.test_share out"
        )
    train = _scan(top if top.is_dir() else root)
    test = _Part("the test pictures")
    for name, files in train.files.items():
        count = max(1, round(share * len(files)))
        ordered = sorted(files, key=lambda file, name=name: _rank(file, name, seed))  # type: ignore[misc]
        test.files[name] = sorted(ordered[:count])
        train.files[name] = sorted(ordered[count:])
    found = _labelled(root, train, test, (), limit)
    note = (
        f"{len(found.test):,} pictures are kept for the test (dataset.test_share={share:g} of each "
        f"class, by dataset.split_seed={seed})"
    )
    return replace(found, notes=[*found.notes, note])


def _rank(file: str, name: str, seed: int) -> bytes:
    """Rank a picture by its class and the name of its file; where the root lies does not count."""
    inside = file.rpartition(f"{os.sep}{name}{os.sep}")[2]
    return hashlib.sha256(f"{seed}/{name}/{inside}".encode(errors="surrogateescape")).digest()


def _layout(root: Path, missing: Sequence[str], test_names: Sequence[str]) -> str:
    """Say which folders there must be, and what to type where the classes lie at the top."""
    layout = " or ".join(f"{name}/<class>/" for name in test_names)
    folders = ", and no ".join(f"folder {root / name}" for name in missing)
    text = (
        f"dataset.root={root}: there is no {folders}; the pictures must lie in train/<class>/ "
        f"and in {layout}"
    )
    if "test" not in test_names:  # of a data set that is never parted
        return text
    return f"{text}, or in <class>/ alone with dataset.test_share=0.2, a fifth of each for the test"


def _labelled(
    root: Path, train: _Part, test: _Part, unused: Sequence[str], limit: int | None
) -> Found:
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
    notes += [f"the test pictures are those of {test.name}; {name} is not used" for name in unused]
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
        yield f"{train.name} has no folder of a class"
    elif len(train.files) == 1:
        one = next(iter(train.files))
        yield f"{train.name} has the one class {one}; a classification needs two"
    for name in test.files:
        if name not in train.files:
            yield f"the class {name} has test pictures, but there is no folder train/{name}"
    if not any(test.files.values()):
        yield f"{test.name} has no picture in a folder of a class"
    for name, files in train.files.items():
        if len(files) < 2:
            has = "one picture" if files else f"no picture ({' '.join(ENDINGS)})"
            yield f"{train.name}/{name} has {has}; a search needs two (training, validation)"
