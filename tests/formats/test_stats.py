import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.mrc.header import Statistics
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.tuples(st.integers(1, 4), st.integers(1, 150), st.integers(1, 20)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 15, 16, 127, 255, 3000, 1 << 40]),
)
def test_against_the_definition(dtype: str, shape: tuple[int, int, int], seed: int, top: int) -> None:
    low, high = (-2047, 2048) if dtype[0] == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    stack = (
        np.random.default_rng(seed)
        .integers(max(low, -top), min(high, top), shape, endpoint=True)
        .astype(dtype)
    )
    found = combine(frame_stats(frame) for frame in stack)
    exact = stack.astype(np.float64)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    np.testing.assert_allclose(found[2:], (exact.mean(), exact.std()), rtol=1e-9, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4"]),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.sampled_from([1, 15, 724, 725, 60_000]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_of_integers_they_are_exact(
    dtype: str, shape: tuple[int, int], top: int, swapped: bool, seed: int
) -> None:
    info = np.iinfo(dtype)
    ends = max(int(info.min), -top), min(int(info.max), top)
    frame = np.random.default_rng(seed).integers(*ends, shape, endpoint=True).astype(dtype)
    n, values = frame.size, frame.astype(object)
    total, squares = values.sum(), (values**2).sum()
    expected = FrameStats(n, values.min(), values.max(), total / n, (squares * n - total**2) / n)
    found = frame_stats(frame.astype(frame.dtype.newbyteorder()) if swapped else frame)
    assert found == expected == frame_stats(np.asfortranarray(frame))


def test_of_pixels_that_cannot_be_changed(dtype: str = "u2") -> None:
    frame = np.frombuffer(bytes(range(64)), dtype).reshape(4, 8)
    assert frame_stats(frame) == frame_stats(frame.copy()) and not frame.flags.writeable


def test_extremes_of_each_type_do_not_overflow() -> None:
    for dtype in ("i1", "u1", "i2", "u2", "i4", "u4"):
        info = np.iinfo(dtype)
        frame = np.full((300, 300), info.min, dtype)
        frame[::2] = info.max
        found, exact = combine([frame_stats(frame)]), frame.astype(np.float64)
        np.testing.assert_allclose(found, (info.min, info.max, exact.mean(), exact.std()), rtol=1e-12)


def test_a_mean_far_from_zero_loses_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (3, 200, 200))
    stack = (noise + 1e5).astype(np.float32)
    assert combine(map(frame_stats, stack)).rms == pytest.approx(stack.astype("f8").std(), rel=1e-9)


def test_only_finite_pixels_count() -> None:
    frame = np.array([[1, np.nan, np.inf], [-np.inf, 3, 5]], np.float32)
    assert combine([frame_stats(frame), None]) == pytest.approx((1, 5, 3, np.std([1, 3, 5])))
    assert frame_stats(np.full((2, 2), np.nan, np.float32)) is None


def test_without_any_it_is_undetermined_as_mrc2014_marks_it() -> None:
    assert frame_stats(np.ones((2, 2), np.complex64)) is None
    assert combine([None, None]) == Statistics(0, -1, -2, -1)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("top", [1, 12, 120])
def test_frames_of_several_odd_blocks(dtype: str, top: int) -> None:
    frame = np.random.default_rng(top).integers(0, top + 1, (1021, 1033)).astype(dtype)
    if dtype.startswith(("i", "f")):
        frame -= frame.dtype.type(top // 2)
    found, exact = frame_stats(frame), frame.astype(np.int64)
    assert found is not None
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert found.mean == exact.sum() / frame.size
    assert found.squares == pytest.approx((exact**2).sum() - exact.sum() ** 2 / frame.size, rel=1e-12)
