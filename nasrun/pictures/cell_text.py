"""Write cells as text for the terminal, and name nodes and operations as people read them."""

from __future__ import annotations

from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.terminal.text import printable


def text(genotype: Genotype) -> str:
    """Write one block per cell: for each node its inputs and what is applied to them."""
    return "\n\n".join(_cell_text(cell) for cell in genotype.cells)


def _cell_text(cell: Cell) -> str:
    names = node_names(cell)
    rows: list[tuple[str, str, str, str]] = []  # source, operation, joint, target
    for target in range(len(cell.nodes)):
        inputs = [(names[edge.source], edge.operation) for edge in cell.edges_into(target)]
        if {operation for _, operation in inputs} == {"concat"}:
            inputs = [(", ".join(source for source, _ in inputs), "concat")]
        for position, (source, operation) in enumerate(inputs):
            joint = "┬─▶ " if position == 0 and len(inputs) > 1 else "──▶ "
            if position:
                joint = "┘" if position == len(inputs) - 1 else "┤"
            rows.append((source, short_name(operation), joint, "" if position else names[target]))
    width = max((len(source) for source, *_ in rows), default=0)
    label = max((len(operation) for _, operation, *_ in rows), default=0)
    lines = [
        f"  {source:<{width}} ──{_on_line(operation, label)}──{joint}{target}"
        for source, operation, joint, target in rows
    ]
    return "\n".join([printable(cell.name), *lines])


def _on_line(operation: str, width: int) -> str:
    """Write the operation's name as part of a line of the given length."""
    name = f" {operation} " if operation else ""
    return name + "─" * (width + 2 - len(name))


def node_names(cell: Cell) -> list[str]:
    """List the labels of the nodes, numbered where two have the same one."""
    labels = [printable(label) for label in cell.nodes]
    return [
        f"{label} ({position})" if labels.count(label) > 1 else label
        for position, label in enumerate(labels)
    ]


def short_name(operation: str) -> str:
    """Shorten an operation's name for people.

    `sep_conv_3x3` becomes `sep conv 3x3`, `nor_conv_1x1` becomes `conv 1x1`, and `skip_connect`
    becomes `skip`.
    """
    return printable(operation.removeprefix("nor_").removesuffix("_connect").replace("_", " "))
