"""The example session, written by another program: what the main job promises, held to figures."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.text.mdoc import read_mdoc
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.texts import readable

EXAMPLE = Path(__file__).parents[3] / "shared" / "data" / "session"
BAD = ["FoilHole_777777_Data_7777.mrcz", "FoilHole_888888_Data_8888.mrcz"]
# One of these is on a carbon edge, the other in thick ice, and nothing else is named.
HIGH_CONTRAST = ["FoilHole_470646_Data_6192.mrcz", "FoilHole_923211_Data_6205.mrcz"]


Koma = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def koma(command: Path) -> Koma:
    """run(folder, *options): the main job, typed inside the session."""

    def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        typed = [command, "koma", "--radius", "12", "--no-report", "--workers", "0", *options]
        return subprocess.run(typed, cwd=folder, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not EXAMPLE.is_dir():
        pytest.skip("the example session is not beside this checkout")
    folder = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("example") / "session"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def done(session: Path, koma: Koma) -> subprocess.CompletedProcess[str]:
    return koma(session, "--json")


@pytest.fixture(scope="module")
def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


def test_26_stacks_are_done_and_two_bad_files_are_named(
    done: subprocess.CompletedProcess[str], said: dict[str, Any]
) -> None:
    assert done.returncode == 3
    assert len(said["results"]) == 26
    assert [one["name"] for one in said["rejected"]] == BAD
    assert [one["name"] for one in said["skipped"]] == ["CountRef_gain.mrc"]
    assert said["failures"] == []
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr


def test_the_order_is_that_of_the_mdocs(session: Path, said: dict[str, Any]) -> None:
    times = [read_mdoc(Path(f"{session / one['name']}.mdoc")).time for one in said["results"]]
    assert times == sorted(times)
    assert len(set(times)) == 26


def test_carbon_and_ice_are_named(said: dict[str, Any]) -> None:
    assert sorted(one["name"] for one in said["results"] if not one["usable"]) == HIGH_CONTRAST
    for one in said["results"]:
        assert any("high contrast" in text for text in one["caveats"]) == (not one["usable"])


def test_correlated_noise_is_what_was_promised(said: dict[str, Any]) -> None:
    ordinary = [one["noise"] for one in said["results"] if one["usable"]]
    raw, filtered, corrected = (
        float(np.mean([noise[kind] for noise in ordinary])) for kind in ("raw", "filtered", "corrected")
    )
    assert raw == pytest.approx(6.8e-2, rel=0.1)
    assert filtered == pytest.approx(2.3e-3, rel=0.1)
    assert corrected < 2.4e-3


def test_every_output_is_sound_and_has_its_mdoc(session: Path, said: dict[str, Any]) -> None:
    for one in said["results"]:
        assert verify_file(session / "koma" / one["output"]).status == "sound"
        mdoc = Path(f"{session / one['name']}.mdoc")
        assert (session / "koma" / f"{one['output']}.mdoc").read_bytes() == mdoc.read_bytes()


def test_python_mrcz_with_blosc_alone_reads_the_same_pixels(session: Path, said: dict[str, Any]) -> None:
    pytest.importorskip("mrcz")
    pytest.importorskip("blosc")
    code = (
        "import sys, json, hashlib; sys.modules['blosc2'] = None; import mrcz, numpy as np\n"
        "for path in sys.argv[1:]:\n"
        "    stack, meta = mrcz.readMRC(path, useMemmap=False)\n"
        "    print(stack.dtype, stack.shape, hashlib.md5(np.ascontiguousarray(stack)).hexdigest())\n"
    )
    import hashlib

    paths = [session / "koma" / one["output"] for one in said["results"]]
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    lines = [line for line in found.stdout.splitlines() if line.startswith("int16")]
    for path, line in zip(paths, lines, strict=True):
        stored = mrcz_dask.read(path, scaled=False)
        assert line == f"{stored.dtype} {stored.shape} {hashlib.md5(stored).hexdigest()}"


def test_the_size_that_was_announced(session: Path, said: dict[str, Any], koma: Koma) -> None:
    announced = json.loads(koma(session, "--dry-run", "--json").stdout)["bytes_out"]
    written = sum(p.stat().st_size for p in (session / "koma").rglob("*") if p.is_file())
    assert 0.8 < announced / written < 1.4, f"{readable(announced)} announced, {readable(written)} written"


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--workers", "2"), ("--workers", "1", "--threads", "2")])
def test_the_same_files_on_any_executor(
    session: Path, said: dict[str, Any], koma: Koma, tmp_path: Path, options: Any
) -> None:
    assert koma(session, "-o", str(tmp_path), *options).returncode == 3
    for one in said["results"]:
        assert (tmp_path / one["output"]).read_bytes() == (session / "koma" / one["output"]).read_bytes()


def test_a_second_run_keeps_everything(session: Path, said: dict[str, Any], koma: Koma) -> None:
    before = {p: p.stat().st_mtime_ns for p in (session / "koma").glob("*.mrcz")}
    again = json.loads(koma(session, "--json").stdout)
    assert all(one["kept"] for one in again["results"])
    assert {p: p.stat().st_mtime_ns for p in (session / "koma").glob("*.mrcz")} == before
