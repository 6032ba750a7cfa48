"""A picture of mixing weights, for TensorBoard: one row per edge, one column per operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def heat_map(weights_EO: np.ndarray, operations: Sequence[str], title: str) -> np.ndarray:
    """An RGB picture (H, W, 3), uint8. The colour scale is fixed to [0, 1], so that the pictures of
    different epochs can be compared."""
    edges, columns = weights_EO.shape
    figure = Figure(figsize=(0.55 * columns + 2.2, 0.28 * edges + 1.6), dpi=80, layout="tight")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(weights_EO, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    axes.set_title(f"{title}: weight of each operation")
    axes.set_ylabel("edge")
    axes.set_yticks(range(edges))
    axes.set_xticks(range(columns), list(operations) or None, rotation=40, ha="right")
    figure.colorbar(picture, ax=axes)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
