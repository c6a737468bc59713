"""What processors return, in Zarr: a group for each, that xarray opens.

``<processor>/frame`` (t,) int64 and ``time`` (t,) float64, and for every output ``<name>``: a scalar (t,), a
profile (t, n) with its places in ``<name>_axis`` (t, n), an image (t, y, x). Profiles and images whose size
changes are filled up with NaN. The attributes of a group say what was declared, and from which frame on the
processor looked at which region with which parameters, so that it can be done again (`live --catch-up`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from mrcz_dask.formats.provenance import plain
from mrcz_dask.live.frames import Roi
from mrcz_dask.live.processors.declare import Output, Spec
from mrcz_dask.live.view import Result
from mrcz_dask.values.errors import FormatError, OutputExistsError

VERSION = 1
MARK = "mrcz_dask_live"
ROWS, FLUSH_SECONDS = 256, 1.0
_CHUNK_ROWS = {0: 4096, 1: 256, 2: 1}
_KIND = {0: "scalar", 1: "profile", 2: "image"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a processor worked with from a frame on.

    Attributes
    ----------
    number
        Of the first frame.
    roi
        Region of interest; None = the whole frame.
    values
        Its parameters.
    digest
        Of its file.
    reset
        Whether it began with a new state.
    """

    number: int
    roi: Roi | None
    values: dict[str, Any]
    digest: str = ""
    reset: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"roi": None if self.roi is None else str(self.roi)}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Setting:
        """Return the setting of plain values."""
        roi = said["roi"]
        return cls(**{**said, "roi": None if roi is None else Roi.parse(roi)})


class ResultStore:
    """Results of a live session in a folder.

    Parameters
    ----------
    path
        The folder, such as ``live.zarr``.
    append
        Go on in one that is there.
    overwrite
        Remove one that is there.

    Raises
    ------
    OutputExistsError
        It is there, and neither was said.
    FormatError
        What is there is something else.
    """

    def __init__(self, path: Path | str, *, append: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        there = self.path.exists() and any(self.path.iterdir())
        if there:
            check_store(self.path)
        if there and not (append or overwrite):
            raise OutputExistsError(
                f"{self.path}: results are there; say --append to go on with them, --overwrite to remove "
                "them, or choose another --store"
            )
        if there and overwrite:
            shutil.rmtree(self.path)
        zarr.open_group(self.path, mode="a", attributes={MARK: VERSION})

    def series(self, name: str, file: str) -> Series:
        """Return where the results of a processor go: behind those that are there."""
        return Series(self.path / name, file)

    def anew(self, name: str, file: str) -> Series:
        """Return where results of a processor go that replace those that are there when it is closed."""
        return Series(self.path / f".{name}", file, becomes=self.path / name)

    def settings(self, name: str) -> list[Setting]:
        """Return what a processor worked with, from which frame on."""
        if not (self.path / name / "zarr.json").exists():
            return []
        attributes: Any = zarr.open_group(self.path / name, mode="r").attrs
        return [Setting.of(one) for one in attributes.get("settings", [])]


def check_store(path: Path) -> None:
    """Raise FormatError where a folder is no store of live results."""
    try:
        found = zarr.open_group(path, mode="r").attrs.get(MARK)
    except (OSError, ValueError, KeyError):
        found = None
    if found != VERSION:
        raise FormatError(
            f"{path}: no store of live results (layout {found!r}; this program writes {VERSION}); choose "
            "another --store"
        )


class Series:
    """The results of one processor, appended some at a time; one thread's.

    Parameters
    ----------
    path
        Of its group.
    file
        Name of the processor's file.
    becomes
        Under which name it appears when it is closed, in place of what is there.
    """

    def __init__(self, path: Path, file: str, becomes: Path | None = None) -> None:
        self.path, self._becomes = path, becomes
        if becomes is not None and path.exists():
            shutil.rmtree(path)
        self._group = zarr.open_group(path, mode="a")
        self._rows = self._group["frame"].shape[0] if "frame" in self._group else 0  # type: ignore[union-attr]
        self._waiting: list[Result] = []
        self._since = time.monotonic()
        self._settings: list[dict[str, Any]] = list(self._group.attrs.get("settings", []))  # type: ignore[arg-type]
        self._group.attrs.update({"processor_file": file})

    def declare(self, spec: Spec) -> None:
        """Say what is stored; outputs that the processor had before stay, and get no new rows but NaN."""
        outputs = [plain({"kind": _KIND[one.ndim], **asdict(one)}) for one in spec.outputs]
        self._flush()
        self._group.attrs.update({"title": spec.title, "outputs": outputs})
        for one in spec.outputs:
            self._check(one)

    def _check(self, output: Output) -> None:
        there = self._group.get(output.name)
        if there is not None and there.ndim != output.ndim + 1:  # type: ignore[union-attr]
            raise FormatError(
                f"{self.path}: {output.name} is {_KIND[output.ndim]}, and in the store it has "
                f"{there.ndim} axes; choose another --store, or another name"  # type: ignore[union-attr]
            )

    def setting(self, setting: Setting) -> None:
        """Keep what the processor works with from a frame on."""
        self._settings.append(plain(setting.to_dict()))
        self._group.attrs.update({"settings": self._settings})

    def append(self, result: Result) -> None:
        """Add a result; it is in the folder after a second at the latest, if more follow."""
        self._waiting.append(result)
        images = any(isinstance(v, np.ndarray) and v.ndim == 2 for v in result.values.values())
        due = time.monotonic() - self._since > FLUSH_SECONDS
        if due or len(self._waiting) >= (8 if images else ROWS):
            self._flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._flush()

    def close(self, *, whole: bool = True) -> None:
        """Write what waits, and appear; of results that replace others and are not whole nothing stays."""
        self._flush()
        if self._becomes is not None and not whole:
            shutil.rmtree(self.path)
        elif self._becomes is not None:
            if self._becomes.exists():
                shutil.rmtree(self._becomes)
            self.path.rename(self._becomes)

    def _flush(self) -> None:
        rows, self._waiting, self._since = self._waiting, [], time.monotonic()
        if not rows:
            return
        total = self._rows + len(rows)
        for name, column in _columns(rows).items():
            self._put(name, column, total)
        for name in set(self._group.array_keys()) - set(_columns(rows)):
            self._resize(name, total)
        self._rows = total

    def _put(self, name: str, column: NDArray[Any], total: int) -> None:
        if name not in self._group:
            self._create(name, column)
        array = self._resize(name, total, column.shape[1:])
        array[(slice(self._rows, total), *(slice(0, n) for n in column.shape[1:]))] = column

    def _create(self, name: str, column: NDArray[Any]) -> None:
        ndim = column.ndim - 1
        axes = {0: (), 1: (f"{name.removesuffix('_axis')}_place",), 2: (f"{name}_y", f"{name}_x")}[ndim]
        self._group.create_array(
            name,
            shape=(self._rows, *column.shape[1:]),
            chunks=(_CHUNK_ROWS[ndim], *(max(1, n) for n in column.shape[1:])),
            dtype=column.dtype,
            fill_value=np.nan if column.dtype.kind == "f" else 0,
            dimension_names=("frame", *axes),
        )

    def _resize(self, name: str, total: int, tail: tuple[int, ...] = ()) -> Any:
        array: Any = self._group[name]
        wide = tuple(map(max, array.shape[1:], tail)) if tail else array.shape[1:]
        if array.shape != (total, *wide):
            array.resize((total, *wide))
        return array


def _columns(rows: list[Result]) -> dict[str, NDArray[Any]]:
    """Return the arrays that rows are kept in, all as long as `rows`."""
    made: dict[str, NDArray[Any]] = {
        "frame": np.array([one.number for one in rows], np.int64),
        "time": np.array([one.time for one in rows], np.float64),
    }
    names = dict.fromkeys(name for one in rows for name in one.values)
    for name in names:
        found = [one.values.get(name) for one in rows]
        first = next(value for value in found if value is not None)
        if isinstance(first, tuple):
            made[f"{name}_axis"] = _padded([None if one is None else one[0] for one in found], np.float64)
            made[name] = _padded([None if one is None else one[1] for one in found], np.float64)
        elif isinstance(first, np.ndarray):
            made[name] = _padded(found, np.float32)
        else:
            made[name] = np.array([np.nan if one is None else one for one in found], np.float64)
    return made


def _padded(found: list[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    there = [one for one in found if one is not None]
    shape = tuple(max(sizes) for sizes in zip(*(one.shape for one in there), strict=True))
    made = np.full((len(found), *shape), np.nan, dtype)
    for k, one in enumerate(found):
        if one is not None:
            made[k][tuple(slice(0, n) for n in one.shape)] = one
    return made
