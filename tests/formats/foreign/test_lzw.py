"""A damaged LZW stream is refused before its decoder reads memory that is not its own."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.foreign.lzw import check_lzw
from mrcz_dask.values.errors import DamagedError


def decoded(stream: bytes) -> bytes | None:
    """Decode in plain Python, first bit first; None where a code means nothing."""
    bits = "".join(f"{byte:08b}" for byte in stream)
    table, found, before, at = [], b"", b"", 0
    width = 9
    while at + width <= len(bits):
        code, at = int(bits[at : at + width], 2), at + width
        if code == 257:
            break
        if code == 256:
            table, before = [bytes([k]) for k in range(256)] + [b"", b""], b""
        elif not before:
            if code > 255:
                return None
            found, before = found + table[code], table[code]
        else:
            if code > len(table):
                return None
            word = before + before[:1] if code == len(table) else table[code]
            table.append(before + word[:1])
            found, before = found + word, word
        width = max(9, len(f"{len(table) + 1:b}"))
    return found


@given(st.binary(min_size=1, max_size=3000), st.lists(st.integers(0, 10**6), max_size=3))
def test_a_stream_is_checked_as_it_would_be_decoded(data: bytes, flips: list[int]) -> None:
    stream = bytearray(imagecodecs.lzw_encode(data))
    for flip in flips:
        if flip % (8 * len(stream)) > 8:  # the first code, which the decoder checks itself, stays
            stream[flip // 8 % len(stream)] ^= 1 << flip % 8
    text = decoded(bytes(stream))
    if text is None or len(text) < len(data):
        try:
            check_lzw(bytes(stream), len(data))
        except DamagedError:
            return
        assert text is None  # a code behind the data means nothing
    check_lzw(bytes(stream), len(data))
    assert flips or imagecodecs.lzw_decode(bytes(stream), out=len(data)) == data


@pytest.mark.parametrize("size", [1, 300, 70_000])
def test_long_streams_start_their_table_anew(size: int) -> None:
    data = np.random.default_rng(0).integers(0, 200, size).astype(np.uint8).tobytes()
    stream = imagecodecs.lzw_encode(data)
    check_lzw(stream, size)
    with pytest.raises(DamagedError, match="ends after"):
        check_lzw(stream, size + 1)
    with pytest.raises(DamagedError, match="ends after"):
        check_lzw(stream[: len(stream) // 2], size)


def test_a_first_code_that_means_nothing_is_refused() -> None:
    with pytest.raises(DamagedError, match="means nothing"):
        check_lzw(int("100000000" + "100000110" + "0" * 6, 2).to_bytes(3, "big"), 2)  # CLEAR, then 262
