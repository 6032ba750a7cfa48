"""Benchmark tables for tests: the cells are real, the accuracies are not, but for their optima."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorboard.summary.writer.record_writer import RecordWriter

from nasrun.benchmarks.benchmark import ColumnOptions
from nasrun.benchmarks.importing import import_table
from nasrun.benchmarks.nasbench101 import condensed
from nasrun.genotypes.nasbench101 import PAIRS, Graph
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.nasbench101 import NasBench101

PUBLISHED = {
    "cifar10_val_200": 91.6067,
    "cifar10_test_200": 94.3733,
    "cifar100_val_200": 73.4933,
    "cifar100_test_200": 73.5133,
}
NUM_101 = 200  # cells of a made NAS-Bench-101
BEST_101 = {"val_correct_sum": 29_952 - 1_481, "test_correct_sum": 28_250}  # 95.0554, 94.3176 %


def nasbench201(best: Mapping[str, float] = PUBLISHED) -> dict[str, np.ndarray]:
    """All 15,625 cells, operations and rows in an order of their own; the accuracies of each column
    are spread evenly up to its best."""
    rng = np.random.default_rng(0)
    ops_RE = rng.permutation(np.array(list(itertools.product(range(5), repeat=6)), dtype=np.uint8))
    names = np.array(["avg_pool_3x3", "none", "nor_conv_3x3", "skip_connect", "nor_conv_1x1"])
    columns = {
        name: rng.permutation(np.linspace(1.0 if "100" in name[:8] else 10.0, highest, len(ops_RE)))
        for name, highest in best.items()
    }
    seconds = {"train_seconds_200_cifar10valid": rng.uniform(500.0, 3000.0, len(ops_RE))}
    return {"ops": ops_RE, "op_names": names} | columns | seconds


def nasbench101() -> dict[str, np.ndarray]:
    """`NUM_101` cells that are not isomorphic, with all columns; the space has more."""
    rng = np.random.default_rng(0)
    space = NasBench101(channels=128, cells=3)
    graphs: dict[str, Graph] = {}
    params = []
    while len(graphs) < NUM_101:
        genes = [*(rng.random(len(PAIRS)) < 0.4).astype(int), *rng.integers(0, 3, 5)]
        if not space.allows(genes):
            continue
        genotype = space.pruned(space.decode(genes))
        cell = genotype.cell("cell")
        vertices = tuple(space.encode(genotype)[len(PAIRS) :][: len(cell.nodes) - 2])
        pairs = {edge[1:] for edge in cell.edges}
        graph = Graph(vertices, tuple(pair for pair in PAIRS if pair in pairs))
        if graph.hash not in graphs:
            graphs[graph.hash] = graph
            shape = TaskShape(3, (32, 32), 10)
            params.append(space.params_and_flops(genotype, shape, NetworkSize())[0])
    columns = {
        name: rng.permutation(np.linspace(2_996, best, NUM_101).astype(np.uint16))
        for name, best in BEST_101.items()
    }
    columns |= {"params": np.array(params), "train_seconds": rng.uniform(500.0, 3000.0, NUM_101)}
    return dict(condensed(list(graphs.values()), list(graphs), columns))


def genes() -> dict[str, np.ndarray]:
    """All 36 combinations of three genes, in an order of their own: an accuracy and a latency; the
    deepest and widest is the best, and the slowest."""
    rng = np.random.default_rng(0)
    words = rng.permutation(
        list(itertools.product("1234", ("8", "16", "32"), ("conv", "sep", "id")))
    )
    columns = {"depth": words[:, 0].astype(int), "width": words[:, 1].astype(int)}
    is_conv = (words[:, 2] == "conv").astype(float)
    accuracy = 60.0 + 5.0 * columns["depth"] + 0.25 * columns["width"] + 3.0 * is_conv
    return {
        **columns,
        "op": words[:, 2],
        "acc": accuracy,
        "latency": columns["depth"] * columns["width"] * (1.0 + is_conv),
    }


GENES_OPTIONS = (  # what a person says of its columns
    ("acc", "unit=percent", "better=higher", "part=test", "quantity=accuracy", "trainings=3"),
    ("latency", "unit=ms", "better=lower", "part=test"),
)


def write_genes(folder: Path) -> Path:
    """Import the table of genes into a file, and return it."""
    columns = folder / "columns.npz"
    np.savez(columns, **genes())
    options = ColumnOptions(GENES_OPTIONS)
    out = str(folder / "genes.npz")
    return import_table("genes", str(columns), force=True, progress=lambda *_: None,
                        out=out, options=options)  # fmt: skip


def write_tfrecord(path: Path, arrays: Mapping[str, np.ndarray], texts: list[str]) -> None:
    """An official file of NAS-Bench-101 by Google's own libraries, with trainings of 36 epochs
    besides; `texts` are the cells, in the form of a CSV file."""
    metrics = _metrics_class()
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for row, text in enumerate(texts):
            adjacency, names = text.split(",")
            for epochs, repeat in itertools.product((36, 108), range(3)):
                message = metrics(trainable_parameters=int(arrays["params"][row]), total_time=9.9)
                for _ in range(3):  # before, half-way and at the end: only the last one counts
                    message.evaluation_data.add(training_time=1.0, test_accuracy=0.5)
                final = message.evaluation_data[2]
                final.training_time = arrays["train_seconds"][row] + repeat - 1.0
                final.validation_accuracy = _share(arrays["val_correct_sum"][row], repeat)
                final.test_accuracy = _share(arrays["test_correct_sum"][row], repeat)
                record = [f"hash {row:03}", epochs, adjacency, names.replace(" ", ",")]
                record.append(base64.b64encode(message.SerializeToString()).decode())
                writer.write(json.dumps(record).encode())


def _share(correct_sum: int, repeat: int) -> float:
    """The accuracy of one of three trainings that have so many right answers together."""
    return (int(correct_sum) + repeat) // 3 / 9984


def _metrics_class() -> Any:
    """`ModelMetrics`, without its compiled definition."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="made.proto", package="made")
    evaluation = file.message_type.add(name="EvaluationData")
    doubles = "current_epoch training_time train_accuracy validation_accuracy test_accuracy"
    for number, name in enumerate(doubles.split(), start=1):
        evaluation.field.add(
            name=name, number=number, type=kinds.TYPE_DOUBLE, label=kinds.LABEL_OPTIONAL
        )
    metrics = file.message_type.add(name="ModelMetrics")
    metrics.field.add(
        name="evaluation_data",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=".made.EvaluationData",
    )
    for number, name, kind in (
        (2, "trainable_parameters", kinds.TYPE_INT32),
        (3, "total_time", kinds.TYPE_DOUBLE),
    ):
        metrics.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("made.ModelMetrics"))
