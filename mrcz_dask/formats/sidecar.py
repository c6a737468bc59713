"""The footer's payload as JSON beside a file that other programs read, or in attributes of Zarr arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.formats.source import read_file
from mrcz_dask.values.errors import FooterError, OutputExistsError

VERSION = 1  # of payloads, in footers too
ATTRIBUTE = "mrcz_dask"  # of a Zarr array, with what a sidecar holds
_FORMAT = "mrcz-dask sidecar"
_LARGEST = 1 << 28


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return where the sidecar of a file is: its name and ``.json``."""
    return Path(path).with_name(Path(path).name + ".json")


def write_sidecar(path: str | os.PathLike[str], payload: dict[str, Any], *, durable: bool = True) -> None:
    """Write the payload beside `path`."""
    text = json.dumps(sealed(payload), indent=1, sort_keys=True)
    write_atomic(sidecar_path(path), (text + "\n").encode(), durable=durable)


@contextmanager
def sidecar(
    path: str | os.PathLike[str], payload: dict[str, Any] | None, *, durable: bool = True
) -> Iterator[None]:
    """Put the payload beside `path`, whose file appears in this block; None: remove a sidecar of ours.

    A payload comes first and an old one goes last: whatever happens between, no file is without the scale of
    its pixels, and one that is beside the sidecar of another is not read. After an error it is as it was.

    Raises
    ------
    OutputExistsError
        There is a file of that name which is no sidecar.
    """
    beside = sidecar_path(path)
    before = beside.read_bytes() if _is_file(beside) else None
    if payload is not None and before is not None and _FORMAT.encode() not in before:
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
    if payload is None and _load(beside) is not None:
        beside.unlink()


def sealed(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload with its checksum and our name."""
    return {"format": _FORMAT, "version": VERSION, "xxh3": _checksum(payload), "payload": payload}


def unsealed(content: Any, name: str) -> dict[str, Any] | None:
    """Return the payload of what `sealed` gave; None if this is something else.

    Raises
    ------
    FooterError
        It was changed; names the file.
    """
    if not _is_sealed(content):
        return None
    payload = content.get("payload")
    if not isinstance(payload, dict) or content.get("xxh3") != _checksum(payload):
        raise FooterError(f"{name}: its checksum does not match")
    return payload


def read_sidecar(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the payload beside `path`; None if there is none, or a JSON file of somebody else.

    Raises
    ------
    FooterError
        It is one of ours and was changed.
    """
    beside = sidecar_path(path)
    return unsealed(_load(beside), str(beside))


def section(payload: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """Return a map of a payload, empty if it is not there or no map."""
    value = (payload or {}).get(key)
    return value if isinstance(value, dict) else {}


def _checksum(payload: dict[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(canonical(payload))


def _is_sealed(content: Any) -> bool:
    return isinstance(content, dict) and content.get("format") == _FORMAT


def _load(beside: Path) -> Any:
    """Return the content of a sidecar of ours, None if there is none."""
    content = None
    if _is_file(beside):
        with suppress(ValueError, RecursionError):
            content = json.loads(read_file(beside, _LARGEST))
    return content if _is_sealed(content) else None


def _is_file(beside: Path) -> bool:
    try:
        return beside.is_file()
    except OSError:  # a name that is too long
        return False
