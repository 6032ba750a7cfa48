"""Remember that this process was told to stop, until its work has noticed.

The handler of a signal raises `KeyboardInterrupt`, which Python drops where nobody can receive it:
in `__del__`, in the callback of a weak reference. So the handler notes the signal here too, and
every batch and every step looks.
"""

from __future__ import annotations

_noted: list[int] = []  # a signal is for the process, and so is this


def note(number: int) -> None:
    """Note a signal that tells the process to stop; safe in a handler."""
    _noted.append(number)


def noted() -> int | None:
    """Return the last signal that was noted; `None` where there is none."""
    return _noted[-1] if _noted else None


def forget() -> None:
    """Forget all signals: nothing is going on any more that they could be meant for."""
    _noted.clear()


def look() -> None:
    """Raise a `KeyboardInterrupt` where the process was told to stop.

    To be called where work can be broken off, as often as a person wants to be heard.
    """
    if _noted:
        raise KeyboardInterrupt
