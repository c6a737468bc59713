"""The benchmarks of J. Struct. Biol. 201, 252: Table 1 (compressors), Fig. 2 (codecs), Fig. 3 (metadata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks.codecs.counts import Counts
from benchmarks.codecs.machine import machine
from benchmarks.codecs.metadata import ENCODINGS, encodings, measure_metadata
from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.peers import NOT_INSTALLED, dose_contenders, mrcz, table_contenders
from benchmarks.codecs.race import Entrant, race
from benchmarks.codecs.results import BenchReport, FileRow, LeftOut
from mrcz_dask.session.output_folder import check_space
from mrcz_dask.values.messages import Listener, silent

# The plain file, an unpacked one, and one or two that are being written.
_FILES_AT_ONCE = 4
# Three times the dictionary of level 6.
_XZ_BLOCK = 24 << 20
# Share of the cores that others may use without being mentioned.
_BUSY = 0.25


def run_bench(params: BenchParams, listener: Listener = silent) -> BenchReport:
    """Measure what `params` asks for; everything that was compressed is decoded and compared.

    Files are written in the system's folder for temporary files and are gone at the end.

    Parameters
    ----------
    params
        What is measured.
    listener
        Told of every measurement (`BenchStep`).

    Raises
    ------
    DamagedError
        A compressor did not give back what it was given.
    FormatError, OSError
        The user's stack cannot be read, a program failed, the disk is full.
    SpaceError
        The folder for temporary files has too little room.
    """
    about = machine()
    of_file = None if params.stack is None else Counts.of_file(params.stack)
    found = _Parts(params, listener, of_file)
    table1, left_out = found.table1() if "table1" in params.parts else ((), ())
    dose = found.dose() if "dose" in params.parts else ()
    level = found.level() if "level" in params.parts else ()
    if "metadata" in params.parts and len(encodings()) == len(ENCODINGS):
        left_out = (*left_out, LeftOut("orjson", NOT_INSTALLED))
    return BenchReport(
        params=params,
        machine=about,
        table1=table1,
        dose=dose,
        level=level,
        metadata=measure_metadata(params, listener) if "metadata" in params.parts else (),
        left_out=left_out,
        notes=(*_busy(about), *_notes(params, of_file), *_slow((*table1, *level), params)),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts that need stacks."""

    params: BenchParams
    listener: Listener
    of_file: Counts | None

    def table1(self) -> tuple[tuple[FileRow, ...], tuple[LeftOut, ...]]:
        with self._place(1) as folder:
            counts = self.of_file or self._poisson(self.params.table_dose)
            contenders, left_out = table_contenders(counts.stack, folder, self.params)
            entrants = [Entrant(one, counts) for one in contenders]
            return race(entrants, self.params.repeats, "table 1", self.listener), tuple(left_out)

    def dose(self) -> tuple[FileRow, ...]:
        """Measure all doses in turns, so that what disturbs the machine does not bend a curve."""
        with self._place(len(self.params.doses)) as folder:
            entrants = [
                Entrant(one, counts)
                for counts in self._doses(folder)
                for one in dose_contenders(counts.stack, folder, self.params)
            ]
            return race(entrants, self.params.repeats, "dose", self.listener)

    def level(self) -> tuple[FileRow, ...]:
        """Measure each codec at each of its levels, with the most threads and the first block size."""
        with self._place(1) as folder:
            counts = self.of_file or self._poisson(self.params.level_dose)
            threads, block = max(self.params.threads), self.params.block_sizes[0]
            contenders = (mrcz(counts.stack, folder, one, threads, block) for one in self.params.level_codecs)
            return race(
                [Entrant(one, counts) for one in contenders], self.params.repeats, "level", self.listener
            )

    def _doses(self, folder: Path) -> Iterator[Counts]:
        if self.of_file is not None:
            yield self.of_file
            return
        for k, dose in enumerate(self.params.doses):
            yield self._poisson(dose).kept_in(folder / f"counts-{k}.npy")

    def _poisson(self, dose: float) -> Counts:
        return Counts.poisson(dose, self.params.shape, self.params.seed)

    @contextmanager
    def _place(self, stacks: int) -> Iterator[Path]:
        one = 2 * prod(self.params.shape) if self.of_file is None else self.of_file.stack.nbytes
        check_space(Path(gettempdir()), (_FILES_AT_ONCE + stacks) * one)
        with TemporaryDirectory(prefix="mrcz-dask-bench-") as folder:
            yield Path(folder)


def _busy(about: dict[str, Any]) -> Iterator[str]:
    load, cores = about["load"], about["cores"]
    if load > _BUSY * cores:
        yield f"the machine was busy (load {load:.1f} on {cores} cores): times are too long, sizes right"


def _notes(params: BenchParams, of_file: Counts | None) -> Iterator[str]:
    yield (
        "no file is synced to the disk, so that times are those of the compressor and of memory; "
        "MRCZ, uint4 and uncompressed go from pixels in memory to a file and back, programs from file to file"
    )
    yield "every file was decoded and is what went in, bit for bit"
    frames = params.shape[0] if of_file is None else len(of_file.stack)
    if max(params.threads) > frames:
        yield (
            f"MRCZ gives each thread whole frames: of {max(params.threads)} threads at most {frames} work "
            f"on {frames} frames; take a stack of more"
        )
    if of_file is not None and of_file.bits is None:
        yield f"no Shannon limit: the pixels are {of_file.stack.dtype}, not counts in a range of 2^24"
    elif of_file is not None:
        yield (
            "the Shannon limit is the entropy of the values, pixel by pixel; "
            "where neighbors are alike, files can be smaller"
        )


def _slow(rows: Sequence[FileRow], params: BenchParams) -> Iterator[str]:
    for row in rows:
        if row.repeats < params.repeats:
            yield f"{row.compressor} was slow: measured {row.repeats} instead of {params.repeats} times"
        if row.compressor.startswith("xz") and row.pixel_bytes < row.threads * _XZ_BLOCK:
            yield (
                f"xz packs pieces of {_XZ_BLOCK >> 20} MiB, one to a thread: this stack is too small to keep "
                f"{row.threads} threads busy"
            )
