from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.digest import (
    PixelDigest,
    checksum,
    digest_array,
    digest_bytes,
    file_digest,
    stack_shape,
)
from mrcz_dask.values.errors import ParameterError

STACK = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_a_vector_that_must_never_change() -> None:
    assert digest_array(STACK) == "94a6d7a6240283ecf4b65dd6e05fa675"


def test_it_is_xxh3_over_shape_dtype_and_little_endian_pixels() -> None:
    assert digest_array(STACK) == xxhash.xxh3_128_hexdigest(b"(2, 3, 4) <i2 " + STACK.astype("<i2").tobytes())


def test_memory_layout_and_byte_order_do_not_matter() -> None:
    assert digest_array(STACK.astype(">i2")) == digest_array(STACK)
    assert digest_array(np.asfortranarray(STACK)) == digest_array(STACK)
    assert digest_array(STACK[:1]) == digest_array(STACK[0])


@given(st.sampled_from(["u1", "u2", "f4"]), st.sampled_from([(3, 2, 4), (2, 4, 3), (2, 3, 4)]))
def test_shape_and_dtype_matter(dtype: str, shape: tuple[int, ...]) -> None:
    other = STACK.reshape(shape).astype(dtype)
    assert digest_array(other) != digest_array(STACK)


def test_what_was_announced_must_come() -> None:
    digest = PixelDigest((2, 3, 4), "i2")
    with pytest.raises(ParameterError, match="2 frames are missing"):
        digest.hexdigest()
    with pytest.raises(ParameterError, match="float32"):
        digest.update(STACK[0].astype("f4"))
    for frame in STACK:
        digest.update(frame)
    assert digest.hexdigest() == digest_array(STACK)
    with pytest.raises(ParameterError, match="with 0 frames to come"):
        digest.update(STACK[0])
    with pytest.raises(ParameterError, match="expected"):
        stack_shape((0, 2, 2))


def test_files_and_bytes(tmp_path: Path) -> None:
    data = bytes(5 << 20)
    (tmp_path / "x").write_bytes(data)
    assert file_digest(tmp_path / "x") == digest_bytes(data) == xxhash.xxh3_128_hexdigest(data)
    assert checksum(b"") == 0x2D06800538D394C2
