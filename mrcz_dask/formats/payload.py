"""What the footer's payload holds, and whether it belongs to the file it is in."""

from __future__ import annotations

from typing import Any

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc.header import HEADER_SIZE, Header
from mrcz_dask.formats.mrc.index import FrameIndex
from mrcz_dask.formats.provenance import PACKAGE, plain
from mrcz_dask.values.errors import DamagedError, FooterError, HeaderError, MrczDaskError
from mrcz_dask.version import __version__

WRITER = f"MRCZ-dask {__version__}"
# in the header, so that a file that lost its footer is not taken for one that never had any
PROMISE = "footer: checksums and provenance behind the last frame"


def build(
    header: Header,
    header_bytes: bytes,
    index: FrameIndex,
    *,
    pixels: dict[str, Any],
    meta: dict[str, Any] | None,
    provenance: list[dict[str, Any]] | None,
    recipe: dict[str, Any] | None,
    codec: Codec | None,
    extended: tuple[str, bytes] | None = None,
    mrc_header: bytes = b"",
) -> dict[str, Any]:
    """Return the payload for a file with this header and these frames; see `common` for the rest."""
    return {
        "header": {
            "xxh3": checksum(header_bytes),
            "shape": list(header.shape),
            "dtype": header.dtype.str,
        },
        "frames": index.to_payload(),
        **common(pixels, meta, provenance, recipe, extended, mrc_header),
        **({"codec": codec.to_dict()} if codec is not None else {}),
    }


def common(
    pixels: dict[str, Any],
    meta: dict[str, Any] | None,
    provenance: list[dict[str, Any]] | None,
    recipe: dict[str, Any] | None,
    extended: tuple[str, bytes] | None,
    mrc_header: bytes = b"",
) -> dict[str, Any]:
    """Return what payloads of all formats hold.

    Parameters
    ----------
    pixels, meta, provenance, recipe
        As writers take them.
    extended
        Four characters and bytes of an extended header for which the format has no place.
    mrc_header
        The 1024 bytes of the MRC header that the first input had.
    """
    kind, data = extended or ("", b"")
    return {
        "writer": {"package": PACKAGE, "version": __version__},
        "pixels": plain(pixels),
        "meta": plain(meta or {}),
        "provenance": plain(provenance or []),
        **({"recipe": plain(recipe)} if recipe is not None else {}),
        **({"extended": {"type": kind, "hex": data.hex()}} if data else {}),
        **({"mrc_header": {"hex": mrc_header.hex()}} if mrc_header else {}),
    }


def kept_header(payload: dict[str, Any] | None) -> bytes:
    """Return the 1024 bytes of the MRC header that a payload holds; empty if none."""
    try:
        found = bytes.fromhex(str(section(payload, "mrc_header").get("hex", "")))
    except ValueError:
        return b""
    return found if len(found) == HEADER_SIZE else b""


def kept_extended(payload: dict[str, Any] | None) -> tuple[str, bytes]:
    """Return four characters and the bytes of an extended header that a payload holds; empty if none."""
    said = section(payload, "extended")
    try:
        return str(said.get("type", "")), bytes.fromhex(str(said.get("hex", "")))
    except ValueError:
        return "", b""


def mismatches(payload: dict[str, Any], header: Header, header_bytes: bytes) -> list[MrczDaskError]:
    """Return how the header differs from what the footer says about it; empty if it does not."""
    said, first = payload.get("header"), section(payload, "frames").get("offset")
    if not isinstance(said, dict):
        return [FooterError("the footer says nothing about the header")]
    problems: list[MrczDaskError] = []
    begin = first[0] if isinstance(first, list) and first else None
    if isinstance(begin, int) and begin != header.data_offset:
        asked = f"the header asks for NSYMBT {header.extended_size}, so frames begin at {header.data_offset}"
        fitting = f"the footer has them at {begin}, as for NSYMBT {begin - HEADER_SIZE}"
        problems.append(HeaderError(f"{asked}; {fitting}; correct the header"))
    for key, found in (("shape", list(header.shape)), ("dtype", header.dtype.str)):
        if said.get(key) != found:
            text = f"the header says {key} {found}, the footer {said.get(key)!r}; correct the header"
            problems.append(HeaderError(text))
    if said.get("xxh3") != checksum(header_bytes):
        text = "the header is not the one that was written (its checksum does not match)"
        problems.append(DamagedError(text))
    return problems


def section(payload: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """Return a map of the payload, empty if it is not there or no map."""
    value = (payload or {}).get(key)
    return value if isinstance(value, dict) else {}
