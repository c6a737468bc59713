"""Is a file what was written? Every frame, the header, the footer and the digests of its provenance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import isclose
from typing import Any, Literal

import numpy as np

from mrcz_dask.formats.checksummed import ChecksummedSource
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.provenance import verify_chain
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats
from mrcz_dask.values.errors import DamagedError, FormatError, MissingLibraryError, MrczDaskError

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
    """Check a stack against its footer, sidecar or attributes; without any, whether it can be decoded.

    Parameters
    ----------
    path
        Of a stack that `open_source` reads.
    nthreads
        Threads that decode frames.

    Raises
    ------
    OSError
        The file cannot be opened; whatever is wrong inside it is in the report.
    MissingLibraryError
        The package that reads the format is not installed; names the extra.
    """
    size, name = measure(path).size, os.fspath(path)
    problems: list[str] = []
    try:
        reader = open_source(path, complain=lambda error: problems.append(str(error)))
    except MissingLibraryError:
        raise
    except MrczDaskError as error:
        return VerifyReport(name, "damaged", (*problems, str(error)), (), 0, 0, size)
    with reader:
        had_problems = bool(problems)
        checked = _check_frames(reader, 1 if reader.sequential else nthreads)
        problems += [one.problem for one in checked if one.problem is not None]
        damaged = tuple(one.frame for one in checked if one.problem is not None)
        problems += verify_chain((reader.footer or {}).get("provenance", []))
        if isinstance(reader, StackReader) and reader.footer and not damaged and not had_problems:
            problems += _wrong_statistics(reader, checked)
        status: Status = "damaged" if problems else "no-footer" if reader.footer is None else "sound"
        return VerifyReport(
            path=name,
            status=status,
            problems=tuple(problems),
            damaged_frames=damaged,
            frames=len(checked) - len(damaged),
            expected_frames=reader.header.shape[0] if isinstance(reader, StackReader) else len(reader),
            nbytes=size,
            notes=reader.notes,
        )


def _check_frames(reader: FrameSource, nthreads: int) -> list[_Checked]:
    checked: list[_Checked] = []
    pipeline = Pipeline[_Checked](nthreads, checked.append)
    try:
        for i in range(len(reader)):
            pipeline.submit(partial(_check_frame, reader, i))
        pipeline.drain()
    finally:
        pipeline.close()
    return checked


def _check_frame(reader: FrameSource, i: int) -> _Checked:
    try:
        if isinstance(reader, StackReader):
            return _Checked(i, None, _stored_frame(reader, i))
        _decoded_frame(reader, i)
    except FormatError as error:
        return _Checked(i, str(error))
    return _Checked(i, None)


def _stored_frame(reader: StackReader, i: int) -> FrameStats | None:
    """Compare the bytes of a frame as they are stored, and return its statistics."""
    raw = reader.stored_chunk(i, check=False)
    sums = reader.frame_index.checksums
    if sums is not None and checksum(raw) != sums[i]:
        raise _mismatch(i)
    frame = np.empty(reader.shape[1:], reader.dtype)
    reader.decode(i, raw, frame)
    return frame_stats(frame)


def _decoded_frame(reader: FrameSource, i: int) -> None:
    """Compare the pixels of a frame, where there is something to compare them with."""
    if not isinstance(reader, ChecksummedSource):
        reader.frame(i)
        return
    frame = np.empty(reader.shape[1:], reader.stored_dtype)
    reader.decode(i, frame)
    if not reader.sound(i, frame):
        raise _mismatch(i)


def _mismatch(i: int) -> DamagedError:
    return DamagedError(f"frame {i}: its checksum does not match")


def _wrong_statistics(reader: StackReader, checked: list[_Checked]) -> Iterator[str]:
    """The header's float32 numbers against those of the frames."""
    true = combine(one.stats for one in checked)
    scale = max(abs(true.minimum), abs(true.maximum))
    for key, said, found in zip(true._fields, reader.header.stats, true, strict=True):
        if not isclose(said, found, rel_tol=1e-5, abs_tol=1e-5 * scale):
            yield f"the header's {key} is {said:g}, that of the frames {found:g}"
