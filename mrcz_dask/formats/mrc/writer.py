"""Writing MRCZ and MRC: frame by frame, the same bytes in any number of threads, whole or not at all."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.compression.choice import resolve
from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.mrc import extended as extended_header
from mrcz_dask.formats.mrc import footer as footers
from mrcz_dask.formats.mrc.body import Body
from mrcz_dask.formats.mrc.encode import Encoded, Stored, copied, decode, encode
from mrcz_dask.formats.mrc.header import HEADER_SIZE, Header
from mrcz_dask.formats.mrc.options import FileOptions, Kind, PixelSize, pixel_size_of
from mrcz_dask.formats.parallel import Pipeline, available_cores
from mrcz_dask.formats.payload import PROMISE, WRITER, build
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.sidecar import sidecar
from mrcz_dask.formats.sinks import Target, target_path
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.timing import phase


class StackWriter(FrameWriter):
    """A stack on its way into a file; the file appears, whole, when it is closed.

    Parameters
    ----------
    target
        A path, or a seekable binary stream that is replaced from its first byte.
    shape
        (n, ny, nx), or (ny, nx) for one image.
    dtype
        Of the frames: (u)int8, (u)int16, (u)int32, float16, float32 or complex64.
    codec
        ``auto`` (chosen from the first frame), ``auto:fast``, ``auto:small``, NAME[:LEVEL[:FILTER]],
        a `Codec`, or ``none``; plain files are never compressed.
    pixel_size
        In Angstrom: a number, (x, y) or (x, y, z).
    meta
        The user's metadata, plain values.
    extended, extended_type
        An extended header to be carried over byte for byte, and its four letters.
    chunk_version
        2 (every reader of MRCZ) or 5 (blosc2).
    pixels
        What the pixels mean: ``unit``, ``scale`` and ``offset`` of quantised ones, ``dose_per_frame``; and
        ``dtype``, as ``<u2``, if they are stored in another one, which readers undo.
    provenance
        Steps as `provenance.append` gives them.
    recipe
        What turns these counts into normalised ones.
    footer
        True, False, ``"json"`` for a footer that is JSON instead of msgpack, or ``"sidecar"`` for a JSON file
        beside a plain one.
    durable
        Wait until the file is on the disk.
    nthreads
        Threads that compress frames.
    kind
        ``mrcz``, ``mrc`` or ``mrcs``; by default from the name.
    four_bit
        Keep values 0..15 in four bits (mode 101; not compressed).
    reverse_rows
        Store each frame from its last row to its first one.
    mrc_header
        The 1024 bytes of an MRC header whose labels, MZ, ISPG, cell and the like are carried over.

    Attributes
    ----------
    shape, dtype
        Of the stack as it is stored.
    restored
        The dtype that readers give: the one that `pixels` named at the beginning, else the stored one.
    meta, pixels, provenance, recipe
        May be set until `close`.

    Raises
    ------
    DtypeError
        MRC cannot hold such pixels; names the type to cast to.
    ParameterError
        Options that do not go together.
    SpaceError
        The folder cannot take the file.
    """

    def __init__(
        self,
        target: Target,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        codec: str | Codec | None = "auto",
        pixel_size: PixelSize = None,
        meta: dict[str, Any] | None = None,
        extended: bytes = b"",
        extended_type: str = "",
        chunk_version: int = 2,
        pixels: dict[str, Any] | None = None,
        provenance: list[dict[str, Any]] | None = None,
        recipe: dict[str, Any] | None = None,
        footer: bool | Literal["sidecar", "json"] = True,
        durable: bool = True,
        nthreads: int = 1,
        kind: Kind | None = None,
        four_bit: bool = False,
        reverse_rows: bool = False,
        mrc_header: bytes = b"",
    ) -> None:
        super().__init__(
            shape,
            np.uint8 if four_bit else dtype,
            meta=meta,
            pixels=pixels,
            provenance=provenance,
            recipe=recipe,
            reverse_rows=reverse_rows,
            mrc_header=mrc_header,
        )
        self._stored = Stored.of(self.dtype, self.shape[1:], four_bit=four_bit)
        self._options = FileOptions.of(
            target, kind=kind, codec=codec, footer=footer, four_bit=four_bit, extended=extended
        )
        self._options.check_frame(self._stored.nbytes)
        self._target, self._durable, self._version = target, durable, chunk_version
        self._pixel_size = pixel_size_of(pixel_size)
        self._carried, self._carried_type = extended, extended_type
        self._codec: Codec | None = None
        self._codec_name: str | None = None
        self._body = self._new_body()
        self._pipeline = Pipeline[Encoded](nthreads, self._store)
        self._shared_buffers = nthreads > 1

    def _new_body(self) -> Body:
        base = HEADER_SIZE + len(self._extended()[1])
        return Body(self._target, durable=self._durable, base=base)

    def _extended(self) -> tuple[str, bytes]:
        if self._options.kind == "mrcs":
            return "", b""
        if self._carried:
            return self._carried_type, self._carried
        data = extended_header.encode(self.meta, self.pixels)
        return (extended_header.JSON, data) if data else ("", b"")

    def _take(self, frame: NDArray[Any], *, owned: bool, stats: FrameStats | None) -> None:
        if self._shared_buffers and not owned:
            frame = frame.copy()
        if self._codec is None:
            self._resolve(frame)
        self._pipeline.submit(partial(encode, frame, self._stored, self._codec, stats))

    def append_chunk(
        self,
        raw: bytes | memoryview,
        *,
        frame: NDArray[Any] | None = None,
        stats: FrameStats | None = None,
    ) -> None:
        """Add a frame as a compressed chunk of another little-endian file, unchanged.

        Parameters
        ----------
        raw
            The chunk.
        frame
            What it decodes to, if that is there; or
        stats
            its statistics. Without either it is decoded for them.

        Raises
        ------
        DamagedError
            It is no chunk of such a frame, or of another version than this file's.
        ParameterError
            This file is not compressed, or has all its frames.
        """
        if self._options.codec is None:
            raise ParameterError("chunks cannot go into a file that is not compressed; append decoded frames")
        self._count()
        self._pipeline.drain()
        if self._is_wide_chunk(raw):
            self._widen()
        self._codec_name = self._codec_name or self._copied_codec(ChunkHeader.parse(raw).codec)
        self._store(copied(raw, self._stored, self._version, stats, frame))

    def _drain(self) -> None:
        self._pipeline.drain()

    def _discard(self) -> None:
        self._pipeline.close()
        self._body.discard()

    def _resolve(self, frame: NDArray[Any]) -> None:
        with phase("encode"):
            self._codec = resolve(self._options.codec, self._stored.items(frame), version=self._version)
        if self._codec is not None:
            self._codec_name = self._codec_name or self._codec.format

    def _copied_codec(self, found: str | None) -> str:
        asked = self._options.codec
        if isinstance(asked, str) and not asked.startswith("auto"):
            asked = Codec.parse(asked)
        return asked.format if isinstance(asked, Codec) else found or Codec().format

    def _is_wide_chunk(self, raw: bytes | memoryview) -> bool:
        widened = self._stored.widened
        return (
            self.dtype == np.uint8
            and self._stored.mode != widened.mode
            and ChunkHeader.parse(raw).nbytes == widened.nbytes
        )

    def _store(self, frame: Encoded) -> None:
        if not self._stored.fits(frame.stats):
            self._widen()
        if frame.stored != self._stored:
            frame = self._encode_again(frame.raw, frame.stored)
        self._body.append(frame)

    def _widen(self) -> None:
        """Write what is there once more as uint16: a count beyond 127 has come."""
        old, narrow = self._body, self._stored
        self._body, self._stored, self._codec = self._new_body(), narrow.widened, None
        try:
            for i in range(len(old)):
                self._body.append(self._encode_again(old.read(i), narrow))
        finally:
            old.discard()

    def _encode_again(self, raw: bytes | memoryview, stored: Stored) -> Encoded:
        frame = decode(raw, stored, compressed=self._options.codec is not None)
        if self._codec is None:
            self._resolve(frame)
        return encode(frame, self._stored, self._codec)

    def _finish(self) -> None:
        kind, data = self._extended()
        if self._body.base != HEADER_SIZE + len(data):
            self._body.move(HEADER_SIZE + len(data))
        header = self._header(kind, data)
        header_bytes = header.to_bytes()
        self._body.write(header_bytes, at=0)
        payload = self._payload(header, header_bytes)
        if self._options.footer == "end":
            end, encoding = self._body.index.end, self._options.encoding
            self._body.write(footers.encode(payload, end, encoding=encoding), at=end)
        path = target_path(self._target)
        if path is None:
            self._body.commit()
        else:
            beside = payload if self._options.footer == "sidecar" else None
            with sidecar(path, beside, durable=self._durable):
                self._body.commit()

    def _header(self, extended_type: str, extended: bytes) -> Header:
        plain_file = self._options.kind != "mrcz"
        promise = (PROMISE,) if self._options.footer == "end" else ()
        header = Header(
            shape=self.shape,
            mode=self._stored.mode,
            codec=self._codec_name,
            pixel_size=self._pixel_size,
            stats=self._body.statistics,
            mz=1 if plain_file else 0,
            labels=(WRITER, *promise),
            packed_size=0 if self._options.codec is None else self._body.nbytes,
            extended_type=extended_type,
            extended_size=len(extended),
            extended=extended,
        )
        return header.carry(self._mrc_header) if self._mrc_header else header

    def _payload(self, header: Header, header_bytes: bytes) -> dict[str, Any]:
        pixels: dict[str, Any] = {**self.pixels, "dtype": self.restored.newbyteorder("<").str}
        if self._pixel_size is not None:
            pixels["pixel_size"] = self._pixel_size
        return build(
            header,
            header_bytes,
            self._body.index,
            pixels=plain(pixels),
            meta=self.meta,
            provenance=self.provenance,
            recipe=self.recipe,
            codec=self._codec,
            extended=(self._carried_type, self._carried) if self._options.kind == "mrcs" else None,
            mrc_header=self._mrc_header,
        )


def write(
    path: Target,
    array: Any,
    *,
    codec: str | Codec | None = "auto",
    pixel_size: PixelSize = None,
    meta: dict[str, Any] | None = None,
    durable: bool = True,
    nthreads: int | None = None,
    **options: Any,
) -> None:
    """Write a stack or an image; of a dask array one frame after the other is computed, never the whole.

    Parameters
    ----------
    path
        ``.mrcz``, or plain ``.mrc`` and ``.mrcs``; or a seekable binary stream.
    array
        (n, y, x) or (y, x), NumPy or dask: (u)int8, (u)int16, (u)int32, float16, float32 or complex64.
    codec
        ``auto``, ``auto:fast``, ``auto:small``, NAME[:LEVEL[:FILTER]] or ``none``.
    pixel_size
        In Angstrom: a number, (x, y) or (x, y, z).
    meta
        Metadata of plain values; python-mrcz returns it too.
    durable
        Wait until the file is on the disk.
    nthreads
        Threads, by default as many as there are cores; the bytes are the same with any number.
    **options
        As `StackWriter` takes them.

    Raises
    ------
    DtypeError
        MRC cannot hold such pixels; names the type to cast to.
    ParameterError
        Options that do not go together.
    SpaceError
        The folder cannot take the file.
    """
    array = array if hasattr(array, "shape") else np.asarray(array)
    stack = array if array.ndim == 3 else array[None]
    with StackWriter(
        path,
        array.shape,
        array.dtype,
        codec=codec,
        pixel_size=pixel_size,
        meta=meta,
        durable=durable,
        nthreads=nthreads or available_cores(),
        **options,
    ) as writer:
        for i in range(len(stack)):
            writer.append(np.asarray(stack[i]), owned=True)
