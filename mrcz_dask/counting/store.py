"""The event list of a stack in Zarr, from which any fractions and upsampling are made again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from mrcz_dask.counting.packing import CHARGE_STEPS, STEPS, Found, pixels
from mrcz_dask.formats.atomic import AtomicFolder
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.formats.provenance import plain
from mrcz_dask.values.errors import FormatError, ParameterError, PlaceError

SUFFIX = ".events.zarr"
VERSION = 1
MARK = "mrcz_dask_events"
CHUNK = 1 << 19
_COLUMNS = {"frame": np.uint32, "y": np.int32, "x": np.int32, "charge": np.uint16}


class EventSource(Protocol):
    """Electrons of a stack, some frames at a time.

    Attributes
    ----------
    about
        What the stack is: see `recording.about_stack`.
    """

    about: dict[str, Any]

    def found(self, start: int, stop: int) -> Found:
        """Return the electrons of frames start <= k < stop."""
        ...


class Events:
    """An event list that is there.

    Parameters
    ----------
    path
        Of the Zarr group.

    Attributes
    ----------
    path, about
        Where it is, and what it says of its stack: shape, pixel size, metadata, provenance, charge of a step.

    Raises
    ------
    FormatError
        It is none, or of another layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise PlaceError(f"{path}: no event list: it is not there; check the path")
        what = f"expected a folder {SUFFIX} of `mrcz-dask count --events`"
        if not is_zarr(self.path):
            raise PlaceError(f"{path}: no event list; {what}")
        try:
            self._group = zarr.open_group(self.path, mode="r")
            version = self._group.attrs.get(MARK)
            self._first = np.asarray(self._array("first")[:])
        except (OSError, KeyError, ValueError) as error:
            raise FormatError(f"{path}: no event list ({error}); {what}") from error
        if version != VERSION:
            raise FormatError(f"{path}: event list version {version!r}; expected {VERSION}; count again")
        self.about: dict[str, Any] = dict(self._group.attrs["about"])  # type: ignore[arg-type]

    def _array(self, name: str) -> Any:
        return self._group[name]

    def __len__(self) -> int:
        """Return the number of raw frames."""
        return self._first.size - 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return raw frames, rows and columns."""
        n, ny, nx = self.about["shape"]
        return n, ny, nx

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Return the steps that made it."""
        return list(self.about["provenance"])

    def found(self, start: int, stop: int) -> Found:
        """Return the electrons of frames start <= k < stop, in whole steps."""
        if not 0 <= start <= stop <= len(self):
            raise ParameterError(f"{self.path}: frames {start} to {stop}; it has {len(self)}")
        here = slice(int(self._first[start]), int(self._first[stop]))
        counts = np.diff(self._first[start : stop + 1]).astype(np.uint32)
        return Found(counts, *(np.asarray(self._array(name)[here]) for name in ("y", "x", "charge")))

    def frame(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return y and x in pixels and charge in ADU of the electrons of one frame, (n,) each."""
        found = self.found(k, k + 1)
        charge = found.charge.astype(np.float64) * float(self.about["charge_step"])
        return pixels(found.y), pixels(found.x), charge


def open_events(path: str | os.PathLike[str]) -> Events:
    """Open an event list.

    Parameters
    ----------
    path
        Of the folder ``STEM.events.zarr``.

    Raises
    ------
    FormatError
        It is none.
    """
    return Events(path)


def write_events(path: Path, about: dict[str, Any], parts: Iterable[Found]) -> None:
    """Write an event list, part by part; it appears whole, or not at all.

    Parameters
    ----------
    path
        Of the Zarr group.
    about
        Plain values, with ``frames`` and ``events``: how many there are in all.
    parts
        All electrons, in order.

    Raises
    ------
    SpaceError
        The folder cannot take it.
    """
    folder = AtomicFolder(path)
    try:
        steps = {"place": f"1/{STEPS} pixel, rounded down", "charge": f"1/{CHARGE_STEPS} read noise"}
        attributes: Any = {MARK: VERSION, "steps": steps, "about": plain(about)}
        group = zarr.open_group(folder.place, mode="w", attributes=attributes)
        _fill(group, about, parts)
        folder.commit()
    finally:
        folder.discard()


def _fill(group: zarr.Group, about: dict[str, Any], parts: Iterable[Found]) -> None:
    writer = _Columns(group, int(about["events"]))
    first = [np.zeros(1, np.uint64)]
    frames = 0
    for part in parts:
        number = np.repeat(np.arange(frames, frames + part.counts.size, dtype=np.uint32), part.counts)
        writer.add({"frame": number, "y": part.y, "x": part.x, "charge": part.charge})
        first.append(first[-1][-1] + np.cumsum(part.counts, dtype=np.uint64))
        frames += part.counts.size
    writer.flush()
    _array(group, "first", frames + 1, np.uint64, 1 << 16)[:] = np.concatenate(first)


class _Columns:
    """Columns that grow, written a chunk at a time."""

    def __init__(self, group: zarr.Group, size: int) -> None:
        self._arrays = {name: _array(group, name, size, dtype, CHUNK) for name, dtype in _COLUMNS.items()}
        self._waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
        self._held = self._at = 0

    def add(self, columns: dict[str, NDArray[Any]]) -> None:
        for name, values in columns.items():
            self._waiting[name].append(values)
        self._held += columns["y"].size
        if self._held >= CHUNK:
            self._write(self._held // CHUNK * CHUNK)

    def flush(self) -> None:
        self._write(self._held)

    def _write(self, count: int) -> None:
        for name, parts in self._waiting.items():
            held = np.concatenate(parts) if parts else np.empty(0, _COLUMNS[name])
            if count:
                self._arrays[name][self._at : self._at + count] = held[:count]
            self._waiting[name] = [held[count:]]
        self._at += count
        self._held -= count


def _array(group: zarr.Group, name: str, size: int, dtype: Any, chunk: int) -> Any:
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    return group.create_array(
        name, shape=(size,), chunks=(max(1, min(chunk, size)),), dtype=dtype, compressors=codec
    )
