"""Files of every kind of input, written by the programs that others use, and by an encoder of EER."""

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import tifffile
import zarr
import zstandard
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.modes import pack
from mrcz_dask.formats.mrc.writer import write

Counts = NDArray[np.uint8]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
EACH = 40  # raw frames to a frame of EER
_TIFF = {1: "<B", 2: "<s", 3: "<H", 4: "<I", 7: "<s", 16: "<Q"}


def eer_page(events: NDArray[np.bool_], sub: NDArray[Any], runs: int, across: int, along: int) -> bytes:
    """Return a raw frame as bits, lowest first: runs without events, and where in its pixel each event is.

    `sub` is (ny, nx, 2): the sub-pixel along y and x. Its bits are stored turned over as Thermo does.
    """
    places = np.append(np.flatnonzero(events), events.size)
    longest, rest = np.divmod(np.diff(places, prepend=-1) - 1, (1 << runs) - 1)
    y, x = np.append(sub[events], [[0, 0]], axis=0).T
    bits = longest * runs + runs + np.where(places < events.size, across + along, 0)
    ends = np.cumsum(bits)
    steps = np.zeros(int(ends[-1]) + 1, np.int64)  # runs of the longest are all ones
    np.add.at(steps, ends - bits, 1)
    np.add.at(steps, ends - bits + longest * runs, -1)
    page = np.cumsum(steps[:-1]).astype(np.uint8)
    at = ends - bits + longest * runs
    for value, size, here in (
        (rest, runs, slice(None)),
        (x ^ across, across, slice(-1)),
        (y ^ along, along, slice(-1)),
    ):
        for bit in range(size):
            page[at[here] + bit] = (value[here] >> bit) & 1
        at = at + size
    packed = np.packbits(page, bitorder="little").tobytes()
    return packed + bytes(-len(packed) % 4)


def write_eer(
    path: Path,
    raw: NDArray[np.bool_],
    sub: NDArray[Any] | None = None,
    compression: int = 65001,
    sizes: tuple[int, int, int] = (7, 2, 2),
    metadata: str | None = None,
    image: Counts | None = None,
    strips: int = 1,
) -> Path:
    """Write raw frames (n, ny, nx) as a BigTIFF of electron events, behind an image if there is one."""
    where = np.broadcast_to(0, (*raw.shape, 2)) if sub is None else sub
    pages = [b"".join([image.tobytes()])] if image is not None else []
    pages += [eer_page(one, at, *sizes) for one, at in zip(raw, where, strict=True)]
    blob = bytearray(b"II+\0" + struct.pack("<HHQ", 8, 0, 0))
    pointer = 8
    for k, page in enumerate(pages):
        plain = image is not None and k == 0
        cuts = np.linspace(0, len(page), 2 if plain else strips + 1).astype(int)
        tags: list[tuple[int, int, list[int] | bytes]] = [
            (256, 4, [raw.shape[2]]),
            (257, 4, [raw.shape[1]]),
            (258, 3, [8]),
            (259, 3, [1 if plain else compression]),
            (262, 3, [1]),
            (273, 16, [len(blob) + int(c) for c in cuts[:-1]]),
            (277, 3, [1]),
            (278, 4, [-(-raw.shape[1] // (len(cuts) - 1))]),
            (279, 16, np.diff(cuts).tolist()),
        ]
        if metadata is not None and k == 0:
            tags.append((65001, 7, metadata.encode()))
        if compression == 65002 and not plain:
            tags += [(65007 + j, 3, [size]) for j, size in enumerate(sizes)]
        blob += page
        struct.pack_into("<Q", blob, pointer, len(blob))
        pointer = _append_page(blob, tags)
    path.write_bytes(blob)
    return path


def _append_page(blob: bytearray, tags: list[tuple[int, int, list[int] | bytes]]) -> int:
    """Append the description of a page; return where the place of the next one goes."""
    at = len(blob)
    behind = at + 8 + 20 * len(tags) + 8
    entries, extra = struct.pack("<Q", len(tags)), b""
    for code, kind, value in sorted(tags):
        data = value if isinstance(value, bytes) else b"".join(struct.pack(_TIFF[kind], v) for v in value)
        entries += struct.pack("<HHQ", code, kind, len(value))
        entries += data.ljust(8, b"\0") if len(data) <= 8 else struct.pack("<Q", behind + len(extra))
        extra += data if len(data) > 8 else b""
    blob += entries + bytes(8) + extra
    return behind - 8


def split(counts: Counts, each: int = EACH) -> NDArray[np.bool_]:
    """Return raw frames, at most one event a pixel in each, whose sums in groups of `each` are the counts."""
    n, ny, nx = counts.shape
    order = np.random.default_rng(0).permutation(each)
    return (order[None, :, None, None] < counts[:, None]).reshape(n * each, ny, nx)


def as_mrcz(folder: Path, stem: str, counts: Counts) -> Path:
    write(folder / f"{stem}.mrcz", counts)
    return folder / f"{stem}.mrcz"


def as_four_bits(folder: Path, stem: str, counts: Counts) -> Path:
    """Mode 101, its header made by mrcfile."""
    n, ny, nx = counts.shape
    path = folder / f"{stem}.mrc"
    with mrcfile.new(path) as file:
        file.set_data(counts.astype(np.uint16))
    head = bytearray(path.read_bytes()[:1024])
    struct.pack_into("<4i", head, 0, nx, ny, n, 101)
    path.write_bytes(head + b"".join(pack(frame).tobytes() for frame in counts))
    return path


def as_serialem_mrc(folder: Path, stem: str, counts: Counts) -> Path:
    """Mode 0 with half of NX and IMOD's flag of two pixels in a byte."""
    path = as_four_bits(folder, stem, counts)
    blob = bytearray(path.read_bytes())
    assert counts.shape[2] % 2 == 0
    struct.pack_into("<i", blob, 0, counts.shape[2] // 2)
    struct.pack_into("<i", blob, 12, 0)
    struct.pack_into("<2i", blob, 152, 1146047817, 16)
    path.write_bytes(blob)
    return path


def as_packed(folder: Path, stem: str, counts: Counts, suffix: str = ".gz") -> Path:
    """Mode 101 within another file's compression."""
    path = as_four_bits(folder, stem, counts)
    packed = path.with_name(f"{stem}.mrc{suffix}")
    packed.write_bytes(PACKERS[suffix](path.read_bytes()))
    path.unlink()
    return packed


def as_tiff(folder: Path, stem: str, counts: Counts, **options: Any) -> Path:
    path = folder / f"{stem}.tif"
    tifffile.imwrite(path, counts, photometric="minisblack", **{"compression": "lzw", **options})
    return path


def as_eer(folder: Path, stem: str, counts: Counts) -> Path:
    return write_eer(folder / f"{stem}.eer", split(counts))


def as_hdf5(folder: Path, stem: str, counts: Counts) -> Path:
    path = folder / f"{stem}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=counts, chunks=(1, *counts.shape[1:]), compression="gzip")
    return path


def as_zarr(folder: Path, stem: str, counts: Counts) -> Path:
    path = folder / f"{stem}.zarr"
    zarr.create_array(str(path), data=counts, chunks=(1, *counts.shape[1:]))
    return path


def dm_tag(name: str, content: bytes, group: bool = False) -> bytes:
    """Return a tag of a DM4 file."""
    head = (
        struct.pack(">BH", 20 if group else 21, len(name)) + name.encode() + struct.pack(">Q", len(content))
    )
    return head + content


def dm_group(name: str, *tags: bytes) -> bytes:
    return dm_tag(name, struct.pack(">BBQ", 0, 1, len(tags)) + b"".join(tags), group=True)


def dm_number(name: str, value: float, kind: int) -> bytes:
    data = struct.pack("<" + {5: "I", 6: "f"}[kind], value)
    return dm_tag(name, b"%%%%" + struct.pack(">2Q", 1, kind) + data)


def dm_array(name: str, kind: int, size: int, data: bytes) -> bytes:
    return dm_tag(name, b"%%%%" + struct.pack(">4Q", 3, 20, kind, size) + data)


def as_dm4(folder: Path, stem: str, counts: Counts) -> Path:
    """A stack as DigitalMicrograph writes it, with the tags that readers need."""
    units = "nm".encode("utf-16-le")
    axis = (dm_number("Origin", 0, 6), dm_number("Scale", 0.125, 6), dm_array("Units", 4, 2, units))
    axes = dm_group("Dimension", *(dm_group("", *axis) for _ in range(3)))
    sizes = (dm_number("", size, 5) for size in counts.shape[::-1])
    pixels = dm_array("Data", 10, counts.size, counts.tobytes())
    data = (
        dm_group("Calibrations", axes),
        pixels,
        dm_number("DataType", 6, 5),
        dm_group("Dimensions", *sizes),
    )
    images = dm_group("ImageList", dm_group("", dm_group("ImageData", *data), dm_group("ImageTags")))
    root = struct.pack(">BBQ", 0, 1, 1) + images
    path = folder / f"{stem}.dm4"
    path.write_bytes(struct.pack(">IQI", 4, len(root), 1) + root)
    return path


WRITERS: dict[str, Callable[[Path, str, Counts], Path]] = {
    "mrcz": as_mrcz,
    "four bits": as_four_bits,
    "serialem mrc": as_serialem_mrc,
    "gz": as_packed,
    "tiff": as_tiff,
    "eer": as_eer,
    "hdf5": as_hdf5,
    "zarr": as_zarr,
    "dm4": as_dm4,
}
