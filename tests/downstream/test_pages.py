"""The commands of the page about RELION, all of them, where RELION is installed."""

import stat
import sys
from pathlib import Path

import pytest

from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from tests.test_docs import ROOT, SHIM, blocks, preparations, run_bash

pytestmark = [pytest.mark.downstream, pytest.mark.usefixtures("relion")]


def test_the_page_about_relion(tmp_path: Path) -> None:
    page, place = ROOT / "docs" / "how-to" / "relion.md", tmp_path / "place"
    params = named("standard", shape=(256, 320), frames=8, stacks=6, seed=2, dose=2, hot=(0.002, 0.004))
    first = write_session(place / "session", params)[0]
    first.rename(place / "session" / "first.mrcz")
    Path(f"{first}.mdoc").rename(place / "session" / "first.mrcz.mdoc")
    shim = tmp_path / "bin" / "mrcz-dask"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(command=f"'{sys.executable}' '{ROOT / 'typer_cli.py'}'"))
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    texts = [*preparations(page), *(block.text for block in blocks(page) if block.language == "bash")]
    assert any("relion_run_motioncorr" in text for text in texts)
    for text in texts:
        run_bash(text, place)
    assert (place / "for-relion" / "MotionCorr" / "job001" / "corrected_micrographs.star").exists()
    assert (place / "for-relion" / "estimated_gain.mrc").stat().st_size > 256 * 320 * 4
    assert list((place / "as-tiff").rglob("*.tif*"))
