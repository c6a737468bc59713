"""Is a file what was written? Every frame, the header, the footer and the digests of its provenance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import isclose
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.provenance import verify_chain
from mrcz_dask.formats.reader import StackReader
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats
from mrcz_dask.values.errors import DamagedError, MrczDaskError

Status = Literal["sound", "damaged", "no-footer"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify_file` found.

    Attributes
    ----------
    path
        As it was given.
    status
        ``sound``, ``damaged``, or ``no-footer``: all can be decoded, but there is nothing to check against.
    problems
        All that is wrong; each damaged frame by its number.
    damaged_frames
        These numbers, from 0.
    frames
        How many frames are whole.
    expected_frames
        How many the header announces; 0 if there is none.
    nbytes
        Size of the file.
    notes
        What is no damage but should be known.
    """

    path: str
    status: Status
    problems: tuple[str, ...]
    damaged_frames: tuple[int, ...]
    frames: int
    expected_frames: int
    nbytes: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class _Checked:
    frame: int
    problem: str | None
    stats: FrameStats | None = None


def verify_file(path: str | os.PathLike[str], *, nthreads: int = 1) -> VerifyReport:
    """Check a file against its footer or sidecar; without either, whether all of it can be decoded.

    Parameters
    ----------
    path
        Of an MRC or MRCZ file.
    nthreads
        Threads that decode frames.

    Raises
    ------
    OSError
        The file cannot be opened; whatever is wrong inside it is in the report.
    """
    size, name = Path(path).stat().st_size, os.fspath(path)
    problems: list[str] = []
    try:
        reader = StackReader(path, complain=lambda error: problems.append(str(error)))
    except MrczDaskError as error:
        return VerifyReport(name, "damaged", (*problems, str(error)), (), 0, 0, size)
    with reader:
        had_problems = bool(problems)
        checked = _check_frames(reader, nthreads)
        problems += [one.problem for one in checked if one.problem is not None]
        damaged = tuple(one.frame for one in checked if one.problem is not None)
        if reader.footer is not None:
            problems += verify_chain(reader.footer.get("provenance", []))
            if not damaged and not had_problems:
                problems += _wrong_statistics(reader, checked)
        status: Status = "damaged" if problems else "no-footer" if reader.footer is None else "sound"
        return VerifyReport(
            path=name,
            status=status,
            problems=tuple(problems),
            damaged_frames=damaged,
            frames=len(checked) - len(damaged),
            expected_frames=reader.header.shape[0],
            nbytes=size,
            notes=reader.notes if problems else (*reader.notes, *_leftovers(reader, size)),
        )


def _check_frames(reader: StackReader, nthreads: int) -> list[_Checked]:
    checked: list[_Checked] = []
    pipeline = Pipeline[_Checked](nthreads, checked.append)
    try:
        for i in range(len(reader)):
            pipeline.submit(partial(_check_frame, reader, i))
        pipeline.drain()
    finally:
        pipeline.close()
    return checked


def _check_frame(reader: StackReader, i: int) -> _Checked:
    raw = reader.stored_chunk(i, check=False)
    sums = reader.frame_index.checksums
    if sums is not None and checksum(raw) != sums[i]:
        return _Checked(i, f"frame {i}: its checksum does not match")
    frame = np.empty(reader.shape[1:], reader.dtype)
    try:
        reader.decode(i, raw, frame)
    except DamagedError as error:
        return _Checked(i, str(error))
    return _Checked(i, None, frame_stats(frame))


def _wrong_statistics(reader: StackReader, checked: list[_Checked]) -> Iterator[str]:
    """The header's float32 numbers against those of the frames."""
    true = combine(one.stats for one in checked)
    scale = max(abs(true.minimum), abs(true.maximum))
    for key, said, found in zip(true._fields, reader.header.stats, true, strict=True):
        if not isclose(said, found, rel_tol=1e-5, abs_tol=1e-5 * scale):
            yield f"the header's {key} is {said:g}, that of the frames {found:g}"


def _leftovers(reader: StackReader, size: int) -> Iterator[str]:
    behind = size - reader.frame_index.end
    if reader.footer is None and behind:
        yield f"{behind} bytes behind the last frame are no footer"
