"""Define the two ways in which a run can end badly.

`UsageError` is the user's mistake: one clear sentence, exit code 2, no traceback.
`RunError` is a run that cannot go on (a loss that is not finite, a full disk): exit code 1.
Anything else that escapes is a fault of ours and shows its traceback.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Self


class Problem(str):
    """A sentence about one setting, and the dotted key of that setting as data."""

    key: str

    def __new__(cls, key: str, text: str) -> Self:
        problem = super().__new__(cls, text)
        problem.key = key
        return problem

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Return what pickle makes it from."""
        return self.key, str(self)


class UsageError(Exception):
    """What a user can fix. The text names the key, the value, what is allowed and what to type.

    `problems` are the sentences that the text is made of.
    """

    def __init__(self, text: str, problems: Iterable[str] = ()) -> None:
        self.problems = list(problems)
        is_list = bool(self.problems) or "\n- " in text  # of `together`
        super().__init__(text if is_list else one_line(text))
        self.problems = self.problems or [str(self)]


class RunError(Exception):
    """The run itself failed; what was computed so far is kept."""

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


class OutOfMemory(RunError):
    """There is not enough memory; the text says what to lower."""


def closest(word: str, choices: Iterable[str]) -> str:
    """Hint at what an unknown `word` could be: the closest matches, or else all choices.

    Case does not count, nor what all have before the last dot; initials do.

    >>> closest("retrain.lr", ["retrain.cells", "retrain.learning_rate"])
    'did you mean retrain.learning_rate?'
    """
    known = sorted(choices)
    node = f"{word.rpartition('.')[0]}."
    shared = node if len(node) > 1 and all(one.startswith(node) for one in known) else ""
    folded = {one.removeprefix(shared).casefold(): one for one in known}
    wanted = word.removeprefix(shared).casefold()
    found = [one for one in folded if _initials(one) == wanted]
    found = found or difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)
    matches = [folded[wanted]] if wanted in folded else [folded[one] for one in found]
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"choose from {', '.join(known)}" if known else "there is nothing to choose from"


def enumerated(words: Sequence[str], last: str = "and") -> str:
    """Write a list as part of a sentence.

    >>> enumerated(["darts", "nasbench201", "toy"], "or")
    'darts, nasbench201 or toy'
    """
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise a `UsageError` unless `condition` holds for the setting `key`.

    >>> require(0.3 >= 0, "strategy.sigma", 0.3, "a number above 0")
    """
    if not condition:
        text = f"{key}={value} is not possible: it must be {allowed}"
        raise UsageError(text, [Problem(key, text)])


def raise_together(problems: Iterable[str]) -> None:
    """Raise all `problems` as one `UsageError`; do nothing when there are none."""
    found = list(dict.fromkeys(problems))
    if found:
        raise UsageError(together(found), found)


def together(problems: Iterable[str]) -> str:
    """All problems, each once, as one message."""
    texts = list(dict.fromkeys(map(one_line, problems)))
    if len(texts) <= 1:
        return "".join(texts)
    return "\n".join([f"{len(texts)} problems:", *(f"- {text}" for text in texts)])


def one_line(text: str) -> str:
    """Take line breaks out of a sentence; what a user typed or a library said may hold some.

    A problem keeps its key.
    """
    line = " ".join(part for part in map(str.strip, text.splitlines()) if part)
    if len(text.splitlines()) <= 1:
        return text
    return Problem(text.key, line) if isinstance(text, Problem) else line


def brief(value: object, most: int = 120) -> str:
    """Write a value as part of a sentence; a long one is cut off."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."


def is_of_hydra(error: Exception) -> bool:
    """Return whether Hydra raised an error, or one of its libraries, or Python when these called.

    Most of what they raise is the user's mistake, and some of it are plain `ValueError`s.
    """
    where, trace = "", error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        where = where if package in sys.stdlib_module_names else package
        trace = trace.tb_next
    raised_by = {type(error).__module__.partition(".")[0], where}
    return bool(raised_by & {"hydra", "omegaconf", "yaml", "antlr4"})
