"""Read Python literals as public code writes them, as text: nothing is evaluated or called.

Beside literals these are `range(2, 6)`, `list(...)`, `tuple(...)`, `np.array(...)`, numbers such as
`np.int64(0)`, and the constants of the NAS-Bench-101 code. Lists and tuples are read as lists.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

MAX_LENGTH = 100_000  # characters of one literal
CONSTANTS = {
    "INPUT": "input",
    "OUTPUT": "output",
    "CONV1X1": "conv1x1-bn-relu",
    "CONV3X3": "conv3x3-bn-relu",
    "MAXPOOL3X3": "maxpool3x3",
}
_NUMBER = re.compile(r"int|float|u?int(8|16|32|64)|float(16|32|64)")
_SEQUENCES = ("list", "tuple", "array")


class NotLiteral(ValueError):
    """The text is cut off, is no Python, or has to be computed."""


def literal(text: str) -> Any:
    """Return the value of a literal.

    Raises:
        NotLiteral: it is none.
    """
    return _guarded(text, _value)


def arguments(text: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call by their names; `names` are those of positional ones.

    Raises:
        NotLiteral: it is no call of literals.
    """

    def read(node: ast.expr) -> dict[str, Any]:
        if not isinstance(node, ast.Call) or len(node.args) > len(names):
            raise NotLiteral
        found = {name: _value(value) for name, value in zip(names, node.args, strict=False)}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in found:
                raise NotLiteral
            found[keyword.arg] = _value(keyword.value)
        return found

    return _guarded(text, read)


def _guarded(text: str, read: Any) -> Any:
    if len(text) > MAX_LENGTH:
        raise NotLiteral
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, about a stranger's text
            return read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise NotLiteral from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.Call) and node.args:
        return _called(ast.unparse(node.func).rpartition(".")[2], node.args)
    raise NotLiteral


def _called(name: str, nodes: Sequence[ast.expr]) -> Any:
    """Return what a call such as `np.array([1])` stands for; a `dtype` does not matter."""
    values = [_value(node) for node in nodes]
    if name == "range" and all(isinstance(bound, int) and abs(bound) < 100 for bound in values):
        return list(range(*values))
    if name in _SEQUENCES and isinstance(values[0], list):
        return values[0]
    if _NUMBER.fullmatch(name) and isinstance(values[0], int | float):
        return values[0]
    raise NotLiteral
