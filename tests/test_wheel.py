"""What is shipped: wheel and sdist hold the package alone, and work where nothing else is installed."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRY = """
import mrcz_dask
for name in mrcz_dask.__all__:
    getattr(mrcz_dask, name)
import mrcz_dask.cli.app
"""


def run(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(a) for a in arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


def lower_bounds() -> list[str]:
    """Return the dependencies at their lower bounds: all of them have one."""
    declared = [str(one) for one in project()["dependencies"]]  # type: ignore[attr-defined]
    exact = [one.partition(",<")[0].replace(">=", "==") for one in declared]
    assert all(re.fullmatch(r"[\w.\[\],-]+==[\d.]+", one) for one in exact)
    return exact


def environment(folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with these packages and nothing else; return its folder of programs."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, *packages, cwd=folder.parent)
    return folder / "bin"


def small_session(binaries: Path, folder: Path) -> None:
    """Simulate and process a few small stacks, without a cluster and with one, and compare."""
    size = ("--stacks", "4", "--frames", "4", "--shape", "64,64")
    run(binaries / "mrcz-dask", "simulate", "session", *size, cwd=folder)
    for name, workers in (("serial", "0"), ("cluster", "1")):
        where = ("-o", name, "--workers", workers)
        out = run(binaries / "mrcz-dask", "koma", "session", "--radius", "2", *where, cwd=folder)
        assert "4 stacks done, 0 not done" in out
        run(binaries / "mrcz-dask", "verify", name, cwd=folder)
    for output in (folder / "serial").glob("*.mrcz"):
        assert output.read_bytes() == (folder / "cluster" / output.name).read_bytes()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, the wheel made from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"mrcz_dask-{project()['version']}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"mrcz_dask", wheel.name.split("-py3")[0] + ".dist-info"}
    assert "mrcz_dask/py.typed" in names
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "mrcz_dask").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == here


@pytest.mark.slow
def test_the_sdist_holds_no_leftovers(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"mrcz_dask", "pyproject.toml", "README.md", "LICENSE"} <= tops
    assert not tops & {"workflows", "benchmarks", ".venv", "demo", "build"}


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    binaries = environment(tmp_path / "venv", wheel)
    assert run(binaries / "mrcz-dask", "--version", cwd=tmp_path).strip() == project()["version"]
    run(binaries / "python", "-W", "error", "-c", TRY, cwd=tmp_path)
    small_session(binaries, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lower bounds are those of the oldest Python")
def test_the_lowest_versions_that_are_declared_work(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    binaries = environment(tmp_path / "venv", wheel, *lower_bounds(), "pytest", "hypothesis")
    run(binaries / "python", "-c", TRY, cwd=tmp_path)
    small_session(binaries, tmp_path)
    laws = ("formats/compression", "formats/mrc/test_footer.py", "numerics")
    tests = [ROOT / "tests" / one for one in laws]
    run(binaries / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=ROOT)


def test_every_dependency_has_a_lower_bound() -> None:
    assert len(lower_bounds()) >= 10


def test_the_version_is_said_once() -> None:
    import mrcz_dask

    assert project()["version"] == mrcz_dask.__version__
