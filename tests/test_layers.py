"""Imports only go down, layer by layer."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "mrcz_dask"
LAYERS = [
    "values",
    "numerics",
    "formats",
    "engine",
    "session",
    "gain",
    "correction",
    "pages",
    "assess",
    "convert",
    "export",
    "counting",
    "monitor",
    "report",
    "api",
    "live",
    "cli",
]
STDLIB_ONLY = {"values"}
TERMINAL = {"typer", "rich"}
FORBIDDEN = {
    "numerics": {
        "blosc2",
        "numcodecs",
        "zstandard",
        "msgpack",
        "xxhash",
        "zarr",
        "dask",
        "distributed",
        "typer",
        "rich",
    },
    "formats": {"dask", "distributed", "typer", "rich"},
    "engine": {"zarr", "typer", "rich"},
    "cli": set(),
}
PARSERS = {
    "json": {"load", "loads", "JSONDecoder"},
    "msgpack": {"load", "loads", "unpack", "unpackb", "Unpacker"},
    "tomllib": {"load", "loads"},
    "zarr": {"load", "open", "open_array", "open_consolidated", "open_group", "open_like"},
}
WITHOUT_WRAPPER = {"inner", "lanewise"}
KERNELS = {*WITHOUT_WRAPPER, "compiled", "lanes_loop"}
MAY_PARSE = {"formats/metadata.py", "live/transport/sender.py"}  # the reader, and what users copy by itself


class Module(NamedTuple):
    """A module: its path in the package, its layer, what it imports, and the attributes that it uses."""

    path: str
    layer: str
    imports: set[str]
    uses: set[str]


def parsed(path: Path) -> Module:
    imports, uses = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imports |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import hides its layer"
            imports |= {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            uses.add(f"{node.value.id}.{node.attr}")
    inside = path.relative_to(ROOT)
    return Module(inside.as_posix(), inside.parts[0], imports, uses)


@pytest.fixture(scope="module")
def every() -> dict[str, Module]:
    """All modules by the names that imports give them."""
    paths = sorted(ROOT.rglob("*.py"))
    names = (".".join(p.relative_to(ROOT.parent).with_suffix("").parts) for p in paths)
    return {name.removesuffix(".__init__"): parsed(path) for name, path in zip(names, paths, strict=True)}


@pytest.fixture(scope="module")
def modules(every: dict[str, Module]) -> list[Module]:
    """Those that are in a layer."""
    return [module for module in every.values() if "/" in module.path]


def test_imports_go_down(modules: list[Module]) -> None:
    for module in modules:
        for name in module.imports:
            parts = name.split(".")
            if parts[0] == "mrcz_dask" and len(parts) > 1 and parts[1] in LAYERS:
                below = LAYERS.index(parts[1]) <= LAYERS.index(module.layer)
                assert below, f"{module.path} imports {name} from a layer above"


def test_a_layer_keeps_to_its_libraries(modules: list[Module]) -> None:
    for module in modules:
        roots = {name.split(".")[0] for name in module.imports} - {"mrcz_dask"}
        if module.layer in STDLIB_ONLY:
            forbidden = roots - sys.stdlib_module_names
        else:
            forbidden = roots & FORBIDDEN.get(module.layer, TERMINAL)
        assert not forbidden, f"{module.path} imports {forbidden}"


def test_the_layers_are_drawn_as_they_are() -> None:
    drawing = (
        (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    )
    assert [line.split()[0] for line in reversed(drawing.splitlines())] == LAYERS


def test_no_module_imports_itself_through_others(every: dict[str, Module]) -> None:
    """Imports under TYPE_CHECKING and inside functions count: one that is put off is still a circle."""
    graph = {
        name: {other if other in every else other.rpartition(".")[0] for other in module.imports} & set(every)
        for name, module in every.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_metadata_have_one_reader(modules: list[Module]) -> None:
    parsers = {f"{library}.{name}" for library, functions in PARSERS.items() for name in functions}
    for module in modules:
        found = (module.imports | module.uses) & parsers
        assert not found or module.path in MAY_PARSE, (
            f"{module.path} calls {found}; formats/metadata.py reads metadata, with one error for all"
        )


def kernels_of(tree: ast.AST) -> dict[ast.FunctionDef, str]:
    """Compiled functions of a module, and the decorator of each."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    found = ((node, one.id) for node in functions for one in node.decorator_list if isinstance(one, ast.Name))
    return {node: name for node, name in found if name in KERNELS}


def test_python_calls_no_inner_kernel() -> None:
    """Without a wrapper for Python the call would end the process."""
    folders = [ROOT, ROOT.parent / "tests", ROOT.parent / "benchmarks"]
    trees = {path: ast.parse(path.read_text("utf-8")) for folder in folders for path in folder.rglob("*.py")}
    inner = {
        ("mrcz_dask." + ".".join(path.relative_to(ROOT).with_suffix("").parts), node.name)
        for path, tree in trees.items()
        for node, name in kernels_of(tree).items()
        if name in WITHOUT_WRAPPER
    }
    for path, tree in trees.items():
        kernels = kernels_of(tree)
        names = {node.name for node, name in kernels.items() if name in WITHOUT_WRAPPER}
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
            names |= {a.asname or a.name for a in node.names if (node.module, a.name) in inner}
        inside = {node for kernel in kernels for node in ast.walk(kernel)}
        for node in ast.walk(tree):
            called = isinstance(node, ast.Name) and node.id in names and node not in inside
            assert not called, f"{path}:{node.lineno}: {node.id} is for compiled code; decorate it `compiled`"
