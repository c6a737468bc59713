"""Where every frame is in the file: from the footer, from the sizes, or by walking the chunk headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrcz_dask.formats.compression.chunks import walk
from mrcz_dask.formats.mrc.header import Header
from mrcz_dask.formats.source import Source
from mrcz_dask.values.errors import FooterError, HeaderError, TruncatedError


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Offset and stored bytes of every frame, with xxh3-64 of these bytes if a footer says them."""

    offsets: tuple[int, ...]
    nbytes: tuple[int, ...]
    checksums: tuple[int, ...] | None = None

    @property
    def end(self) -> int:
        """The first byte behind the last frame."""
        return self.offsets[-1] + self.nbytes[-1]

    def to_payload(self) -> dict[str, list[int]]:
        """Return the footer's `frames`."""
        return {
            "offset": list(self.offsets),
            "nbytes": list(self.nbytes),
            "xxh3": list(self.checksums or ()),
        }


def from_footer(payload: dict[str, Any], header: Header, limit: int) -> FrameIndex:
    """Read the footer's `frames`.

    Parameters
    ----------
    payload
        Of the footer.
    header
        Of the same file.
    limit
        Where the frames end at the latest.

    Raises
    ------
    FooterError
        Not as many frames as the header says, or frames outside of the file.
    """
    frames = payload.get("frames")
    index = FrameIndex(*(_column(frames, key, header.shape[0]) for key in ("offset", "nbytes", "xxh3")))
    expected = header.data_offset
    for offset, nbytes in zip(index.offsets, index.nbytes, strict=True):
        if offset != expected or offset + nbytes > limit:
            raise FooterError(f"its frame index has a frame at {offset}; expected {expected}, before {limit}")
        expected = offset + nbytes
    if not header.compressed and set(index.nbytes) != {header.frame_nbytes}:
        raise FooterError(f"its frame index has frames that are not of {header.frame_nbytes} bytes")
    return index


def _column(frames: Any, key: str, count: int) -> tuple[int, ...]:
    column = frames.get(key) if isinstance(frames, dict) else None
    if not isinstance(column, list) or len(column) != count:
        raise FooterError(f"its frame index has no {key} for each of {count} frames")
    if not all(isinstance(number, int) and number >= 0 for number in column):
        raise FooterError(f"its frame index has something else than numbers as {key}")
    return tuple(column)


def locate(source: Source, header: Header) -> FrameIndex:
    """Find the frames of a file without a footer; of compressed ones only chunk headers are read.

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
        found = walk(source, header.data_offset, count, nbytes)
        return FrameIndex(tuple(offset for offset, _ in found), tuple(size for _, size in found))
    whole = (source.size - header.data_offset) // nbytes
    if whole < count:
        text = f"its {source.size} bytes hold {max(0, whole)} whole frames of {count}"
        text = f"{source.name}: {text}: {header.compared_with(source.size)}"
        if source.size >= header.plain_nbytes - header.extended_size:
            raise HeaderError(f"{text}; correct the header")
        raise TruncatedError(f"{text}; copy it again")
    return FrameIndex(tuple(header.data_offset + i * nbytes for i in range(count)), (nbytes,) * count)
