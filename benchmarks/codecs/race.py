"""Contenders take turns with one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from benchmarks.codecs.counts import Counts
from benchmarks.codecs.peers import Contender
from benchmarks.codecs.results import FileRow
from benchmarks.codecs.timing import BenchStep, Sample, Timing, timed, turns
from benchmarks.harness import touch_memory
from mrcz_dask.values.messages import Listener

# Seconds after which a contender takes no more turns.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender and the counts that it is given."""

    contender: Contender
    counts: Counts


@dataclass(frozen=True, slots=True)
class Trial:
    """One file written and read: its bytes, the codec it was written with, and seconds."""

    size: int
    codec: str
    write: Sample
    read: Sample

    @property
    def wall(self) -> float:
        """Seconds of both."""
        return self.write.wall + self.read.wall


def race(entrants: Sequence[Entrant], repeats: int, part: str, listener: Listener) -> tuple[FileRow, ...]:
    """Let everybody write and read `repeats` times, in turns; all that is read is compared.

    Who has taken `PATIENCE` seconds gets no further turn.

    Returns
    -------
    tuple of FileRow
        In the order of the entrants.

    Raises
    ------
    DamagedError
        A contender did not give back what it was given.
    ChildProcessError
        A program failed.
    """
    trials: list[list[Trial]] = [[] for _ in entrants]
    for done, (place, entrant) in enumerate(turns(entrants, repeats), 1):
        if sum(one.wall for one in trials[place]) < PATIENCE:
            trials[place].append(trial(entrant))
        listener(BenchStep(part, entrant.contender.name, done, repeats * len(entrants)))
    return tuple(_row(one, taken) for one, taken in zip(entrants, trials, strict=True))


def trial(entrant: Entrant) -> Trial:
    """Write, read and compare once.

    Raises
    ------
    DamagedError, ChildProcessError
        As `race`.
    """
    one, stack = entrant.contender, entrant.counts.stack
    one.path.unlink(missing_ok=True)
    _warm(stack)
    _, writing = timed(one.write)
    _warm(stack)
    found, reading = timed(one.read)
    one.check(found)
    return Trial(one.path.stat().st_size, one.settled(), writing, reading)


def _row(entrant: Entrant, trials: Sequence[Trial]) -> FileRow:
    one, counts = entrant.contender, entrant.counts
    return FileRow(
        compressor=one.name,
        codec=trials[0].codec,
        dose=counts.dose,
        threads=one.threads,
        block_size=one.block_size,
        pixels=counts.stack.size,
        pixel_bytes=counts.stack.nbytes,
        size=trials[0].size,
        limit=counts.limit(counts.bits),
        poisson_limit=counts.limit(counts.poisson_bits),
        repeats=len(trials),
        write=Timing.of([one.write for one in trials]),
        read=Timing.of([one.read for one in trials]),
    )


def _warm(stack: NDArray[Any]) -> None:
    """Touch the stack, which may be in a file, and as much memory as a call needs."""
    stack.reshape(-1)[::1024].max()
    touch_memory(stack.nbytes)
