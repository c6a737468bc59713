"""What all writers have in common, on one that keeps its frames."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import ParameterError


class Kept(FrameWriter):
    """Keeps the frames that it is given, and what became of it."""

    frames: list[NDArray[Any]]
    state = "open"

    def _take(self, frame: NDArray[Any], stats: FrameStats | None) -> None:
        self._pipeline.submit(lambda: frame)

    def _store(self, encoded: NDArray[Any]) -> None:
        self.frames = [*getattr(self, "frames", []), encoded]

    def _finish(self) -> None:
        self.state = "shown"

    def _discard(self) -> None:
        if self.state != "shown":
            self.state = "discarded"


@given(
    st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4"]),
    st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4"]),
    st.lists(st.integers(-(1 << 31), (1 << 32) - 1), min_size=4, max_size=4),
    st.booleans(),
)
def test_frames_are_stored_without_loss_or_not_at_all(
    stored: str, restored: str, values: list[int], reverse: bool
) -> None:
    info = np.iinfo(restored)
    frame = np.array(values).clip(info.min, info.max).astype(restored).reshape(2, 2)
    pixels = {"dtype": np.dtype(restored).str}
    writer = Kept((1, 2, 2), stored, pixels=pixels, reverse_rows=reverse)
    assert writer.restored == np.dtype(restored)
    try:
        writer.append(frame)
    except ParameterError:
        assert not np.array_equal(frame.astype(stored).astype("f8"), frame.astype("f8"))
        return
    (kept,) = writer.frames
    assert kept.dtype == np.dtype(stored)
    np.testing.assert_array_equal(kept[:: -1 if reverse else 1].astype("f8"), frame.astype("f8"))
    np.testing.assert_array_equal(kept.astype(restored)[:: -1 if reverse else 1], frame)


@pytest.mark.parametrize("frame", [np.zeros((2, 3), "u2"), np.zeros((3, 2), "u1"), np.zeros((2, 3, 1), "u1")])
def test_other_shapes_and_dtypes_are_refused(frame: NDArray[Any]) -> None:
    with pytest.raises(ParameterError, match="frame 0 is"):
        Kept((2, 2, 3), "u1").append(frame)


def test_all_frames_or_nothing() -> None:
    writer = Kept((2, 2, 3), "u1")
    writer.append(np.zeros((2, 3), "u1"))
    with pytest.raises(ParameterError, match="1 of 2 frames"):
        writer.close()
    assert writer.state == "discarded"
    with Kept((1, 2, 3), "u1") as whole:
        whole.append(np.zeros((2, 3), ">u1"))
        with pytest.raises(ParameterError, match="all 1 frames are there"):
            whole.append(np.zeros((2, 3), "u1"))
    assert whole.state == "shown"
    whole.close()
    assert whole.state == "shown"


def test_a_dtype_that_is_said_later_changes_nothing() -> None:
    writer = Kept((1, 2, 3), "f4")
    writer.pixels = {"dtype": "|u1"}
    assert writer.restored == np.float32
    with pytest.raises(ParameterError):
        writer.append(np.zeros((2, 3), "u1"))
