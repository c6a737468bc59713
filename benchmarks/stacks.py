"""Reading and writing a stack, against python-mrcz and against the codec alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blosc2
import mrcz
import numpy as np

from benchmarks.harness import Bench, Pair, at_least, at_most, row
from mrcz_dask.formats.codecs import Codec
from mrcz_dask.formats.reader import open_reader, read
from mrcz_dask.formats.writer import write


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


@row("read our file", rival="the bare codec loop, buffers reused")
def read_floor(bench: Bench) -> Pair:
    path = _our_file(bench)
    with open_reader(path) as reader:
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
    path, stack, codec = bench.folder / "w.mrcz", bench.stack, Codec()
    return Pair(
        lambda: write(path, stack, durable=False, nthreads=bench.threads),
        lambda: _spread(lambda i: len(codec.compress(stack[i])), range(len(stack)), bench.threads),
        before=lambda: path.unlink(missing_ok=True),
    )


def _spread(work: Callable[[int], object], items: Iterable[int], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


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
