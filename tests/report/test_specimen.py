"""The report shows what neighbors share and no detector has, and says what of the specimen was taken off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named
from mrcz_dask.report.figures import over_stacks
from mrcz_dask.report.files import write_page
from mrcz_dask.report.gather import gather
from mrcz_dask.report.questions import answers
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import ContrastParams, KomaParams, Settings

EDGE = named("hole edge", shape=(144, 160), stacks=9, frames=10, aim_error=0.0, edge=0.3)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("specimen") / "edges"
    write_session(folder, EDGE)
    return folder


@pytest.mark.parametrize("trust", [False, True])
def test_the_edge_that_stays_is_drawn_and_the_one_that_went_is_said(
    edges: Path, tmp_path: Path, trust: bool, undrawn: None
) -> None:
    koma = KomaParams(radius=4, groups="none", trust_reference=trust)
    settings = Settings(koma=koma, contrast=ContrastParams(floor=10.0))
    carry_out(make_plan(edges, tmp_path / "out", settings), SerialClient())
    data = gather(tmp_path / "out")
    drawn = {figure.key: figure for figure in over_stacks(data)}
    level = next(one.level for one in answers(data)["run"] if one.question.key == "specimen_lost")
    assert ("specimen" in drawn, level) == ((False, "act") if trust else (True, "unknown"))
    if not trust:
        percent = np.reshape(drawn["specimen"].columns["percent"], data.shared.shape)  # type: ignore[union-attr]
        assert np.ptp(percent) > 15
    page = write_page(tmp_path / "out").read_text()
    assert ("What neighbors share" in page) is not trust
