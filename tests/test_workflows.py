"""The recipes in workflows/ run as they are, are short, and use public names only."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mrcz_dask
from mrcz_dask.numerics.simulate import SimulationParams
from mrcz_dask.session.simulation import write_session

WORKFLOWS = Path(__file__).parents[1] / "workflows"
RECIPES = sorted(path for path in WORKFLOWS.iterdir() if path.suffix in (".py", ".sh"))
LONGEST = 80


Run = Callable[..., subprocess.CompletedProcess[str]]


# Other tests look at reports, each of which takes seconds.
SHIM = """#!/bin/sh
case "$1" in
    koma) exec {command} "$@" --no-report ;;
    *) exec {command} "$@" ;;
esac
"""


@pytest.fixture
def run(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """run(arguments, **environment), with the command that starts at once before others on the PATH."""
    shim = tmp_path_factory.mktemp("bin") / "mrcz-dask"
    shim.write_text(SHIM.format(command=command))
    shim.chmod(0o755)
    path = os.pathsep.join((str(shim.parent), os.environ["PATH"]))

    def call(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment, "PATH": path}
        return subprocess.run(
            arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return call


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sessions: two small ones, and one that holds nothing but a bad file."""
    root = tmp_path_factory.mktemp("night")
    for name, seed in (("grid1", 1), ("grid2", 2)):
        params = SimulationParams(stacks=6, frames=4, shape=(64, 56), seed=seed)
        write_session(root / name, params, codec="zstd:1")
    (root / "grid3").mkdir()
    (root / "grid3" / "bad.mrcz").write_bytes(b"no MRC file")
    cut = sorted((root / "grid2").glob("*.mrcz"))[0]
    cut.write_bytes(cut.read_bytes()[:3000])
    return root


def test_all_recipes_are_known_to_these_tests() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in tested for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=[path.name for path in RECIPES])
def test_recipes_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", [p for p in RECIPES if p.suffix == ".py"], ids=lambda p: p.name)
def test_recipes_use_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mrcz_dask.")
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mrcz_dask.") for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "mrcz_dask" or node.attr in mrcz_dask.__all__


def test_one_machine_simulates_runs_on_a_cluster_and_runs_again(run: Run, tmp_path: Path) -> None:
    command = ["sh", str(WORKFLOWS / "one_machine.sh"), str(tmp_path / "demo")]
    sizes = {"STACKS": "5", "FRAMES": "4", "SHAPE": "64,64", "RADIUS": "2", "CARBON": "1"}
    done = run(command, **sizes)
    assert done.returncode == 0, done.stderr
    assert "5 stacks done, 0 not done" in done.stdout and "dashboard http" in done.stderr
    assert re.search(r"^6 files, .*: sound$", done.stdout, re.MULTILINE)
    assert f"{tmp_path / 'demo' / 'koma' / 'report.html'} " in done.stdout.splitlines()[-1]
    again = run(command, **sizes)
    assert again.returncode == 0 and "(5 kept from before)" in again.stdout


@pytest.mark.slow
def test_the_demo_prints_the_table_of_the_readme(run: Run, tmp_path: Path) -> None:
    done = run(["sh", str(WORKFLOWS / "one_machine.sh"), str(tmp_path / "demo")])
    printed = [line.split() for line in done.stdout.splitlines()]
    readme = (WORKFLOWS.parent / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [line.split() for line in readme if re.match(r"FoilHole_\S+ +\d", line)]
    assert len(shown) == 3 and all(line in printed for line in shown)


def test_nightly_names_what_is_bad_and_goes_on(run: Run, night: Path, tmp_path: Path) -> None:
    done = run(["sh", str(WORKFLOWS / "nightly.sh"), str(night), str(tmp_path / "out")], WORKERS="0")
    lines = (tmp_path / "out" / "night.txt").read_text().splitlines()
    assert done.returncode == 3, done.stderr
    assert lines[0] == "grid1: exit 0, all done"
    assert lines[1].startswith("grid2: exit 3, some stacks are bad")
    assert lines[2].startswith("grid3: exit 1, failed: ")
    assert len(list((tmp_path / "out" / "grid2").glob("*.mrcz"))) == 5
    for output in (tmp_path / "out" / "grid1").glob("*.mrcz"):
        assert "recipe" in (mrcz_dask.read_footer(output) or {})


def test_walkthrough(run: Run, night: Path, tmp_path: Path) -> None:
    done = run([sys.executable, str(WORKFLOWS / "walkthrough.py"), str(night / "grid1"), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert "window of stack 2, radius 3: [0, 1, 3, 5]" in done.stdout
    assert len(list((tmp_path / "koma").glob("*.mrcz"))) == 6
    assert "correlated noise" in done.stdout and len(list(tmp_path.glob("*_filled.mrcz"))) == 1
    assert "6 movies corrected, 0 not" in done.stdout and (tmp_path / "koma" / "report.html").exists()


def test_own_analysis_of_corrected_frames(run: Run, night: Path, tmp_path: Path) -> None:
    koma = ["mrcz-dask", "koma", str(night / "grid1"), "--radius", "2"]
    made = run([*koma, "--workers", "0", "--write", "recompressed", "-o", str(tmp_path)])
    assert made.returncode == 0, made.stderr
    done = run([sys.executable, str(WORKFLOWS / "own_analysis.py"), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"mrcz: [01]\.\d+ counts/pixel/frame", done.stdout)) == 6
