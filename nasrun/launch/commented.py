"""Print a composed configuration with the comments of `conf/` behind its lines."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from nasrun.config import catalogue, own_folder

FLAG = "--comments"  # ours, and not known to Hydra
LINE = re.compile(r"^( *)(\w+):")


@contextlib.contextmanager
def comments(command: str, words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the words for Hydra; what it prints within the context gets comments, if asked for."""
    rest = [word for word in words if word != FLAG]
    if len(rest) == len(words):
        yield rest
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield rest
    package = next((w.partition("=")[2] for w in rest if w.startswith("--package=")), "")
    root = catalogue.conf_dir()
    with own_folder.looked_into(own_folder.named(rest)):
        known = catalogue.compose(command, root, catalogue.chosen_options(rest, root))
    glosses = {key: known.glosses[key] for key in known.glosses if key in known.keys}
    print("\n".join(commented(printed.getvalue().splitlines(), glosses, package)))


def commented(lines: Sequence[str], glosses: Mapping[str, str], package: str) -> Iterator[str]:
    """Yield lines of YAML, each key with its comment.

    Args:
        glosses: dotted key -> comment.
        package: where the lines stand in the whole configuration; empty for the top.
    """
    above: dict[int, str] = {-1: package} if package not in ("", "_global_") else {}
    for line in lines:
        if (found := LINE.match(line)) is not None:
            depth = len(found[1])
            above = {indent: name for indent, name in above.items() if indent < depth}
            above[depth] = found[2]
            gloss = glosses.get(".".join(above.values()))
            line += f"  # {gloss}" if gloss else ""
        yield line
