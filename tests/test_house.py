"""The rules of the house: which way imports point, and how large a module may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nasrun

PACKAGE = Path(nasrun.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = ("datasets", "spaces", "strategies", "evaluators", "predictors")

# A module may import from rooms to its left; plug-ins see other plug-ins only through protocols.
ORDER = (
    {"errors", "array_pickle", "durable", "tensor_files", "torchrun"},
    {"process_group"},
    {"synchronised_norm"},
    {"memory", "recorded_config", "folder_lock", "event_file"},
    {"npz_file"},
    {"genotype", "conf_files", "ui", "layout", "cell_text", "graph_hash", "cache_folder"},
    {"published"},
    {"runs", "randomness", "device", "genotype_source", "config", "summary", "sweeps"},
    {"hydra_flags", "benchmark_table"},
    {"nasbench101_table", "nasbench201_table"},
    {"tables"},
    {"protocols", "help", "build"},
    {"prediction", "scoring", "schedule", "optimisers", "imagenet16_files"},
    {"plots"},
    {"drawing", "report"},
    {"completion", "hydra_errors", "costs", "training", "labels", "workers"},
    {"encodings", "unlabelled", "encoder_cache"},
    {"table_csv", "table_nats", "table_tfrecord"},
    set(PLUGINS),
    {"insight", "guard", "table_checks"},
    {"checkpoint", "recording", "wiring", "table_import"},
    {"retrain"},
    {"drive"},
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
        allowed = ("commands/", "config", "hydra_errors")
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


# What runs code that comes as data, and what leads to it.
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "breakpoint"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "subprocess.getoutput"),
    *("pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "joblib.load", "dill.load"),
    *("yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "runpy.run_path", "pd.read_pickle"),
    *("instantiate", "hydra.utils.instantiate", "get_object", "get_class", "get_method"),
    *("shutil.unpack_archive", "np.frompyfunc", "torch.hub.load", "torch.jit.load"),
}
NEVER_NAMED = {"extractall", "extract", "UnsafeLoader", "FullLoader", "allow_unsafe_load"}
NEEDED = {  # keyword and what it must say; `None`: its loader is one of SAFE_LOADERS
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "npy.read_array": ("allow_pickle", False),
}
SAFE_LOADERS = {"Loader", "yaml.BaseLoader", "yaml.SafeLoader"}  # Loader: of recorded_config


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Calls in a file that can execute what they read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in NEVER_NAMED:
            yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: word.value for word in node.keywords}
        if called in NEVER_CALLED or "shell" in keywords:
            yield ast.unparse(node)
        if called in NEEDED:
            name, expected = NEEDED[called]
            value = keywords.get(name)
            if not (isinstance(value, ast.Constant) and value.value is expected):
                yield ast.unparse(node)
        if called == "yaml.load" and ast.unparse(node.args[1]) not in SAFE_LOADERS:
            yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_executed_from_data(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert list(unsafe_calls(tree)) == []
    unpickles = {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & imports(path)
    assert not unpickles or name(path) == "array_pickle"
    assert "importlib" not in imports(path) or name(path) in {"cli", "build"}


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)", "os.system('x')", "torch.load(x)", "torch.load(x, weights_only=False)",
        "np.load(x)", "np.load(x, allow_pickle=True)", "yaml.load(x, yaml.Loader)",
        "subprocess.run(x, shell=True)", "archive.extractall()", "pickle.loads(x)",
        "instantiate(x)",
    ],
)  # fmt: skip
def test_what_would_be_found(line: str) -> None:
    assert len(list(unsafe_calls(ast.parse(line)))) == 1


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "misc", "common"}
