"""Reads MRC and MRCZ files frame by frame, and compares each frame with its checksum in the footer."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, decompress_into
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.frames import FirstRow, FrameSource, restored_type
from mrcz_dask.formats.mrc.header import decode_meta
from mrcz_dask.formats.mrc.layout import Complain, load_header, load_layout, strict
from mrcz_dask.formats.mrc.modes import unpack_into, unsigned_by_pixels
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.source import ByteSource, Readable
from mrcz_dask.values.checks import checked
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError
from mrcz_dask.values.params import Mode0
from mrcz_dask.values.timing import phase

_SIGNED = (0, 1)  # modes
_SAMPLED = 8  # frames of which a part tells whether pixels are signed
_PART = 1 << 16  # bytes


class StackReader(FrameSource):
    """Reads a stack from an MRC or MRCZ file, frame by frame when they are asked for;
    safe from several threads.

    Parameters
    ----------
    origin
        A path, bytes, a seekable binary stream, or a `ByteSource` (which is closed with the reader).
    mode0
        Whether pixels of modes 0 and 1 of a file without footer are ``signed`` or ``unsigned``; ``auto``:
        IMOD's flag (of bytes), else unsigned where the header's maximum is, else as their histogram looks.
    complain
        Called with what is wrong where reading can go on; `strict` raises. After `lenient`, which warns, a
        broken footer is left aside, of a file that was cut off the whole frames are read, and damaged frames
        are decoded if they can be.

    Attributes
    ----------
    name
        Name of the file in messages.
    header
        The MRC header.
    footer
        The footer's payload (a sidecar's for plain files), or None.
    shape
        (n, ny, nx).
    dtype
        Type of the pixels, in native byte order.
    frame_index
        Offset and stored bytes of every frame.
    notes
        Remarks that are no damage, such as a footer of a newer version.

    Raises
    ------
    FormatError
        No MRC file, or one that makes no sense.
    TruncatedError
        The file ends before its frames do.
    DamagedError
        The header is not the one that was written.
    FooterError
        The footer cannot be trusted, or should be there and is not.
    """

    first_row: FirstRow = "bottom"

    def __init__(
        self,
        origin: Readable | ByteSource,
        *,
        mode0: Mode0 = "auto",
        complain: Complain = strict,
    ) -> None:
        self._source = origin if isinstance(origin, ByteSource) else ByteSource(origin)
        self._complain = complain
        self.name = self._source.name
        try:
            layout = load_layout(self._source, self._complain)
        except MrczDaskError:
            self.close()
            raise
        self.header, self.footer, self.frame_index = layout.header, layout.footer, layout.index
        self.notes, self.sequential = layout.notes, self._source.sequential
        self.shape = (len(self.frame_index.offsets), *self.header.shape[1:])
        self.format = "MRCZ" if self.header.compressed else "MRC"
        self.labels, self.stated_mean = self.header.labels, self.header.stats.mean
        self._file_pixel_size = self.header.pixel_size
        if self.footer is None and self.header.mode in _SIGNED and self._is_unsigned(mode0):
            self.dtype = np.dtype(f"u{self.header.dtype.itemsize}")
        else:
            self.dtype = restored_type(self.header.dtype, section(self.footer, "pixels"))

    def _is_unsigned(self, mode0: Mode0) -> bool:
        """Decide whether pixels are counts from 0: as the user or the header says, else as they look."""
        stated = self.header.says_unsigned if mode0 == "auto" else mode0 == "unsigned"
        if stated is not None:
            return stated
        unsigned, reason = unsigned_by_pixels(self._sample())
        taken, other = ("unsigned", "signed") if unsigned else ("signed", "unsigned")
        if reason:
            bits = 8 * self.header.dtype.itemsize
            text = f"its {bits}-bit pixels are taken as {taken}: {reason}"
            self.notes = (*self.notes, f"{text}. --mode0 {other} takes them as {other}")
        return unsigned

    def _sample(self) -> NDArray[Any]:
        """Return some pixels as stored, flat: what can be read of frames spread over the stack."""
        header, count = self.header, min(len(self), 1 if self.header.compressed else _SAMPLED)
        parts = [np.zeros(0, header.dtype.newbyteorder("="))]
        for k in range(1 if self.sequential else count):
            i = 0 if self.sequential else (2 * k + 1) * len(self) // (2 * count)
            offset, nbytes = self.frame_index.offsets[i], self.frame_index.nbytes[i]
            if header.compressed:
                frame = np.empty(header.frame_shape, parts[0].dtype)
                with suppress(DamagedError):  # which is found again, and told, when the frame is asked for
                    self.decode(i, self._source.read_at(offset, nbytes), frame)
                    parts.append(frame.reshape(-1))
            else:
                size = min(nbytes, _PART)
                start = offset + (nbytes - size) // 4 * 2
                parts.append(np.frombuffer(self._source.read_at(start, size), header.dtype))
        return np.concatenate(parts)

    @cached_property
    def _extended_meta(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return decode_meta(self.header.extended_type, self.header.extended)
        except FormatError as error:
            self._complain(FormatError(f"{self.name}: {error}"))
            return {}, {}

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata of the stack: from the footer, or else from python-mrcz's extended header."""
        return super().meta if self.footer is not None else self._extended_meta[0]

    @property
    def pixels(self) -> dict[str, Any]:
        """Meaning of the pixels: dtype, unit, scale, offset, dose_per_frame, pixel_size."""
        return super().pixels or self._extended_meta[1]

    @property
    def extended(self) -> bytes:
        """Extended header of the file; of a file without one, that kept in its sidecar."""
        return self.header.extended or super().extended

    @property
    def extended_type(self) -> str:
        """Four characters that name the kind of extended header, such as ``FEI1``."""
        return self.header.extended_type or super().extended_type

    @property
    def mrc_header(self) -> bytes:
        """MRC header of a file of another program; for our outputs,
        the original's header kept in the footer.
        """
        return self.header.raw if self.footer is None else super().mrc_header

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Note about bytes behind the last frame of another program's file, which a copy loses."""
        behind = 0 if self.footer is not None or self.sequential else self._source.size - self.frame_index.end
        return (f"{behind} bytes behind the last frame",) if behind else ()

    @cached_property
    def _first_chunk(self) -> ChunkHeader | None:
        if not self.header.compressed:
            return None
        raw = self._source.read_at(self.frame_index.offsets[0], CHUNK_HEADER)
        try:
            return ChunkHeader.parse(raw)
        except DamagedError as error:
            raise DamagedError(f"{self.name}: frame 0: {error}") from error

    @property
    def codec(self) -> str | None:
        """Name of the compression, or None; from the first compressed frame, else from the header."""
        chunk, hint = self._first_chunk, self.header.codec
        if chunk is None or chunk.codec is None or (chunk.codec, hint) == ("lz4", "lz4hc"):
            return hint
        return chunk.codec

    @property
    def chunk_version(self) -> int | None:
        """Version of the compressed frames: 2 (blosc1) or 5 (blosc2); None if not compressed."""
        return None if self._first_chunk is None else self._first_chunk.version

    def stored_chunk(self, i: int, *, check: bool = True) -> bytes | memoryview:
        """Return the bytes of frame `i` as stored in the file, usually compressed.

        Raises
        ------
        DamagedError
            They do not have the checksum of the footer.
        """
        i = self.position(i)
        raw = self._source.read_at(self.frame_index.offsets[i], self.frame_index.nbytes[i])
        sums = self.frame_index.checksums
        with phase("decode"):
            damaged = check and sums is not None and checksum(raw) != sums[i]
        if damaged:
            problem = "is damaged (its checksum does not match); copy the file again"
            self._complain(DamagedError(f"{self.name}: frame {i} {problem}"))
        return raw

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), as stored, after comparing its checksum; see `FrameSource`."""
        i, out = self.place(i, out)
        self.decode(i, self.stored_chunk(i), out)
        return out

    def decode(self, i: int, raw: bytes | memoryview, out: NDArray[Any]) -> None:
        """Decode a frame's stored bytes into the array `out`, (ny, nx) in this stack's dtype.

        Raises
        ------
        DamagedError
            They cannot be decoded; names file and frame.
        """
        try:
            with phase("decode", out.nbytes):
                self._decode(raw, out)
        except DamagedError as error:
            raise DamagedError(f"{self.name}: frame {i}: {error}") from error

    def _decode(self, raw: bytes | memoryview, out: NDArray[Any]) -> None:
        header = self.header
        if not header.compressed:
            stored = np.frombuffer(raw, header.dtype).reshape(header.frame_shape)
        else:
            same_bits = header.dtype == out.dtype or (
                header.dtype.itemsize == out.dtype.itemsize and {header.dtype.kind, out.dtype.kind} <= {*"iu"}
            )
            if header.dtype.isnative and same_bits and out.flags.c_contiguous:
                decompress_into(raw, out)
                return
            stored = np.empty(header.frame_shape, header.dtype)
            decompress_into(raw, stored)
        if header.four_bit:
            unpack_into(stored, out)
        else:
            np.copyto(out, stored, casting="unsafe")

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        self._source.close()


@checked
def read_header(path: Readable) -> dict[str, Any]:
    """Return the MRC header of a file as plain values: shape (n, y, x), dtype, mode, codec,
    pixel_size (Angstrom).

    Raises
    ------
    FormatError, TruncatedError
        No MRC header.
    """
    source = ByteSource(path)
    try:
        return load_header(source).to_dict()
    finally:
        source.close()
