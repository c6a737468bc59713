"""A real Prometheus scrapes the metrics of a run; its own tool finds nothing to say against them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.monitor.listener import SessionListener
from mrcz_dask.monitor.metrics import exposition
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings

pytestmark = pytest.mark.slow

SECONDS = 60
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: mrcz-dask
    static_configs:
      - targets: ["{target}"]
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Debian's prometheus and promtool; unpacked, so that no service of it is started."""
    if there := shutil.which("prometheus"):
        return Path(there).parent
    if not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip("prometheus is not installed, and cannot be: no apt-get, or not root")
    folder = tmp_path_factory.mktemp("prometheus")
    subprocess.run(["apt-get", "update"], capture_output=True, check=False)
    got = subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("prometheus_*.deb"))
    if not packages:
        pytest.skip(f"prometheus cannot be had: {got.stderr}")
    subprocess.run(["dpkg", "-x", packages[0], folder / "root"], check=True)
    return folder / "root" / "usr" / "bin"


@contextmanager
def prometheus(program: Path, folder: Path, target: str) -> Iterator[str]:
    """Give the address of a Prometheus that looks at a target every second."""
    folder.mkdir()
    (folder / "prometheus.yml").write_text(CONFIG.format(target=target))
    with create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    running = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        running.terminate()
        running.wait(SECONDS)


def query(address: str, expression: str) -> dict[str, Any]:
    """Return the values of an expression by their labels; nothing while Prometheus does not answer."""
    try:
        with urlopen(f"{address}/api/v1/query?query={quote(expression)}") as answer:
            found = json.load(answer)["data"]["result"]
    except (URLError, OSError):
        return {}
    return {one["metric"].get("state", ""): float(one["value"][1]) for one in found}


def test_prometheus_knows_how_the_run_stands(programs: Path, night: Path, tmp_path: Path) -> None:
    told: list[messages.Message] = []
    plan = make_plan(night, tmp_path / "out", Settings(koma=KomaParams(radius=2)))
    with watched(SerialClient(), PageParams.of("0"), told.append) as listen:
        ready = told[0]
        assert isinstance(ready, messages.PageReady)
        target = urlsplit(ready.address).netloc
        with prometheus(programs / "prometheus", tmp_path / "prometheus", target) as address:
            outcome = carry_out(plan, SerialClient(), listen)
            end = time.monotonic() + SECONDS
            while query(address, "mrcz_dask_run_state == 1").keys() != {"finished"}:
                assert time.monotonic() < end, query(address, "up")
                time.sleep(0.5)
            assert query(address, "mrcz_dask_stacks")["done"] == len(outcome.results)
            assert query(address, "sum(mrcz_dask_outlier_pixels)")[""] == sum(
                r.hot + r.dead for r in outcome.results
            )


def test_promtool_finds_no_fault(programs: Path, moments: list[Moment]) -> None:
    live = SessionListener()
    for _, message in moments:
        live(message)
    done = subprocess.run(
        [programs / "promtool", "check", "metrics"], input=exposition(live), capture_output=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
