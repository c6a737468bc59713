"""Each module that writes files has a test of damage, or a reason why it needs none."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.damage.test_damage import KINDS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mrcz_dask"
WRITE = {
    *(
        "write_atomic",
        "AtomicFile",
        "AtomicFolder",
        "open_sink",
        "replace_store",
        "write_text",
        "write_bytes",
    ),
    *("savefig", "ZipFile", "create_array", "create_group"),
}
# kinds whose damage other tests try, by the module that writes them
ELSEWHERE = {
    "correction/correct_stack.py": "tests/correction/test_belongings.py",
    "assess/run.py": "tests/formats/test_metadata.py",
}
FOR_PEOPLE = "is looked at by people, or read by other programs, and never by this one"
NO_DATA = "holds no data"
NEEDS_NONE = {
    "assess/files.py": FOR_PEOPLE,
    "cli/cluster.py": FOR_PEOPLE,
    "cli/gain.py": FOR_PEOPLE,
    "convert/zarr_view.py": FOR_PEOPLE,
    "correction/timing_report.py": FOR_PEOPLE,
    "counting/simulation.py": "is a simulation's truth",
    "engine/check_cluster.py": NO_DATA,
    "engine/jobs.py": FOR_PEOPLE,
    "export/commands.py": FOR_PEOPLE,
    "export/refined.py": FOR_PEOPLE,
    "export/run.py": FOR_PEOPLE,
    "formats/atomic.py": "is how the others write",
    "formats/defects.py": FOR_PEOPLE,
    "formats/text/star.py": FOR_PEOPLE,
    "live/page/exports.py": FOR_PEOPLE,
    "pages/template.py": FOR_PEOPLE,
    "report/camera_page.py": FOR_PEOPLE,
    "report/files.py": FOR_PEOPLE,
    "session/output_folder.py": NO_DATA,
    "session/readback.py": "gives outputs of others their name",
    "session/simulation.py": "is a simulation's truth",
}


def writes(path: Path) -> bool:
    """Return whether a module calls something that writes a file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return any(name_of(call) in WRITE or opens_to_write(call) for call in calls)


def name_of(call: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def opens_to_write(call: ast.Call) -> bool:
    """Return whether a call is `open` or the like with a mode, or flags, to write."""
    if name_of(call) not in ("open", "fdopen", "open_file", "open_group", "open_array"):
        return False
    arguments = [*call.args, *(one.value for one in call.keywords if one.arg == "mode")]
    modes = [one.value for one in arguments if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    flags = {
        one.attr for argument in arguments for one in ast.walk(argument) if isinstance(one, ast.Attribute)
    }
    is_mode = any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    return is_mode or bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"})


def writing() -> Iterator[str]:
    """Yield the modules of the package that write files."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if writes(path):
            yield path.relative_to(PACKAGE).as_posix()


def test_every_kind_of_file_has_a_test_of_damage() -> None:
    tried = {module for kind in KINDS for module in kind.modules}
    known = tried | ELSEWHERE.keys() | NEEDS_NONE.keys()
    assert set(writing()) - known == set(), "name a kind in tests/damage, or a reason here"
    assert known <= set(writing()), "no longer written there"
    assert [name for name in ELSEWHERE.values() if not (ROOT / name).exists()] == []
    assert not tried & (ELSEWHERE.keys() | NEEDS_NONE.keys())


def test_every_format_is_tried() -> None:
    from mrcz_dask.formats.writers import OUTPUT_SUFFIXES

    assert {kind.name.split()[0] for kind in KINDS} >= {*OUTPUT_SUFFIXES}
