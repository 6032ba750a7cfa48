"""Show the options of a person's own folder (`--config-dir`) beside the built-in ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nasrun.errors import UsageError

FLAGS = ("--config-dir", "-cd")


def named(words: Sequence[str]) -> str | None:
    """Return the folder that a command line gives, `None` where it gives none."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in FLAGS:
            rest = list(words[position + 1 : position + 2])
            return value if equals else next(iter(rest), "")
    return None


@contextmanager
def together(root: Path, folder: str | None) -> Iterator[Path]:
    """Yield a folder with all files of `root`, and those of the other folder before them, as links.

    Hydra looks into the two one after the other; everything else reads files of one folder.

    Raises:
        UsageError: there is no such folder.
    """
    if folder is None:
        yield root
        return
    own = Path(os.path.expanduser(folder))
    if not own.is_dir():
        raise UsageError(f"--config-dir={folder}: there is no such folder")
    with tempfile.TemporaryDirectory(prefix="nasrun-conf-") as name:
        both = Path(name)
        for source in (own, root):
            for pattern in ("*.yaml", "*/*.yaml", "hydra/*/*.yaml"):
                for file in source.glob(pattern):
                    link = both / file.relative_to(source)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    if not link.is_symlink():
                        link.symlink_to(file.absolute())
        yield both
