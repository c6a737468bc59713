"""Blank frames, and frames of another dose than their stack's: what is taken off them, and what is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mrcz_dask
from mrcz_dask.convert.filtering import filter_outliers
from mrcz_dask.correction.opening import open_stack
from mrcz_dask.correction.run import Outcome
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.pattern import read_sum
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import FormatError
from mrcz_dask.values.params import OutlierParams
from mrcz_dask.values.records import StackRecord

Koma = Callable[..., Outcome]
Counts = NDArray[np.uint16]
SHAPE = (64, 80)
PATTERN = 1 + 0.1 * np.random.default_rng(1).standard_normal(SHAPE)
HOT = np.random.default_rng(2).random(SHAPE) < 0.01


def counts(k: int, doses: tuple[float, ...] = (4.0,) * 8) -> Counts:
    """Frames of a pattern and hot pixels; a dose of 0 is a frame of zeros."""
    rng = np.random.default_rng(k)
    frames = np.stack([rng.poisson((PATTERN + 3 * HOT) * dose) for dose in doses])
    return frames.astype(np.uint16)


def session(folder: Path, third: NDArray[Any], dose: float = 4.0) -> Path:
    folder.mkdir(parents=True)
    for k in range(1, 6):
        frames = third if k == 3 else counts(k, (dose,) * 8).astype(third.dtype)
        mrcz_dask.write(folder / f"s{k}_20260102_0304{k:02d}.mrcz", frames, durable=False)
    return folder


def output(out: Path) -> Path:
    return next(out.glob("s3_*.mrcz"))


def run(koma: Koma, night: Path, out: str = "koma", **options: Any) -> Path:
    """Run over a session and return the output of s3."""
    koma(night, night / out, **options)
    return output(night / out)


def record(out: Path) -> StackRecord:
    found = SessionStore(out / "session.zarr").record("s3_20260102_030403")
    assert found is not None
    return found


def put_in(frames: Counts, where: tuple[int, ...], value: int = 0) -> Counts:
    """Return the frames with constant ones among them, at these places of the whole."""
    blank = np.full((len(where), *SHAPE), value, frames.dtype)
    whole = np.empty((len(frames) + len(where), *SHAPE), frames.dtype)
    whole[list(where)] = blank
    whole[[k for k in range(len(whole)) if k not in where]] = frames
    return whole


@pytest.mark.parametrize(
    ("where", "form"),
    [
        ((8, 9, 10), "subtract"),
        ((2,), "divide"),
        ((2,), "subtract-raw"),
        ((0, 2, 4, 6, 8, 10, 12, 14), "divide"),
        ((0, 2, 4, 6, 8, 10, 12, 14), "subtract-raw"),
    ],
)
def test_blank_frames_stay_blank_and_change_nothing(
    tmp_path: Path, koma: Koma, where: tuple[int, ...], form: str
) -> None:
    frames = counts(3)
    with_blank = session(tmp_path / "a", put_in(frames, where, 0 if len(where) > 1 else 7))
    without = session(tmp_path / "b", frames)
    found, expected = (
        mrcz_dask.read(run(koma, one, dtype="float32", form=form)) for one in (with_blank, without)
    )
    kept = [k for k in range(len(found)) if k not in where]
    np.testing.assert_array_equal(found[kept], expected)
    assert set(np.unique(found[list(where)])) == {0 if len(where) > 1 else 7}
    made = record(with_blank / "koma")
    assert made.blank == where and made.dose == record(without / "koma").dose
    assert any("blank" in text for text in made.caveats)
    assert (expected != frames)[:, HOT].any()


@pytest.mark.parametrize("dtype", ["int16", "float16"])
def test_blank_frames_stay_blank_where_pixels_are_rounded(tmp_path: Path, koma: Koma, dtype: str) -> None:
    night = session(tmp_path / "a", put_in(counts(3), (3, 9)))
    found = mrcz_dask.read(run(koma, night, dtype=dtype))
    assert not found[[3, 9]].any() and found[4].any()


def left(frame: NDArray[Any]) -> float:
    """Correlation of a frame with the pattern, hot pixels apart."""
    return float(np.corrcoef(frame[~HOT], PATTERN[~HOT])[0, 1])


@pytest.mark.parametrize("form", ["subtract", "divide"])
def test_a_frame_of_another_dose_gets_its_own_share(tmp_path: Path, koma: Koma, form: str) -> None:
    doses = (40.0, 40.0, 4.0, 40.0, 40.0, 120.0, 40.0, 0.2)
    night = session(tmp_path / "a", counts(3, doses), 40.0)
    found = mrcz_dask.read(run(koma, night, dtype="float32", form=form))
    before = counts(3, doses)
    for k, dose in enumerate(doses):
        assert abs(left(found[k])) < 0.1 and (dose < 10 or left(before[k]) > 0.3)
        assert abs(found[k][HOT].mean() / dose - 1) < 0.25
    assert record(night / "koma").blank == (7,)  # the shutter was closed


@pytest.mark.parametrize("dark", [0.0, 0.01])
def test_frames_of_hot_pixels_alone_are_blank(tmp_path: Path, koma: Koma, dark: float) -> None:
    frames = counts(3).astype(np.float32)
    frames[[5, 6, 7]] = 40.0 * HOT + dark * np.random.default_rng(0).standard_normal((3, *SHAPE))
    night = session(tmp_path / "a", frames)
    found = mrcz_dask.read(run(koma, night))
    made = record(night / "koma")
    assert made.blank == (5, 6, 7) and abs(made.dose - 4) < 0.2
    assert np.abs(found[5:]).max() < 0.2


@pytest.mark.parametrize("dose", [4.0, 0.05])
def test_a_frame_of_which_a_part_was_never_written_is_named(tmp_path: Path, koma: Koma, dose: float) -> None:
    frames = counts(3, (dose,) * 8)
    frames[5, 40:] = frames[6:] = 0
    night = session(tmp_path / "a", frames, dose)
    run(koma, night)
    told = record(night / "koma").caveats
    assert any("2 of 8 frames are blank (6-7)" in text for text in told)
    assert any("1 of 8 frames (5) hold one value" in text and "24 of 64 rows" in text for text in told)
    border = np.pad(counts(3, (dose,) * 8)[:, 8:-8], ((0, 0), (8, 8), (0, 0)))
    night = session(tmp_path / "b", border, float(border.mean()))
    run(koma, night)
    assert not any("one value in" in text for text in record(night / "koma").caveats)


def test_recipe_gives_what_normalized_pixels_are(tmp_path: Path, koma: Koma) -> None:
    frames = put_in(counts(3, (4, 4, 4, 1, 4, 4, 9, 4)), (8, 9))
    night = session(tmp_path / "a", frames)
    expected = mrcz_dask.read(run(koma, night, "x", dtype="float32"))
    lazily = open_stack(run(koma, night, "y", write="recompressed"), corrected=True)
    np.testing.assert_array_equal(lazily.compute(scheduler="synchronous"), expected)
    assert not expected[8:].any()


def test_with_a_gain_and_a_dark(tmp_path: Path, koma: Koma) -> None:
    rng = np.random.default_rng(5)
    night = session(tmp_path / "a", put_in(counts(3) + np.uint16(2), (3, 9)))
    mrcz_dask.write(tmp_path / "gain.mrc", (1 / PATTERN).astype(np.float32))
    mrcz_dask.write(tmp_path / "dark.mrc", (2 + rng.random(SHAPE) / 9).astype(np.float32))
    options = GainOptions(gain=tmp_path / "gain.mrc", dark=tmp_path / "dark.mrc")
    found = mrcz_dask.read(run(koma, night, gain=options, dtype="float32"))
    assert not found[[3, 9]].any() and abs(found[4].mean() - 4) < 0.3


def test_all_frames_blank(tmp_path: Path, koma: Koma) -> None:
    night = session(tmp_path / "a", np.zeros((6, *SHAPE), np.uint16))
    found = mrcz_dask.read(run(koma, night, dtype="float32"))
    assert not found.any() and any("6 of 6 frames are blank" in t for t in record(night / "koma").caveats)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_outliers_alone(tmp_path: Path, dtype: Any) -> None:
    frames = put_in(counts(3, (4, 4, 4, 4, 4, 400, 4, 4)), (2, 9)).astype(dtype)
    mrcz_dask.write(tmp_path / "a.mrcz", frames)
    done = filter_outliers(tmp_path / "a.mrcz", tmp_path / "out", OutlierParams(), "auto")
    found = mrcz_dask.read(tmp_path / "out" / "a.mrcz")
    assert not found[[2, 9]].any() and "2 of 10 frames are blank (2, 9)" in done.findings["notes"][0]
    assert abs(found[6][HOT].mean() / 400 - 1) < 0.1  # 5 before the blank one was put in


def test_a_gain_is_estimated_without_blank_frames(tmp_path: Path) -> None:
    put = put_in(counts(3), (2, 9))
    for k, frames in enumerate((put, counts(3), np.zeros((4, *SHAPE), np.uint16))):
        mrcz_dask.write(tmp_path / f"{k}.mrc", frames, codec="none")
    one, other = (read_sum(tmp_path / f"{k}.mrc") for k in (0, 1))
    assert one.dose == other.dose and (one.frames, one.total.n) == (len(put), len(put) - 2)
    with pytest.raises(FormatError, match="all its frames are blank"):
        read_sum(tmp_path / "2.mrc")
