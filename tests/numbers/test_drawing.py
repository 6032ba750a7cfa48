"""Layouts without overlaps, pictures that are the same every time, text that lines up."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nasrun.errors import UsageError
from nasrun.genotypes.darts import darts_genotype
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.text import parse
from nasrun.pictures import cell_text, cells, layout

NASBENCH201 = parse(
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
)
DARTS_V2 = darts_genotype(
    {
        "normal": [
            ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
        ],
        "reduce": [
            ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
            ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
        ],
    }
)  # fmt: skip
CONV = "conv3x3-bn-relu"
ON_NODES = Genotype(
    "nasbench101",
    (
        Cell(
            "cell",
            ("input", CONV, "maxpool3x3", CONV, "output"),
            tuple(Edge("", *pair) for pair in [(0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (0, 4)]),
        ),
    ),
)
CELLS = [*DARTS_V2.cells, *NASBENCH201.cells, *ON_NODES.cells]


def random_cell(seed: int) -> Cell:
    """Up to nine nodes, up to 20 edges, some between the same nodes, some nodes alone."""
    rng = np.random.default_rng(seed)
    num_nodes = int(rng.integers(1, 10))
    pairs = list(itertools.combinations(range(num_nodes), 2))
    chosen = rng.choice(len(pairs), size=min(20, 2 * len(pairs))) if pairs else []
    edges = tuple(Edge("op", *pairs[index]) for index in chosen)
    return Cell("random", tuple(map(str, range(num_nodes))), edges)


ALL_CELLS = [*CELLS, *(random_cell(seed) for seed in range(12))]


def test_layers_are_longest_paths() -> None:
    assert layout.layers(DARTS_V2.cell("normal")) == [0, 0, 1, 1, 1, 2, 3]
    assert layout.layers(NASBENCH201.cell("cell")) == [0, 1, 2, 3]


@pytest.mark.parametrize("cell", ALL_CELLS, ids=range(len(ALL_CELLS)))
def test_nothing_overlaps(cell: Cell) -> None:
    arranged = layout.arrange(cell)
    for rank in set(arranged.ranks):
        points = [index for index, other in enumerate(arranged.ranks) if other == rank]
        heights = sorted(arranged.heights[point] for point in points)
        assert all(b - a > 1 - 1e-9 for a, b in itertools.pairwise(heights))
    labels = [route.label for route in arranged.routes]
    assert len(set(labels)) == len(cell.edges)
    assert all(arranged.ranks[label] % 2 == 1 for label in labels)


@pytest.mark.parametrize("cell", ALL_CELLS, ids=range(len(ALL_CELLS)))
def test_routes_cross_each_rank_once(cell: Cell) -> None:
    arranged = layout.arrange(cell)
    for route, edge in zip(arranged.routes, cell.edges, strict=True):
        ranks = [arranged.ranks[point] for point in route.points]
        assert (route.points[0], route.points[-1]) == (edge.source, edge.target)
        assert ranks == list(range(ranks[0], ranks[-1] + 1))


def test_crossings_counted_by_hand() -> None:
    crossed = Cell("x", ("a", "b", "c", "d"), (Edge("op", 0, 3), Edge("op", 1, 2)))
    # Two edges over ranks 0, 1, 2; the points of rank 1 are 4 and 5.
    routes = [
        layout.Route(crossed.edges[0], (0, 4, 3), 4),
        layout.Route(crossed.edges[1], (1, 5, 2), 5),
    ]
    ranks = [0, 0, 2, 2, 1, 1]
    assert layout.crossings([[0, 1], [4, 5], [2, 3]], ranks, routes) == 1
    assert layout.crossings([[0, 1], [4, 5], [3, 2]], ranks, routes) == 0
    assert layout.crossings([[0, 1], [5, 4], [2, 3]], ranks, routes) == 1
    arranged = layout.arrange(crossed)
    a, b, c, d = arranged.heights[:4]
    assert (a - b) * (d - c) > 0


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ([], []),
        ([0.0, 5.0], [0.0, 5.0]),
        ([0.0, 0.0], [-0.5, 0.5]),
        ([3.0, 1.0], [1.5, 2.5]),
        ([0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]),
        ([0.0, 10.0, 10.0], [0.0, 9.5, 10.5]),
    ],
    ids=str,
)
def test_spread_by_hand(wishes: list[float], expected: list[float]) -> None:
    assert layout.spread(wishes) == pytest.approx(expected)


def test_no_label_or_node_overlaps_in_the_picture() -> None:
    for genotype in (DARTS_V2, NASBENCH201, ON_NODES):
        figure = cells._figure(genotype)
        boxes = [
            patch.get_bbox()
            for patch in figure.axes[0].patches
            if isinstance(patch, matplotlib.patches.FancyBboxPatch)
        ]
        labelled = [edge for cell in genotype.cells for edge in cell.edges
                    if edge.operation not in ("", "concat")]  # fmt: skip
        assert len(boxes) == len(labelled) + sum(len(cell.nodes) for cell in genotype.cells)
        width, height = figure.get_size_inches()
        for box in boxes:
            assert 0 < box.x0 < box.x1 < width
            assert 0 < box.y0 < box.y1 < height
        for one, other in itertools.combinations(boxes, 2):
            apart = one.x1 < other.x0 or other.x1 < one.x0 or one.y1 < other.y0 or other.y1 < one.y0
            assert apart


def test_texts_fit_their_boxes() -> None:
    figure = cells._figure(DARTS_V2)
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    boxes = [patch for patch in axes.patches if hasattr(patch, "get_boxstyle")]
    inside = [text for text in axes.texts if text.get_text() not in ("normal", "reduce")]
    assert len(inside) == len(boxes) == 16 + 14
    for text in inside:
        extent = text.get_window_extent(renderer)
        assert any(
            frame.x0 <= extent.x0 and extent.x1 <= frame.x1 and frame.y0 <= extent.y0
            and extent.y1 <= frame.y1
            for frame in (box.get_window_extent(renderer) for box in boxes)
        ), text.get_text()  # fmt: skip


def test_image_is_an_rgb_array() -> None:
    image_HWC = cells.image(NASBENCH201)
    assert image_HWC.dtype == np.uint8
    assert image_HWC.ndim == 3
    assert image_HWC.shape[2] == 3
    assert image_HWC[0, 0].tolist() == [255, 255, 255]
    green = np.array([0x00, 0x9E, 0x73])  # conv
    assert (image_HWC == green).all(axis=2).sum() > 100


def test_svg_is_deterministic_and_readable(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    cells.draw(DARTS_V2, tmp_path / "a.svg")
    cells.draw(DARTS_V2, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert text.count(">sep conv 3x3<") == 5
    assert text.count(">max pool 3x3<") == 5
    assert "<dc:date>" not in text
    assert dict(matplotlib.rcParams) == before


def test_png_has_its_signature_and_nothing_is_left_behind(tmp_path: Path) -> None:
    cells.draw(NASBENCH201, tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.PNG"]


def test_pictures_that_cannot_be_made(tmp_path: Path) -> None:
    huge = Genotype("x", (Cell("cell", ("a", "b"), (Edge("op", 0, 1),) * 401),))
    with pytest.raises(UsageError, match="more than 400 edges"):
        cells.draw(huge, tmp_path / "a.svg")
    with pytest.raises(UsageError, match=r"ends in \.svg or \.png"):
        cells.draw(NASBENCH201, tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_are_harmless(tmp_path: Path) -> None:
    hostile = Genotype("x", (Cell("$\\frac$", ("a$", "\x1b[31m"), (Edge("$_{", 0, 1),)),))
    cells.draw(hostile, tmp_path / "a.png")
    assert "\x1b" not in cell_text.text(hostile)
    assert cells.image(Genotype("x", (Cell("empty", (), ()),))).ndim == 3


def test_same_operation_same_colour() -> None:
    names = ["sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "avg_pool_3x3", "skip_connect"]
    assert len({cells.colour(name) for name in [*names, "nor_conv_1x1"]}) == 6
    assert cells.colour("sep_conv_3x3") == cells.colour("sep_conv_5x5") == "#0072B2"
    assert cells.colour("nor_conv_1x1") == cells.colour("nor_conv_3x3") == "#009E73"
    assert cells.colour("none") == cells.GREY


def test_short_names() -> None:
    names = ["sep_conv_5x5", "nor_conv_1x1", "skip_connect", "none", "mbconv3\x07"]
    assert [cell_text.short_name(name) for name in names] == [
        "sep conv 5x5", "conv 1x1", "skip", "none", "mbconv3?",
    ]  # fmt: skip


def test_text_of_a_darts_cell() -> None:
    lines = cell_text.text(DARTS_V2).split("\n\n")[1].splitlines()
    assert lines == [
        "reduce",
        "  c_{k-2}    ── max pool 3x3 ──┬─▶ 0",
        "  c_{k-1}    ── max pool 3x3 ──┘",
        "  0          ── skip ──────────┬─▶ 1",
        "  c_{k-1}    ── max pool 3x3 ──┘",
        "  c_{k-2}    ── max pool 3x3 ──┬─▶ 2",
        "  0          ── skip ──────────┘",
        "  0          ── skip ──────────┬─▶ 3",
        "  c_{k-1}    ── max pool 3x3 ──┘",
        "  0, 1, 2, 3 ── concat ──────────▶ c_{k}",
    ]


def test_text_tells_equal_nodes_apart() -> None:
    text = cell_text.text(ON_NODES)
    assert f"{CONV} (1) ────────▶ {CONV} (3)" in text
    assert max(map(len, text.splitlines())) <= 80
