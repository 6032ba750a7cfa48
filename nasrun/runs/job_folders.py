"""Name the folders of a sweep's jobs by their numbers and by what is swept: `3-egnas-zeta-0.4-s1`.

A name is a part of a path and of a word for Hydra: letters, digits, `.`, `+`, `-` and `_` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = "${hydra.job.num}"  # for Hydra, which knows the number of a job when it makes its folder
MOST_OF_A_VALUE, MOST_IN_ALL = 24, 80  # characters
SAFE = re.compile(r"(-[\w.+-]*)?", re.ASCII)
UNSAFE = re.compile(r"[^\w.+-]+", re.ASCII)
WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)


def names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Name the folder of each job, which is given by its overrides.

    The value of a group says enough by itself, and seeds are written as in the names of runs.

    >>> names([["strategy=egnas", "fitness.zeta=1", "seed=0"], ["strategy=egnas", "seed=1"]])
    ['0-zeta-1-s0', '1-s1']
    >>> names([["strategy=darts", "name=x"], ["strategy=random", "name=x"]])
    ['0-darts', '1-random']
    """
    settings = [dict(word.lstrip("+").partition("=")[::2] for word in job) for job in jobs]
    keys = dict.fromkeys(key for one in settings for key in one)
    swept = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    return [
        "-".join([str(number), *(_part(key, one[key]) for key in swept if key in one)])[
            :MOST_IN_ALL
        ].rstrip("-.")
        for number, one in enumerate(settings)
    ]


def _part(key: str, value: str) -> str:
    last = re.split("[./]", key)[-1]
    short = value.strip("'\"").rstrip("/").rpartition("/")[2]
    text = UNSAFE.sub("-", short)[:MOST_OF_A_VALUE].rstrip("-.")
    if not re.match(r"-?\.?\d", text):
        text = text.lstrip("-.")
    if key == "seed":
        return f"s{text}"
    is_word = WORD.fullmatch(text) and text.lower() not in ("true", "false", "null")
    return text if "." not in key and is_word else UNSAFE.sub("-", f"{last}-{text}").strip("-")


def for_hydra(number: int, folder: str) -> str | None:
    """Return a name as `hydra.sweep.subdir` says it for jobs of all numbers; `None` for others.

    A record may come from a stranger, whose names must mean nothing to Hydra.

    >>> for_hydra(3, "3-egnas-s1"), for_hydra(3, "3"), for_hydra(3, "30-x"), for_hydra(3, "3-${x}")
    ('${hydra.job.num}-egnas-s1', '${hydra.job.num}', None, None)
    """
    rest = folder.removeprefix(str(number))
    return f"{NUMBER}{rest}" if rest != folder and SAFE.fullmatch(rest) else None


def number_of(name: str) -> str:
    """Return the number that the name of a job's folder begins with; empty for another name.

    >>> number_of("3-egnas"), number_of("12"), number_of("seed3")
    ('3', '12', '')
    """
    number = name.partition("-")[0]
    return number if number.isdecimal() else ""
