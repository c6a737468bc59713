"""Stacks and files for the tests of this layer."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.writer import write

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8"]


class Counted(io.BytesIO):
    """A stream that adds up what is read from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def _pixels(dtype: str, shape: tuple[int, ...], kind: str, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if kind == "bits":
        return np.frombuffer(rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
    return rng.poisson({"zeros": 0, "counts": 2, "more": 60}[kind], shape).astype(dtype)


@pytest.fixture(scope="session")
def stacks() -> st.SearchStrategy[NDArray[Any]]:
    """Arrays of any supported dtype and shape: counts, zeros, or any bits at all."""
    shapes = st.lists(st.integers(1, 40), min_size=2, max_size=2).map(tuple)
    stacked = st.tuples(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30))
    return st.builds(
        _pixels,
        st.sampled_from(DTYPES),
        shapes | stacked,
        st.sampled_from(["zeros", "counts", "more", "bits"]),
        st.integers(0, 2**32 - 1),
    )


@pytest.fixture
def stack() -> NDArray[np.int16]:
    """Counts with a few negative ones, 6 x 50 x 40 int16."""
    return _pixels("i2", (6, 50, 40), "more", 3) - 20


@pytest.fixture
def file_of() -> Any:
    """A function that gives the bytes of a file that `write` made of an array."""

    def make(array: NDArray[Any], **options: Any) -> bytes:
        stream = io.BytesIO()
        write(stream, array, **options)
        return stream.getvalue()

    return make


@pytest.fixture
def counted() -> type[Counted]:
    """The stream class that adds up what is read."""
    return Counted
