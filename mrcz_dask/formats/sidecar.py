"""Sidecars: this package's metadata as a JSON file beside outputs in formats of others, such as TIFF."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.metadata import LARGEST, parse_value
from mrcz_dask.formats.provenance import PACKAGE, canonical
from mrcz_dask.formats.source import read_file
from mrcz_dask.values.errors import DamagedError, FooterError, OutputExistsError

VERSION = 1  # of payloads, in footers too
ATTRIBUTE = "mrcz_dask"  # of a Zarr array, with what a sidecar holds
_FORMAT = "mrcz-dask sidecar"
_BEGIN = f'{{\n "format": "{_FORMAT}"'.encode()
_PROMISE = "checksums and provenance in the .json beside it"
_SCALE = "scale, "
SMALLEST_SCALE, LARGEST_VALUE = 1e-30, 1e18  # of counts; what lies beyond is damage or absurd


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file's sidecar: its name with ``.json`` added."""
    return Path(path).with_name(Path(path).name + ".json")


def write_sidecar(path: str | os.PathLike[str], payload: dict[str, Any], *, durable: bool = True) -> None:
    """Write metadata and checksums of an output as its sidecar."""
    text = json.dumps(sealed(payload), indent=1, sort_keys=True)
    write_atomic(sidecar_path(path), (text + "\n").encode(), durable=durable)


@contextmanager
def sidecar(
    path: str | os.PathLike[str], payload: dict[str, Any] | None, *, durable: bool = True
) -> Iterator[None]:
    """Write a sidecar together with the file written in this ``with`` block; None: remove an old one of ours.

    One of ours is replaced, and removed, also where it is damaged.

    A payload comes first and an old one goes last: whatever happens between, no file is without the scale of
    its pixels, and one that is beside the sidecar of another is not read. After an error it is as it was.

    Raises
    ------
    OutputExistsError
        There is a file of that name which is no sidecar.
    """
    beside = sidecar_path(path)
    before = beside.read_bytes() if _is_file(beside) else None
    replaceable = False
    if before is not None:
        try:
            replaceable = _is_ours(parse_value(before, "a sidecar"))
        except DamagedError:
            replaceable = PACKAGE.encode() in before or _BEGIN.startswith(before)
    if payload is not None and before is not None and not replaceable:
        raise OutputExistsError(f"{beside} is there and no sidecar of this package; move it away")
    if payload is not None:
        write_sidecar(path, payload, durable=durable)
    try:
        yield
    except BaseException:
        if before is not None:
            write_atomic(beside, before, durable=durable)
        elif payload is not None:
            beside.unlink(missing_ok=True)
        raise
    if payload is None and replaceable:
        beside.unlink()


def sealed(payload: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with their checksum and this package's mark,
    as sidecars and Zarr attributes hold them.
    """
    return {"format": _FORMAT, "version": VERSION, "xxh3": _checksum(payload), "payload": payload}


def unsealed(content: Any, name: str) -> dict[str, Any] | None:
    """Return the metadata that `sealed` wrapped, after comparing the checksum; None if not from this package.

    Raises
    ------
    FooterError
        It was changed, or a newer version wrote it; names the file.
    """
    if not _is_ours(content):
        return None
    payload, version = content.get("payload"), content.get("version")
    try:
        whole = isinstance(payload, dict) and content.get("xxh3") == _checksum(payload)
    except (ValueError, RecursionError):  # text that is no Unicode
        whole = False
    if not whole or content.get("format") != _FORMAT:
        raise FooterError(f"{name}: its checksum does not match; copy it again")
    if version != VERSION:
        raise FooterError(
            f"{name}: has version {version!r}, this package knows {VERSION}; update it, or copy it again"
        )
    return dict(payload)


def read_sidecar(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the metadata in a file's sidecar; None if there is none, or it is another program's file.

    Raises
    ------
    FooterError
        It is one of ours and was changed, or cannot be read, so that nobody knows whose it is.
    """
    beside = sidecar_path(path)
    if not _is_file(beside):
        return None
    remedy = "copy it again, or move it away if it belongs to another program"
    content = parse_value(read_file(beside, LARGEST), str(beside), remedy, FooterError)
    return unsealed(content, str(beside))


def signed(writer: str, pixels: dict[str, Any]) -> str:
    """Return the text that names this program in a file and says that it needs its sidecar."""
    return f"{writer}; {_SCALE if 'scale' in pixels else ''}{_PROMISE}"


def promises_scale(texts: Iterable[str]) -> bool:
    """Return True if a text in a file says that its sidecar holds the scale of the pixels."""
    return any(text.endswith(_SCALE + _PROMISE) for text in texts)


def notes_without(name: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return a note if a file's texts say that it has a sidecar, and the sidecar is missing.

    Raises
    ------
    FooterError
        The sidecar has the scale, without which nobody knows what pixels mean.
    """
    texts = tuple(texts)
    beside = sidecar_path(name)
    if promises_scale(texts):
        raise FooterError(
            f"{name}: its pixels are steps of a scale that is in {beside.name}, which is not there; copy it "
            "back beside the file"
        )
    if any(text.endswith(_PROMISE) for text in texts):
        return (f"without its sidecar {beside.name} nothing can be checked; copy it back beside the file",)
    return ()


def section(payload: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """Return one part of a footer's content as a dictionary; empty if it is missing or no map."""
    value = (payload or {}).get(key)
    return value if isinstance(value, dict) else {}


def scale_problem(pixels: dict[str, Any]) -> str | None:
    """Say why scale and offset of pixels cannot be those of counts; None if they can."""
    for name, lowest, default in (("scale", SMALLEST_SCALE, 1), ("offset", -LARGEST_VALUE, 0)):
        value = pixels.get(name, default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not lowest <= value <= LARGEST_VALUE:  # NaN too
            return f"{name} of its pixels is {value!r:.100}; expected {lowest:g} to {LARGEST_VALUE:g}"
    return None


def _checksum(payload: dict[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(canonical(payload))


def _is_ours(content: Any) -> bool:
    """Return whether JSON is a sidecar of ours, also one with a damaged word."""
    return isinstance(content, dict) and (
        content.get("format") == _FORMAT or {"xxh3", "payload"} <= content.keys()
    )


def _is_file(beside: Path) -> bool:
    try:
        return beside.is_file()
    except OSError:  # a name that is too long
        return False
