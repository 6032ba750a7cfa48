"""ONNX, for onnxruntime and whatever else reads it (github.com/onnx/onnx)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Interval

from nasrun.protocols.exporter import Exporter, Source
from nasrun.protocols.settings import plugin

LOADER = """
import onnxruntime

def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda raw: session.run(["logits"], {"images": raw})[0]
"""


@plugin
class Onnx(Exporter):
    """One file with graph and weights; the size of a batch is free."""

    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    loader: ClassVar[str] = LOADER

    opset: Annotated[int, Interval(ge=18, le=23)]  # version of the operators

    def write(self, source: Source, folder: Path) -> Path:
        path = folder / "model.onnx"
        write_onnx(source, path, self.opset)
        return path


def write_onnx(source: Source, path: Path, opset: int) -> None:
    """Export by torch's own exporter; the checker of onnx looks at what came of it."""
    import onnx
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operators that are not ours to mend
        program = torch.onnx.export(
            source.network,
            (source.example_BCHW,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=["images"],
            output_names=["logits"],
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path), full_check=True)
