"""Single files: architectures, arrays and tables that are wrong, lie or are programs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.genotypes.published import published_cells
from tests.long.fuzz.command_line import Trial, nasrun
from tests.long.fuzz.values import PROGRAM, QUICK, TOY, broken_json, flipped, junk, word

GENOTYPES = (
    json.dumps(published_cells()["darts_v2"].genotype.to_json()),
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], reduce=[], normal_concat=[2])",
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|",
    f"PM X = Genotype({[(('none', 0, 0.5), ('skip_connect', 1, 0.5))] * 4}, range(2, 6), "
    f"reduce={[('skip_connect', 2 + i // 2, i % 2) for i in range(8)]}, connectN=None)",
    "ModelSpec(matrix=np.array([[0, 1], [0, 0]]), ops=[INPUT, OUTPUT])\n0100,input output",
)


def retrained(chance: random.Random, _: Path) -> Trial:
    """The same architectures, to be trained."""
    return nasrun("retrain", *QUICK, f"genotype={write_genotype(chance)}")


def genotypes(chance: random.Random, _: Path) -> Trial:
    """Architectures whose schema, operations, edges or size are wrong, to be looked at."""
    what = write_genotype(chance)
    return nasrun("show", what, *(["--out", "cell.svg"] if chance.random() < 0.3 else []))


def write_genotype(chance: random.Random) -> str:
    """A file, or the text itself."""
    text = chance.choice(GENOTYPES)
    if text.startswith("{") and chance.random() < 0.7:
        content = broken_json(json.loads(text), chance)
    elif chance.random() < 0.2:
        nodes = chance.choice((3, 1_000, 20_000))
        cell = {"nodes": ["a"] * nodes, "edges": [["x", 0, 1]] * chance.choice((0, 1, 5_000))}
        content = json.dumps({"space": "darts", "cells": {"normal": cell, "reduce": cell}}).encode()
    elif chance.random() < 0.02:
        content = b'{"space": "x", "cells": ' + b"9" * 10**8 + b"}"
    else:
        content = flipped(text.encode(), chance)
    Path("cell.json").write_bytes(content)
    if chance.random() < 0.8:
        return "cell.json"
    return content[:100_000].decode(errors="replace").replace("\x00", "") or "{"


def datasets(chance: random.Random, _: Path) -> Trial:
    """`.npz` files with wrong arrays, headers and archives."""
    rng = np.random.default_rng(chance.randrange(2**32))
    arrays: dict[str, Any] = {
        "x_train": rng.integers(0, 255, (12, 8, 8, 1), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 255, (6, 8, 8, 1), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    damage_npz("data.npz", arrays, chance)
    settings = {
        "name": "npz", "file": "data.npz", "layout": chance.choice(("auto", "channels_last")),
        "num_classes": chance.choice((*[None] * 9, 3, 10**9)), "batch_size": 4,
        "limit": chance.choice((*[None] * 9, 6, -1)), "crop_padding": None,
        "flip": True, "cutout_length": None,
    }  # fmt: skip
    if chance.random() < 0.05:
        return nasrun("search", *TOY[4:], "dataset=npz", "dataset.file=data.npz")
    from nasrun.datasets.npz import load_npz

    return lambda: load_npz(**settings)  # type: ignore[arg-type]


def damage_npz(name: str, arrays: dict[str, Any], chance: random.Random) -> None:
    """Write arrays as numpy does, with one thing or two wrong."""
    chosen = chance.choice(list(arrays))
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        with contextlib.suppress(ValueError, TypeError):  # not all faults go together
            arrays[chosen] = chance.choice(ARRAY_FAULTS)(np.asarray(arrays[chosen]), chance)
    if chance.random() < 0.15:
        del arrays[chosen]
    if chance.random() < 0.1:
        arrays[chance.choice(("../../precious", "/tmp/x", "a" * 300, ""))] = np.arange(3)
    packed = zipfile.ZIP_LZMA if chance.random() < 0.05 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(name, "w", packed) as archive:
        for key, array in arrays.items():
            archive.writestr(f"{key}.npy", npy(array, chance))
    content = Path(name).read_bytes()
    if chance.random() < 0.3:
        content = flipped(content, chance)
    if chance.random() < 0.05:
        content = chance.choice((b"", b"PK", b"\x93NUMPY", pickled(), npy(np.arange(3), chance)))
    Path(name).write_bytes(content)
    if chance.random() < 0.02:
        Path(name).unlink()
        os.mkfifo(name)


ARRAY_FAULTS: tuple[Callable[[np.ndarray, random.Random], Any], ...] = (
    lambda array, chance: array[: chance.randrange(len(array) + 1)],
    lambda array, chance: array.astype(chance.choice(("f2", "f8", "i1", "i8", "u8", "b1"))),
    lambda array, _: array[..., None, None],
    lambda array, _: array.reshape(-1),
    lambda array, _: np.full(array.shape, np.nan),
    lambda array, _: np.full(array.shape, -1),
    lambda array, _: np.full(array.shape, 10**18),
    lambda array, _: array.astype(str),
    lambda array, _: array.astype("S1"),
    lambda array, _: array.astype(object),
    lambda array, _: np.zeros((10**6, 0, 8, 8), np.uint8),
    lambda *_: np.zeros(()),
    lambda *_: np.zeros(3, dtype=[("a", "f4"), ("b", "i8")]),
    lambda *_: np.zeros((12, 300, 300, 1), np.uint8),
    lambda *_: np.array(["2020-01-01"], dtype="M8[D]"),
    lambda *_: np.zeros(12, np.complex64),
)


def npy(array: np.ndarray, chance: random.Random) -> bytes:
    """An array in the npy format; sometimes its header lies."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    content = stream.getvalue()
    if chance.random() < 0.1:
        shape = chance.choice(
            (b"(10**11,), ", b"(100000000000,), ", b"(-1, 5), ", b"(1e9,), ", b"[3], ")
        )
        start = content.find(b"'shape': ") + 9
        content = content[:start] + shape + content[start + len(shape) :]
    return content


def bombs(chance: random.Random, _: Path) -> Trial:
    """Archives that are small and claim, or are, very large."""
    header = io.BytesIO()
    length = chance.choice((10**8, 10**9, 10**11, 10**14))
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (length,)}
    )
    with zipfile.ZipFile("data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x_train", "y_train", "x_test", "y_test", "ops", "op_names"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(header.getvalue())
                for _ in range(min(length, 2 * 10**7) // 10**6):
                    member.write(bytes(10**6))
    if chance.random() < 0.5:
        return nasrun("data", "describe", "data.npz")
    return nasrun("search", *TOY[4:], "dataset=npz", "dataset.file=data.npz")


def tables(chance: random.Random, home: Path) -> Trial:
    """Benchmark tables with missing or doubled rows and columns, impossible values, bad lines."""
    if chance.random() < 0.5:
        with np.load(home / "table.npz") as file:
            arrays = {name: file[name] for name in file.files}
        damage_npz("table.npz", arrays, chance)
        return nasrun("data", chance.choice(("describe", "describe", "verify")), "table.npz")
    lines = [list(line) for line in CSV_LINES]
    for _ in range(chance.randint(1, 3)):
        line = chance.choice(lines)
        place = chance.randrange(len(line) + 1)
        line[place : place + chance.randint(0, 1)] = [word(junk(chance))] * chance.randint(0, 2)
    text = "\n".join(",".join(line) for line in lines * chance.choice((1, 1, 3)))
    content = text.encode(errors="replace")
    if chance.random() < 0.1:
        content = flipped(content, chance)
    if chance.random() < 0.05:
        content += b"\n" + b"9" * 10**7
    Path("table.csv").write_bytes(content)
    return nasrun("data", "import", chance.choice(("nasbench201", "nasbench101")), "table.csv")


CSV_LINES = (
    ("arch", "cifar10_val_200", "cifar10_test_200"),
    ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "10", "10"),
    ("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "90.5", "91"),
)


class Program:
    """What makes a pickle a program."""

    def __reduce__(self) -> Any:
        return exec, (PROGRAM,)


def pickled() -> bytes:
    return pickle.dumps(Program())
