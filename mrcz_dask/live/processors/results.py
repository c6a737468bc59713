"""Stores the results of live processors in Zarr, one group a processor, which xarray opens.

``<processor>/frame`` (t,) int64 and ``time`` (t,) float64, and for every output ``<name>``: a scalar (t,), a
profile (t, n) with its positions in ``<name>_axis`` (t, n), an image (t, y, x). Profiles and images whose
size changes are padded with NaN. Chunks have a CRC-32C, which every reader of Zarr compares. The attributes
of a group hold the declaration, and from which frame on the processor worked on which region with which
parameters, so that `live --catch-up` can repeat it; and the digests that `checking` compares.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from mrcz_dask.formats.atomic import replace_by_any
from mrcz_dask.formats.metadata import ZARR_FILE, group_attributes, open_group, reading, sealed_values
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.formats.provenance import plain
from mrcz_dask.live.frames import Roi
from mrcz_dask.live.processors.checking import (
    MARK,
    PROCESSORS,
    REMEDY,
    grown_arrays,
    rows_digest,
    sealed_array,
)
from mrcz_dask.live.processors.declare import Spec
from mrcz_dask.live.view import Result
from mrcz_dask.values.errors import DamagedError, FormatError, OutputExistsError

VERSION = 1
ROWS, IMAGE_ROWS, FLUSH_SECONDS = 256, 8, 1.0
_CHUNK_ROWS = (4096, 256, 1)
_KIND = ("scalar", "profile", "image")
_LISTING = Lock()


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """Record of a processor's region and parameters, valid from one frame on.

    Attributes
    ----------
    number
        Number of the first frame.
    roi
        Region of interest; None = the whole frame.
    values
        Parameters.
    digest
        Digest of the processor's file.
    reset
        True if a new state began with this frame.
    """

    number: int
    roi: Roi | None
    values: dict[str, Any]
    digest: str = ""
    reset: bool = False


class ResultStore:
    """Zarr folder with the results of all processors of a live session.

    Parameters
    ----------
    path
        The folder, such as ``live.zarr``.
    append
        Add to a store that exists.
    overwrite
        Remove a store that exists.

    Raises
    ------
    OutputExistsError
        The store exists, with neither `append` nor `overwrite`.
    FormatError
        The folder holds something else, or its metadata are damaged.
    """

    def __init__(self, path: Path | str, *, append: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        if self.path.exists() and any(self.path.iterdir()):
            version = open_group(self.path, REMEDY).attrs.get(MARK) if is_zarr(self.path) else None
            if version != VERSION:
                raise FormatError(
                    f"{self.path}: no store of live results (layout {version!r}; this program writes "
                    f"{VERSION}); choose another --store"
                )
            group_attributes(self.path, REMEDY)
            if overwrite:
                shutil.rmtree(self.path)
            elif not append:
                raise OutputExistsError(
                    f"{self.path}: results are there; say --append to go on with them, --overwrite to remove "
                    "them, or choose another --store"
                )
        first = sealed_values({MARK: VERSION, PROCESSORS: []})
        open_group(self.path, REMEDY, mode="a", attributes=first)

    def series(self, name: str, file: str, *, replace: bool = False) -> Series:
        """Return a writer for the results of one processor.

        Parameters
        ----------
        name
            Name of the processor.
        file
            Name of its file.
        replace
            Write new results, which replace the old ones when they are closed; otherwise append.
        """
        if replace:
            return Series(self.path / f".{name}", file, becomes=self.path / name)
        series = Series(self.path / name, file)
        _list_processor(series.path)
        return series

    def settings(self, name: str) -> list[ProcessorSettings]:
        """Return the stored regions and parameters of a processor, in order of their first frames.

        Raises
        ------
        DamagedError
            They cannot be read.
        """
        path = self.path / name
        if not (path / ZARR_FILE).exists():
            return []
        with reading(str(path), "settings of a processor", REMEDY):
            return [
                ProcessorSettings(
                    **(entry | {"roi": None if entry["roi"] is None else Roi.parse(entry["roi"])})
                )
                for entry in group_attributes(path, REMEDY).get("settings", [])
            ]


class Series:
    """Writes the results of one processor to its Zarr group, a row a frame; for use in one thread.

    Parameters
    ----------
    path
        Folder of its group.
    file
        Name of the processor's file.
    becomes
        Folder that the group replaces when it is closed.
    """

    def __init__(self, path: Path, file: str, becomes: Path | None = None) -> None:
        self.path, self._becomes = path, becomes
        if becomes is not None and path.exists():
            shutil.rmtree(path)
        self._attributes: dict[str, Any] = {"digests": {}, "rows": 0}
        if (path / ZARR_FILE).exists():
            self._attributes = group_attributes(path, REMEDY)
        with reading(str(path), "results of a processor", REMEDY):
            about = sealed_values({"processor_file": file})  # of a new group, which is never without
            self._group = open_group(path, REMEDY, mode="a", attributes=about)
            arrays = dict(self._group.arrays())
            self._rows = self._attributes.get("rows", arrays["frame"].shape[0] if arrays else 0)
            for name in arrays.keys() & grown_arrays(path, self._attributes):
                array = arrays[name]
                if array.shape[0] > self._rows + ROWS:
                    raise DamagedError(f"{path / name}: has more rows than {path} says; {REMEDY}")
                if array.shape[0] > self._rows:  # which a killed process had half written
                    array[self._rows :] = array.fill_value
        self._waiting: list[Result] = []
        self._flushed = time.monotonic()
        self._settings: list[Any] = list(self._attributes.get("settings", []))
        self._put(processor_file=file)

    def _put(self, **values: Any) -> None:
        self._attributes |= values
        self._group.attrs.put(sealed_values(self._attributes))

    def declare(self, spec: Spec) -> None:
        """Store a processor's declared outputs; earlier outputs that it lacks stay, with NaN from now on.

        Raises
        ------
        FormatError
            An output of that name has another number of axes.
        """
        self.flush()
        outputs = [plain({"kind": _KIND[output.ndim], **asdict(output)}) for output in spec.outputs]
        self._put(title=spec.title, outputs=outputs)
        for output in spec.outputs:
            array = self._group.get(output.name)
            if array is not None and array.ndim != output.ndim + 1:
                raise FormatError(
                    f"{self.path}: {output.name} is {_KIND[output.ndim]}, and in the store it has "
                    f"{array.ndim} axes; choose another --store, or another name"
                )

    def add_setting(self, setting: ProcessorSettings) -> None:
        """Store region and parameters that the processor has from a frame on."""
        roi = None if setting.roi is None else str(setting.roi)
        self._settings.append(plain(asdict(setting) | {"roi": roi}))
        self._put(settings=self._settings)

    def append(self, result: Result) -> None:
        """Add the result of a frame; rows are written together,
        at the latest with the next result after a second.
        """
        self._waiting.append(result)
        has_images = any(isinstance(value, np.ndarray) for value in result.values.values())
        most = IMAGE_ROWS if has_images else ROWS
        if len(self._waiting) >= most or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def close(self, *, whole: bool = True) -> None:
        """Write the last results. A replacement of old results takes their place only if it is `whole`."""
        self.flush()
        if self._becomes is None:
            return
        if not whole:
            shutil.rmtree(self.path)
            return
        replace_by_any(self.path, self._becomes)
        _list_processor(self._becomes)

    def flush(self) -> None:
        """Write the results in memory to the Zarr group.

        Raises
        ------
        DamagedError
            Earlier results are not those that were written.
        """
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        columns = _columns(self._waiting)
        total = self._rows + len(self._waiting)
        self._waiting = []
        with reading(str(self.path), "results of a processor", REMEDY):  # the last chunk is read again
            for name, column in columns.items():
                if name not in self._group:
                    self._create(name, column)
                array = self._resize(name, total, column.shape[1:])
                array[(slice(self._rows, total), *map(slice, column.shape[1:]))] = column
            for name in set(self._group.array_keys()) - set(columns):
                self._resize(name, total, ())
        if "digests" in self._attributes:  # those of an older version have none of their first rows
            digests = {name: array["rows"] for name, array in self._attributes["digests"].items()}
            for name, rows in columns.items():
                digests[name] = rows_digest(rows, self._rows, digests.get(name, ""))
            sealed = {name: sealed_array(self.path / name, digest) for name, digest in digests.items()}
            self._put(rows=total, digests=sealed)
        self._rows = total

    def _create(self, name: str, column: NDArray[Any]) -> None:
        ndim = column.ndim - 1
        axes = ((), (f"{name.removesuffix('_axis')}_place",), (f"{name}_y", f"{name}_x"))[ndim]
        self._group.create_array(
            name,
            shape=(self._rows, *column.shape[1:]),
            chunks=(_CHUNK_ROWS[ndim], *(max(1, n) for n in column.shape[1:])),
            dtype=column.dtype,
            fill_value=np.nan if column.dtype.kind == "f" else 0,
            dimension_names=("frame", *axes),
            compressors=(ZstdCodec(level=0), Crc32cCodec()),
        )

    def _resize(self, name: str, total: int, tail: tuple[int, ...]) -> Any:
        """Make an array `total` rows long, and its other axes as long as those of `tail`."""
        array = self._group[name]
        shape = total, *(map(max, array.shape[1:], tail) if tail else array.shape[1:])
        if array.shape != shape:
            array.resize(shape)
        return array


def _list_processor(folder: Path) -> None:
    """Name a processor in the attributes of its store, so that it is missed when it is gone."""
    with _LISTING:
        about = group_attributes(folder.parent, REMEDY)
        names = about.get(PROCESSORS, [])
        if folder.name not in names:
            group = open_group(folder.parent, REMEDY, mode="a")
            group.attrs.put(sealed_values(about | {PROCESSORS: sorted([*names, folder.name])}))


def _columns(rows: list[Result]) -> dict[str, NDArray[Any]]:
    """Return results as arrays by name, one row each."""
    columns: dict[str, NDArray[Any]] = {
        "frame": np.array([row.number for row in rows], np.int64),
        "time": np.array([row.time for row in rows], np.float64),
    }
    for name in dict.fromkeys(name for row in rows for name in row.values):
        values = [row.values.get(name) for row in rows]
        first = next(value for value in values if value is not None)
        if isinstance(first, tuple):
            for key, part in ((f"{name}_axis", 0), (name, 1)):
                lines = [None if value is None else value[part] for value in values]
                columns[key] = _padded(lines, np.float64)
        elif isinstance(first, np.ndarray):
            columns[name] = _padded(values, np.float32)
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
    for column in columns.values():  # one NaN for all: chunks of nothing else are not stored
        if column.dtype.kind == "f":
            column[np.isnan(column)] = np.nan
    return columns


def _padded(arrays: list[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Stack arrays of different sizes, or None, padded with NaN."""
    shapes = [array.shape for array in arrays if array is not None]
    largest = (max(sizes) for sizes in zip(*shapes, strict=True))
    padded = np.full((len(arrays), *largest), np.nan, dtype)
    for row, array in zip(padded, arrays, strict=True):
        if array is not None:
            row[tuple(map(slice, array.shape))] = array
    return padded
