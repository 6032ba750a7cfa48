"""The rules of the house: which way imports point, and how large a module may be.

The rooms are the folders of the package. What a room may know follows from what it does know: no
room, and no module, may reach itself again by following imports.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nasrun

PACKAGE = Path(nasrun.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
AT_THE_ROOT = {"__init__", "__main__", "errors", "randomness"}
# One file per choice of a group in conf/; they see each other only through protocols.
PLUGINS = {"datasets", "evaluators", "objectives", "predictors", "spaces", "strategies", "trackers"}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere; without those that only type checkers see."""
    found = set()
    hidden = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hidden |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                name if (name := f"{node.module}.{alias.name}") in NAMES else node.module
                for alias in node.names
            }
    return found


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def room(module: str) -> str:
    """The folder of a module; a module at the root is a room of its own."""
    return module.split(".")[1] if "." in module else module


NAMES = {dotted(path) for path in MODULES}
GRAPH = {dotted(path): (imports(path) & NAMES) - {dotted(path)} for path in MODULES}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The names of one circle in the graph; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def arrows(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What each room knows of other rooms."""
    rooms: dict[str, set[str]] = {}
    for module, known in graph.items():
        rooms.setdefault(room(module), set()).update(room(other) for other in known)
    return {name: known - {name} for name, known in rooms.items()}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def test_no_module_and_no_room_is_in_a_circle() -> None:
    assert circle(GRAPH) == []
    assert circle(arrows(GRAPH)) == []


def test_a_circle_would_be_found() -> None:
    back = {"nasrun.genotypes.genotype": {"nasrun.engine.drive"}}
    assert circle(arrows(GRAPH | back))
    within = {"nasrun.spaces.integer_coded": {"nasrun.spaces.fixed_edges"}}
    assert circle(GRAPH | within)


def test_the_door_starts_every_command_and_nobody_looks_back_at_it() -> None:
    """The door imports a command by its name, which no arrow shows."""
    assert not [module for module, known in GRAPH.items() if "cli" in map(room, known)
                if room(module) not in {"cli", "__main__"}]  # fmt: skip


def test_nothing_of_the_program_looks_back_at_its_python_functions() -> None:
    """`nasrun/__init__.py` imports them by their names, which no arrow shows either."""
    assert not [module for module, known in GRAPH.items() if "api" in map(room, known)
                if room(module) != "api"]  # fmt: skip


def test_plugins_see_each_other_only_through_protocols() -> None:
    for module, known in GRAPH.items():
        others = {room(other) for other in known} & PLUGINS - {room(module)}
        assert room(module) not in PLUGINS or not others, f"{module} imports from {others}"


def test_only_four_modules_stand_at_the_root() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == AT_THE_ROOT


def test_every_room_says_what_it_holds() -> None:
    for folder in {path.parent for path in MODULES}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(path)}
    where = room(dotted(path))
    if {"hydra", "omegaconf"} & used:
        assert where in {"commands", "config", "launch", "check", "testing"}
    if "rich" in used:
        assert where == "terminal"
    assert "torch" not in used or where not in {"cli", "config", "report", "genotypes"}
    if where in {"runs", "spaces"}:  # functions that make tensors may; answering at once must not
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import)]
        assert "torch" not in {alias.name.split(".")[0] for node in top for alias in node.names}


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


# Those that handle plug-ins as such; what a plug-in can do is declared in protocols. Data sets
# look at what is in files, and at no plug-in.
HANDLE_PLUGINS = PLUGINS - {"datasets"} | {"check", "engine", "protocols", "training"}


def protocols() -> set[str]:
    """The names of all protocols and of the plug-ins' base classes."""
    trees = [ast.parse(path.read_text()) for path in (PACKAGE / "protocols").glob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {one.name for one in classes if "Protocol" in map(ast.unparse, one.bases)}


def guesses(tree: ast.AST) -> Iterator[str]:
    """Where a file tries what an object can do, in place of reading what is declared."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and "runtime_checkable" in ast.unparse(node):
            yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        called, arguments = ast.unparse(node.func), list(map(ast.unparse, node.args))
        asks_for_a_protocol = called in {"isinstance", "issubclass"} and protocols() & set(
            re.findall(r"\w+", arguments[1])
        )
        may_be_missing = called == "hasattr" or (called == "getattr" and len(arguments) == 3)
        by_name = called == "getattr" and isinstance(node.args[1], ast.Constant)
        if asks_for_a_protocol or may_be_missing or by_name:
            yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_abilities_of_plugins_are_declared_and_not_tried(path: Path) -> None:
    if room(dotted(path)) in HANDLE_PLUGINS:
        assert list(guesses(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "isinstance(strategy, Strategy)", "isinstance(one, DifferentiableSpace | None)",
        "hasattr(evaluator, 'final')", "getattr(evaluator, 'at_once', 1)",
        "getattr(space, 'operations')", "@runtime_checkable\nclass Ranks: pass",
    ],
)  # fmt: skip
def test_a_guess_would_be_found(line: str) -> None:
    assert list(guesses(ast.parse(line)))


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
# Names that are constants of ours, or that `config/plugins` has compared with its allow-list.
IMPORTS_BY_NAME = {"__init__", "cli/main", "config/plugins"}
SAFE_LOADERS = {"Loader", "yaml.BaseLoader", "yaml.SafeLoader"}  # Loader: of untrusted_yaml


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
    assert not unpickles or name(path) == "storage/array_pickle"
    assert "importlib" not in imports(path) or name(path) in IMPORTS_BY_NAME


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
