"""MRC within gzip, bzip2, xz and zstd: the same pixels in any order, in bounded memory, and damage."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.mrc import wrapped
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, TruncatedError
from tests.inputs import PACKERS

Stack = NDArray[Any]


@pytest.fixture(params=PACKERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(path: Path, stack: Stack) -> bytes:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(stack)
        file.voxel_size = 1.5
    return path.read_bytes()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 3], [0, 1, 2, 0, 1, 2], [4, 2, 5, 1]])
def test_frames_in_any_order(stack: Stack, tmp_path: Path, suffix: str, order: list[int]) -> None:
    path = tmp_path / f"a.mrc{suffix}"
    path.write_bytes(PACKERS[suffix](plain(tmp_path / "a.mrc", stack)))
    with open_source(path) as source:
        assert (
            source.format
            == f"MRC in {dict(zip(PACKERS, ('gzip', 'bzip2', 'xz', 'zstd'), strict=True))[suffix]}"
        )
        assert (source.shape, source.dtype, source.pixel_size) == (stack.shape, stack.dtype, (1.5, 1.5, 1.5))
        for k in order:
            np.testing.assert_array_equal(source.frame(k), stack[k])
    np.testing.assert_array_equal(read(path, nthreads=3), stack)


def test_no_more_is_unpacked_than_a_frame(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    stack = stack.astype(np.float32)  # whose sign needs no look at the pixels
    before = wrapped.Unpacked._take
    monkeypatch.setattr(wrapped.Unpacked, "_take", lambda s, n: (taken.append(n), before(s, n))[1])
    with open_source(PACKERS[".gz"](plain(tmp_path / "a.mrc", stack))) as source:
        assert sum(taken) == 1024
        for k in [0, 1, 2, 3, 4, 5, 0]:
            source.frame(k)
    assert max(taken) == stack[0].nbytes
    assert sum(taken) == 1024 + 7 * stack[0].nbytes + 1024


@given(data=st.data())
def test_mrcz_and_footers_within(data: st.DataObject, stacks: st.SearchStrategy[Stack]) -> None:
    stack, stream = data.draw(stacks), io.BytesIO()
    write(stream, stack, codec=data.draw(st.sampled_from(["none", "zstd:1"])), meta={"a": 1})
    with open_source(PACKERS[data.draw(st.sampled_from(list(PACKERS)))](stream.getvalue())) as source:
        assert (source.dtype, source.meta) == (stack.dtype, {"a": 1})
        np.testing.assert_array_equal(source.frames(), stack.reshape(source.shape))


def test_cut_off_or_damaged(stack: Stack, tmp_path: Path, suffix: str) -> None:
    for blob in (plain(tmp_path / "a.mrc", stack), written(tmp_path / "b.mrcz", stack)):
        packed = PACKERS[suffix](blob)
        path = tmp_path / f"a.mrc{suffix}"
        for end in [1, 3, 20, len(packed) // 2, len(packed) - 60]:
            path.write_bytes(packed[:end])
            with pytest.raises((TruncatedError, FormatError), match=rf"a\.mrc{suffix}"):
                read(path)
        rng = np.random.default_rng(0)
        for at in rng.integers(len(packed) // 4, len(packed) - 40, 20):
            path.write_bytes(packed[:at] + bytes([packed[at] ^ 0x10]) + packed[at + 1 :])
            with pytest.raises(MrczDaskError, match=rf"a\.mrc{suffix}"):
                read(path)


def written(path: Path, stack: Stack) -> bytes:
    write(path, stack)
    return path.read_bytes()


def test_what_is_no_mrc_within(suffix: str) -> None:
    with pytest.raises(FormatError, match="no MRC file that can be read"):
        open_source(PACKERS[suffix](b"hello" * 1000))
    with pytest.raises(TruncatedError, match="ends after 5 bytes, expected 1024"):
        open_source(PACKERS[suffix](b"hello"))


def test_a_checksum_at_the_end_is_looked_at(stack: Stack, tmp_path: Path) -> None:
    packed = bytearray(PACKERS[".gz"](plain(tmp_path / "a.mrc", stack)))
    packed[-6] ^= 1
    with open_source(bytes(packed)) as source:
        source.frame(0)
        with pytest.raises(DamagedError, match="its gzip stream is damaged"):
            source.frame(5)


@pytest.mark.downstream
def test_files_of_databanks_and_of_epu(tmp_path: Path) -> None:
    name = "mrcfile==1.5.4"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary=mrcfile",
        "-d",
        tmp_path,
    ]
    if subprocess.run([*command, name], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} cannot be fetched")
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    files = [one for one in tmp_path.rglob("test_data/*") if set(one.suffixes) & {".map", ".mrc"}]
    assert {one.suffix for one in files} == {".map", ".mrc", ".gz", ".bz2"}
    for path in files:
        with open_source(path) as source, mrcfile.open(path, permissive=True) as other:
            np.testing.assert_array_equal(source.frames(), other.data.reshape(source.shape))
            assert source.extended == bytes(np.asarray(other.extended_header).tobytes())
