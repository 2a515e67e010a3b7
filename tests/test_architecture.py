"""The rooms import only downwards, the command line starts without heavy packages, and nothing is pickled."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "data": set(),
    "fusion": {"data"},
    "profiling": {"data", "fusion"},
    "surrogate": {"data", "fusion"},
    "search": {"data", "fusion", "profiling", "surrogate"},
}
# The rooms inside the big rooms, lowest first; files at a big room's top stand in sets.
INNER = {
    "fusion": (
        {"graph", "block", "target", "labels", "torch_threads"},
        "rewriting",
        "checkpoints",
        "tokenizer",
        "importing",
        "frontend",
        "planning",
        "emit",
        "build",
        "cycles",
        {"compiled", "texts", "export", "android_export"},
        "compare",
        {"__init__"},
    ),
    "surrogate": (
        {"arguments", "boosting", "folds", "intervals", "metrics", "saved"},
        "blocks",
        "tables",
        {"__init__"},
    ),
    "search": (
        {"__init__", "latencies", "options", "records", "result", "study"},
        "optimization",
        "quantisation",
        "learning",
        "teachers",
        "students",
        "distillation",
        "execution",
        "reports",
        "profiles",
        "portability",
        {"stages"},
        "passes",
        {"pipeline", "real_stages"},
        {"front"},
        "commands",
    ),
}
MOST_FILES_AT_THE_TOP = 10
HEAVY = {"torch", "transformers", "pandas", "botorch", "gpytorch", "sklearn", "scipy", "matplotlib", "xgboost"} | {
    "accelerate",
    "onnx",
    "onnxruntime",
}
UNSAFE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FILES = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
COMMANDS = sorted((ROOT / "search" / "commands").glob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def files_by_module() -> dict[str, Path]:
    return {module_of(path): path for path in FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(nodes: Iterator[ast.AST], package: str) -> set[str]:
    """Full dotted names of all that these nodes import; ``from a import b`` gives both ``a`` and ``a.b``."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: not the bodies of functions, nor ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from top_level(node)


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def files_of(module: str) -> set[Path]:
    """The files that importing ``module`` runs: its parents' ``__init__`` and itself; none for foreign modules."""
    parts = module.split(".")
    folders = [ROOT.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    candidates = [folder / "__init__.py" for folder in folders] + [folder.with_suffix(".py") for folder in folders]
    return {path for path in candidates if parts[0] in MAY_IMPORT and path.is_file()}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_rooms_import_only_downwards(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    modules = imported(ast.walk(tree_of(path)), package_of(path))
    rooms = {module.split(".")[0] for module in modules} & MAY_IMPORT.keys()
    assert rooms <= MAY_IMPORT[room] | {room}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[Path]:
    """The project's files that the file names in its imports, also inside functions: modules, or else packages."""
    modules = imported(ast.walk(tree_of(path)), package_of(path))
    return {files_by_module()[module] for module in modules & files_by_module().keys()} - {path}


def inner_rank(path: Path) -> int:
    """How high the file's inner room lies within its big room."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    ranks = [
        rank
        for rank, room in enumerate(INNER[parts[0]])
        if (parts[1] in room if isinstance(room, set) else parts[1] == room and len(parts) > 2)
    ]
    assert len(ranks) == 1, f"{name_of(path)} lies in no inner room of INNER"
    return ranks[0]


@pytest.mark.parametrize("path", [path for path in FILES if path.relative_to(ROOT).parts[0] in INNER], ids=name_of)
def test_inner_rooms_import_only_downwards(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    # Importing a module of a big room runs that room's __init__; it is not what the importing file depends on.
    below = {file for file in imports_of(path) if file.relative_to(ROOT).parts[0] == room} - {
        ROOT / room / "__init__.py"
    }
    assert not [name_of(file) for file in below if inner_rank(file) > inner_rank(path)]


def test_no_files_import_each_other_in_a_circle() -> None:
    imports = {path: imports_of(path) for path in FILES if path.name != "__init__.py"}
    left = dict(imports)
    while free := [path for path, wanted in left.items() if not wanted & left.keys()]:
        for path in free:
            del left[path]
    assert not left, f"in a circle, or above one: {sorted(map(name_of, left))}"


@pytest.mark.parametrize("room", ["fusion", "search"])
def test_the_top_of_a_big_room_is_small(room: str) -> None:
    assert len(list((ROOT / room).glob("*.py"))) <= MOST_FILES_AT_THE_TOP


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_commands_start_without_heavy_packages(path: Path) -> None:
    waiting, seen = {path: name_of(path)}, set[Path]()
    while waiting:
        current, way = waiting.popitem()
        seen.add(current)
        modules = imported(top_level(tree_of(current)), package_of(current))
        heavy = {module.split(".")[0] for module in modules} & HEAVY
        assert not heavy, f"{way} imports {', '.join(sorted(heavy))} at its top"
        reached = set().union(*(files_of(module) for module in modules)) - seen
        waiting |= {file: f"{way} -> {name_of(file)}" for file in reached}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    tree = tree_of(path)
    modules = imported(ast.walk(tree), package_of(path))
    assert not {module.split(".")[0] for module in modules} & UNSAFE
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    unsafe = {("weights_only", False), ("allow_pickle", True)}
    assert not {(word.arg, getattr(word.value, "value", None)) for word in keywords} & unsafe


def test_the_overview_names_every_module() -> None:
    overview = (ROOT / "docs" / "overview.md").read_text()
    sections = {room: overview.split(f"## `{room}/`")[1].split("\n## ")[0] for room in MAY_IMPORT}
    modules = {
        path: path.relative_to(ROOT / path.relative_to(ROOT).parts[0]) for path in FILES if path.stem != "__init__"
    }
    missing = [
        name_of(path) for path, name in modules.items() if f"`{name}`" not in sections[name_of(path).split("/")[0]]
    ]
    assert not missing, f"not in docs/overview.md: {missing}"
