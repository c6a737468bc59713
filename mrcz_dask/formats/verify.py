"""Verifies a file: compares every frame, the header, the footer and the provenance with their checksums."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from math import isclose, prod
from typing import Any, Literal

import numpy as np

from mrcz_dask.formats.checksummed import ChecksummedSource
from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size
from mrcz_dask.formats.digest import checksum, file_digest
from mrcz_dask.formats.foreign.zarr_writer import array_digest
from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.places import Place, measure
from mrcz_dask.formats.provenance import verify_chain
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats
from mrcz_dask.values.errors import FormatError, MissingLibraryError, MrczDaskError

FileStatus = Literal["sound", "damaged", "no-footer", "partly-checked"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Result of `verify_file`: whether the file is sound, and all problems found in it.

    Attributes
    ----------
    path
        As it was given.
    status
        ``sound``, ``damaged``, ``no-footer``: all can be decoded, but there is nothing to check against, or
        ``partly-checked``: frames are sound, but an older version wrote no digest of the file's other bytes.
    problems
        All that is wrong; each damaged frame by its number.
    damaged_frames
        These numbers, from 0.
    frames
        Number of frames that are whole.
    expected_frames
        Number of frames that the header announces; 0 if there is none.
    nbytes
        Size of the file.
    notes
        Remarks that are no damage.
    """

    path: str
    status: FileStatus
    problems: tuple[str, ...]
    damaged_frames: tuple[int, ...]
    frames: int
    expected_frames: int
    nbytes: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary of plain values, for JSON."""
        values = asdict(self).items()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values}


@dataclass(frozen=True, slots=True)
class _CheckedFrame:
    number: int
    problem: str | None
    stats: FrameStats | None = None


def verify_file(path: str | os.PathLike[str], *, nthreads: int = 1) -> VerifyReport:
    """Verify a stack by its recorded checksums; without any, check that every frame can be decoded.

    Parameters
    ----------
    path
        Path of a stack that `open_source` reads.
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
        layout_is_sound = not problems
        checked: list[_CheckedFrame] = []
        with Pipeline[_CheckedFrame](1 if reader.sequential else nthreads, checked.append) as pipeline:
            for i in range(len(reader)):
                pipeline.submit(partial(_check_frame, reader, i))
        problems += [frame.problem for frame in checked if frame.problem is not None]
        damaged = tuple(frame.number for frame in checked if frame.problem is not None)
        problems += verify_chain((reader.footer or {}).get("provenance", []))
        if isinstance(reader, StackReader) and reader.footer and layout_is_sound and not damaged:
            true = combine(frame.stats for frame in checked)  # of which the header has float32 numbers
            near = 1e-5 * max(abs(true.minimum), abs(true.maximum))
            for key, number, value in zip(true._fields, reader.header.stats, true, strict=True):
                if not isclose(number, value, rel_tol=1e-5, abs_tol=near):
                    problems.append(f"the header's {key} is {number:g}, the frames say {value:g}")
        status: FileStatus = "no-footer" if reader.footer is None else "sound"
        # the checksums of header and frames of MRC are over all bytes of the file
        is_whole = isinstance(reader, StackReader) and "packed" not in (reader.footer or {})
        if reader.footer is not None and not problems and not is_whole:
            if not (stated := section(reader.footer, "file").get("digest")):
                status = "partly-checked"
            elif _digest_of(path, reader) != stated:
                problems.append(
                    "its frames are sound, but other bytes have changed since it was written; copy it again"
                )
        if problems:
            status = "damaged"
        expected = reader.header.shape[0] if isinstance(reader, StackReader) else len(reader)
        counts = (len(checked) - len(damaged), expected, size)
        return VerifyReport(name, status, tuple(problems), damaged, *counts, reader.notes)


def _digest_of(path: str | os.PathLike[str], reader: FrameSource) -> str:
    place = Place.of(path)
    if place.path.is_dir():
        return array_digest(place.path / place.inside.strip("/"), len(reader))
    return file_digest(place.path, section(reader.footer, "file").get("begin", 0))


def _check_frame(reader: FrameSource, i: int) -> _CheckedFrame:
    """Decode a frame, and compare its stored bytes or its pixels with their checksum, if there is one."""
    sound, stats = True, None
    try:
        if isinstance(reader, StackReader):
            raw, sums = reader.stored_chunk(i, check=False), reader.frame_index.checksums
            sound = sums is None or checksum(raw) == sums[i]
            if sound:
                header = reader.header
                if header.compressed:  # before there is memory for a shape that may be damaged
                    nbytes = prod(header.frame_shape) * header.dtype.itemsize
                    check_size(ChunkHeader.parse(raw), nbytes)
                frame = np.empty(reader.shape[1:], reader.dtype)
                reader.decode(i, raw, frame)
                stats = frame_stats(frame)
        elif isinstance(reader, ChecksummedSource):
            frame = np.empty(reader.shape[1:], reader.stored_dtype)
            reader.decode(i, frame)
            sound = reader.sound(i, frame)
        else:
            reader.frame(i)
    except FormatError as error:
        place = "" if str(error).startswith(reader.name) else f"{reader.name}: frame {i}: "
        return _CheckedFrame(i, f"{place}{error}")
    return _CheckedFrame(i, None if sound else f"frame {i}: its checksum does not match", stats)
