from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.formats.gains import write_reference
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read
from mrcz_dask.gain.gamma_fit import fit_gamma
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.values.errors import ParameterError

SHAPE, FRAMES = (256, 256), 4
RATES = (8.0, 0.3, 0.6, 1.2, 3.0)
COUNTS = 50.0  # per frame: few frames stand for many


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    folder, rng = tmp_path_factory.mktemp("flats"), np.random.default_rng(3)
    etching = simulate_session(named("no pattern", shape=SHAPE, etch=0.03, seed=6)).pattern(0)
    gain = folder / "gain.mrc"
    write_reference(gain, (1 / etching).astype(np.float32))
    paths = []
    for rate in RATES:
        counts = rng.poisson(COUNTS * etching ** K2.at(rate), (FRAMES, *SHAPE))
        paths.append(folder / f"flat{rate}.mrcz")
        write(paths[-1], counts.astype(np.uint8), codec="zstd:1", durable=False)
    return paths, gain


def test_gammas_and_curve_of_files(flats: tuple[list[Path], Path]) -> None:
    paths, gain = flats
    found = fit_gamma(paths, GainOptions(str(gain)), [COUNTS / rate for rate in RATES])
    assert [flat.rate for flat in found.flats] == pytest.approx(sorted(RATES), rel=0.01)
    assert [flat.gamma for flat in found.flats] == pytest.approx([K2.at(r) for r in sorted(RATES)], abs=0.03)
    assert found.curve is not None
    assert found.to_dict()["flats"][0]["curve"] == found.curve.at(found.flats[0].rate)


def test_a_flat_is_flatter_with_its_gamma(flats: tuple[list[Path], Path]) -> None:
    paths, gain = flats
    found = fit_gamma(paths, GainOptions(str(gain)), [COUNTS / rate for rate in RATES])
    first = found.flats[0]  # of .3 e-/pixel/s, gamma 1.4
    assert first.before.shape == first.after.shape == (16, 16)
    before, after = first.uneven
    assert before > 1.5 * after and after < 3 / np.sqrt(COUNTS * FRAMES * 256)
    assert all(after <= before * 1.02 for before, after in (flat.uneven for flat in found.flats))
    row = found.to_dict()["flats"][0]
    assert (row["uneven_before"], row["uneven_after"]) == first.uneven


def test_the_time_is_from_the_mdoc(flats: tuple[list[Path], Path]) -> None:
    paths, gain = flats
    mdoc = Path(f"{paths[0]}.mdoc")
    mdoc.write_text(f"[FrameSet = 0]\nExposureTime = {FRAMES * COUNTS / 8.0}\n")
    found = fit_gamma(paths[:1], GainOptions(str(gain)))
    assert found.flats[0].rate == pytest.approx(8.0, rel=0.01)
    assert found.curve is None and found.to_dict()["fit"] is None
    mdoc.unlink()


def test_what_is_missing_is_said(flats: tuple[list[Path], Path]) -> None:
    paths, gain = flats
    options = GainOptions(str(gain))
    with pytest.raises(ParameterError, match="ExposureTime"):
        fit_gamma(paths[:1], options)
    with pytest.raises(ParameterError, match="--gain FILE"):
        fit_gamma(paths, GainOptions())
    with pytest.raises(ParameterError, match="2 times for 5"):
        fit_gamma(paths, options, [1.0, 2.0])
    with pytest.raises(ParameterError, match="above 0"):
        fit_gamma(paths, options, [0.0])


def test_the_dark_is_taken_off_first(flats: tuple[list[Path], Path], tmp_path: Path) -> None:
    paths, gain = flats
    dark = np.random.default_rng(0).integers(5, 30, SHAPE)
    write_reference(tmp_path / "dark.mrc", dark.astype(np.float32))
    path = tmp_path / "flat.mrcz"
    write(path, read(paths[0]) + dark.astype(np.uint8), codec="zstd:1", durable=False)
    found = fit_gamma([path], GainOptions(str(gain), dark=str(tmp_path / "dark.mrc")), [COUNTS / 8.0])
    assert found.flats[0].rate == pytest.approx(8.0, rel=0.01)
    assert found.flats[0].gamma == pytest.approx(K2.at(8.0), abs=0.03)
