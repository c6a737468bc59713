"""Imports only go down, layer by layer."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

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
    "formats": {"zarr", "dask", "distributed", "typer", "rich"},
    "engine": {"zarr", "typer", "rich"},
    "cli": set(),
}
EVERY = {
    ".".join(p.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(ROOT.rglob("*.py"))
}
MODULES = [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import hides its layer"
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    mine = LAYERS.index(layer(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "mrcz_dask" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS.index(parts[1]) <= mine, f"{path} imports {name} from a layer above"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_layer_keeps_to_its_libraries(path: Path) -> None:
    import sys

    roots = {name.split(".")[0] for name in imported(path)} - {"mrcz_dask"}
    if layer(path) in STDLIB_ONLY:
        assert roots <= set(sys.stdlib_module_names)
    else:
        assert not roots & FORBIDDEN.get(layer(path), TERMINAL)


def test_the_layers_are_drawn_as_they_are() -> None:
    drawing = (
        (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    )
    assert [line.split()[0] for line in reversed(drawing.splitlines())] == LAYERS


def test_no_module_imports_itself_through_others() -> None:
    """Imports under TYPE_CHECKING and inside functions count: one that is put off is still a circle."""
    graph = {
        module: {name if name in EVERY else name.rpartition(".")[0] for name in imported(path)} & set(EVERY)
        for module, path in EVERY.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the circle


PARSERS = {
    "json": {"load", "loads", "JSONDecoder"},
    "msgpack": {"load", "loads", "unpack", "unpackb", "Unpacker"},
    "tomllib": {"load", "loads"},
    "zarr": {"load", "open", "open_array", "open_consolidated", "open_group", "open_like"},
}
MAY_PARSE = {"formats/metadata.py", "live/transport/sender.py"}  # the reader, and what users copy by itself


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_metadata_have_one_reader(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() in MAY_PARSE:
        return
    names = imported(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
    found = names & {f"{module}.{name}" for module, functions in PARSERS.items() for name in functions}
    assert not found, f"{path} calls {found}; formats/metadata.py reads metadata, with one error for all"
