"""Run neural architecture search, from the command line or from Python.

`nasrun.search`, `retrain`, `load` and `report` are `nasrun.api.functions`. They are imported when
they are first asked for, so that `import nasrun` alone stays fast.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasrun.api.frames import Reported
    from nasrun.api.functions import load, report, retrain, search
    from nasrun.api.run_record import Run
    from nasrun.errors import RunError, UsageError

__version__ = "0.1.0"
__all__ = [
    "Reported",
    "Run",
    "RunError",
    "UsageError",
    "load",
    "report",
    "retrain",
    "search",
]
_WHERE = {
    **dict.fromkeys(("load", "report", "retrain", "search"), "nasrun.api.functions"),
    **dict.fromkeys(("RunError", "UsageError"), "nasrun.errors"),
    "Run": "nasrun.api.run_record",
    "Reported": "nasrun.api.frames",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'nasrun' has no attribute {name!r}")
    return vars(importlib.import_module(_WHERE[name]))[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keep `nasrun.report` the function, though a room is called so too.

    Python puts each submodule that is imported into its package, over what has the same name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
