"""The chain of pages of a TIFF file, followed to its end: readers stop silently where it is broken."""

from __future__ import annotations

import struct

from mrcz_dask.formats.source import Source
from mrcz_dask.values.errors import FormatError, TruncatedError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST = 1 << 20  # pages


def page_offsets(source: Source) -> list[int]:
    """Return where the pages are described.

    Raises
    ------
    FormatError
        No TIFF file, or one whose pages lead in a circle.
    TruncatedError
        A page is described behind the end of the file.
    """
    head = bytes(source.read_at(0, min(16, source.size)))
    if head[:4] not in MAGIC:
        raise FormatError(f"{source.name}: begins with {head[:4]!r}; expected a TIFF file")
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    number, tag, pointer = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
    if len(head) < (16 if big else 8):
        raise TruncatedError(f"{source.name}: ends at {source.size} bytes, in its header")
    (offset,) = struct.unpack_from(pointer, head, 8 if big else 4)
    found: dict[int, None] = {}
    while offset:
        if offset in found or len(found) >= _MOST:
            raise FormatError(f"{source.name}: its list of pages leads in a circle after {len(found)}")
        found[offset] = None
        offset = _next(source, offset, number, tag, pointer, len(found))
    if not found:
        raise FormatError(f"{source.name}: has no pages; expected a page for each frame")
    return list(found)


def _next(source: Source, offset: int, number: str, tag: int, pointer: str, page: int) -> int:
    try:
        (count,) = struct.unpack(number, source.read_at(offset, struct.calcsize(number)))
        at = offset + struct.calcsize(number) + count * tag
        (following,) = struct.unpack(pointer, source.read_at(at, struct.calcsize(pointer)))
    except TruncatedError as error:
        raise TruncatedError(
            f"{source.name}: page {page} is described at {offset}, but the file ends at {source.size}; "
            "copy the file again"
        ) from error
    return int(following)
