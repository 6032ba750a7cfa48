"""A network as one readable Python file, and its weights as safetensors beside it.

The file is written from the graph of torch.export: a line for each operation, under the name of the
part of the network that it belongs to. It needs torch alone; safetensors files are simple enough to
be read in a few lines (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from nasrun.exporters.torch import exported
from nasrun.protocols.exporter import Exporter, Source
from nasrun.protocols.settings import plugin

LOADER = """
import importlib.util
import torch

def load(path):
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load()

    def logits(raw):
        with torch.inference_mode():
            return network(torch.from_numpy(raw)).numpy()

    return logits
"""

HEAD = '''"""A network as it was trained. It needs torch alone.

    import model
    network = model.load()
    logits_BK = network(INPUTS)   # raw values, float32; batches of any size
"""

import json
import math
import operator
from pathlib import Path

import torch
import torch.nn.functional as F

WEIGHTS = Path(__file__).with_name("model.safetensors")
TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "BOOL": torch.bool}


def read_weights(path=WEIGHTS):
    """Name -> tensor: eight bytes with the length of a JSON header, the header, the numbers."""
    content = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    weights = {}
    for name, about in header.items():
        first, last = about["data_offsets"]
        part = content[start + first : start + last]
        weights[name] = torch.frombuffer(part, dtype=TYPES[about["dtype"]]).reshape(about["shape"])
    return weights


def load(path=WEIGHTS):
    return Network(read_weights(path)).eval()


class Network(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        for name, tensor in weights.items():
            self.register_buffer(name, tensor)

    def forward(self, images):
'''
SAME = {  # name in aten -> a function of torch that takes the same arguments
    "conv2d": "F.conv2d",
    "relu": "torch.relu",
    "max_pool2d": "F.max_pool2d",
    "avg_pool2d": "F.avg_pool2d",
    "adaptive_avg_pool2d": "F.adaptive_avg_pool2d",
    "linear": "F.linear",
    "cat": "torch.cat",
    "pad": "F.pad",
    "flatten": "torch.flatten",
    "zeros_like": "torch.zeros_like",
}
METHODS = ("expand_as", "new_zeros", "permute", "reshape", "unsqueeze", "view")  # of a tensor
BETWEEN = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
GUARDS = ("_assert", "sym_constrain")  # checks of the tracer, which compute nothing


@plugin
class Python(Exporter):
    """`model.py` and `model.safetensors`."""

    needs: ClassVar[tuple[str, ...]] = ("safetensors",)
    loader: ClassVar[str] = LOADER

    def write(self, source: Source, folder: Path) -> Path:
        from safetensors.torch import save_file

        writer = _Writer(exported(source))
        lines = list(writer.lines())
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in writer.tensors.items()},
            str(folder / "model.safetensors"),
        )
        path = folder / "model.py"
        given = "images_BCHW" if source.example_BCHW.dim() == 4 else "signals_BCL"
        text = HEAD.replace("INPUTS", given) + "".join(f"        {line}\n" for line in lines)
        path.write_text(text, encoding="utf-8")
        return path


class _Writer:
    """Turn the graph of an exported program into lines of Python."""

    def __init__(self, program: Any) -> None:
        self.program = program
        self.tensors: dict[str, Any] = {}  # the weights that are used, by their names in the file
        self._names: dict[Any, str] = {}

    def lines(self) -> Iterator[str]:
        place, number = "", 0
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._names[node] = self._placeholder(node)
            elif node.op == "output":
                (result,) = node.args[0]
                yield f"return {self._text(result)}"
            elif node.users or not any(guard in str(node.target) for guard in GUARDS):
                here = _place(node)
                if here != place:
                    yield f"# {here}"
                    place = here
                number += 1
                self._names[node] = f"x{number}"
                yield f"{self._names[node]} = {self._call(node)}"

    def _placeholder(self, node: Any) -> str:
        signature = self.program.graph_signature
        known = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        if node.name not in known:
            return "images"
        path = known[node.name]
        values = {**self.program.state_dict, **self.program.constants}
        name = path.removeprefix("network.").replace(".", "_")
        if node.users:
            self.tensors[name] = values[path].detach()
        return f"self.{name}"

    def _call(self, node: Any) -> str:
        arguments = [self._text(one) for one in node.args]
        words = [f"{key}={self._text(one)}" for key, one in node.kwargs.items()]
        if node.target is operator.getitem:
            return f"{arguments[0]}[{arguments[1]}]"
        name, _, overload = str(node.target).removeprefix("aten.").partition(".")
        if name in BETWEEN and overload == "Tensor" and not words:
            return f"{arguments[0]} {BETWEEN[name]} {arguments[1]}"
        if name == "batch_norm":
            values, weight, bias, mean, variance, _, momentum, epsilon, *_ = arguments
            return f"F.batch_norm({values}, {mean}, {variance}, {weight}, {bias}, False, {momentum}, {epsilon})"  # noqa: E501 - one line of the file
        if name == "slice":
            return _sliced(*arguments)
        if name in METHODS or (name, overload) == ("mean", "dim"):
            words = [word for word in words if not word.startswith("pin_memory")]
            return f"{arguments[0]}.{name}({', '.join([*arguments[1:], *words])})"
        module = getattr(node.target, "__module__", "").removeprefix("_")
        if module in ("operator", "math"):
            return f"{module}.{node.target.__name__}({', '.join(arguments)})"
        function = SAME.get(name) or f"torch.ops.{node.target}"
        return f"{function}({', '.join([*arguments, *words])})"

    def _text(self, value: Any) -> str:
        from torch.fx import Node

        if isinstance(value, Node):
            return self._names[value]
        if isinstance(value, list | tuple):
            inside = ", ".join(map(self._text, value))
            return f"[{inside}]"
        return str(value) if str(value).startswith("torch.") else repr(value)


def _sliced(values: str, axis: str = "0", start: str = "0", end: str = "", step: str = "1") -> str:
    """Write a slice along one axis, `x[:, :, 1::2]`."""
    first = "" if start in ("0", "None") else start
    last = "" if end in ("None", str(sys.maxsize)) else end
    every = "" if step == "1" else f":{step}"
    return f"{values}[{':, ' * int(axis)}{first}:{last}{every}]"


def _place(node: Any) -> str:
    """Return the part of the network that a node belongs to.

    Around the network itself there is what normalises its inputs; what it does between its parts
    is called after it.
    """
    stack = node.meta.get("nn_module_stack") or {}
    # torch fills an empty stack with the name of its own hook
    names = [path for path, _ in stack.values() if not path.startswith("_empty_nn_module_stack")]
    return names[-1].removeprefix("network.") if names and names[-1] else "normalisation"
