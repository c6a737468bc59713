"""What a stack's values are written with: steps that follow the noise, offsets, floats, or a refusal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.convert.filtering import filter_outliers
from mrcz_dask.convert.recompress import recompress
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import Optics
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.pattern import session_pattern
from mrcz_dask.values.errors import DtypeError, SessionError
from mrcz_dask.values.params import OutlierParams

SHAPE = (8, 96, 112)
ODD = "s3.mrc"
AT = (2, 40, 50)
Frames = np.ndarray[Any, Any]


def session(
    folder: Path,
    dtype: Any,
    change: Callable[[Frames], Frames] = lambda frames: frames,
    *,
    every: bool = True,
) -> Path:
    """Write five stacks of counts of a detector with a pattern; all or one of them changed."""
    rng = np.random.default_rng(0)
    gain = 1 + 0.06 * rng.standard_normal(SHAPE[1:])
    folder.mkdir()
    for k in range(1, 6):
        frames = rng.poisson(gain, SHAPE)
        changed = change(frames.astype(np.float64)) if every or f"s{k}.mrc" == ODD else frames
        mrcz_dask.write(folder / f"s{k}.mrc", changed.astype(dtype), codec="none", durable=False)
    return folder


def one_of(value: float) -> Callable[[Frames], Frames]:
    def put(frames: Frames) -> Frames:
        frames[AT] = value
        return frames

    return put


def off(folder: Path, name: str = ODD) -> Frames:
    """Return what an output differs by from its input, without the pixel that was changed."""
    found = mrcz_dask.read(folder / "koma" / f"{Path(name).stem}.mrcz").astype(np.float64)
    differing = found - mrcz_dask.read(folder / name).astype(np.float64)
    differing[:, AT[1], AT[2]] = 0
    return differing


@pytest.mark.parametrize("value", [1e20, -1e20, 3e38, 1e-40, 1e9])
def test_one_absurd_value_leaves_the_others_as_they_were(tmp_path: Path, koma: Any, value: float) -> None:
    folder = session(tmp_path / "s", np.float32, one_of(value), every=False)
    outcome = koma(folder, radius=3)
    assert outcome.complete
    pixels = (mrcz_dask.read_footer(folder / "koma" / "s3.mrcz") or {})["pixels"]
    assert (pixels["scale"], pixels["offset"]) == (1 / 16, 0)
    assert (np.abs(off(folder)) < 0.5).mean() > 0.999
    assert mrcz_dask.read(folder / "koma" / "s3.mrcz")[AT] < 10
    (odd,) = (one for one in outcome.results if one.name == ODD)
    assert odd.usable and any("too large to be counts" in text for text in odd.caveats) == (abs(value) > 1e10)


@pytest.mark.parametrize("value", [1e20, -1e20])
def test_one_absurd_value_and_the_other_commands(tmp_path: Path, value: float) -> None:
    folder = session(tmp_path / "s", np.float32, one_of(value), every=False)
    clean = session(tmp_path / "clean", np.float32)
    filter_outliers(folder / ODD, tmp_path / "out", OutlierParams(), "auto")
    found = mrcz_dask.read(tmp_path / "out" / "s3.mrcz")
    assert 0 <= found[AT] < 10
    assert (found == mrcz_dask.read(clean / ODD)).mean() > 0.999
    patterns = [session_pattern(sorted(one.glob("*.mrc"))) for one in (folder, clean)]
    assert len(patterns[0].used) == 5
    differing = np.abs(patterns[0].pattern.response - patterns[1].pattern.response)
    differing[AT[1:]] = 0
    assert differing.max() < 1e-3


@pytest.mark.parametrize(("dtype", "offset"), [(np.uint32, 4_200_000_000), (np.int32, -2_100_000_000)])
def test_an_offset_is_taken_off_and_recorded(tmp_path: Path, koma: Any, dtype: Any, offset: int) -> None:
    folder = session(tmp_path / "s", dtype, lambda frames: frames + offset)
    outcome = koma(folder, radius=3)
    assert outcome.complete
    for result in outcome.results:
        path = folder / "koma" / result.output
        pixels = (mrcz_dask.read_footer(path) or {})["pixels"]
        assert pixels["scale"] == 1 / 16 and abs(pixels["offset"] - offset) < 100
        assert mrcz_dask.read(path).dtype == np.float64
        differing = off(folder, result.name)
        assert differing.std() < 0.1 and abs(differing.mean()) < 1e-2
        assert any("constant offset" in text for text in result.caveats)
    stack = mrcz_dask.open_stack(folder / "koma" / "s1.mrcz")
    assert stack.dtype == np.float64
    with pytest.raises(DtypeError, match=r"constant offset of .*recompress --format mrcs"):
        recompress(folder / "koma" / "s1.mrcz", tmp_path, format="plain")
    with pytest.raises(SessionError, match=r"s1 \(its counts lie on a constant offset"):
        export(folder / "koma", tmp_path / "out", "relion", Optics(pixel_size=1.0))


@pytest.mark.parametrize("method", ["plain", "session"])
def test_an_offset_comes_back_with_every_method(tmp_path: Path, koma: Any, method: str) -> None:
    folder = session(tmp_path / "s", np.uint32, lambda frames: frames + 4_200_000_000)
    assert koma(folder, radius=3, method=method).complete
    assert abs(off(folder).mean()) < 1e-2 and off(folder).std() < 0.2


@pytest.mark.parametrize("reference", ["gain", "dark"])
def test_a_gain_on_an_offset_is_refused(tmp_path: Path, koma: Any, reference: str) -> None:
    folder = session(tmp_path / "s", np.uint32, lambda frames: frames + 4_200_000_000)
    image = np.full(SHAPE[1:], 1 if reference == "gain" else 4.2e9 - 300, np.float32)
    mrcz_dask.write(tmp_path / "reference.mrc", image, codec="none")
    options = GainOptions(**{reference: tmp_path / "reference.mrc"}, force=True)
    outcome = koma(folder, radius=3, gain=options)
    assert not outcome.results and "Take the offset off in the file" in outcome.failures[0].reason


@pytest.mark.parametrize(
    ("dtype", "offset"), [(np.uint32, 4_200_000_000), (np.uint16, 60_000), (np.uint16, 0)]
)
def test_outliers_on_an_offset_are_filled_with_its_noise(tmp_path: Path, dtype: Any, offset: int) -> None:
    def hot(frames: Frames) -> Frames:
        frames[:, 40, 50] = 5000
        return frames + offset

    folder = session(tmp_path / "s", dtype, hot, every=False)
    filter_outliers(folder / ODD, tmp_path / "out", OutlierParams(), "auto")
    found = mrcz_dask.read(tmp_path / "out" / "s3.mrcz").astype(np.float64) - offset
    assert found[:, 40, 50].max() < 10 and found[:, 40, 50].min() > -10
    if offset > 1e9:
        with pytest.raises(SessionError, match="constant offset"):
            session_pattern([folder / ODD])


@pytest.mark.parametrize("write", [{"dtype": "float32"}, {"format": "mrcs", "dtype": "float32"}])
def test_floats_that_cannot_hold_an_offset_are_refused(tmp_path: Path, koma: Any, write: Any) -> None:
    folder = session(tmp_path / "s", np.uint32, lambda frames: frames + 4_200_000_000)
    outcome = koma(folder, radius=3, **write)
    assert not outcome.results and len(outcome.failures) == 5
    assert "take the offset off" in outcome.failures[0].reason


def test_an_offset_in_a_recipe_gives_the_same_pixels(tmp_path: Path, koma: Any) -> None:
    folder = session(tmp_path / "s", np.uint32, lambda frames: frames + 4_200_000_000)
    koma(folder, radius=3, write="recompressed")
    path = folder / "koma" / "s2.mrcz"
    assert (mrcz_dask.read(path) == mrcz_dask.read(folder / "s2.mrc")).all()
    corrected = mrcz_dask.open_stack(path, corrected=True)[0].compute()
    assert corrected.std() == pytest.approx(1, abs=0.1)
    export(folder / "koma", tmp_path / "out", "relion", Optics(pixel_size=1.0))
    assert (mrcz_dask.read(tmp_path / "out" / "movies" / "s2.mrcs")[0] == corrected).all()
    with pytest.raises(SessionError, match="MotionCor reads no uint32"):
        export(folder / "koma", tmp_path / "out", "motioncor", Optics(pixel_size=1.0))


@pytest.mark.parametrize("pedestal", [1172, 60_000])
def test_a_pedestal_keeps_the_usual_step(tmp_path: Path, koma: Any, pedestal: int) -> None:
    folder = session(tmp_path / "s", np.uint16, lambda frames: frames + pedestal)
    assert koma(folder, radius=3).complete
    assert (mrcz_dask.read_footer(folder / "koma" / "s2.mrcz") or {})["pixels"]["scale"] == 1 / 16
    assert off(folder).std() < 0.1


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e5])
def test_the_step_follows_the_noise(tmp_path: Path, koma: Any, scale: float) -> None:
    folder = session(tmp_path / "s", np.float32, lambda frames: frames * scale)
    assert koma(folder, radius=3).complete
    assert off(folder).std() < 0.1 * scale


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize(
    "change",
    [lambda f: f * 0 + 65535, lambda f: f * 0 + 2.0**31 + 1],
    ids=["saturated", "large"],
)
def test_a_stack_that_is_left_as_it_is_is_left_as_it_is(
    tmp_path: Path, koma: Any, change: Any, dtype: Any
) -> None:
    folder = session(tmp_path / "s", np.uint32, change, every=False)
    outcome = koma(folder, radius=3, dtype=dtype)
    failed = [failure.name for failure in outcome.failures]
    if failed:  # float32 does not hold 2**31 + 1
        assert failed == [ODD] and dtype == "float32"
    else:
        assert not off(folder).any()


def test_a_step_that_hides_the_counts_is_refused(tmp_path: Path, koma: Any) -> None:
    folder = session(tmp_path / "s", np.uint16)
    assert koma(folder, tmp_path / "fine", radius=3, step=1.0).complete
    outcome = koma(folder, tmp_path / "coarse", radius=3, step=1024.0)
    assert len(outcome.failures) == 5 and "--step 1024" in outcome.failures[0].reason


def test_the_pattern_of_a_quiet_detector_is_taken_off_to_its_noise(tmp_path: Path, koma: Any) -> None:
    rng = np.random.default_rng(1)
    pattern = 1172 + 300 * rng.standard_normal(SHAPE[1:])
    folder = tmp_path / "s"
    folder.mkdir()
    for k in range(7):
        frames = np.rint(pattern + 0.93 * rng.standard_normal(SHAPE)).astype(np.uint16)
        mrcz_dask.write(folder / f"s{k}.mrc", frames, codec="none", durable=False)
    assert koma(folder, radius=3, method="plain", dtype="float32").complete
    for k in range(7):
        left = mrcz_dask.read(folder / "koma" / f"s{k}.mrcz").astype(np.float64).mean(axis=0)
        robust = np.median(np.abs(left - np.median(left))) / 0.6745
        assert robust < 1.1 * 0.97 / np.sqrt(SHAPE[0]) * np.sqrt(7 / 6)
