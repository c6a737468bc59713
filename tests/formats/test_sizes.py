"""The size of a file against what its header asks for: neither too many nor too few bytes pass unsaid."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.header import Header
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError

Stack = NDArray[np.int16]
EACH = 50 * 40 * 2


def plain(stack: Stack, codec: Codec | None = None, extended: bytes = b"") -> bytearray:
    """A file of another program, without footer."""
    head = Header(stack.shape, 1, codec=codec and codec.name, mz=1, extended=extended)  # type: ignore[arg-type]
    return bytearray(head.to_bytes() + b"".join(codec.compress(f) if codec else f.tobytes() for f in stack))


def put(data: bytearray, at: int, value: int) -> bytes:
    struct.pack_into("<i", data, at, value)
    return bytes(data)


@pytest.mark.parametrize("codec", [None, Codec(version=2)])
def test_more_frames_than_nz_says(stack: Stack, tmp_path: Path, codec: Codec | None) -> None:
    data = put(plain(stack, codec), 8, 2)
    with pytest.raises(HeaderError, match=f"NZ 2 .*the file has {len(data)}.*NZ 6"):
        read(data)
    with pytest.warns(UserWarning, match="NZ 6"):
        np.testing.assert_array_equal(read(data, permissive=True), stack[:2])
    (tmp_path / "a.mrc").write_bytes(data)
    report = verify_file(tmp_path / "a.mrc")
    assert report.status == "damaged" and "NZ 6" in report.problems[0]


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_an_extended_header_that_nsymbt_does_not_say(stack: Stack, pack: Any) -> None:
    data = pack(put(plain(stack, extended=bytes(1024)), 92, 0))
    with pytest.raises(HeaderError, match=f"asks for {1024 + 6 * EACH} bytes.*{2048 + 6 * EACH}"):
        read(data)


@pytest.mark.parametrize("said", [1024, EACH + 512, 1 << 20])
def test_nsymbt_of_another_header(stack: Stack, said: int) -> None:
    data = put(plain(stack), 92, said)
    with pytest.raises(HeaderError) as caught:
        read(data)
    text = str(caught.value)
    assert f"{1024 + said + 6 * EACH} bytes" in text and str(len(data)) in text and "NSYMBT 0" in text
    assert "copy it again" not in text


def test_a_file_that_was_cut_off_is_copied_again(stack: Stack) -> None:
    data = bytes(plain(stack, extended=bytes(512)))
    with pytest.raises(TruncatedError, match=f"5 whole frames of 6.*asks for {len(data)}.*copy it again"):
        read(data[:-600])


@pytest.mark.parametrize("order", ["<", ">"])
def test_without_the_stamp_a_file_whose_size_fits_is_read_with_a_note(stack: Stack, order: Any) -> None:
    data = bytearray(Header(stack.shape, 1, byteorder=order).to_bytes())  # type: ignore[arg-type]
    data += stack.astype(f"{order}i2").tobytes()
    data[208:216] = bytes(8)
    with StackReader(bytes(data)) as reader:
        assert "MAP" in reader.notes[0]
        np.testing.assert_array_equal(reader.frames(), stack)
    for other in (data[:-1], data + b"0", bytes(1024) + data):
        with pytest.raises(FormatError, match="MAP"):
            open_source(bytes(other))
