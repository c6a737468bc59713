"""What can be written besides arrays of NumPy, and where to."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read

Stack = NDArray[np.int16]


def test_lists_of_images_and_big_endian_arrays(stack: Stack) -> None:
    stream = io.BytesIO()
    write(stream, stack.astype(">i2"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(read(stream), stack)
    write(stream, list(stack))
    np.testing.assert_array_equal(read(stream), stack)
    write(stream, stack[0].T)
    np.testing.assert_array_equal(read(stream, 0), stack[0].T)


class Lazy:
    """As dask arrays behave: pixels come into being when a part is converted."""

    def __init__(self, shape: tuple[int, ...], taken: list[tuple[int, ...]]) -> None:
        self.shape, self.ndim, self.dtype, self.taken = shape, len(shape), np.dtype("i2"), taken

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, i: int) -> "Lazy":
        return Lazy(self.shape[1:], self.taken)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        self.taken.append(self.shape)
        return np.ones(self.shape, self.dtype)


def test_lazy_arrays_are_taken_frame_by_frame() -> None:
    taken: list[tuple[int, ...]] = []
    stream = io.BytesIO()
    write(stream, Lazy((4, 5, 6), taken))
    assert taken == [(5, 6)] * 4 and (read(stream) == 1).all()


def test_dask_arrays(stack: Stack) -> None:
    dask_array = pytest.importorskip("dask.array")
    eager, lazy = io.BytesIO(), io.BytesIO()
    write(eager, stack)
    write(lazy, dask_array.from_array(stack, chunks=(1, -1, -1)))
    assert lazy.getvalue() == eager.getvalue()


def test_streams_are_replaced_from_their_first_byte(stack: Stack) -> None:
    stream = io.BytesIO(b"x" * 100000)
    write(stream, stack)
    assert stream.getvalue()[:4] == (40).to_bytes(4, "little") and len(stream.getvalue()) < 30000
