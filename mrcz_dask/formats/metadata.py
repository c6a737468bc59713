"""Reads metadata from JSON, MessagePack, TOML or Zarr attributes; damage is an error with a remedy.

A flipped bit makes a parser raise nearly anything: errors of syntax, of UTF-8, of types, of nesting without
end. All of it becomes one error that says where, why, and what to do.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import xxhash

from mrcz_dask.formats.libraries import one_line, raise_ours
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.formats.source import read_file
from mrcz_dask.values.errors import DamagedError, MrczDaskError

COPY_AGAIN = "copy the file again"
LARGEST = 1 << 28  # bytes of a file of metadata
SEAL = "xxh3"
ZARR_FILE = "zarr.json"


@contextmanager
def reading(
    name: str, expected: str, remedy: str = COPY_AGAIN, error: type[MrczDaskError] = DamagedError
) -> Iterator[None]:
    """Turn any exception while metadata are read into an error that names the file and the remedy.

    Parameters
    ----------
    name
        Path of the file, or where else the metadata come from.
    expected
        Expected content, such as ``a JSON object``.
    remedy
        Advice for the user.
    error
        Class of the error. Those of this package, and those of the operating system, stay as they are.
    """
    try:
        yield
    except Exception as cause:
        raise_ours(name, cause, "")
        text = f"expected {expected}, and it cannot be read ({one_line(cause)})"
        raise error(f"{name}: {text}; {remedy}") from cause


def parse_value(
    data: bytes | str, name: str, remedy: str = COPY_AGAIN, error: type[MrczDaskError] = DamagedError
) -> Any:
    """Return the JSON value (list, text, map ...) in bytes or text;
    damage is an error that names the file.
    """
    with reading(name, "JSON", remedy, error):
        return json.loads(data, object_pairs_hook=_unique)


def parse_json(
    data: bytes | str, name: str, remedy: str = COPY_AGAIN, error: type[MrczDaskError] = DamagedError
) -> dict[str, Any]:
    """Return the JSON object in bytes or text as a dictionary; damage is an error that names the file."""
    with reading(name, "a JSON object", remedy, error):
        return _mapping(json.loads(data, object_pairs_hook=_unique))


def read_json(path: Path, remedy: str = COPY_AGAIN) -> dict[str, Any]:
    """Return the JSON object in a file as a dictionary.

    Raises
    ------
    FormatError
        It is none, or is too large for metadata.
    PlaceError, OSError
        The file is no regular one, not there, or cannot be read.
    """
    return parse_json(read_file(path, LARGEST), str(path), remedy)


def parse_msgpack(
    data: bytes | memoryview, name: str, remedy: str = COPY_AGAIN, error: type[MrczDaskError] = DamagedError
) -> dict[str, Any]:
    """Return the MessagePack map in bytes as a dictionary; damage is an error that names the file."""
    with reading(name, "a MessagePack map", remedy, error):
        # skipping first shows that every announced item is there, before lists are made for them
        scan = msgpack.Unpacker(max_buffer_size=max(1, len(data)))
        scan.feed(data)
        scan.skip()
        return _mapping(msgpack.unpackb(data))


def parse_toml(
    data: bytes, name: str, remedy: str = COPY_AGAIN, error: type[MrczDaskError] = DamagedError
) -> dict[str, Any]:
    """Return the TOML document in bytes as a dictionary; a fault is an error that names the file."""
    with reading(name, "TOML", remedy, error):
        return tomllib.loads(data.decode("utf-8"))


def open_node(path: Path, remedy: str = COPY_AGAIN) -> Any:
    """Open a Zarr array or group for reading; damage is an error that names the folder, as in `reading`."""
    zarr = _checked_zarr()
    with reading(str(path), "a Zarr array or group", remedy):
        if (path / ZARR_FILE).is_file():  # Zarr would take one of two values of the same name
            parse_json(read_file(path / ZARR_FILE, LARGEST), str(path), remedy)
        return zarr.open(zarr.storage.LocalStore(path, read_only=True), mode="r")


def open_whole(path: Path, remedy: str = COPY_AGAIN) -> Any:
    """Open a Zarr array of this package to read all of it; a damaged shape takes no memory.

    Raises
    ------
    DamagedError
        It is not there or damaged, or is large and fewer files are there than it has chunks.
    """
    zarr = _checked_zarr()
    with reading(str(path), "a Zarr array", remedy):
        if not (path / ZARR_FILE).is_file():
            raise DamagedError(f"{path}: {ZARR_FILE} is gone; {remedy}")
        # zarr.open would read this file once more, and take several times as long
        about = parse_json(read_file(path / ZARR_FILE, LARGEST), str(path), remedy)
        place = zarr.storage.StorePath(zarr.storage.LocalStore(path, read_only=True))
        array = zarr.Array(zarr.AsyncArray.from_dict(place, about))
        files = sum(file.is_file() for file in path.rglob("*")) - 1  # beside zarr.json
        if array.nbytes > LARGEST and files < array.nchunks:
            raise DamagedError(f"{path}: {files} of its {array.nchunks} chunks are there; {remedy}")
    return array


def open_group(path: Path, remedy: str = COPY_AGAIN, **options: Any) -> Any:
    """Open a Zarr group; damage is an error that names the folder, as in `reading`."""
    zarr = _checked_zarr()
    with reading(str(path), "a Zarr group", remedy):
        return zarr.open_group(path, **{"mode": "r"} | options)


def _checked_zarr() -> Any:
    """Import Zarr, which then checks blosc chunks before it decodes them."""
    import zarr

    import mrcz_dask.formats.zarr_blosc  # noqa: F401

    return zarr


def group_attributes(path: Path, remedy: str = COPY_AGAIN) -> dict[str, Any]:
    """Return the attributes of a Zarr group, after comparing them with their checksum if they have one."""
    with reading(str(path), "attributes of a Zarr group", remedy):
        content = parse_json(read_file(path / ZARR_FILE, LARGEST), str(path), remedy)
        attributes = _mapping(content.pop("attributes", {}))
        content.pop("consolidated_metadata", None)
        if content != {"zarr_format": 3, "node_type": "group"}:
            raise ValueError(f"found {content}")
    if not attributes:  # all groups have some: the name of this part of the file was changed
        raise DamagedError(f"{path}: its attributes are gone; {remedy}")
    return unsealed_values(attributes, str(path), remedy)


def sealed_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return a dictionary with a checksum of its values added, for a JSON file or Zarr attributes."""
    return {**values, SEAL: xxhash.xxh3_64_hexdigest(canonical(values))}


def unsealed_values(content: dict[str, Any], name: str, remedy: str = COPY_AGAIN) -> dict[str, Any]:
    """Return a dictionary without its checksum, after comparing it; files of older versions have none.

    Raises
    ------
    DamagedError
        The values are not those that were written; the name of the checksum may be what was changed.
    """
    values = {key: value for key, value in content.items() if key != SEAL}
    with reading(name, "values with their checksum", remedy):
        if SEAL in content and content[SEAL] != sealed_values(values)[SEAL]:
            raise DamagedError(f"{name}: not the values that were written (their checksum differs); {remedy}")
        for key, seal in values.items() if SEAL not in content else ():
            others = {other: value for other, value in values.items() if other != key}
            if isinstance(seal, str) and len(seal) == 16 and seal == sealed_values(others)[SEAL]:
                raise DamagedError(f"{name}: the name of its checksum, {SEAL}, was changed; {remedy}")
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; readers differ in which of two with the same name they take."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return members


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"a {type(value).__name__} instead of a map with text keys")
    return value
