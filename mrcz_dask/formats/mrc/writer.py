"""Writes MRCZ and MRC files frame by frame; equal bytes with any number of threads."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import NoneType
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.atomic import Target, target_path
from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.formats.compression.codecs import Codec, check_chunk_size, resolve
from mrcz_dask.formats.frame_writer import WRITER, FrameWriter, PixelSize
from mrcz_dask.formats.mrc import footer as footers
from mrcz_dask.formats.mrc.body import INT8_MAX, Body, Encoded, Stored, decode, encode, encode_copy
from mrcz_dask.formats.mrc.header import HEADER_SIZE, JSON, PROMISE, Header, encode_meta
from mrcz_dask.formats.mrc.layout import FrameIndex, header_payload
from mrcz_dask.formats.parallel import available_cores
from mrcz_dask.formats.provenance import steps_in, verify_chain
from mrcz_dask.formats.sidecar import sidecar, signed
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.checks import checked, expect, one_of, raise_all
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.timing import phase

FileKind = Literal["mrcz", "mrc", "mrcs"]
FooterOption = bool | Literal["sidecar", "json"]
_KINDS: dict[str, FileKind] = {".mrcz": "mrcz", ".mrc": "mrc", ".mrcs": "mrcs"}


class StackWriter(FrameWriter):
    """Writes a stack to an MRCZ or MRC file, frame by frame; it appears, whole, when the writer is closed.

    Parameters
    ----------
    target
        A path, or a seekable binary stream that is replaced from its first byte.
    shape
        (n, ny, nx), or (ny, nx) for one image.
    dtype
        Type of the frames: (u)int8, (u)int16, (u)int32, float16, float32 or complex64.
    codec
        ``auto`` (chosen from the first frame), ``auto:fast``, ``auto:small``, NAME[:LEVEL[:FILTER]],
        a `Codec`, or ``none``; plain files are never compressed.
    chunk_version
        2 (every reader of MRCZ) or 5 (blosc2).
    footer
        True, False, ``"json"`` for a footer that is JSON instead of msgpack, or ``"sidecar"`` for a JSON file
        beside a plain one.
    durable
        Wait until the file is on the disk.
    kind
        ``mrcz``, ``mrc`` or ``mrcs``; by default from the name.
    four_bit
        Keep values 0..15 in four bits (mode 101; not compressed).
    **about
        As `FrameWriter` takes it.

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
        chunk_version: int = 2,
        footer: FooterOption = True,
        durable: bool = True,
        kind: FileKind | None = None,
        four_bit: bool = False,
        **about: Any,
    ) -> None:
        super().__init__(shape, np.uint8 if four_bit else dtype, **about)
        expect("codec", codec, (str, Codec, NoneType), "its name or a Codec")
        raise_all("options", one_of("chunk_version", chunk_version, (2, 5)))
        raise_all("options", one_of("kind", kind, (None, *_KINDS.values())))
        self._stored = Stored.of(self.dtype, self.shape[1:], four_bit=four_bit)
        self._target, self._path, self._durable = target, target_path(target), durable
        self._kind = self._choose_kind(kind)
        if footer not in (True, False, "sidecar", "json"):
            raise ParameterError(
                f"footer is {footer!r}; expected True, False, 'json' (at the file's end) or 'sidecar'"
            )
        if four_bit and footer:
            footer = "sidecar"  # readers of 4-bit files trip over bytes behind the data
        self._footer = False if footer == "sidecar" and self._path is None else footer
        if codec == "none" or (codec == "auto" and (self._kind != "mrcz" or four_bit)):
            codec = None
        if codec is not None:
            self._check_codec(codec, four_bit)
        if self._extended and self._kind == "mrcs" and not self._footer:
            raise ParameterError(
                "a plain .mrcs has no extended header (MotionCor3 takes one for tilts); write .mrc, or "
                "a footer or sidecar, which keeps it"
            )
        self._codec_option, self._version = codec, chunk_version
        self._codec: Codec | None = None
        self._codec_name: str | None = None
        self._body = self._new_body()

    def _choose_kind(self, kind: FileKind | None) -> FileKind:
        if kind is not None or self._path is None:
            return kind or "mrcz"
        suffix = self._path.suffix.lower()
        if suffix not in _KINDS:
            raise ParameterError(
                f"{self._path}: expected a name that ends in {', '.join(_KINDS)}, or kind= to be given"
            )
        return _KINDS[suffix]

    def _check_codec(self, codec: str | Codec, four_bit: bool) -> None:
        if self._kind != "mrcz":
            raise ParameterError(f"codec is {codec!s} for a plain .{self._kind}; write .mrcz, or codec none")
        if four_bit:
            raise ParameterError(f"codec is {codec!s} for 4-bit pixels; these are not compressed: codec none")
        if self._footer == "sidecar":
            raise ParameterError("a sidecar goes with plain files; compressed ones hold their footer")
        check_chunk_size(self._stored.nbytes)

    def _new_body(self) -> Body:
        base = HEADER_SIZE + len(self._extended_header()[1])
        return Body(self._target, durable=self._durable, base=base)

    def _extended_header(self) -> tuple[str, bytes]:
        """Return the four letters and the bytes of the extended header."""
        if self._kind == "mrcs":
            return "", b""
        if self._extended:
            return self._extended_type, self._extended
        data = encode_meta(self.meta, self.pixels)
        return (JSON, data) if data else ("", b"")

    def _take(self, frame: NDArray[Any], stats: FrameStats | None) -> None:
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
        """Add a frame that is already compressed, copied unchanged from another MRCZ file.

        Parameters
        ----------
        raw
            The chunk.
        frame
            Pixels that the chunk decodes to, if known; or
        stats
            its statistics. Without either it is decoded for them.

        Raises
        ------
        DamagedError
            It is no chunk of such a frame, or of another version than this file's.
        ParameterError
            This file is not compressed, or has all its frames.
        """
        codec = self._codec_option
        if codec is None:
            raise ParameterError("chunks cannot go into a file that is not compressed; append decoded frames")
        self._count()
        self._pipeline.drain()
        chunk = ChunkHeader.parse(raw)
        if self._stored.may_overflow and chunk.nbytes == self._stored.widened.nbytes:
            self._widen()
        if self._codec_name is None:
            if isinstance(codec, str) and not codec.startswith("auto"):
                codec = Codec.parse(codec)
            self._codec_name = codec.format if isinstance(codec, Codec) else chunk.codec or Codec().format
        self._store(encode_copy(raw, self._stored, self._version, stats, frame))

    def _resolve(self, frame: NDArray[Any]) -> None:
        with phase("encode"):
            self._codec = resolve(self._codec_option, self._stored.items(frame), version=self._version)
        if self._codec is not None:
            self._codec_name = self._codec_name or self._codec.format

    def _store(self, encoded: Encoded) -> None:
        if self._stored.may_overflow and encoded.stats is not None and encoded.stats.maximum > INT8_MAX:
            self._widen()
        if encoded.stored != self._stored:
            encoded = self._encode_again(encoded.raw, encoded.stored)
        self._body.append(encoded)

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
        frame = decode(raw, stored, compressed=self._codec_option is not None)
        if self._codec is None:
            self._resolve(frame)
        return encode(frame, self._stored, self._codec)

    def _discard(self) -> None:
        self._body.discard()

    def _finish(self) -> None:
        extended_type, extended = self._extended_header()
        base = HEADER_SIZE + len(extended)
        if self._body.base != base:
            self._body.move(base)
        header = self._header(extended_type, extended)
        header_bytes = header.to_bytes()
        self._body.write(header_bytes, at=0)
        payload = self._stack_payload(header, header_bytes, self._body.index)
        if self._footer in (True, "json"):
            end = self._body.index.end
            encoding: footers.Encoding = "json" if self._footer == "json" else "msgpack"
            self._body.write(footers.encode(payload, end, encoding=encoding), at=end)
        self._commit(payload if self._footer == "sidecar" else None)

    def _commit(self, beside: dict[str, Any] | None) -> None:
        with nullcontext() if self._path is None else sidecar(self._path, beside, durable=self._durable):
            self._body.commit()

    def _header(self, extended_type: str = "", extended: bytes = b"") -> Header:
        promise = (PROMISE,) if self._footer in (True, "json") else ()
        program = signed(WRITER, self.pixels) if self._footer == "sidecar" else WRITER
        header = Header(
            shape=self.shape,
            mode=self._stored.mode,
            codec=self._codec_name,
            pixel_size=self._pixel_size,
            stats=self._body.statistics,
            mz=0 if self._kind == "mrcz" else 1,
            labels=(program, *promise),
            packed_size=0 if self._codec_option is None else self._body.nbytes,
            extended_type=extended_type,
            extended_size=len(extended),
            extended=extended,
        )
        return header.carry(self._mrc_header) if self._mrc_header else header

    def _stack_payload(self, header: Header, header_bytes: bytes, index: FrameIndex) -> dict[str, Any]:
        frames = {"offset": list(index.offsets), "nbytes": list(index.nbytes)}
        payload = {
            "header": header_payload(header, header_bytes),
            "frames": frames | {"xxh3": list(index.checksums or ())},
            **self._payload(with_extended=self._kind == "mrcs"),
        }
        return payload if self._codec is None else payload | {"codec": self._codec.to_dict()}


@checked
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
    """Write an array as an MRCZ or MRC file; a dask array is computed frame by frame, in little memory.

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
        Options that do not go together, or a provenance that `verify` would call changed.
    SpaceError
        The folder cannot take the file.
    """
    if problems := verify_chain(steps_in(options.get("provenance"), "the file", ParameterError)):
        raise ParameterError(f"{problems[0]}; give steps as read_footer returns them, or none")
    array = array if hasattr(array, "shape") else np.asarray(array)
    stack = array if array.ndim == 3 else array[None]
    options |= {"codec": codec, "pixel_size": pixel_size, "meta": meta, "durable": durable}
    options["nthreads"] = nthreads or available_cores()
    with StackWriter(path, array.shape, array.dtype, **options) as writer:
        for i in range(len(stack)):
            writer.append(np.asarray(stack[i]), owned=True)
