"""Files of earlier versions and other programs, as these wrote them or lay them out."""

import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numcodecs
import numpy as np
import pytest

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import MrczDaskError
from tests.data.old import earlier_revisions, python_mrcz

OLD = Path(__file__).parents[1] / "data/old"


def names_in(archive: str) -> list[str]:
    with tarfile.open(OLD / archive) as files:
        return [file.name for file in files if file.isfile() and not file.name.endswith(".json")]


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("old")
    for archive in OLD.glob("*.tar.xz"):
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
    yield folder


@pytest.mark.parametrize("name", names_in("python-mrcz.tar.xz"))
def test_files_of_python_mrcz(old: Path, name: str) -> None:
    dtype, _, codec = Path(name).stem.partition("-")
    with open_source(old / name) as source:
        expected = python_mrcz.stack(dtype)
        assert source.codec == (None if codec == "plain" else codec)
        assert source.dtype == expected.dtype
        np.testing.assert_array_equal(source.frames(), expected)
        z, y, x = python_mrcz.PIXEL_SIZE_NM
        assert source.pixel_size == pytest.approx((10 * x, 10 * y, 10 * z), rel=1e-6)
        has_meta = codec in ("plain", "zstd")
        assert {key: source.meta.get(key) for key in python_mrcz.META} == (
            python_mrcz.META if has_meta else dict.fromkeys(python_mrcz.META)
        )
    assert verify_file(old / name).status == "no-footer"


@pytest.mark.parametrize("name", names_in("mrcz-dask.tar.xz"))
def test_outputs_of_earlier_revisions(old: Path, name: str) -> None:
    stem = Path(name).name.split(".")[0]
    scaled = stem not in ("plain", "u1", "u2", "i2", "f4")
    expected = earlier_revisions.stack({"plain": "u2", "scaled": "i2"}.get(stem, "u1" if scaled else stem))
    with open_source(old / name) as source:
        np.testing.assert_array_equal(source.frames(), expected)
        assert source.dtype == expected.dtype
        assert source.pixel_size == (1.25, 1.25, 1.25) and source.meta["text"] == "golden"
        assert source.scale == (earlier_revisions.PIXELS["scale"] if scaled else 1)
    frames_alone = name.endswith((".zst", ".tif"))  # as sidecars said nothing of the whole file then
    assert verify_file(old / name).status == ("partly-checked" if frames_alone else "sound")


def c_mrcz(stack: np.ndarray, codec: str) -> bytes:
    """Lay out a stack as c-mrcz does: no stamp, no byte order, one chunk of blosc after the other."""
    numbers = {"none": 0, "blosclz": 1, "lz4": 2, "lz4hc": 3, "zlib": 5, "zstd": 6}
    mode = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6}[stack.dtype.str[1:]]
    nz, ny, nx = stack.shape
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, nx, ny, nz, mode + 1000 * numbers[codec])
    struct.pack_into("<3i6f3i", header, 28, nx, ny, nz, 1.3 * nx, 1.3 * ny, 1.3 * nz, 90, 90, 90, 1, 2, 3)
    struct.pack_into("<3f", header, 132, 300.0, 2.7, 1.5)
    if codec == "none":
        return bytes(header) + stack.tobytes()
    blosc = numcodecs.Blosc(codec, clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE, blocksize=131072)
    return bytes(header) + b"".join(blosc.encode(frame) for frame in stack)


@pytest.mark.parametrize("codec", ["none", "blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "c8", "u2"])
def test_the_layout_of_c_mrcz(tmp_path: Path, dtype: str, codec: str) -> None:
    stack = np.tile(python_mrcz.stack(dtype), (1, 8, 8))
    whole = c_mrcz(stack, codec)
    path = tmp_path / ("a.mrc" if codec == "none" else "a.mrcz")
    path.write_bytes(whole)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.frames(), stack)
        assert source.pixel_size == pytest.approx((1.3, 1.3, 1.3)) and "no stamp MAP" in source.notes[0]
    path.write_bytes(
        whole[: len(whole) - (len(whole) - 1024) // 4]
    )  # c-mrcz writes nothing for a frame that does not compress
    with pytest.raises(MrczDaskError, match=r"1 whole frames of 2|no MRC file that"):
        read(path)


@pytest.mark.parametrize("codec", [None, "lz4"])
@pytest.mark.parametrize(
    ("dtype", "stamp"),
    [
        ("i1", b"\x11\x11\0\0"),
        *(
            (dtype, stamp)
            for dtype in ("i2", "u2", "f4", "c8")
            for stamp in (b"\x11\x11\0\0", b"DD\0\0", bytes(4))
        ),
    ],
)
def test_big_endian_files(tmp_path: Path, dtype: str, codec: str | None, stamp: bytes) -> None:
    """The numbers of the header tell the byte order, where mode 0 is not the same in both; else the stamp."""
    stack = np.tile(python_mrcz.stack(dtype), (1, 8, 8))
    nz, ny, nx = stack.shape
    mode = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6}[dtype]
    header = bytearray(1024)
    struct.pack_into(">4i", header, 0, nx, ny, nz, mode + (2000 if codec else 0))
    struct.pack_into(">3i6f3i", header, 28, nx, ny, nz, 2.0 * nx, 2.0 * ny, 2.0 * nz, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP " + stamp
    swapped = stack.astype(stack.dtype.newbyteorder(">"))
    items = [frame.reshape(-1).view(np.uint8) for frame in swapped]
    body = b"".join(Codec("lz4").compress(frame) if codec else frame.tobytes() for frame in items)
    (tmp_path / "a.mrcz").write_bytes(bytes(header) + body)
    with open_source(tmp_path / "a.mrcz") as source:
        assert source.pixel_size == (2, 2, 2)
        np.testing.assert_array_equal(source.frames(), stack)
    (tmp_path / "a.mrcz").write_bytes(bytes(header) + body[: len(body) // 2])
    with pytest.raises(MrczDaskError):
        read(tmp_path / "a.mrcz")
