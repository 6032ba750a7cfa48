"""A program of torch.export, which needs torch alone and can be compiled ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nasrun.protocols.exporter import Exporter, Source
from nasrun.protocols.settings import plugin

if TYPE_CHECKING:
    from torch.export import ExportedProgram

LOADER = """
import torch

def load(path):
    torch.set_num_threads(1)
    network = torch.export.load(path).module()

    def logits(raw):
        with torch.inference_mode():
            return network(torch.from_numpy(raw)).numpy()

    return logits
"""


@plugin
class Torch(Exporter):
    """One file with graph and weights; the size of a batch is free."""

    needs: ClassVar[tuple[str, ...]] = ()
    loader: ClassVar[str] = LOADER

    def write(self, source: Source, folder: Path) -> Path:
        import torch

        path = folder / "model.pt2"
        torch.export.save(exported(source), path)
        return path


def exported(source: Source) -> ExportedProgram:
    """Trace the network, for batches of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(source.network, (source.example_BCHW,), dynamic_shapes=({0: batch},))
