"""Find all that is wrong with what a run is made of, and not only the first of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nasrun.errors import Problem, UsageError, raise_together


class Collector:
    """Call several constructors and raise their `UsageError`s together.

    `problems` that were found before are raised with them. What has problems already is not
    constructed.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        known = list(problems)
        self._faulty = {problem.key.partition(".")[0] for problem in known}
        self._problems: list[str] = [*known]

    def __enter__(self) -> Callable[[str, Callable[[], Any]], Any]:
        faulty = self._faulty

        def collect(name: str, construct: Callable[[], Any]) -> Any:
            try:
                return None if name in faulty else construct()
            except UsageError as error:
                self._problems += error.problems
                return None

        return collect

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            raise_together(self._problems)
