"""The parts of a file: header, footer, where the frames are; strict, or permissive with warnings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, walk
from mrcz_dask.formats.mrc.footer import VERSION, Footer, find
from mrcz_dask.formats.mrc.header import HEADER_SIZE, Header
from mrcz_dask.formats.mrc.index import FrameIndex, from_footer, locate
from mrcz_dask.formats.payload import PROMISE, mismatches
from mrcz_dask.formats.sidecar import read_sidecar
from mrcz_dask.formats.source import Source
from mrcz_dask.values.errors import FooterError, FormatError, HeaderError, MrczDaskError

Complain = Callable[[MrczDaskError], None]


@dataclass(frozen=True, slots=True)
class Layout:
    """Header, footer's payload (or None), frame index, and what is newer than this package."""

    header: Header
    footer: dict[str, Any] | None
    index: FrameIndex
    notes: tuple[str, ...] = ()


def strict(error: MrczDaskError) -> None:
    """Raise."""
    raise error


def lenient(error: MrczDaskError) -> None:
    """Warn."""
    warnings.warn(str(error), stacklevel=4)


def _said_already(error: MrczDaskError) -> None:
    """Pass over what follows from a contradiction between header and footer, which was told."""


def load_header(source: Source) -> Header:
    """Read header and extended header.

    Raises
    ------
    FormatError, TruncatedError
        No MRC header.
    """
    head = source.read_at(0, min(HEADER_SIZE, source.size))
    header = Header.parse(head, name=source.name, file_size=source.size)
    return replace(header, extended=bytes(source.read_at(HEADER_SIZE, header.extended_size)))


def load_layout(source: Source, complain: Complain) -> Layout:
    """Read everything but the frames.

    Parameters
    ----------
    source
        The file.
    complain
        Called with what is wrong where reading can go on without it: `strict` or `lenient`.

    Raises
    ------
    FormatError, TruncatedError, HeaderError, DamagedError, FooterError
        What cannot be read, or all that is wrong if `complain` raises.
    """
    header = load_header(source)
    promised = PROMISE in header.labels
    found = load_footer(source, complain, promised=promised)
    if found is not None:
        raw = bytes(source.read_at(0, header.data_offset))
        for problem in mismatches(found.payload, header, raw):
            complain(type(problem)(f"{source.name}: {problem}"))
        try:
            index = from_footer(found.payload, header, found.offset)
            return Layout(header, found.payload, index, _notes(found) + _stamp_note(header))
        except FooterError as error:
            complain(FooterError(f"{source.name}: broken footer: {error}"))
    index = _search(source, header, complain if found is None else _said_already)
    notes = _stamp_note(header)
    cut_off = len(index.offsets) < header.shape[0]  # as was said
    behind = 0 if promised or cut_off or found is not None else source.size - index.end
    if header.compressed and 0 < behind < CHUNK_HEADER:
        notes += (f"{behind} bytes behind the last frame are no footer",)
    elif behind:
        complain(HeaderError(f"{source.name}: {_compared(source, header, index)}; correct the header"))
    return Layout(header, None, index, notes)


def load_footer(source: Source, complain: Complain, *, promised: bool = False) -> Footer | None:
    """Return the footer, or the sidecar as one at the file's end; None if there is neither."""
    try:
        found = None if source.streamed else find(source)
        beside = read_sidecar(source.beside) if found is None and source.beside is not None else None
    except FooterError as error:
        complain(error)
        return None
    if found is None and beside is None and promised:
        complain(FooterError(f"{source.name}: its footer is gone, as after a cut; copy it again"))
    return found if beside is None else Footer(beside, VERSION, source.size, 0)


def _notes(found: Footer) -> tuple[str, ...]:
    if found.version <= VERSION:
        return ()
    return (f"its footer has version {found.version}, this package knows {VERSION}; update it",)


def _stamp_note(header: Header) -> tuple[str, ...]:
    note = "its header has no stamp MAP; read as MRC, as its numbers make sense and fit the size of the file"
    return () if header.stamped else (note,)


def _compared(source: Source, header: Header, index: FrameIndex) -> str:
    """Return what the header asks for, and what the file has."""
    if not header.compressed:
        return header.compared_with(source.size)
    more, offset = 0, index.end
    while (end := _end_of_chunk(source, offset, header.frame_nbytes)) is not None:
        more, offset = more + 1, end
    said = f"the header asks for NZ {header.shape[0]} frames, which end at byte {index.end}"
    frames = f", as for NZ {header.shape[0] + more}" if more else ""
    return f"{said}, the file has {source.size}{frames}"


def _search(source: Source, header: Header, complain: Complain) -> FrameIndex:
    try:
        return locate(source, header)
    except FormatError as error:
        whole = _whole_frames(source, header)
        if not whole:
            raise
        complain(error)
    return locate(source, replace(header, shape=(whole, *header.shape[1:])))


def _whole_frames(source: Source, header: Header) -> int:
    size, offset = header.frame_nbytes, header.data_offset
    if not header.compressed:
        return max(0, source.size - offset) // size
    for whole in range(header.shape[0]):
        end = _end_of_chunk(source, offset, size)
        if end is None:
            return whole
        offset = end
    return header.shape[0]


def _end_of_chunk(source: Source, offset: int, nbytes: int) -> int | None:
    """Return the end of the chunk at `offset`; None if no frame of `nbytes` is there."""
    try:
        ((_, cbytes),) = walk(source, offset, 1, nbytes)
    except FormatError:
        return None
    return offset + cbytes
