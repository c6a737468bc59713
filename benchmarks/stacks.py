"""Reading and writing a stack, against python-mrcz, against the codec alone and against a slow disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blosc2
import mrcz
import numpy as np
from numpy.typing import NDArray

import mrcz_dask
from benchmarks.harness import Bench, Pair, at_least, at_most, counts, row
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.compression.codecs import choose
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

_K2 = (3838, 3710)
_DISK = 300e6  # bytes a second
_PIECE = 1 << 22


@row("read our file", rival="python-mrcz, its file", goal=at_least(1.6))
def read_ours(bench: Bench) -> Pair:
    ours, theirs = _our_file(bench), _their_file(bench)
    return Pair(lambda: read(ours, nthreads=bench.threads), lambda: _their_read(theirs, bench))


@row("read python-mrcz's file", rival="python-mrcz, its file", goal=at_least(1.25))
def read_theirs(bench: Bench) -> Pair:
    path = _their_file(bench)
    return Pair(lambda: read(path, nthreads=bench.threads), lambda: _their_read(path, bench))


@row("write, not durable", rival="python-mrcz, zstd-1", goal=at_least(1.1))
def write_stack(bench: Bench) -> Pair:
    ours, theirs, stack = bench.folder / "w.mrcz", bench.folder / "wm.mrcz", bench.stack

    def remove() -> None:
        ours.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)

    return Pair(
        lambda: write(ours, stack, durable=False, nthreads=bench.threads),
        lambda: _their_write(theirs, bench),
        before=remove,
    )


@row("one frame out of a stack", rival="a file of that frame alone", goal=at_most(1.1))
def one_frame(bench: Bench) -> Pair:
    path, alone, k = _our_file(bench), bench.folder / "alone.mrcz", bench.shape[0] // 2
    write(alone, bench.stack[k], durable=False)
    times = range(20)
    return Pair(
        lambda: [read(path, k, nthreads=1).shape for _ in times],
        lambda: [read(alone, 0, nthreads=1).shape for _ in times],
    )


@row("normalized read of a recompressed stack", rival="its float32 at 300 MB/s", goal=at_least(3))
def corrected(bench: Bench) -> Pair:
    path = _recompressed(bench)
    lazy = mrcz_dask.open_stack(path, corrected=True)
    plain = bench.folder / "plain.f4"
    lazy.compute(scheduler="threads", num_workers=bench.threads).tofile(plain)
    return Pair(
        lambda: lazy.compute(scheduler="threads", num_workers=bench.threads),
        lambda: _from_slow_disk(plain),
    )


@row("choosing the codec", rival="compressing one frame", goal=at_most(1))
def choosing(bench: Bench) -> Pair:
    frame = counts(1.0, _K2)
    codec = choose(frame)
    return Pair(lambda: choose(frame), lambda: codec.compress(frame))


@row("read our file", rival="the bare codec loop, buffers reused")
def read_floor(bench: Bench) -> Pair:
    path = _our_file(bench)
    with StackReader(path) as reader:
        chunks = [bytes(reader.stored_chunk(i)) for i in range(len(reader))]
    out = np.empty((bench.threads, *bench.shape[1:]), np.uint8)

    def decode(worker: int) -> None:
        for chunk in chunks[worker :: bench.threads]:
            blosc2.decompress2(chunk, dst=out[worker].reshape(-1), nthreads=1)

    return Pair(
        lambda: read(path, nthreads=bench.threads),
        lambda: _spread(decode, range(bench.threads), bench.threads),
    )


@row("write, not durable", rival="the bare codec loop")
def write_floor(bench: Bench) -> Pair:
    path, stack = bench.folder / "w.mrcz", bench.stack
    codec = choose(stack[0])
    return Pair(
        lambda: write(path, stack, durable=False, nthreads=bench.threads),
        lambda: _spread(lambda i: len(codec.compress(stack[i])), range(len(stack)), bench.threads),
        before=lambda: path.unlink(missing_ok=True),
    )


def _spread(work: Callable[[int], object], items: Iterable[int], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def _recompressed(bench: Bench) -> Path:
    """Return a stack that `koma --write recompressed` has written, of a session of three."""
    session, out = bench.folder / "raw", bench.folder / "recompressed"
    shape = (10, 960, 928) if bench.quick else (10, *_K2)
    session.mkdir()
    for i in range(3):
        stack = np.stack([counts(1.0, shape[1:], 100 * i + k) for k in range(shape[0])])
        write(session / f"s{i}.mrcz", stack, durable=False)
    settings = Settings(koma=KomaParams(radius=1), write=WriteParams(write="recompressed"))
    carry_out(make_plan(session, out, settings), SerialClient())
    return out / "s1.mrcz"


def _from_slow_disk(path: Path) -> NDArray[np.float32]:
    """Read float32 into a new array, no faster than such a disk delivers it."""
    out = np.empty(path.stat().st_size // 4, np.float32)
    rest, done, start = memoryview(out).cast("B"), 0, time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while done < len(rest):
            done += stream.readinto(rest[done : done + _PIECE])
            time.sleep(max(0.0, done / _DISK - (time.perf_counter() - start)))
    return out


def _our_file(bench: Bench) -> Path:
    path = bench.folder / "ours.mrcz"
    if not path.exists():
        write(path, bench.stack, durable=False)
    return path


def _their_file(bench: Bench) -> Path:
    path = bench.folder / "theirs.mrcz"
    if not path.exists():
        _their_write(path, bench)
    return path


def _their_write(path: Path, bench: Bench) -> None:
    mrcz.writeMRC(bench.stack, str(path), compressor="zstd", clevel=1, n_threads=bench.threads)


def _their_read(path: Path, bench: Bench) -> object:
    return mrcz.readMRC(str(path), n_threads=bench.threads)[0]
