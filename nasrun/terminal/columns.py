"""Lay out names with texts beside them, as help pages have them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

MOST_BESIDE = 36  # characters of a name beside which a text stands; below a longer one


def columns(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return lines of at most `width` columns, as far as the names allow; texts are wrapped.

    >>> columns([("sigma", "step size"), ("xi", "")], 40)
    ['  sigma  step size', '  xi']
    """
    indent = 4 + min(max((len(name) for name, _ in rows), default=0), MOST_BESIDE)
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - indent, break_on_hyphens=False)
        if len(name) > indent - 4:
            wrapped.insert(0, "")
        first, *others = wrapped or [""]
        lines.append(f"  {name:<{indent - 2}}{first}".rstrip())
        lines += [" " * indent + other for other in others]
    return lines
