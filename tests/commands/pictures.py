"""Pictures take most of the time of a tiny run; tests of other things do without."""

from __future__ import annotations

import numpy as np
import pytest

from nasrun.pictures import cells, plots

BLACK = np.zeros((1, 1, 3), np.uint8)


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "heat_map", lambda *_: None)
    monkeypatch.setattr(plots, "pixels", lambda _: BLACK)
    monkeypatch.setattr(cells, "image", lambda _: BLACK)
    monkeypatch.setattr(cells, "draw", lambda *_: None)
