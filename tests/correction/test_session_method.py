"""Method `session` in a run: the same pixels however they are written, in any order, again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import KomaParams, Settings

pytestmark = pytest.mark.slow

MATURE = named("mature", shape=(128, 128), frames=10, stacks=24, seed=5, hot=(0.002, 0.004), dose=2)


@pytest.fixture(scope="module")
def mature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with a strong pattern."""
    folder = tmp_path_factory.mktemp("mature") / "session"
    write_session(folder, MATURE)
    return folder


def test_all_others_are_its_window(night: Path, koma: Any) -> None:
    outcome = koma(night, method="session", radius=1)
    assert outcome.complete
    for result in outcome.results:
        steps = (read_footer(night / "koma" / result.output) or {})["provenance"]
        short, long = next(step for step in steps if step["name"] == "koma")["inputs"]
        names = {other.name for other in outcome.results} - {result.name}
        assert set(short["names"]) == names and long["names"] == []


def test_recompressed_with_its_recipe_is_what_normalized_holds(
    night: Path, tmp_path: Path, koma: Any
) -> None:
    whole = koma(night, tmp_path / "a", method="session", dtype="float32")
    koma(night, tmp_path / "b", method="session", write="recompressed")
    for result in whole.results:
        pixels = mrcz_dask.read(tmp_path / "a" / result.output)
        again = mrcz_dask.open_stack(tmp_path / "b" / result.output, corrected=True).compute()
        assert np.array_equal(pixels, again)
    assert (
        SessionStore(tmp_path / "b" / "session.zarr").correction(Path(result.output).stem).scale is not None
    )


def test_it_is_reproduced_byte_for_byte(night: Path, koma: Any) -> None:
    outcome = koma(night, method="session")
    assert reproduce(night / "koma" / outcome.results[3].output).same


class Backwards(SerialClient):
    """Takes every segment from its end."""

    def run(self, function: Any, segments: Any, split: Any = None) -> Any:
        return super().run(function, [list(segment)[::-1] for segment in segments][::-1], split)


def test_the_order_of_stacks_changes_nothing(night: Path, tmp_path: Path, koma: Any) -> None:
    one = koma(night, tmp_path / "a", method="session")
    koma(night, tmp_path / "b", Backwards(), method="session")
    for result in one.results:
        assert (tmp_path / "a" / result.output).read_bytes() == (tmp_path / "b" / result.output).read_bytes()


def test_it_takes_a_strong_pattern_off(mature: Path, tmp_path: Path) -> None:
    # its smooth structure is 2.5 % of the mean, above the limit
    settings = Settings(koma=KomaParams(radius=2, method="session", trust_reference=True))
    results = carry_out(make_plan(mature, tmp_path / "out", settings), SerialClient()).results
    filtered, corrected = (np.mean([r.noise[kind] for r in results]) for kind in ("filtered", "corrected"))
    assert corrected < 0.8 * filtered
    means = [mrcz_dask.read(tmp_path / "out" / r.output).mean() for r in results[:3]]
    doses = [mrcz_dask.read(mature / r.name).mean() for r in results[:3]]
    assert means == pytest.approx(doses, rel=0.05)
