"""A scheduler of one's own over TLS: certificates from options, from Dask's configuration, and wrong ones."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

RADIUS = 3
PATIENCE = 60


def certificates(folder: Path) -> dict[str, Path]:
    from distributed import Security

    folder.mkdir()
    made = Security.temporary().get_tls_config_for_role("client")
    files = {name: folder / f"{name}.pem" for name in ("ca_file", "cert", "key")}
    for name, path in files.items():
        path.write_text(made[name])
    return files


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return False


@contextmanager
def program(name: str, *arguments: object) -> Iterator[None]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def scheduler(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with one worker, that listen with TLS alone."""
    import json

    shared = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    tls = [f for name, path in files.items() for f in (f"--tls-{name.replace('_', '-')}", path)]
    page = ("--dashboard-address", "127.0.0.1:0")
    with ExitStack() as stack:
        both = (*tls, *page, "--protocol", "tls", "--host", "127.0.0.1")
        stack.enter_context(program("scheduler", "--port", "0", "--scheduler-file", shared, *both))
        assert until(shared.exists)
        stack.enter_context(program("worker", "--scheduler-file", shared, "--nthreads", 1, *both))
        yield json.loads(shared.read_text())["address"]


def options(files: dict[str, Path]) -> tuple[object, ...]:
    return "--tls-ca", files["ca_file"], "--tls-cert", files["cert"], "--tls-key", files["key"]


def test_certificates_from_options(
    scheduler: str,
    files: dict[str, Path],
    night: Path,
    serial: dict[str, bytes],
    home: Path,
    mrcz: Any,
    outputs: Any,
) -> None:
    where = ("--scheduler", scheduler, *options(files))
    done = mrcz("koma", night, "-o", home / "out", "--radius", RADIUS, "--no-report", *where)
    assert done.code == 0, done
    assert scheduler.startswith("tls://") and "warning" not in done.err
    assert outputs(home / "out") == serial


def test_certificates_from_the_configuration(
    scheduler: str, files: dict[str, Path], night: Path, mrcz: Any
) -> None:
    comm = "DASK_DISTRIBUTED__COMM__TLS__"
    names = {"CA_FILE": "ca_file", "CLIENT__CERT": "cert", "CLIENT__KEY": "key"}
    configured = {f"{comm}{name}": str(files[kind]) for name, kind in names.items()}
    done = mrcz("cluster", "check", night, "--scheduler", scheduler, **configured)
    assert done.code == 0, done


def test_certificates_of_somebody_else(scheduler: str, night: Path, home: Path, mrcz: Any) -> None:
    others = certificates(home / "theirs")
    done = mrcz("koma", night, "-o", home / "out", "--scheduler", scheduler, *options(others))
    assert done.code == 1
    assert "no Dask scheduler answers" in done.err and "certificates" in done.err
    assert not list((home / "out").glob("*.mrcz"))


def test_a_plain_address_gets_no_certificates(files: dict[str, Path], night: Path, mrcz: Any) -> None:
    done = mrcz("koma", night, "--scheduler", "tcp://127.0.0.1:9", *options(files))
    assert done.code == 2 and "which is not encrypted" in done.err
