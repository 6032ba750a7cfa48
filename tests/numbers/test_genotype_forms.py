"""Genotypes in the forms in which public code, logs and documents hold them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
import torch

from nasrun.errors import UsageError
from nasrun.genotypes.darts import KNOWN_OPERATIONS
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.literal import NotLiteral, literal
from nasrun.genotypes.nasbench101 import nasbench101_text
from nasrun.genotypes.nasbench201 import nasbench201_text
from nasrun.genotypes.source import resolve
from nasrun.genotypes.text import MAX_BYTES, parse
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.darts import Darts
from tests.made_genotypes import CELL_201, MODULE, NORMAL, OTHER, REDUCE, SPACE, TEXT, module


def edges(genotype: Genotype, cell: str) -> list[tuple[str, int, int]]:
    return [tuple(edge) for edge in genotype.cell(cell).edges if edge.operation != "concat"]


def output(genotype: Genotype, cell: str) -> list[int]:
    return [edge.source for edge in genotype.cell(cell).edges_into(6)]


def is_first(genotype: Genotype) -> bool:
    """Whether a genotype is that of `TEXT`: node by node, two pairs for each."""
    nodes = [2, 2, 3, 3, 4, 4, 5, 5]
    return all(
        edges(genotype, cell) == [(*pair, node) for pair, node in zip(pairs, nodes, strict=True)]
        and output(genotype, cell) == [2, 3, 4, 5]
        for cell, pairs in (("normal", NORMAL), ("reduce", REDUCE))
    )


def of_nodes(pairs: list, *third: float) -> list:
    """Pairs of pairs, as GDAS and SETN write them."""
    return [tuple((*pair, *third) for pair in pairs[i : i + 2]) for i in range(0, 8, 2)]


FIELDS = {"normal": NORMAL, "normal_concat": [2, 3, 4, 5], "reduce": REDUCE,
          "reduce_concat": [2, 3, 4, 5]}  # fmt: skip
GDAS = (f"Genotype(normal={of_nodes(NORMAL)}, normal_concat=[2, 3, 4, 5], reduce={of_nodes(REDUCE)}"
        ", reduce_concat=[2, 3, 4, 5], connectN=None, connects=None)")  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"MY_CELL = {TEXT}",
        f"MY_CELL: Genotype = genotypes.{TEXT}",
        f"06/28 03:07:56 PM genotype = {TEXT}",
        f"[2021-05-01 10:00:01,123] INFO: best: {TEXT} (acc 97.1)",
        f"\ufeff# the best of five\n\n  # seed 3\n{TEXT}\n",
        TEXT.replace("range(2, 6)", "list(range(2,6))"),
        TEXT.replace("range(2, 6)", "[np.int64(2), numpy.int32(3), np.int64(4), np.int64(5)]"),
        TEXT.replace(", 1)", ", np.int64(1))"),
        TEXT.replace("normal=[", "normal=[  # it's (the first\n"),
        f"Genotype({NORMAL}, range(2, 6), {REDUCE}, range(2, 6))",
        f"Genotype({NORMAL}, [2, 3, 4, 5], reduce={REDUCE}, reduce_concat=(2, 3, 4, 5))",
        GDAS,
        f"GDAS_V1 = {GDAS}",
        json.dumps(FIELDS),
        str(FIELDS),
        json.dumps({"params": 3.3, "concat": [2, 3, 4, 5], "reduce": REDUCE, "normal": NORMAL}),
        str({"normal": NORMAL, "reduction": REDUCE, "reduction_concat": [2, 3, 4, 5]}),
        f"best = {FIELDS}  # of 50 epochs",
        json.dumps({"result": {"genotype": TEXT}}),
        json.dumps({"genotype": TEXT, "code": "return Genotype(normal=gene, reduce=gene)"}),
    ],
)  # fmt: skip
def test_forms_of_a_darts_genotype(text: str) -> None:
    assert is_first(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        GDAS.replace("), ('", ", 0.25), ('").replace("))", ", np.float32(0.5)))"),
        str({"normal": of_nodes(NORMAL, 0.125), "reduce": of_nodes(REDUCE, 0.5)}),
        f"Genotype(normal={[(*pair, 0.2) for pair in NORMAL]}, reduce={REDUCE})",
    ],
)
def test_a_weight_of_an_edge_is_left_out_and_told(text: str) -> None:
    told: list[str] = []
    assert is_first(parse(text, told.append))
    assert told[0] == "cell 'normal': the third number of each edge, its weight, is left out"


def test_triples_of_fair_darts() -> None:
    """(operation, node, input). Node 2 has both edges, node 3 none, nodes 4 and 5 have one; the
    public code leaves node 3 out of the output, whatever the concat says."""
    sparse = [("max_pool_3x3", 2, 0), ("sep_conv_3x3", 2, 1), ("skip_connect", 4, 2),
              ("dil_conv_5x5", 5, 0)]  # fmt: skip
    full = [(operation, node // 2 + 2, source) for node, (operation, source) in enumerate(NORMAL)]
    told: list[str] = []
    genotype = parse(
        f"X = Genotype(normal={sparse}, normal_concat=range(2, 6), reduce={full}, "
        "reduce_concat=range(2, 6))", told.append
    )  # fmt: skip
    assert edges(genotype, "normal") == [
        ("max_pool_3x3", 0, 2), ("sep_conv_3x3", 1, 2), ("none", 0, 3), ("none", 1, 3),
        ("skip_connect", 2, 4), ("none", 0, 4), ("dil_conv_5x5", 0, 5), ("none", 1, 5),
    ]  # fmt: skip
    assert output(genotype, "normal") == [2, 4, 5]
    assert edges(genotype, "reduce") == [(*pair, 2 + i // 2) for i, pair in enumerate(NORMAL)]
    assert output(genotype, "reduce") == [2, 3, 4, 5]
    assert told == ["cell 'normal' has 4 edges: 'none' stands for the others, and a node without "
                    "an edge is no part of the output"]  # fmt: skip
    SPACE.validate(genotype)


def test_a_cell_of_fair_darts_has_the_published_size() -> None:
    """Fair-DARTS b, 36 channels and 20 cells: 536 M multiply-adds, and 3.88 M parameters with an
    auxiliary head."""
    normal = [("sep_conv_3x3", 2, 0), ("sep_conv_3x3", 2, 1), ("sep_conv_3x3", 3, 1),
              ("dil_conv_3x3", 4, 0), ("sep_conv_5x5", 4, 1), ("dil_conv_5x5", 5, 1)]  # fmt: skip
    reduce = [("skip_connect", 2, 0), ("dil_conv_3x3", 2, 1), ("skip_connect", 3, 0),
              ("dil_conv_3x3", 3, 1), ("max_pool_3x3", 4, 0), ("sep_conv_3x3", 4, 1),
              ("skip_connect", 5, 2), ("max_pool_3x3", 5, 0)]  # fmt: skip
    space = Darts(
        channels=36, cells=20, partial_channels=1, stem="cifar", operations=list(KNOWN_OPERATIONS)
    )
    genotype, shape = (
        parse(f"Genotype({normal}, range(2, 6), {reduce})"),
        TaskShape(3, (32, 32), 10),
    )
    _, flops = space.params_and_flops(genotype, shape, NetworkSize())
    with torch.device("meta"):
        network = space.network(genotype, shape, NetworkSize(auxiliary=True))
    assert round(flops / 1e6) in (536, 537)
    assert round(sum(one.numel() for one in network.parameters()) / 1e6, 2) == 3.88


def test_a_module_of_genotypes(tmp_path: Path) -> None:
    """By name, by another name, and without one: the last, which is said."""
    file = module(tmp_path, MODULE)
    assert is_first(resolve(f"{file}:FIRST"))
    assert is_first(resolve(f"{file}:DARTS"))
    told: list[str] = []
    second = resolve(file, told.append)
    assert second == resolve(f"{file}:SECOND") == parse(OTHER)
    assert output(second, "normal") == [2, 5]
    assert told == [f"{file}: the last genotype is taken, SECOND of line 9 (what follows in line "
                    f"10 is cut off or computed); for another type {file}:FIRST"]  # fmt: skip
    with pytest.raises(UsageError, match="no genotype 'FIRTS' in it; did you mean FIRST"):
        resolve(f"{file}:FIRTS")
    with pytest.raises(UsageError, match=r"genotypes.py: cell 'normal' needs eight .* it has 1"):
        resolve(f"{file}:NASNet")
    with pytest.raises(
        UsageError, match=r"no run folder, file or published genotype 'x\.py:FIRST'"
    ):
        resolve("x.py:FIRST")


def test_a_document_of_named_genotypes(tmp_path: Path) -> None:
    file = tmp_path / "cells.json"
    cell = {"source": "a paper", "normal": NORMAL, "reduce": REDUCE, "concat": [2, 3, 4, 5]}
    cells = {"README": "facts", "one": cell, "two": {**cell, "concat": [5]}}
    file.write_text(json.dumps(cells))
    assert is_first(resolve(f"{file}:one"))
    told: list[str] = []
    assert output(resolve(str(file), told.append), "reduce") == [5]
    assert told == [f"{file}: the last genotype is taken, two of the document; for another type "
                    f"{file}:one"]  # fmt: skip


def test_the_last_genotype_of_a_long_log(tmp_path: Path) -> None:
    """Of 165,168 characters and more, with bytes of another encoding; its last line is cut off."""
    line = f"06/28 03:07:56 PM genotype = {OTHER}\n06/28 train 010 1.2e+00 54.9 été\n"
    log = line * 400 + f"06/28 04:00:00 PM genotype = {TEXT}\n06/28 genotype = {OTHER[:200]}"
    assert len(log) > 165_168
    file = tmp_path / "log.txt"
    file.write_bytes(log.encode("latin-1"))
    told: list[str] = []
    assert is_first(resolve(str(file), told.append))
    assert told == [f"{file}: the last genotype is taken, genotype of line 801 (what follows in "
                    "line 802 is cut off or computed)"]  # fmt: skip


def test_a_file_of_any_size_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match=r"log.txt has more than 16,777,216 bytes: .*tail -n"):
        resolve(str(file))
    for start in ("|a~", "Genotype(", '{"space": ', "[[0, ", "[[0, 1]] [input ", "|a~0|+", "# \n"):
        file.write_text(start * (2**17 // len(start)))
        with pytest.raises(UsageError) as caught:
            resolve(str(file))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_files_that_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "cell.txt"
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    file.write_bytes(mark + f"# ours\r\nX = {TEXT}".encode(encoding))
    assert is_first(resolve(str(file)))
    file.write_bytes(mark + json.dumps(FIELDS).encode(encoding))
    assert is_first(resolve(str(file)))


def test_a_file_is_a_file_whatever_its_name_begins_with(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("{a}.txt", "Genotype(1).py", "|x~0|", "a:b.txt"):
        Path(name).write_text(f"X = {TEXT}")
        assert is_first(resolve(name))
        assert is_first(resolve(f"{name}:X"))


@pytest.mark.parametrize(
    "text",
    [
        "|nor_conv_3x3~0| + |none~0|skip_connect~1| + |nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
        "| nor_conv_3x3~0 |+| none~0 | skip_connect~1 |+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
        "|nor_conv_3x3~0|+|skip_connect~1|none~0|+|avg_pool_3x3~2|nor_conv_1x1~0|none~1|",
        f"arch: Structure(4 nodes with {CELL_201})",
        f"[12:00:01] {CELL_201}, 93.1",
        json.dumps({"epoch": 3, "arch_str": CELL_201}),
    ],
)
def test_forms_of_a_nasbench201_cell(text: str) -> None:
    assert nasbench201_text(parse(text)) == CELL_201


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("|a~0|+|a~0|a~0|+|a~0|a~1|a~2|", "one from each node before"),
        ("|a~0|+|a~0|a~2|+|a~0|a~1|a~2|", "'a~2' should be an operation and '~0' or '~1'"),
    ],
)
def test_wrong_nasbench201_cells(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


ROWS = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
NAMES = ["input", "conv1x1-bn-relu", "maxpool3x3", "output"]
TEXT_101 = "0110000100010000,input conv1x1-bn-relu maxpool3x3 output"


@pytest.mark.parametrize(
    "text",
    [
        """model_spec = api.ModelSpec(
            # Adjacency matrix of the module
            matrix=[[0, 1, 1, 0],    # input layer
                    [0, 0, 0, 1],    # 1x1 conv (it's the 1st)
                    [0, 0, 0, 1],    # 3x3 [max-pool]
                    [0, 0, 0, 0]],   # output layer
            # Operations at the vertices of the module, matches order of matrix
            ops=[INPUT, CONV1X1, MAXPOOL3X3, OUTPUT])""",
        f"ModelSpec({ROWS}, {NAMES})",
        f"ModelSpec(ops={NAMES}, matrix=np.array({ROWS}, dtype=np.int8))",
        f"matrix = {ROWS}\nops = {NAMES}",
        json.dumps({"matrix": ROWS, "ops": NAMES}),
        f"{{'module_adjacency': array({ROWS}, dtype=int8), 'module_operations': {NAMES}, 'x': 1}}",
        json.dumps([ROWS, NAMES]),
        f"best: {TEXT_101}",
    ],
)  # fmt: skip
def test_forms_of_a_nasbench101_cell(text: str) -> None:
    assert nasbench101_text(parse(text)) == TEXT_101


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (ROWS[:3], NAMES, "4 operations has 4 rows of 4 numbers"),
        ([[0, 2, 1, 0], *ROWS[1:]], NAMES, "each 0 or 1"),
        ([[0, 1, 1, 0], [1, 0, 0, 1], *ROWS[2:]], NAMES, "from a lower to a higher node"),
        (ROWS, [*NAMES[:3], 3], "a list of names"),
    ],
)
def test_wrong_nasbench101_cells(rows: list, names: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(json.dumps({"matrix": rows, "ops": names}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT[:-30], "is cut off or computed"),
        (TEXT.replace("range(2, 6)", "range(2, 10**9)"), "is cut off or computed"),
        (TEXT.replace("range", "exec"), "is cut off or computed"),
        (f"{TEXT[:-1]}, normal={REDUCE})", "is cut off or computed"),
        (f"{TEXT[:-1]}, connectN=[1])", "connectN=.* must be None"),
        (f"{TEXT[:-1]}, hidden=2)", "no 'hidden'"),
        (f"Genotype(normal={NORMAL})", "'reduce' is missing"),
        (f"Genotype(normal={NORMAL}, reduce=7)", "'reduce' is a list of"),
        (f"Genotype(normal={NORMAL[:7]}, reduce={REDUCE})", "needs eight .*; it has 7"),
        (f"Genotype(normal={[of_nodes(NORMAL)[0] * 2]}, reduce={REDUCE})", "4 edges at a node"),
        (f"Genotype(normal={[('skip_connect', 2, s) for s in (0, 1, 1)]}, reduce={REDUCE})",
         "node 2 of cell 'normal' has 3 edges"),
        (f"Genotype(normal=[('skip_connect', 9, 1)], reduce={REDUCE})", "not an .* triple"),
        ("Epoch 3: loss 0.1", "is not a genotype: expected Genotype"),
        ("", "is not a genotype: expected Genotype"),
    ],
)  # fmt: skip
def test_what_is_no_genotype_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["f(1)", "a", "1 + 1", "x.y", "range(10**9)", "list(1)", "int('3')", "[", "-'a'",
             "{**{}}", "[*[1]]", "{[]: 1}", "-" * 50_000 + "1", "[" * 5_000, "'a'" * 40_000]
)  # fmt: skip
def test_only_literals_are_read(text: str) -> None:
    if text == "{**{}}":
        assert literal(text) == {}
        return
    with pytest.raises(NotLiteral):
        literal(text)
