"""Keep a stack's events on disk in Zarr (the event list), to make counted stacks from at any time."""

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
from mrcz_dask.formats.digest import digest_problem, digests_below, problems_below
from mrcz_dask.formats.metadata import ZARR_FILE, group_attributes, open_group, reading, sealed_values
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.formats.provenance import plain, verify_chain
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, ParameterError, PlaceError

SUFFIX = ".events.zarr"
VERSION = 1
MARK = "mrcz_dask_events"
CHUNK = 1 << 19
VERIFIED = 64  # frames that are read at a time to verify a list
REMEDY = "copy the list again, or count again"
_COLUMNS = {"frame": np.uint32, "y": np.int32, "x": np.int32, "charge": np.uint16}


class EventSource(Protocol):
    """Interface of anything that gives a stack's events, some frames at a time: an event list or a spool.

    Attributes
    ----------
    about
        Description of the stack, from `recording.about_stack`.
    """

    about: dict[str, Any]

    def read(self, start: int, stop: int) -> EventArrays:
        """Return the events of frames start <= k < stop of the stack."""
        ...


class EventList:
    """An event list on disk, opened for reading.

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
    PlaceError
        If it is no event list.
    FormatError
        If it has another layout.
    DamagedError
        If its description, or the places of the frames in it, are not those that were written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise PlaceError(f"{path}: no event list: it is not there; check the path")
        if not is_zarr(self.path):
            raise PlaceError(
                f"{path}: no event list; expected a folder {SUFFIX} of `mrcz-dask count --events`"
            )
        self._group, stored = open_group(self.path, REMEDY), group_attributes(self.path, REMEDY)
        version = stored.get(MARK)
        if version != VERSION:
            raise FormatError(f"{path}: event list version {version!r}; expected {VERSION}; count again")
        with reading(str(path), "an event list", REMEDY):
            self.about: dict[str, Any] = dict(stored["about"])
            self._files: dict[str, str] | None = stored.get("files")  # None in lists of older versions
            if stored.keys() - {MARK, "steps", "about", "files"}:
                raise DamagedError(f"{path}: attributes that no version wrote; {REMEDY}")
            self._sound: set[str] = set()
            for name in ("first", *_COLUMNS):
                self._check(f"{name}/{ZARR_FILE}")
            self._check_chunks("first", 0, self._group["first"].size)
            self._first = np.asarray(self._group["first"][:])

    def _check_chunks(self, name: str, start: int, stop: int) -> None:
        """Check the files with the values start <= k < stop of an array."""
        (size,) = self._group[name].chunks
        for k in range(start // size, -(-stop // size)):
            self._check(f"{name}/c/{k}")

    def _check(self, inside: str) -> None:
        """Compare a file of the list with its digest, once; Zarr gives zeros for one that is gone."""
        if self._files is None or inside in self._sound:
            return
        if (problem := digest_problem(self.path, inside, self._files.get(inside))) is not None:
            raise DamagedError(f"{self.path}: {problem}; {REMEDY}")
        self._sound.add(inside)

    def problems(self) -> list[str]:
        """Check files, arrays and provenance of the list for damage; return a text for each problem."""
        if wrong := [] if self._files is None else problems_below(self.path, self._files, ZARR_FILE):
            return wrong
        summary, counts = Summary(), np.diff(self._first).astype(np.int64)
        for start in range(0, len(self), VERIFIED):
            summary.add(b"", self._read(start, min(start + VERIFIED, len(self))))
        actual, expected = (summary.events, summary.frames), (self.about["events"], self.about["frames"])
        if actual != expected:
            wrong.append("{} electrons in {} frames; expected {} in {}".format(*actual, *expected))
        elif summary.events_digest != self.about["digest"]:
            wrong.append("the electrons have changed since they were written (their digest does not match)")
        else:
            numbers = np.repeat(np.arange(len(self), dtype=np.uint32), counts)
            if not np.array_equal(self._group["frame"][:], numbers):
                wrong.append("`frame` does not say to which frames the electrons belong")
        return [*wrong, *verify_chain(self.about["provenance"])]

    def __len__(self) -> int:
        """Return the number of raw frames."""
        return self._first.size - 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of raw frames, rows and columns."""
        n, ny, nx = self.about["shape"]
        return n, ny, nx

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Provenance of the event list: the steps by which it was made."""
        return list(self.about["provenance"])

    def read(self, start: int, stop: int) -> EventArrays:
        """Read the events of frames start <= k < stop; positions and charges are whole steps.

        Raises
        ------
        ParameterError
            If there are no such frames.
        DamagedError
            If they are not what was written.
        """
        if not 0 <= start <= stop <= len(self):
            raise ParameterError(f"{self.path}: frames {start} to {stop}; it has {len(self)}")
        if self._files is None and "" not in self._sound:  # only the digest of all tells
            if wrong := self.problems():
                raise DamagedError(f"{self.path}: {'; '.join(wrong)}; {REMEDY}")
            self._sound.add("")
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> EventArrays:
        with reading(str(self.path), "electrons", REMEDY):
            here = slice(int(self._first[start]), int(self._first[stop]))
            counts = np.diff(self._first[start : stop + 1]).astype(np.uint32)
            for name in ("y", "x", "charge"):
                self._check_chunks(name, here.start, here.stop)
            columns = (np.asarray(self._group[name][here]) for name in ("y", "x", "charge"))
            return EventArrays(counts, *columns)

    def frame(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Read the electrons of one frame: y and x in pixels, charge in ADU, (n,) each."""
        events = self.read(k, k + 1)
        charge = events.charge.astype(np.float64) * float(self.about["charge_step"])
        return pixels(events.y), pixels(events.x), charge


def event_problems(path: Path) -> list[str]:
    """Verify an event list, and return its problems as text; empty if it is sound."""
    try:
        with reading(str(path), "an event list", REMEDY):
            return EventList(path).problems()
    except (MrczDaskError, OSError) as error:
        return [str(error)]


def write_events(path: Path, about: dict[str, Any], parts: Iterable[EventArrays]) -> None:
    """Write the event list of a stack, part by part; it appears whole, or not at all.

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
        group = zarr.create_group(folder.place)
        writer = _ColumnWriter(group, int(about["events"]))
        first, frames = [np.zeros(1, np.uint64)], 0
        for part in parts:
            number = np.repeat(np.arange(frames, frames + part.counts.size, dtype=np.uint32), part.counts)
            writer.add({"frame": number, "y": part.y, "x": part.x, "charge": part.charge})
            first.append(first[-1][-1] + np.cumsum(part.counts, dtype=np.uint64))
            frames += part.counts.size
        writer.flush()
        _array(group, "first", frames + 1, np.uint64, 1 << 16)[:] = np.concatenate(first)
        digests = digests_below(folder.place, ZARR_FILE)
        values = {MARK: VERSION, "steps": steps, "about": plain(about), "files": digests}
        group.attrs.put(sealed_values(values))
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
    chunks = (max(1, min(chunk, size)),)
    config: Any = {"write_empty_chunks": True}  # one that is not there is then damage
    return group.create_array(
        name, shape=(size,), chunks=chunks, dtype=dtype, compressors=codec, config=config
    )
