"""Reads where header, frames and footer are in an MRC or MRCZ file."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, walk
from mrcz_dask.formats.costs import check_cost
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc.footer import Footer, find
from mrcz_dask.formats.mrc.header import HEADER_SIZE, PROMISE, Header
from mrcz_dask.formats.sidecar import (
    VERSION,
    notes_without,
    promises_scale,
    read_sidecar,
    scale_problem,
    section,
)
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import (
    DamagedError,
    FooterError,
    FormatError,
    HeaderError,
    MrczDaskError,
    TruncatedError,
)

Complain = Callable[[MrczDaskError], None]


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Record of where frames are in an MRC file: offset and size in bytes,
    and checksums if a footer has them.
    """

    offsets: tuple[int, ...]
    nbytes: tuple[int, ...]
    checksums: tuple[int, ...] | None = None

    @property
    def end(self) -> int:
        """Offset of the first byte behind the last frame, where the footer may begin."""
        return self.offsets[-1] + self.nbytes[-1]


@dataclass(frozen=True, slots=True)
class Layout:
    """Record of an open MRC file: header, footer content (or None), places of the frames, and notes."""

    header: Header
    footer: dict[str, Any] | None
    index: FrameIndex
    notes: tuple[str, ...] = ()


def strict(error: MrczDaskError) -> None:
    """Raise the error: reading stops at the first fault in a file."""
    raise error


def lenient(error: MrczDaskError) -> None:
    """Issue the error as a Python warning: reading goes on despite a fault in a file."""
    warnings.warn(str(error), stacklevel=4)


def load_header(source: ByteSource) -> Header:
    """Read the header and the extended header of an MRC file.

    Raises
    ------
    FormatError, TruncatedError
        No MRC header.
    """
    head = source.read_at(0, min(HEADER_SIZE, source.size))
    header = Header.parse(head, name=source.name, file_size=source.size)
    return replace(header, extended=bytes(source.read_at(HEADER_SIZE, header.extended_size)))


def load_footer(source: ByteSource, complain: Complain, labels: tuple[str, ...] = ()) -> Footer | None:
    """Read the footer of an MRC file, or the sidecar of a plain one; None if there is neither.

    Raises
    ------
    FooterError
        The sidecar is damaged, and the header's labels promise that it has the scale of the pixels.
    """
    try:
        footer = None if source.streamed else find(source)
        payload = read_sidecar(source.beside) if footer is None and source.beside is not None else None
    except FooterError as error:
        if promises_scale(labels):
            raise
        complain(error)
        return None
    if payload is not None:
        return Footer(payload, VERSION, source.size, 0)
    if footer is None and PROMISE in labels:
        complain(FooterError(f"{source.name}: its footer is gone, as after a cut; copy it again"))
    return footer


def load_layout(source: ByteSource, complain: Complain) -> Layout:
    """Read header, footer and places of the frames of an MRC file, but no frame.

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
    nbytes = header.frame_nbytes if header.compressed else min(header.frame_nbytes, source.size)
    count = min(header.shape[0], source.size // (CHUNK_HEADER if header.compressed else max(1, nbytes)))
    check_cost(source.name, stored=source.stored, decoded=count * nbytes, at_once=nbytes, parts=count)
    notes: tuple[str, ...] = ()
    if not header.stamped:
        notes = ("its header has no stamp MAP; read as MRC, as its numbers make sense and fit its size",)
    axes = struct.unpack(header.byteorder + "3i", source.read_at(64, 12))
    if sorted(axes) == [1, 2, 3] and axes != (1, 2, 3):
        notes += (f"its MAPC, MAPR, MAPS are {axes}, not (1, 2, 3); frames are taken as they are stored",)
    promised = PROMISE in header.labels
    footer = load_footer(source, complain, header.labels)
    if footer is None:
        notes += notes_without(source.name, header.labels)
        index = _search_frames(source, header, complain)
    else:
        for problem in _mismatches(footer.payload, header, bytes(source.read_at(0, header.data_offset))):
            complain(type(problem)(f"{source.name}: {problem}"))
        try:
            index = index_from_footer(footer.payload, header, footer.offset)
        except FooterError as error:
            complain(FooterError(f"{source.name}: broken footer: {error}"))
            # what follows from a contradiction between header and footer was told
            index = _search_frames(source, header, lambda _: None)
        else:
            if behind := footer.offset - index.end:
                text = f"{behind} bytes behind the last frame belong to nothing; copy it again"
                complain(DamagedError(f"{source.name}: {text}"))
            newer = f"its footer has version {footer.version}, this package knows {VERSION}; update it"
            return Layout(
                header, footer.payload, index, ((newer,) if footer.version > VERSION else ()) + notes
            )
    cut_off = len(index.offsets) < header.shape[0]  # as was told
    behind = 0 if promised or cut_off or footer is not None else source.size - index.end
    if header.compressed and 0 < behind < CHUNK_HEADER:
        notes += (f"{behind} bytes behind the last frame are no footer; copy the file again if it had one",)
    elif behind:
        complain(HeaderError(f"{source.name}: {_compare_sizes(source, header, index)}; correct the header"))
    return Layout(header, None, index, notes)


def header_payload(header: Header, header_bytes: bytes) -> dict[str, Any]:
    """Return checksum, shape and dtype of the header, which the footer records to detect changes."""
    return {"xxh3": checksum(header_bytes), "shape": list(header.shape), "dtype": header.dtype.str}


def _mismatches(payload: dict[str, Any], header: Header, header_bytes: bytes) -> list[MrczDaskError]:
    """Compare the header with what the footer says about it; judge what it says about the pixels."""
    stated, actual = payload.get("header"), header_payload(header, header_bytes)
    if not isinstance(stated, dict):
        return [FooterError("the footer says nothing about the header")]
    problems: list[MrczDaskError] = []
    offsets = section(payload, "frames").get("offset")
    begin = offsets[0] if isinstance(offsets, list) and offsets else None
    if isinstance(begin, int) and begin != header.data_offset:
        asked = f"the header asks for NSYMBT {header.extended_size}, so frames begin at {header.data_offset}"
        fitting = f"the footer has them at {begin}, as for NSYMBT {begin - HEADER_SIZE}"
        problems.append(HeaderError(f"{asked}; {fitting}; correct the header"))
    for key in ("shape", "dtype"):
        if stated.get(key) != actual[key]:
            text = f"the header says {key} {actual[key]}, the footer {stated.get(key)!r}; correct the header"
            problems.append(HeaderError(text))
    if stated.get("xxh3") != actual["xxh3"]:
        text = "the header is not the one that was written (its checksum does not match)"
        problems.append(DamagedError(text))
    if absurd := scale_problem(section(payload, "pixels")):
        problems.append(FooterError(f"{absurd}; make the file again"))
    return problems


def index_from_footer(payload: dict[str, Any], header: Header, limit: int) -> FrameIndex:
    """Read the places and checksums of all frames from a footer's content.

    Parameters
    ----------
    payload
        Payload of the footer.
    header
        Header of the same file.
    limit
        Where the frames end at the latest.

    Raises
    ------
    FooterError
        Not as many frames as the header says, or frames outside of the file.
    """
    frames, columns = section(payload, "frames"), []
    for key in ("offset", "nbytes", "xxh3"):
        column = frames.get(key)
        if not isinstance(column, list) or len(column) != header.shape[0]:
            raise FooterError(f"its frame index has no {key} for each of {header.shape[0]} frames")
        if not all(isinstance(number, int) and number >= 0 for number in column):
            raise FooterError(f"its frame index has something else than numbers as {key}")
        columns.append(tuple(column))
    index = FrameIndex(*columns)
    expected = header.data_offset
    for offset, nbytes in zip(index.offsets, index.nbytes, strict=True):
        if offset != expected or offset + nbytes > limit:
            raise FooterError(f"its frame index has a frame at {offset}; expected {expected}, before {limit}")
        expected = offset + nbytes
    if not header.compressed and set(index.nbytes) != {header.frame_nbytes}:
        raise FooterError(f"its frame index has frames that are not of {header.frame_nbytes} bytes")
    return index


def locate(source: ByteSource, header: Header) -> FrameIndex:
    """Find the places of the frames in a file without a footer; of compressed ones only headers are read.

    Raises
    ------
    TruncatedError
        The file ends first; says how many whole frames are there.
    HeaderError
        It ends first, and would hold all frames if the extended header were shorter than NSYMBT says.
    DamagedError
        Bytes that are no chunk of a frame.
    """
    count, nbytes = header.shape[0], header.frame_nbytes
    if header.compressed:
        chunks = walk(source, header.data_offset, count, nbytes)
        return FrameIndex(tuple(offset for offset, _ in chunks), tuple(size for _, size in chunks))
    whole = _whole_frames(source, header)
    if whole < count:
        text = f"its {source.size} bytes hold {whole} whole frames of {count}"
        text = f"{source.name}: {text}: {header.compared_with(source.size)}"
        if source.size >= header.plain_nbytes - header.extended_size:
            raise HeaderError(f"{text}; correct the header")
        raise TruncatedError(f"{text}; copy it again")
    return FrameIndex(tuple(header.data_offset + i * nbytes for i in range(count)), (nbytes,) * count)


def _search_frames(source: ByteSource, header: Header, complain: Complain) -> FrameIndex:
    """Find all frames, or after a complaint those that are whole."""
    try:
        return locate(source, header)
    except FormatError as error:
        whole = _whole_frames(source, header)
        if not whole:
            raise
        complain(error)
    return locate(source, replace(header, shape=(whole, *header.shape[1:])))


def _whole_frames(source: ByteSource, header: Header) -> int:
    """Count the whole frames: of plain files all that have room, of others at most those announced."""
    if not header.compressed:
        return max(0, source.size - header.data_offset) // header.frame_nbytes
    ends = _ends_of_chunks(source, header.data_offset, header.frame_nbytes, most=header.shape[0])
    return len(ends)


def _ends_of_chunks(source: ByteSource, offset: int, nbytes: int, most: int | None = None) -> list[int]:
    """Return where chunks of `nbytes` from `offset` on end, up to the first bytes that are none."""
    ends: list[int] = []
    while most is None or len(ends) < most:
        try:
            ((_, size),) = walk(source, offset, 1, nbytes)
        except FormatError:
            break
        offset += size
        ends.append(offset)
    return ends


def _compare_sizes(source: ByteSource, header: Header, index: FrameIndex) -> str:
    """Say what the header asks for, and what the file has."""
    if not header.compressed:
        return header.compared_with(source.size)
    more = len(_ends_of_chunks(source, index.end, header.frame_nbytes))
    text = f"the header asks for NZ {header.shape[0]} frames, which end at byte {index.end}"
    frames = f", as for NZ {header.shape[0] + more}" if more else ""
    return f"{text}, the file has {source.size}{frames}"
