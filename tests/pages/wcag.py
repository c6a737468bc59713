"""axe-core, which looks for breaches of the Web Content Accessibility Guidelines, level AA, in a browser."""

import shutil
import subprocess
import tarfile
from typing import Any

import pytest

AXE = "axe-core@4.10.3"
BREACHES = """axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then((found) =>
  found.violations.map((one) => one.id + ": " + one.nodes.map((node) => node.html).join("; ")))"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core; skips without npm."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "--silent", AXE]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120).returncode:
        pytest.skip(f"npm cannot get {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        script = package.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def breaches(tab: Any, axe: str) -> list[str]:
    """Return the breaches of the page that is open."""
    tab.ask(axe + ";0")
    return list(tab.ask(BREACHES))


def look(tab: Any, width: int, scheme: str) -> None:
    """Give the browser a width, that of a phone up to 400, and a light or dark color scheme."""
    tab.size(width, 900, phone=width <= 400)
    tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
