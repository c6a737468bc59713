"""What a file would cost is judged before it is taken: time, memory, and disk for temporary files."""

import gzip
import lzma
import resource
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
import zstandard

from mrcz_dask.formats import costs
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import DamagedError, HeaderError, MrczDaskError, ParameterError
from tests.inputs import write_eer

FRAME = 1 << 15  # pixels a side of frames that are asked for
ROOM = 3 << 30  # bytes of address space that a test may take on top


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Make what asks for too much memory fail."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def mrc_header(frames: int, side: int, mode: int, extended: int = 0) -> bytearray:
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, side, side, frames, mode)
    struct.pack_into("<3i3f3f3i", header, 28, side, side, frames, side, side, frames, 90, 90, 90, 1, 2, 3)
    struct.pack_into("<i", header, 92, extended)
    header[208:216] = b"MAP DD\0\0"
    return header


def mrcz_of_blank_frames(folder: Path) -> Path:
    """64 kB of chunks, each of some 32 bytes, that decode to terabytes."""
    chunk = struct.pack("<4B3I", 5, 1, 0, 1, FRAME * FRAME, FRAME * FRAME, 32) + bytes(15) + b"\x10"
    (folder / "a.mrcz").write_bytes(mrc_header(2000, FRAME, 4000) + 2000 * chunk)
    return folder / "a.mrcz"


def tiff_of_one_strip(folder: Path) -> Path:
    """130 bytes of TIFF whose one strip is to hold 64 GiB."""
    side = 1 << 18
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 118)]
    tags += [(277, 3, 1), (278, 4, side), (279, 4, 12)]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, kind, 1, v) for t, kind, v in tags)
    (folder / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + ifd + bytes(4) + bytes(12))
    return folder / "a.tif"


def eer_of_large_frames(folder: Path) -> Path:
    path = write_eer(folder / "a.eer", np.zeros((40, 8, 8), bool))
    data = path.read_bytes()
    for tag in (256, 257):  # width and length of every raw frame
        for kind in (3, 4):
            entry = struct.pack("<HHQ", tag, kind, 1)
            for at in (i for i in range(len(data)) if data.startswith(entry, i)):
                data = data[:at] + struct.pack("<HHQQ", tag, 4, 1, 1 << 18) + data[at + 20 :]
    path.write_bytes(data)
    return path


def hdf5_of_large_chunks(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_dataset("movie", (64, FRAME, FRAME), "u2", chunks=(1, FRAME, FRAME), compression=1)
        for k in range(64):
            data.id.write_direct_chunk((k, 0, 0), b"x\x9c" + bytes(40))
    return folder / "a.h5"


def hdf5_of_many_frames(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("movie", (1 << 40, 1, 1), "u1")
    return folder / "a.h5"


def zarr_of_large_chunks(folder: Path) -> Path:
    zarr.create_array(
        str(folder / "a.zarr"), shape=(4, 1 << 20, 1 << 20), chunks=(1, 1 << 20, 1 << 20), dtype="u1"
    )
    return folder / "a.zarr"


def zarr_of_many_chunks(folder: Path) -> Path:
    zarr.create_array(str(folder / "a.zarr"), shape=(1 << 40, 64, 64), chunks=(1, 1, 1), dtype="u1")
    return folder / "a.zarr"


def sparse_mrc_of_tiny_frames(folder: Path) -> Path:
    (folder / "a.mrc").write_bytes(mrc_header((1 << 31) - 1, 1, 0))
    with (folder / "a.mrc").open("r+b") as file:
        file.truncate(1024 + (1 << 31) - 1)
    return folder / "a.mrc"


def packed(head: bytes, blank: int, folder: Path, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    block, count = bytes(1 << 20), blank >> 20
    if suffix.endswith(".zst"):
        with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as out:
            out.write(head)
            for _ in range(count):
                out.write(block)
    else:
        with gzip.open(path, "wb", compresslevel=1) as out:
            out.write(head)
            for _ in range(count):
                out.write(block)
    return path


def mrcz_head(frames: int, side: int) -> bytes:
    """The header of an MRCZ file and that of its first frame."""
    chunk = struct.pack("<4B3I", 5, 1, 0, 1, side * side, side * side, side * side)
    return bytes(mrc_header(frames, side, 4000)) + chunk


def mrcz_in_zstd(folder: Path) -> Path:
    """Content that goes to a temporary file when it is opened."""
    return packed(mrcz_head(8, 4096), 64 << 20, folder, ".mrcz.zst")


def mrcz_in_gzip(folder: Path) -> Path:
    return packed(mrcz_head(8, 4096), 64 << 20, folder, ".mrcz.gz")


def large_extended_header(folder: Path) -> Path:
    return packed(bytes(mrc_header(8, 64, 0, (1 << 31) - 1)), 16 << 20, folder, ".mrc.gz")


COSTLY = [
    mrcz_of_blank_frames,
    tiff_of_one_strip,
    eer_of_large_frames,
    hdf5_of_large_chunks,
    hdf5_of_many_frames,
    zarr_of_large_chunks,
    zarr_of_many_chunks,
    sparse_mrc_of_tiny_frames,
    mrcz_in_zstd,
    mrcz_in_gzip,
    large_extended_header,
]


@pytest.mark.parametrize("make", COSTLY)
def test_what_costs_too_much_is_refused_when_it_is_opened(
    tmp_path: Path, make: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if make in (mrcz_in_zstd, mrcz_in_gzip, large_extended_header):
        monkeypatch.setenv(costs.LARGEST, "0.2")
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(HeaderError, match=rf"{path.name}: its .* ask for .* {costs.LARGEST}=\d+ \(GB\)"):
        open_source(path)
    assert verify_file(path).status == "damaged" and not list(temporary.iterdir())


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how much goes to a temporary file."""
    sizes: list[int] = []

    def check(name: str, stored: int, nbytes: int) -> None:
        sizes.append(nbytes)
        costs.check_temporary(name, stored, nbytes)

    monkeypatch.setattr("mrcz_dask.formats.mrc.wrapped.check_temporary", check)
    return sizes


@pytest.mark.parametrize("suffix", [".mrcz.zst", ".mrcz.gz"])
def test_a_packed_file_without_frames_is_refused_before_it_is_unpacked(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = watched(monkeypatch)
    path = packed(bytes(mrc_header(8, 4096, 4000)), 8 << 20, tmp_path, suffix)
    with pytest.raises(MrczDaskError, match="frame 0: no blosc chunk"):
        open_source(path)
    assert not sizes


def test_a_packed_file_is_unpacked_no_further_than_its_header_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.formats.mrc.wrapped.MAX_DECODED", 1 << 20)
    sizes = watched(monkeypatch)
    chunk = struct.pack("<4B3I", 5, 1, 0, 1, 64 * 64, 64 * 64, 32) + bytes(16)
    path = packed(bytes(mrc_header(8, 64, 4000)) + 8 * chunk, 16 << 20, tmp_path, ".mrcz.zst")
    with pytest.raises(HeaderError, match="correct NZ"):
        open_source(path)
    assert max(sizes) < 4 << 20


@pytest.mark.parametrize("suffix", [".mrcz.zst", ".mrcz.gz"])
@pytest.mark.parametrize(
    "second", [b"", struct.pack("<4B3I", 2, 1, 0, 1, 4096**2, 4096**2, 2**32 - 1)], ids=str
)
def test_large_frames_are_refused_as_soon_as_one_is_none(
    suffix: str, second: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = watched(monkeypatch)
    first = struct.pack("<4B3I", 2, 1, 0, 1, 4096**2, 4096**2, 32) + bytes(16)
    path = packed(bytes(mrc_header(1000, 4096, 4000)) + first + second, 16 << 20, tmp_path, suffix)
    with pytest.raises(MrczDaskError, match="frame 1: "):
        open_source(path)
    assert not sizes


def test_an_xz_file_cannot_ask_for_any_dictionary(tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", np.zeros((2, 8, 8), np.uint8))
    whole = lzma.compress((tmp_path / "a.mrc").read_bytes())
    (tmp_path / "a.mrc.xz").write_bytes(whole + bytes(8))
    assert read(tmp_path / "a.mrc.xz").shape == (2, 8, 8)
    head = bytearray(whole[12 : 12 + 4 * (whole[12] + 1)])  # of the first block
    head[4] = 40  # a dictionary of 4 GiB
    head[-4:] = struct.pack("<I", zlib.crc32(head[:-4]))
    (tmp_path / "b.mrc.xz").write_bytes(whole[:12] + head + whole[12 + len(head) :])
    with pytest.raises(DamagedError, match=r"b\.mrc\.xz: .*(?i:memory)"):
        read(tmp_path / "b.mrc.xz")


def test_blank_stacks_are_read_whatever_their_ratio(tmp_path: Path) -> None:
    blank = np.zeros((4, 512, 512), np.uint16)
    write(tmp_path / "a.mrcz", blank)
    assert blank.nbytes > 1000 * (tmp_path / "a.mrcz").stat().st_size
    (tmp_path / "b.mrcz.zst").write_bytes(zstandard.compress((tmp_path / "a.mrcz").read_bytes()))
    for name in ("a.mrcz", "b.mrcz.zst"):
        np.testing.assert_array_equal(read(tmp_path / name), blank)


def test_the_limit_is_raised_as_the_message_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrcz"
    write(path, np.zeros((8, 1024, 1024), np.uint16))
    monkeypatch.setenv(costs.LARGEST, "0.001")
    with pytest.raises(HeaderError, match=rf"set {costs.LARGEST}=1 \(GB\)"):
        read(path)
    monkeypatch.setenv(costs.LARGEST, "1")
    assert read(path).shape == (8, 1024, 1024)
    assert costs.limit_for_workers() == {costs.LARGEST: "1"}
    monkeypatch.setenv(costs.LARGEST, "much")
    with pytest.raises(ParameterError, match="'much'; expected a number of GB"):
        read(path)


@pytest.mark.parametrize("stored", [0, 10**6, 10**12])
def test_a_file_of_its_own_size_is_never_too_large(stored: int) -> None:
    costs.check_cost("a", stored=stored, decoded=stored)
    with pytest.raises(MrczDaskError, match="half of what is free"):
        costs.check_cost("a", stored=1 << 60, at_once=1 << 50)


@pytest.mark.parametrize(
    ("line", "group", "limit", "used"),
    [
        ("0::/job/step", "job", "memory.max", "memory.current"),
        ("4:cpu,memory:/job/step", "cpu,memory/job/step", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ("4:memory:/of/the/host", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_what_is_free_in_a_container_or_queue_job(
    line: str, group: str, limit: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, folder = tmp_path / "own", tmp_path / "groups" / group
    own.write_text(f"9:cpuset:/x\n{line}\n")
    folder.mkdir(parents=True)
    (folder / limit).write_text(f"{1 << 30}\n")
    (folder / used).write_text(f"{700 << 20}\n")
    (folder / "memory.stat").write_text(f"active_file 5\ninactive_file {100 << 20}\n")
    monkeypatch.setattr(costs, "OWN_GROUPS", own)
    monkeypatch.setattr(costs, "GROUPS", tmp_path / "groups")
    assert costs.free_memory() == 424 << 20  # what the kernel has cached is free
    with pytest.raises(HeaderError, match="half of what is free"):
        costs.check_cost("a", stored=1 << 40, at_once=300 << 20)
    (folder / limit).write_text("max\n")
    costs.check_cost("a", stored=1 << 40, at_once=300 << 20)
