"""Treat architectures as values: their cells, their texts, the facts of each kind of cell."""
