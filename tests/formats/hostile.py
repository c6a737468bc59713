"""Small files of every kind of input, and damage that somebody may have made on purpose."""

import bz2
import lzma
import resource
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import zstandard
from hypothesis import strategies as st

from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.writers import open_writer
from mrcz_dask.values.errors import MrczDaskError
from tests.inputs import WRITERS, Counts, as_tiff

COUNTS = np.random.default_rng(5).poisson(2, (3, 8, 12)).astype(np.uint8)
ROOM = 3 << 30  # bytes of address space that reading may take on top of what this process has
NUMBERS = (0, 1, 2, 255, *(1 << k for k in (15, 24, 31, 40)), *((1 << k) - 1 for k in (16, 31, 32, 64)))


def _packed_mrcz(
    folder: Path, stem: str, counts: Counts, suffix: str, pack: Callable[[bytes], bytes]
) -> Path:
    path = WRITERS["mrcz"](folder, stem, counts)
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(pack(path.read_bytes()))
    path.unlink()
    return packed


def _output(folder: Path, stem: str, counts: Counts, format: str) -> Path:
    path = folder / f"{stem}.{ {'tiff': 'tif'}.get(format, format) }"
    with open_writer(path, format, counts.shape, counts.dtype, codec="auto") as writer:  # type: ignore[arg-type]
        for frame in counts:
            writer.append(frame)
    return path


KINDS: dict[str, Callable[[Path, str, Counts], Path]] = {
    **WRITERS,
    **{f"tiff {c}": partial(as_tiff, compression=c) for c in (None, "zlib", "zstd", "lzma", "packbits")},
    "mrcz.zst": partial(_packed_mrcz, suffix=".zst", pack=zstandard.compress),
    "mrcz.xz": partial(_packed_mrcz, suffix=".xz", pack=lzma.compress),
    "mrcz.bz2": partial(_packed_mrcz, suffix=".bz2", pack=bz2.compress),
    **{f"our {kind}": partial(_output, format=kind) for kind in ("mrcs", "mrcs.zst", "tiff", "zarr")},
}


# Kinds with checksums of frames or of all.
SEALED = {kind for kind in KINDS if kind.startswith(("our", "mrcz"))}


@contextmanager
def bounded() -> Iterator[None]:
    """Make what asks for too much memory fail."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[int, int, bytes]]:
    """Draw changes of a file: place (of 1 000 000), bytes that go, and bytes that come."""
    changes = []
    for _ in range(draw(st.integers(1, 3))):
        number, order, size = (
            draw(st.sampled_from(NUMBERS)),
            draw(st.sampled_from("<>")),
            draw(st.sampled_from("BHIQ")),
        )
        most = (1 << 8 * struct.calcsize(size)) - 1
        new = struct.pack(order + size, min(number, most))
        kind = draw(st.sampled_from(("number", "bytes", "cut", "insert")))
        if kind == "bytes":
            new = draw(st.binary(min_size=1, max_size=4))
        gone = {"insert": 0, "cut": 1 << 40}.get(kind, len(new))
        changes.append((draw(st.integers(0, 999_999)), gone, b"" if kind == "cut" else new))
    return changes


def damage(path: Path, changes: list[tuple[int, int, bytes]]) -> None:
    """Apply changes to a file, or to all files of a store as if they were one."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for place, gone, new in changes:
        at = place * sum(file.stat().st_size for file in files) // 1_000_000
        for file in files:
            data = file.read_bytes()
            if at < len(data):
                file.write_bytes(data[:at] + new + data[at + gone :])
                break
            at -= len(data)


def read_damaged(path: Path, sealed: bool) -> str:
    """Read all of a damaged file; say how that ended. Anything else than pixels or our error is a fault."""
    try:
        with bounded(), open_source(path) as reader:
            _ = reader.meta, reader.pixels, reader.labels, reader.codec, reader.tags, reader.not_kept
            frames = reader.frames()
    except MrczDaskError as error:
        assert path.name in str(error), f"does not name the file: {error}"
        return "refused"
    assert not sealed or np.array_equal(frames, COUNTS), f"other pixels of {path.name}"
    return "read"


def fresh(whole: Path, folder: Path) -> Path:
    """Copy a file, with its sidecar, or a store."""
    path = folder / whole.name
    if whole.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(whole, path))
    beside = whole.with_name(whole.name + ".json")
    if beside.exists():
        shutil.copy(beside, folder / beside.name)
    return Path(shutil.copy(whole, path))
