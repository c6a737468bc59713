"""The ways to write and read a stack: MRCZ, plain MRC, codecs of imagecodecs, programs that pack files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.results import LeftOut
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.sources import read, read_footer
from mrcz_dask.values.errors import DamagedError

NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to write a stack and to read it again.

    Attributes
    ----------
    name
        As it stands in the tables.
    threads, block_size
        What it may use; 0 for the codec's own blocks.
    path
        Of the file that it writes.
    write
        Makes the file.
    read
        Gives the pixels (n, y, x), or the path of an unpacked file.
    check
        Raises DamagedError where that is not what went in.
    settled
        The codec that the file was written with, '' where there is none.
    """

    name: str
    threads: int
    block_size: int
    path: Path
    write: Callable[[], None]
    read: Callable[[], Any]
    check: Callable[[Any], None]
    settled: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Program:
    """A program that packs files.

    Attributes
    ----------
    name, level
        Its name and the option for the level that the paper took.
    threads_option
        Followed by a number; '' for a program of one thread.
    suffix
        Of its files.
    """

    name: str
    level: str
    threads_option: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.name} {self.level}"

    def find(self) -> str | None:
        """Return its path, or None where it is not installed."""
        return shutil.which(self.name)

    def command(self, *options: str, threads: int) -> list[str]:
        """Return the command that writes to its standard output."""
        several = [self.threads_option, str(threads)] if self.threads_option else []
        return [self.find() or self.name, *options, *several, "-c"]


PROGRAMS = (
    Program("gzip", "-1", "", ".gz"),
    Program("pigz", "-1", "-p", ".gz"),
    Program("lbzip2", "-9", "-n", ".bz2"),
    Program("xz", "-6", "-T", ".xz"),
)
IMAGE_CODECS = ("bzip2 -9", "JPEG2000")
# Options that a user's environment would smuggle in.
_SMUGGLED = {"GZIP", "PIGZ", "LBZIP2", "BZIP2", "BZIP", "XZ_OPT", "XZ_DEFAULTS"}


def mrcz(stack: NDArray[Any], folder: Path, codec: str, threads: int, block_size: int) -> Contender:
    """Return MRCZ with a codec."""
    path = folder / "bench.mrcz"
    explicit = None if codec.startswith("auto") else replace(Codec.parse(codec), blocksize=block_size)
    return Contender(
        codec if explicit is None else str(explicit),
        threads,
        block_size,
        path,
        partial(write, path, stack, codec=explicit or codec, durable=False, nthreads=threads),
        partial(read, path, nthreads=threads),
        partial(_check, path.name, stack),
        partial(_settled, path),
    )


def plain(stack: NDArray[Any], folder: Path, threads: int) -> Contender:
    """Return MRC without compression."""
    return _uncompressed("uncompressed", stack, folder, threads, four_bit=False)


def four_bit(stack: NDArray[Any], folder: Path, threads: int) -> Contender | LeftOut:
    """Return MRC with two pixels in a byte, where the counts allow it."""
    if stack.dtype.kind not in "iu":
        return LeftOut("uint4", f"four bits hold no {stack.dtype}")
    low, high = int(stack.min()), int(stack.max())
    if low < 0 or high > 15:
        return LeftOut("uint4", f"four bits hold 0 to 15, the counts are {low} to {high}")
    return _uncompressed("uint4", stack.astype(np.uint8, copy=False), folder, threads, four_bit=True)


def program(of: Program, stack: NDArray[Any], folder: Path, threads: int) -> Contender | LeftOut:
    """Return a program that packs the uncompressed file, or that it is not there."""
    if of.find() is None:
        return LeftOut(of.name, NOT_INSTALLED)
    source, packed, unpacked = _plain_file(stack, folder), folder / f"bench{of.suffix}", folder / "unpacked"
    used = threads if of.threads_option else 1

    def unpack() -> Path:
        run_program([*of.command("-d", threads=used), str(packed)], unpacked)
        return unpacked

    pack = partial(run_program, [*of.command(of.level, threads=used), str(source)], packed)
    return Contender(str(of), used, 0, packed, pack, unpack, partial(_check, str(of), source))


def image_codec(name: str, stack: NDArray[Any], folder: Path, threads: int) -> Contender | LeftOut:
    """Return a codec of imagecodecs, one frame to a thread, or why it is left out.

    Parameters
    ----------
    name
        ``JPEG2000`` (lossless) or ``bzip2 -9``.
    """
    if find_spec("imagecodecs") is None:
        return LeftOut(name, "not installed, imagecodecs has it")
    codecs = import_module("imagecodecs")
    if name == "JPEG2000":
        if stack.dtype.kind not in "iu" or stack.itemsize > 2:
            return LeftOut(name, f"for 8 and 16 bits, not {stack.dtype}")
        encode, decode = partial(codecs.jpeg2k_encode, level=0, reversible=True), codecs.jpeg2k_decode
    else:
        encode, decode = partial(codecs.bz2_encode, level=9), _unpacker(codecs.bz2_decode, stack)
    path = folder / "bench.frames"

    def pack() -> None:
        with ThreadPoolExecutor(threads) as pool:
            chunks = list(pool.map(encode, stack))
        path.write_bytes(np.array([len(one) for one in chunks], "<i8").tobytes() + b"".join(chunks))

    def unpack() -> NDArray[Any]:
        data, table = path.read_bytes(), 8 * len(stack)
        ends = np.cumsum([table, *np.frombuffer(data[:table], "<i8")])
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(decode, (data[a:b] for a, b in pairwise(ends)))))

    return Contender(name, threads, 0, path, pack, unpack, partial(_check, path.name, stack))


def _unpacker(decode: Callable[[bytes], bytes], stack: NDArray[Any]) -> Callable[[bytes], NDArray[Any]]:
    return lambda data: np.frombuffer(decode(data), stack.dtype).reshape(stack.shape[1:])


def table_contenders(
    stack: NDArray[Any], folder: Path, params: BenchParams
) -> tuple[list[Contender], list[LeftOut]]:
    """Return what Table 1 compares, and what cannot be."""
    threads = max(params.threads)
    found: list[Contender | LeftOut] = [plain(stack, folder, threads), four_bit(stack, folder, threads)]
    found += [mrcz(stack, folder, codec, threads, params.blocks_for(codec)[0]) for codec in params.codecs]
    found += [program(one, stack, folder, threads) for one in PROGRAMS]
    found += [image_codec(name, stack, folder, threads) for name in IMAGE_CODECS]
    return [one for one in found if isinstance(one, Contender)], [
        one for one in found if isinstance(one, LeftOut)
    ]


def dose_contenders(stack: NDArray[Any], folder: Path, params: BenchParams) -> Iterator[Contender]:
    """Yield what Fig. 2 compares: codecs, each with all blocks and threads."""
    for codec in params.codecs:
        for block_size in params.blocks_for(codec):
            for threads in params.threads:
                yield mrcz(stack, folder, codec, threads, block_size)


def versions() -> dict[str, str]:
    """Return the versions of the programs that are installed."""
    return {one.name: _version(one) for one in PROGRAMS if one.find() is not None}


def run_program(command: list[str], output: Path) -> None:
    """Run a program with its standard output in a file.

    Raises
    ------
    ChildProcessError
        It ended with another code than 0.
    """
    with output.open("wb") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=_environment()
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ChildProcessError(
            f"{' '.join(command)} ended with {done.returncode}, expected 0: {said or 'it said nothing'}; "
            "try it by hand"
        )


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _SMUGGLED} | {"LC_ALL": "C"}


def _version(of: Program) -> str:
    """Return the first number that a program calls its version."""
    done = subprocess.run(
        of.command("--version", threads=1)[:2], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    found = re.search(r"\d+(\.\d+)+\w*", done.stdout + done.stderr)
    return found.group() if found else "unknown"


def _uncompressed(name: str, stack: NDArray[Any], folder: Path, threads: int, four_bit: bool) -> Contender:
    path = folder / f"bench-{name}.mrcs"
    options: dict[str, Any] = {"codec": "none", "footer": False, "durable": False, "four_bit": four_bit}
    return Contender(
        name,
        threads,
        0,
        path,
        partial(write, path, stack, nthreads=threads, **options),
        partial(read, path, nthreads=threads),
        partial(_check, path.name, stack),
    )


def _plain_file(stack: NDArray[Any], folder: Path) -> Path:
    """Return the uncompressed file that programs are given."""
    path = folder / "source.mrcs"
    if not path.exists():
        write(path, stack, codec="none", footer=False, durable=False)
    return path


def _check(name: str, expected: NDArray[Any] | Path, found: Any) -> None:
    """Compare pixels or files with those that went in; of floats bits, so that not-a-number is itself."""
    if isinstance(expected, Path):
        sizes = [f"a file of {path.stat().st_size} bytes" for path in (found, expected)]
        same = sizes[0] == sizes[1]
        same = same and np.array_equal(np.memmap(found, "u1", "r"), np.memmap(expected, "u1", "r"))
    else:
        sizes = [f"{stack.shape} {stack.dtype}" for stack in (found, expected)]
        if expected.dtype.kind in "fc":
            same = found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
        else:
            same = np.array_equal(found, expected)
    if not same:
        raise DamagedError(
            f"{name}: decoded to {sizes[0]} that differ from what went in, expected {sizes[1]} bit for bit; "
            "do not use this compressor, and test the machine's memory and disk"
        )


def _settled(path: Path) -> str:
    codec = section(read_footer(path), "codec")
    return ":".join(str(codec.get(key, "?")) for key in ("name", "level", "filter"))
