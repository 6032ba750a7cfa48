"""Place the nodes, the labels and the bends of a cell's edges: a layered drawing.

After Sugiyama, Tagawa and Toda (1981): nodes stand in layers by longest path from the inputs;
every edge is a chain with one point in each rank that it crosses, and its label has a rank of its
own between two layers, so that labels overlap neither nodes nor each other; ranks are ordered by
the mean position of the neighbours; then all points move towards their neighbours while keeping
their order and distance. Ours, because Graphviz is a program that has to be installed, and the
layouts of networkx know neither labels nor bends of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasrun.genotypes.genotype import Cell, Edge

NUM_SWEEPS = 12  # each for ordering and for placing; more change nothing on tens of edges


@dataclass(frozen=True, slots=True)
class Route:
    """An edge: its points from source to target, and which of them carries the label."""

    edge: Edge
    points: tuple[int, ...]
    label: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all points: 0 to V-1 are the nodes, the others bends and labels.

    `ranks` are whole numbers from the left (nodes at even ones), `heights` in slots: two points of
    one rank are at least 1 apart.
    """

    ranks: tuple[int, ...]
    heights: tuple[float, ...]
    routes: tuple[Route, ...]


def layers(cell: Cell) -> list[int]:
    """Return the longest path to each node, in edges.

    A node without incoming edges is in layer 0.
    """
    found = [0] * len(cell.nodes)
    for edge in sorted(cell.edges, key=lambda edge: edge.source):
        found[edge.target] = max(found[edge.target], found[edge.source] + 1)
    return found


def arrange(cell: Cell) -> Layout:
    """Return a layout without overlaps; the same for equal cells."""
    ranks = [2 * layer for layer in layers(cell)]
    routes = []
    for edge in cell.edges:
        crossed = range(ranks[edge.source] + 1, ranks[edge.target])
        bends = range(len(ranks), len(ranks) + len(crossed))
        ranks.extend(crossed)
        # The middle of an odd number of ranks may hold nodes; the rank before it holds labels.
        middle = len(crossed) // 2
        label = bends[middle - middle % 2]
        routes.append(Route(edge, (edge.source, *bends, edge.target), label))
    neighbours = _neighbours(len(ranks), routes)
    rows = _order(ranks, neighbours, routes)
    return Layout(tuple(ranks), tuple(_place(rows, neighbours)), tuple(routes))


def _neighbours(num_points: int, routes: Sequence[Route]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(num_points)]
    for route in routes:
        for left, right in zip(route.points, route.points[1:], strict=False):
            found[left].append(right)
            found[right].append(left)
    return found


def _order(
    ranks: Sequence[int], neighbours: Sequence[Sequence[int]], routes: Sequence[Route]
) -> list[list[int]]:
    """Order the points of each rank, with as few crossings as the sweeps find."""
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=0) + 1)]
    for point, rank in enumerate(ranks):
        rows[rank].append(point)
    best, fewest = rows, crossings(rows, ranks, routes)
    for sweep in range(NUM_SWEEPS):
        direction = -1 if sweep % 2 == 0 else 1
        rows = _sweep(rows, ranks, neighbours, direction)
        count = crossings(rows, ranks, routes)
        if count < fewest:
            best, fewest = rows, count
    return best


def _sweep(
    rows: Sequence[Sequence[int]],
    ranks: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    direction: int,
) -> list[list[int]]:
    """Sort each rank by the mean place of its neighbours to the left (-1) or right (1)."""
    result = [list(row) for row in rows]
    for rank in range(len(rows)) if direction < 0 else reversed(range(len(rows))):
        places = _places(result)
        means = {}
        for point in result[rank]:
            beside = [
                places[other] for other in neighbours[point] if ranks[other] == rank + direction
            ]
            means[point] = sum(beside) / len(beside) if beside else places[point]
        result[rank].sort(key=means.__getitem__)
    return result


def _places(rows: Sequence[Sequence[int]]) -> dict[int, float]:
    """Return each point's place in its rank, measured from the middle of the rank."""
    return {point: place - (len(row) - 1) / 2 for row in rows for place, point in enumerate(row)}


def crossings(rows: Sequence[Sequence[int]], ranks: Sequence[int], routes: Sequence[Route]) -> int:
    """Count the pairs of segments between the same two ranks that cross."""
    places = _places(rows)
    segments: dict[int, list[tuple[float, float]]] = {}
    for route in routes:
        for left, right in zip(route.points, route.points[1:], strict=False):
            segments.setdefault(ranks[left], []).append((places[left], places[right]))
    return sum(
        (first[0] - second[0]) * (first[1] - second[1]) < 0
        for between in segments.values()
        for position, first in enumerate(between)
        for second in between[:position]
    )


def _place(rows: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]]) -> list[float]:
    """Move all points towards their neighbours; return the heights."""
    heights: Mapping[int, float] = _places(rows)
    for sweep in range(NUM_SWEEPS):
        moved = dict(heights)
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wishes = [
                sum(moved[other] for other in neighbours[point]) / len(neighbours[point])
                if neighbours[point]
                else moved[point]
                for point in row
            ]
            moved.update(zip(row, spread(wishes), strict=True))
        heights = moved
    return [heights[point] for point in range(len(neighbours))]


def spread(wishes: Sequence[float]) -> list[float]:
    """Return the heights closest to `wishes` (least squares), in order and at least 1 apart.

    Subtracting the rank turns the distances into an isotonic regression, solved by pooling
    adjacent violators (scipy has it in a module that takes longer to import than this to run).
    """
    pools: list[tuple[float, int]] = []  # (mean, how many)
    for place, wish in enumerate(wishes):
        mean, count = wish - place, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    levels = [mean for mean, count in pools for _ in range(count)]
    return [level + place for place, level in enumerate(levels)]
