"""The event list of a stack in Zarr, from which counted frames of any fractions and upsampling are made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from mrcz_dask.counting.packing import CHARGE_STEPS, STEPS, EventArrays, pixels
from mrcz_dask.counting.recording import Summary
from mrcz_dask.formats.atomic import AtomicFolder
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.formats.provenance import plain, verify_chain
from mrcz_dask.values.errors import FormatError, ParameterError, PlaceError

SUFFIX = ".events.zarr"
VERSION = 1
MARK = "mrcz_dask_events"
CHUNK = 1 << 19
VERIFIED = 64  # frames that are read at a time to verify a list
_COLUMNS = {"frame": np.uint32, "y": np.int32, "x": np.int32, "charge": np.uint16}


class EventSource(Protocol):
    """Events of a stack, some frames at a time.

    Attributes
    ----------
    about
        Description of the stack, from `recording.about_stack`.
    """

    about: dict[str, Any]

    def read(self, start: int, stop: int) -> EventArrays:
        """Return the events of frames start <= k < stop."""
        ...


class Events:
    """An event list on disk.

    Parameters
    ----------
    path
        Path of the Zarr group.

    Attributes
    ----------
    path
        The same as a `Path`.
    about
        Description of the stack: shape, pixel size, metadata, provenance, ADU of a step of charge.

    Raises
    ------
    FormatError
        If it is no event list, or one of another layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise PlaceError(f"{path}: no event list: it is not there; check the path")
        expected = f"expected a folder {SUFFIX} of `mrcz-dask count --events`"
        if not is_zarr(self.path):
            raise PlaceError(f"{path}: no event list; {expected}")
        try:
            group: Any = zarr.open_group(self.path, mode="r")
            self._group, version = group, group.attrs.get(MARK)
            self._first = np.asarray(group["first"][:])
        except (OSError, KeyError, ValueError) as error:
            raise FormatError(f"{path}: no event list ({error}); {expected}") from error
        if version != VERSION:
            raise FormatError(f"{path}: event list version {version!r}; expected {VERSION}; count again")
        self.about: dict[str, Any] = dict(group.attrs["about"])

    def __len__(self) -> int:
        """Return the number of raw frames."""
        return self._first.size - 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Raw frames, rows and columns."""
        n, ny, nx = self.about["shape"]
        return n, ny, nx

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Steps that made the list."""
        return list(self.about["provenance"])

    def read(self, start: int, stop: int) -> EventArrays:
        """Return the events of frames start <= k < stop, in whole steps."""
        if not 0 <= start <= stop <= len(self):
            raise ParameterError(f"{self.path}: frames {start} to {stop}; it has {len(self)}")
        here = slice(int(self._first[start]), int(self._first[stop]))
        counts = np.diff(self._first[start : stop + 1]).astype(np.uint32)
        return EventArrays(counts, *(np.asarray(self._group[name][here]) for name in ("y", "x", "charge")))

    def frame(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return y and x in pixels and charge in ADU of the electrons of one frame, (n,) each."""
        events = self.read(k, k + 1)
        charge = events.charge.astype(np.float64) * float(self.about["charge_step"])
        return pixels(events.y), pixels(events.x), charge


def open_events(path: str | os.PathLike[str]) -> Events:
    """Open an event list, the folder ``STEM.events.zarr``.

    Raises
    ------
    FormatError
        If it is none.
    """
    return Events(path)


def event_problems(path: Path) -> list[str]:
    """Verify events and provenance of an event list; return its problems, none if it is sound."""
    try:
        events, summary = Events(path), Summary()
        for start in range(0, len(events), VERIFIED):
            summary.add(b"", events.read(start, min(start + VERIFIED, len(events))))
        about = events.about
        counts, expected = (summary.events, summary.frames), (about["events"], about["frames"])
        problems = list(verify_chain(about["provenance"]))
        if counts != expected:
            return ["{} electrons in {} frames; expected {} in {}".format(*counts, *expected), *problems]
        if summary.events_digest != about["digest"]:
            changed = "the electrons are not those that were written (their digest does not match)"
            return [changed, *problems]
        return problems
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        return [f"{path}: cannot be read ({error}); count again"]


def write_events(path: Path, about: dict[str, Any], parts: Iterable[EventArrays]) -> None:
    """Write an event list, part by part; it appears whole, or not at all.

    Parameters
    ----------
    path
        Path of the Zarr group.
    about
        Description of the stack in plain values, with ``frames`` and ``events``: how many there are in all.
    parts
        All events, in order.

    Raises
    ------
    SpaceError
        If the folder is full or cannot be written.
    """
    folder = AtomicFolder(path)
    try:
        steps = {"place": f"1/{STEPS} pixel, rounded down", "charge": f"1/{CHARGE_STEPS} read noise"}
        attributes: Any = {MARK: VERSION, "steps": steps, "about": plain(about)}
        group = zarr.open_group(folder.place, mode="w", attributes=attributes)
        writer = _ColumnWriter(group, int(about["events"]))
        first, frames = [np.zeros(1, np.uint64)], 0
        for part in parts:
            number = np.repeat(np.arange(frames, frames + part.counts.size, dtype=np.uint32), part.counts)
            writer.add({"frame": number, "y": part.y, "x": part.x, "charge": part.charge})
            first.append(first[-1][-1] + np.cumsum(part.counts, dtype=np.uint64))
            frames += part.counts.size
        writer.flush()
        _array(group, "first", frames + 1, np.uint64, 1 << 16)[:] = np.concatenate(first)
        folder.commit()
    finally:
        folder.discard()


class _ColumnWriter:
    """Writes columns whole chunks at a time, as parts of any size come in."""

    def __init__(self, group: zarr.Group, size: int) -> None:
        self._arrays = {name: _array(group, name, size, dtype, CHUNK) for name, dtype in _COLUMNS.items()}
        self._waiting = {name: np.empty(0, dtype) for name, dtype in _COLUMNS.items()}
        self._written = 0

    def add(self, columns: dict[str, NDArray[Any]]) -> None:
        """Take the next part."""
        for name, values in columns.items():
            self._waiting[name] = np.concatenate([self._waiting[name], values])
        if self._waiting["y"].size >= CHUNK:
            self._write(self._waiting["y"].size // CHUNK * CHUNK)

    def flush(self) -> None:
        """Write what is left."""
        if self._waiting["y"].size:
            self._write(self._waiting["y"].size)

    def _write(self, count: int) -> None:
        for name, values in self._waiting.items():
            self._arrays[name][self._written : self._written + count] = values[:count]
            self._waiting[name] = values[count:]
        self._written += count


def _array(group: zarr.Group, name: str, size: int, dtype: Any, chunk: int) -> Any:
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    return group.create_array(
        name, shape=(size,), chunks=(max(1, min(chunk, size)),), dtype=dtype, compressors=codec
    )
