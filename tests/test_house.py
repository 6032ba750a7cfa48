"""The rules of the house: which way imports point, and how large a module may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nasrun

PACKAGE = Path(nasrun.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = ("datasets", "spaces", "strategies", "evaluators", "predictors")

# A module may import from rooms to its left; plug-ins see other plug-ins only through protocols.
ORDER = (
    {"errors", "array_pickle"},
    {"genotype", "conf_files", "ui", "layout", "cell_text", "graph_hash", "cache_folder"},
    {"published"},
    {"runs", "randomness", "device", "genotype_source", "config", "summary", "sweeps"},
    {"hydra_flags", "benchmark_table"},
    {"nasbench101_table", "nasbench201_table"},
    {"tables"},
    {"protocols", "help", "build"},
    {"prediction", "scoring", "schedule", "imagenet16_files"},
    {"plots"},
    {"drawing", "report"},
    {"completion", "hydra_errors", "costs", "training", "labels"},
    {"encodings", "unlabelled", "encoder_cache"},
    {"table_csv", "table_nats", "table_tfrecord"},
    set(PLUGINS),
    {"insight", "guard", "table_checks"},
    {"checkpoint", "recording", "wiring", "table_import"},
    {"retrain"},
    {"search"},
    {"floor"},
    {"rehearsal"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def imports(path: Path, *, run_time_only: bool = True) -> set[str]:
    """Modules that a file imports anywhere; without those that only type checkers see."""
    found = set()
    hidden = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hidden |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if run_time_only and id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "nasrun":
            found |= {f"nasrun.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "nasrun" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        assert parts[1] in RANK, f"{module} has no place in the order of the house"
        if parts[1] != room:
            assert RANK[parts[1]] <= RANK[room], f"{name(path)} imports {module}"
            assert not (room in PLUGINS and parts[1] in PLUGINS), f"{name(path)}: {module}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(path)}
    where = name(path)
    if "hydra" in used or "omegaconf" in used:
        allowed = ("commands/", "config", "build", "hydra_errors", "conf_files")
        assert where.startswith(allowed)
    if "rich" in used:
        assert where == "ui"
    if "torch" in used:
        assert where not in {"cli", "config", "runs", "genotype", "conf_files", "help"}
        assert not where.startswith("report/")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_size(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            assert node.end_lineno is not None
            body = node.end_lineno - node.lineno + 1
            docstring = ast.get_docstring(node, clean=False)
            lines = 0 if docstring is None else docstring.count("\n") + 1
            assert body - lines <= 50, f"{node.name} has {body - lines} lines"


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "misc", "common"}
