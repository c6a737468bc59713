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
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import mrcz_dask

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = sorted(DOCS.rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += [page for page in SITE if page.parent.name != "study"]  # whose scripts take minutes
# Run in `make test`; commands of the other pages have tests of their own, and the pages run in test-slow.
FIRST = {"README", "tutorial", "live-tutorial", "python", "settings", "a-night", "gain", "outputs"}
TO_RUN = [page if page.stem in FIRST else pytest.param(page, marks=pytest.mark.slow) for page in PAGES]
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
@pytest.mark.parametrize("page", TO_RUN, ids=[str(page.relative_to(ROOT)) for page in PAGES])
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


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


@pytest.mark.parametrize("page", sorted({*PAGES, *SITE}), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if target.startswith("http"):
            continue
        to = page.parent / path if path else page
        assert to.exists(), target
        assert DOCS in to.resolve().parents or DOCS not in page.parents, f"{target}: the site ends at docs"
        assert not anchor or anchor in anchors(to), target


def test_the_way_of_a_stack_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    pairs = re.findall(r"`([\w/]+\.py)` `(\w+)`", text)
    assert len(pairs) > 10
    for path, name in pairs:
        assert re.search(rf"^(def|class) {name}\b", (ROOT / "mrcz_dask" / path).read_text(), re.MULTILINE), (
            path
        )
    tables = [pair[::-1] for pair in re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)]
    tables += re.findall(r"`([\w/]+\.py)`, (?:with the table|named in) `(\w+)`", text)
    assert len(tables) > 10
    for path, name in tables:
        pattern = rf"^(?:(?:    )?def |class )?{name}\b"
        assert re.search(pattern, (ROOT / "mrcz_dask" / path).read_text(), re.MULTILINE), (path, name)
    files = [file for file in re.findall(r"`([\w/]+(?:\.py|/))`", text) if "/" in file.rstrip("/")]
    assert not [
        file for file in files if not any((ROOT / start / file).exists() for start in ("", "mrcz_dask"))
    ]


@pytest.mark.parametrize("page", SITE, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:mrcz_dask|tests|workflows|benchmarks)/[\w/]+(?:\.\w+|/))`", text)
    named += [
        f"tests/{name}" for name in re.findall(r"`(\w[\w/]*/test_\w+\.py)`", text) if "tests/" not in name
    ]
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_page_is_in_the_navigation() -> None:
    nav = (DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page for page in SITE if f" {page.relative_to(DOCS)}\n" not in nav]


def test_the_python_reference_has_every_public_name() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: mrcz_dask\.(\w+)$", text, re.MULTILINE)) == mrcz_dask.__all__


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    config = ["--config-file", str(DOCS / "site" / "mkdocs.yml")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = subprocess.run([*command, *config], capture_output=True, text=True, env=quiet)
    assert build.returncode == 0 and not build.stderr, build.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(SITE)
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=\"?([^\" >]+)", page.read_text())
        assert not [url for url in loaded if "//" in url], page


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_commands_is_not_stale(generate: ModuleType) -> None:
    there = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert there == generate.cli_reference(), "run `make docs`"


def test_no_command_or_option_lacks_help(generate: ModuleType) -> None:
    text = generate.cli_reference()
    bare = [line for line in text.splitlines() if re.fullmatch(r"- .*:", line)]
    assert not bare
    assert not re.search(r"^## .*\n\n(- |##)", text, re.MULTILINE)
