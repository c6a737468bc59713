"""What the documentation shows works: code blocks run, generated pages are not stale, links lead somewhere.

Blocks of bash and python run in the order of the page, in a folder with a small simulated session. A comment
``not executed: reason`` above a block leaves it out; ``run first: command`` prepares what a page takes for
granted.
"""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "reference").glob("*.md")) + sorted((ROOT / "docs" / "how-to").glob("*.md"))
EXECUTED = ("bash", "python")
NOT_EXECUTED = re.compile(r"<!-- not executed: \S.{5,} -->")
RUN_FIRST = re.compile(r"<!-- run first: (.+) -->")

# A cluster and a report for each command would take minutes; other tests hold what these do.
SHIM = """#!/bin/sh
case "$* " in
    koma*" --dry-run "*) exec {command} "$@" ;;
    koma*) exec {command} "$@" --workers 0 --no-report ;;
    noise*) exec {command} "$@" --workers 0 ;;
    *) exec {command} "$@" ;;
esac
"""


class Block(NamedTuple):
    """A fenced block: where it begins, its language and text, and whether it is left out."""

    line: int
    language: str
    text: str
    skipped: bool


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    fences = [k for k, line in enumerate(lines) if line.lstrip().startswith("```")]
    assert len(fences) % 2 == 0, f"{page}: a fence is not closed"
    for start, stop in zip(fences[::2], fences[1::2], strict=True):
        above = lines[start - 1] if start else ""
        language = lines[start].strip().removeprefix("```")
        yield Block(
            start + 1, language, "\n".join(lines[start + 1 : stop]), bool(NOT_EXECUTED.fullmatch(above))
        )


def preparations(page: Path) -> list[str]:
    return RUN_FIRST.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, command: Path) -> Path:
    """A folder with a small `session`, its first stack called first.mrcz, and a command that is quick."""
    from mrcz_dask.numerics.simulate import SimulationParams
    from mrcz_dask.session.simulation import write_session

    folder = tmp_path_factory.mktemp("docs")
    session = folder / "session"
    params = SimulationParams(stacks=9, frames=6, shape=(80, 72), seed=3)
    first = write_session(session, params, codec="zstd:1")[0]
    first.rename(session / "first.mrcz")
    Path(f"{first}.mdoc").rename(session / "first.mrcz.mdoc")
    shim = folder / "bin" / "mrcz-dask"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(command=command))
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    return folder


def run_bash(text: str, folder: Path) -> None:
    path = os.pathsep.join((str(folder.parent / "bin"), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"exit {done.returncode} of\n{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.filterwarnings("default")  # other programs' own
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_code_runs(page: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = [block for block in blocks(page) if block.language in EXECUTED and not block.skipped]
    if not todo:
        return
    place = prepared / "-".join(page.relative_to(ROOT).with_suffix("").parts)
    place.mkdir()
    shutil.copytree(prepared / "session", place / "session")
    monkeypatch.chdir(place)
    for command in preparations(page):
        run_bash(command, place)
    names: dict[str, object] = {"__name__": page.stem}
    for block in todo:
        if block.language == "bash":
            run_bash(block.text, place)
        else:
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_has_a_language_that_is_known(page: Path) -> None:
    odd = [(b.line, b.language) for b in blocks(page) if b.language not in (*EXECUTED, "text")]
    assert not odd, f"{page}: {odd}; expected bash, python or text"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "python.md"])
def test_generated_pages_are_not_stale(page: str, generate: ModuleType) -> None:
    there = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert there == generate.PAGES[page](), "run `make docs`"


def test_no_command_or_option_lacks_help(generate: ModuleType) -> None:
    text = generate.cli_reference()
    bare = [line for line in text.splitlines() if re.fullmatch(r"- .*:", line)]
    assert not bare
    assert not re.search(r"^## .*\n\n(- |##)", text, re.MULTILINE)
