"""ONNX with weights and activations of 8 bits, by the static quantisation of onnxruntime.

Ranges of activations are measured on training images; weights have a scale per output channel.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from nasrun.exporters.onnx import LOADER, write_onnx
from nasrun.protocols.exporter import Exporter, Source
from nasrun.protocols.settings import plugin

BATCH = 32


@plugin
class Int8(Exporter):
    """One file, a quarter of the size; its logits differ, so that its accuracy is measured."""

    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    calibrates: ClassVar[bool] = True
    tolerance: ClassVar[float | None] = None
    loader: ClassVar[str] = LOADER

    opset: Annotated[int, Interval(ge=18, le=23)]  # version of the operators

    def write(self, source: Source, folder: Path) -> Path:
        import torch
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        assert source.calibration_NCHW is not None
        path = folder / "model.int8.onnx"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            plain, prepared = Path(scratch, "plain.onnx"), Path(scratch, "prepared.onnx")
            write_onnx(source, plain, self.opset)
            level = logging.root.level
            logging.root.setLevel(logging.ERROR)  # it advises to do what is done here
            try:
                quant_pre_process(str(plain), str(prepared))
                quantization.quantize_static(
                    str(prepared),
                    str(path),
                    _Reader(torch.split(source.calibration_NCHW, BATCH)),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=quantization.QuantType.QInt8,
                )
            finally:
                logging.root.setLevel(level)
        return path


class _Reader:
    """What onnxruntime asks for images: one batch after the other, then `None`."""

    def __init__(self, batches: Any) -> None:
        self._batches: Iterator[Any] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}
