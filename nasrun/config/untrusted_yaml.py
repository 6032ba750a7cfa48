"""Read configurations of strangers, such as `.hydra/*.yaml` of a run folder, within bounds.

PyYAML's safe loaders make plain values only. Aliases can make a small file endless, and are
counted before anybody copies what they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nasrun.errors import UsageError

MAX_CONFIG_BYTES, MAX_LEAVES = 1_000_000, 10_000  # real ones have 100 leaves
MAX_DEPTH = 50

# libyaml's loader is ten times faster, where PyYAML was built with it.
FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"


class Endless(UsageError):
    """A small file that would become a large configuration."""


class Loader(FASTEST):  # type: ignore[misc]
    """A loader without merge keys (`<<`).

    They copy what they name, each time, and before anybody has counted it.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == MERGE for key, _ in node.value):
            raise Endless("merge keys (<<) are not read in a configuration from elsewhere")


def parse(text: str, path: Path) -> Mapping[str, Any]:
    """Read a mapping; raise `UsageError`, which names `path`, for what is no mapping in YAML."""
    try:
        content = yaml.load(text, Loader)
    except Endless as error:
        raise Endless(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is not valid YAML: {first}") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} is not a configuration")
    return content


def leaves(config: Mapping[str, Any], name: str = "config.yaml") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value; a list of plain values is one value: its JSON text.

    Raises:
        UsageError: the file of this name is endless, or as good as that.
    """
    stack: list[tuple[str, int, Any]] = [("", 0, config)]
    visited = 0
    while stack:
        key, depth, value = stack.pop()
        visited += 1
        if visited > MAX_LEAVES or depth > MAX_DEPTH:
            raise UsageError(f"{name} has too many keys for a configuration")
        children: list[tuple[object, Any]] = []
        if isinstance(value, Mapping) and value:
            children = list(value.items())
        elif isinstance(value, list) and any(isinstance(v, list | Mapping) for v in value):
            children = list(enumerate(value))
        if children:
            prefix = f"{key}." if key else ""
            stack += [(f"{prefix}{name}", depth + 1, child) for name, child in reversed(children)]
        elif value != "???":  # OmegaConf's word for a value that was not given
            yield key, _plain(value)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, default=str)
