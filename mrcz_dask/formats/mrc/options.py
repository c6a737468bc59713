"""What a writer is asked for, checked before a byte is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.footer import Encoding
from mrcz_dask.formats.sinks import Target, target_path
from mrcz_dask.values.errors import ParameterError

Kind = Literal["mrcz", "mrc", "mrcs"]
FooterPlace = Literal["none", "end", "sidecar"]
PixelSize = float | Sequence[float] | None
_LARGEST_CHUNK = (1 << 31) - (1 << 20)
_KINDS: dict[str, Kind] = {".mrcz": "mrcz", ".mrc": "mrc", ".mrcs": "mrcs"}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The file that is written, and whether that makes sense.

    Attributes
    ----------
    kind
        ``mrcz``, or plain ``mrc`` and ``mrcs``.
    codec
        None: not compressed.
    footer
        At the file's end, in a sidecar, or nowhere.
    encoding
        Of a footer at the file's end.
    """

    kind: Kind
    codec: str | Codec | None
    footer: FooterPlace
    encoding: Encoding = "msgpack"

    @classmethod
    def of(
        cls,
        target: Target,
        *,
        kind: Kind | None,
        codec: str | Codec | None,
        footer: bool | Literal["sidecar", "json"],
        four_bit: bool,
        extended: bytes,
    ) -> FileOptions:
        """Resolve what `StackWriter` was given.

        Raises
        ------
        ParameterError
            Things that do not go together.
        """
        kind = kind or _kind_of(target)
        if footer not in (True, False, "sidecar", "json"):
            raise ParameterError(
                f"footer is {footer!r}; expected True, False, 'json' (at the file's end) or 'sidecar'"
            )
        place: FooterPlace = "sidecar" if footer == "sidecar" else "end" if footer else "none"
        if four_bit and place != "none":
            place = "sidecar"  # readers of 4-bit files trip over bytes behind the data
        if place == "sidecar" and target_path(target) is None:
            place = "none"
        if codec == "none" or (codec == "auto" and (kind != "mrcz" or four_bit)):
            codec = None
        _check(kind, codec, place, four_bit, extended)
        return cls(kind, codec, place, "json" if footer == "json" else "msgpack")

    def check_frame(self, nbytes: int) -> None:
        """Refuse frames that no blosc chunk can hold.

        Raises
        ------
        ParameterError
            They have 2 GiB or more and are to be compressed.
        """
        if self.codec is not None:
            check_chunk(nbytes)


def check_chunk(nbytes: int) -> None:
    """Refuse a frame that no blosc chunk can hold.

    Raises
    ------
    ParameterError
        It has 2 GiB or more.
    """
    if nbytes > _LARGEST_CHUNK:
        raise ParameterError(f"frames of {nbytes} bytes; a chunk holds {_LARGEST_CHUNK}: codec none")


def pixel_size_of(value: PixelSize) -> tuple[float, float, float] | None:
    """Return (x, y, z) in Angstrom of a number, (x, y) or (x, y, z).

    Raises
    ------
    ParameterError
        Not so many numbers, or not above 0.
    """
    if value is None:
        return None
    sizes = tuple(float(one) for one in (value if isinstance(value, Sequence) else (value,)))
    if len(sizes) > 3 or not sizes or not all(isfinite(one) and one > 0 for one in sizes):
        raise ParameterError(f"pixel_size is {value!r}; expected Angstrom above 0, as x, (x, y) or (x, y, z)")
    x, y, z = (sizes * 3)[:3] if len(sizes) == 1 else (*sizes, sizes[0])[:3]
    return x, y, z


def _kind_of(target: Target) -> Kind:
    path = target_path(target)
    if path is None:
        return "mrcz"
    if path.suffix.lower() not in _KINDS:
        raise ParameterError(
            f"{path}: expected a name that ends in {', '.join(_KINDS)}, or kind= to be given"
        )
    return _KINDS[path.suffix.lower()]


def _check(
    kind: Kind, codec: str | Codec | None, place: FooterPlace, four_bit: bool, extended: bytes
) -> None:
    if codec is not None and kind != "mrcz":
        raise ParameterError(f"codec is {codec!s} for a plain .{kind}; write .mrcz, or codec none")
    if codec is not None and four_bit:
        raise ParameterError(f"codec is {codec!s} for 4-bit pixels; these are not compressed: codec none")
    if place == "sidecar" and codec is not None:
        raise ParameterError("a sidecar goes with plain files; compressed ones hold their footer")
    if extended and kind == "mrcs" and place == "none":
        raise ParameterError(
            "a plain .mrcs has no extended header (MotionCor3 takes one for tilts); write .mrc, or "
            "a footer or sidecar, which keeps it"
        )
