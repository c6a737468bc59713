"""Other programs, installed where they are not there yet."""

import shutil
import subprocess

import pytest

APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300"]


@pytest.fixture(scope="session")
def relion() -> str:
    """RELION's programs (Debian's package); skips where it is not there and cannot be installed."""
    if shutil.which("relion_run_motioncorr") is None:
        if shutil.which("apt-get") is None:
            pytest.skip("RELION is not installed, and there is no apt-get")
        subprocess.run([*APT, "update"], capture_output=True, check=False, timeout=600)
        install = [*APT, "install", "--no-install-recommends", "relion"]
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=1200)
        if shutil.which("relion_run_motioncorr") is None:
            pytest.skip(f"RELION cannot be installed: {done.stderr[-300:]}")
    return "relion"
