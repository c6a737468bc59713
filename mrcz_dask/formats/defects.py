"""Lists and maps of a camera's defects: SerialEM's text, boxes of x y w h, images; read and written.

A box is column, row, width and height; both count from 0. Maps are 8-bit images, 0 = good, all else = defect;
1 is written. Each knows where its row 0 is shown: SerialEM and TIFF count from the top, MRC and boxes (as
MotionCor and RELION hold frames) from the bottom.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.gains import check_there
from mrcz_dask.formats.libraries import library
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source
from mrcz_dask.values.errors import MissingLibraryError, MrczDaskError, UnfitReferenceError, error_text

Bools = NDArray[np.bool_]
Box = tuple[int, int, int, int]
Kind = Literal["serialem", "boxes", "map"]

PIXELS_IN_LINE, LINES_IN_LINE = 10, 20
LONGEST_TEXT = 1 << 24
MOST = 0.5
_TIFF = (".tif", ".tiff")
# Keys of SerialEM that say nothing about which pixels are bad.
_OTHER = {"RotationAndFlip", "K2Type", "FalconType", "NumToAvgSuperRes"}
# Keys with so many numbers and no others.
_DUE = {
    "WasScaled": ("how often",),
    "UsableArea": ("top", "left", "bottom", "right"),
    "PartialBadColumn": ("column", "width", "first row", "last row"),
    "PartialBadRow": ("row", "height", "first column", "last column"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Defects:
    """The defects that a file lists.

    Attributes
    ----------
    name, digest
        Of the file, without folders; xxh3-128 of its bytes.
    kind
        ``serialem``, ``boxes`` or ``map``.
    mask
        (ny, nx) bool, True = defect, of the camera or map; of the frames, for boxes.
    first_row
        Where row 0 of the mask is shown.
    notes
        Lines that were passed over, for people.
    """

    name: str
    digest: str
    kind: Kind
    mask: Bools
    first_row: FirstRow
    notes: tuple[str, ...] = ()

    def as_frames(self, first_row: FirstRow) -> Bools:
        """Return the mask with rows in the order of frames whose row 0 is shown there."""
        return turned(self.mask, self.first_row, first_row)


def turned(mask: Bools, one: FirstRow, other: FirstRow) -> Bools:
    """Return a mask whose row 0 is shown at `one` with its row 0 at `other`."""
    return mask if one == other else np.ascontiguousarray(mask[::-1])


def read_defects(path: str | os.PathLike[str], shape: tuple[int, int] | None) -> Defects:
    """Read a list or map of defects.

    Parameters
    ----------
    path
        Text of SerialEM or lines of ``x y w h`` (``#`` begins a comment), or a one-image MRC or TIFF file.
    shape
        (ny, nx) of the frames, which boxes must not leave; None = not known yet.

    Raises
    ------
    UnfitReferenceError
        What cannot be understood, with the line; a map that marks more than half of its pixels.
    MissingFileError
        There is no such file.
    MissingLibraryError
        A package is needed to read it.
    """
    path = check_there(path, "defects")
    try:
        return _read(path, shape)
    except (MissingLibraryError, UnfitReferenceError):
        raise
    except (MrczDaskError, OSError) as error:
        raise UnfitReferenceError(f"defects {error_text(error)}") from error


def _read(path: Path, shape: tuple[int, int] | None) -> Defects:
    text, notes = _text(path), tuple[str, ...]()
    first_row: FirstRow = "bottom"
    if text is None:
        kind: Kind = "map"
        mask, first_row = _map(path)
    elif any(words[0][0].isalpha() for _, words in _lines(text)):
        kind, first_row = "serialem", "top"
        mask, notes = _Serialem(str(path)).read(text)
    else:
        kind = "boxes"
        mask = _boxes(str(path), text, shape)
    return Defects(path.name, file_digest(path), kind, mask, first_row, notes)


def _text(path: Path) -> str | None:
    """Return what is in a text file, with or without byte-order mark; None of any other."""
    with path.open("rb") as stream:
        head = stream.read(4096)
        wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if not wide and (b"\0" in head or head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return None
        return (head + stream.read(LONGEST_TEXT)).decode("utf-16" if wide else "utf-8-sig", "replace")


def _map(path: Path) -> tuple[Bools, FirstRow]:
    with open_source(path) as source:
        if source.shape[0] != 1:
            raise UnfitReferenceError(f"{path}: {source.shape[0]} frames; expected a defect map of one image")
        image, first_row = source.frame(0), source.first_row
    mask = ~np.isfinite(image) | (image != 0)
    if mask.mean() > MOST:
        raise UnfitReferenceError(
            f"{path}: {mask.mean():.0%} of the pixels are not 0; expected 0 = good, 1 = defect; invert it"
        )
    return mask, first_row


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and words of the lines that say something."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            yield number, words


def _integers(name: str, number: int, words: list[str], what: str, count: int | None = None) -> list[int]:
    try:
        values = [int(word) for word in words]
    except ValueError:
        values = []
    if not values or min(values) < 0 or (count is not None and len(values) != count):
        raise UnfitReferenceError(f"{name}: line {number} has {' '.join(words)[:80]!r}; expected {what}")
    return values


def _boxes(name: str, text: str, shape: tuple[int, int] | None) -> Bools:
    what, found = "four whole numbers: x y width height", list[tuple[str, Box]]()
    for number, words in _lines(text):
        x, y, w, h = _integers(name, number, words, what, 4)
        found.append((f"{name}: line {number}", (x, y, w, h)))
    mask = np.zeros(shape or (0, 0), bool)
    for where, box in found if shape else ():
        _mark(mask, box, where)
    return mask


def _mark(mask: Bools, box: Box, where: str) -> None:
    x, y, w, h = box
    if w < 1 or h < 1 or y + h > mask.shape[0] or x + w > mask.shape[1]:
        raise UnfitReferenceError(
            f"{where}: the box x {x}, y {y}, width {w}, height {h} is empty or leaves the "
            f"{mask.shape[0]} rows of {mask.shape[1]} pixels; give the list of this camera, turned so"
        )
    mask[y : y + h, x : x + w] = True


class _Serialem:
    """SerialEM's list of defects, line by line.

    As in IMOD keys may be shortened, those without a number say nothing, and others are passed over.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._size = {"CameraSizeX": 0, "CameraSizeY": 0}
        self._scaled = 0
        self._usable = [0, 0, 0, 0]
        self._found: list[tuple[str, str, list[int]]] = []
        self._notes: list[str] = []

    def read(self, text: str) -> tuple[Bools, tuple[str, ...]]:
        for number, words in _lines(text):
            self._line(number, words[0], words[1:])
        shape = self._size["CameraSizeY"], self._size["CameraSizeX"]
        if min(shape) < 1:
            raise UnfitReferenceError(
                f"{self._name}: the camera is {shape[0]} x {shape[1]}; expected CameraSizeX and CameraSizeY"
            )
        mask = np.zeros(shape, bool)
        self._mask_unusable(mask)
        for where, key, values in self._found:
            for box in _MARKS[key](values, shape, 1 << max(self._scaled, 0)):
                _mark(mask, box, where)
        return mask, tuple(self._notes)

    def _line(self, number: int, word: str, words: list[str]) -> None:
        key = self._key(number, word)
        if key is None or not words or key in _OTHER or (key == "WasScaled" and words == ["-1"]):
            return
        due = _DUE.get(key, ())
        what = (
            f"{len(due)} whole numbers after {key}: {', '.join(due)}" if due else f"whole numbers after {key}"
        )
        values = _integers(self._name, number, words, what, len(due) or None)
        if key == "BadPixels" and len(values) % 2:
            raise UnfitReferenceError(
                f"{self._name}: line {number} has {len(values)} numbers; expected pairs of x y"
            )
        if key in self._size:
            self._size[key] = values[0]
        elif key == "WasScaled":
            self._scaled = min(values[0], 2)
        elif key == "UsableArea":
            self._usable = values
        else:
            self._found.append((f"{self._name}: line {number}", key, values))

    def _key(self, number: int, word: str) -> str | None:
        """Return the key that a word is or begins; None of one that is no key, which is noted."""
        keys = [key for key in _KEYS if key.startswith(word)]
        if len(keys) > 1 and word not in keys:
            raise UnfitReferenceError(
                f"{self._name}: line {number} begins with {word!r}, which may be {' or '.join(keys)}; "
                "expected one of them"
            )
        if not keys and not word[0].isalpha():
            raise UnfitReferenceError(
                f"{self._name}: line {number} begins with {word[:80]!r}; expected a key of SerialEM's defect "
                f"list, such as {', '.join(_MARKS)}"
            )
        if not keys:
            self._notes.append(
                f"{self._name}: line {number} begins with {word[:80]!r}, which is no key of SerialEM's "
                "defect list; it is passed over, as IMOD does"
            )
        return word if word in keys else next(iter(keys), None)

    def _mask_unusable(self, mask: Bools) -> None:
        top, left, bottom, right = self._usable
        mask[:top], mask[:, :left] = True, True
        if bottom:
            mask[bottom + 1 :] = True
        if right:
            mask[:, right + 1 :] = True


Marks = Callable[[list[int], tuple[int, int], int], Iterator[Box]]


def _bad_pixels(values: list[int], shape: tuple[int, int], edge: int) -> Iterator[Box]:
    yield from ((x, y, edge, edge) for x, y in zip(values[::2], values[1::2], strict=True))


def _bad_columns(values: list[int], shape: tuple[int, int], edge: int) -> Iterator[Box]:
    yield from ((x, 0, 1, shape[0]) for x in values)


def _bad_rows(values: list[int], shape: tuple[int, int], edge: int) -> Iterator[Box]:
    yield from ((0, y, shape[1], 1) for y in values)


def _part_of_columns(values: list[int], shape: tuple[int, int], edge: int) -> Iterator[Box]:
    column, width, first, last = values
    yield (column, first, width, last - first + 1)


def _part_of_rows(values: list[int], shape: tuple[int, int], edge: int) -> Iterator[Box]:
    row, height, first, last = values
    yield (first, row, last - first + 1, height)


_MARKS: dict[str, Marks] = {
    "BadPixels": _bad_pixels,
    "BadColumns": _bad_columns,
    "BadRows": _bad_rows,
    "PartialBadColumn": _part_of_columns,
    "PartialBadRow": _part_of_rows,
}
_KEYS = ("CameraSizeX", "CameraSizeY", *_OTHER, *dict.fromkeys([*_DUE, *_MARKS]))


def boxes_of(mask: Bools) -> list[Box]:
    """Return boxes (x, y, w, h) that cover exactly the True pixels of a mask (ny, nx), none of them twice."""
    done: list[Box] = []
    growing: dict[tuple[int, int], int] = {}
    for y, row in enumerate(np.concatenate([mask, np.zeros((1, mask.shape[1]), bool)])):
        edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0)).tolist()
        runs = set(zip(edges[::2], edges[1::2], strict=True))
        ended = [run for run in growing if run not in runs]
        done += [(x0, start, x1 - x0, y - start) for x0, x1 in ended for start in [growing.pop((x0, x1))]]
        growing |= {run: y for run in runs if run not in growing}
    return sorted(done, key=lambda box: (box[1], box[0]))


def serialem_text(mask: Bools, first_row: FirstRow) -> str:
    """Return a mask (ny, nx; True = defect) as SerialEM's list; `first_row` is where its row 0 is shown."""
    ny, nx = mask.shape
    boxes = boxes_of(turned(mask, first_row, "top"))
    columns = [x + k for x, _, w, h in boxes if h == ny for k in range(w)]
    rows = [y + k for _, y, w, h in boxes if w == nx and h < ny for k in range(h)]
    pixels = [n for x, y, w, h in boxes if w * h == 1 and (ny, nx) != (1, 1) for n in (x, y)]
    parts = [b for b in boxes if b[3] < ny and b[2] < nx and b[2] * b[3] > 1]
    head = {"CameraSizeX": nx, "CameraSizeY": ny, "RotationAndFlip": 0, "WasScaled": 0, "K2Type": 0}
    lines = [f"{key} {value}" for key, value in head.items()] + ["UsableArea 0 0 0 0"]
    lines += [f"PartialBadColumn {x} {w} {y} {y + h - 1}" for x, y, w, h in parts]
    lines += _folded("BadPixels", pixels, 2 * PIXELS_IN_LINE)
    lines += _folded("BadColumns", columns, LINES_IN_LINE) + _folded("BadRows", rows, LINES_IN_LINE)
    return "\n".join(lines) + "\n"


def _folded(key: str, values: list[int], count: int) -> list[str]:
    parts = [values[k : k + count] for k in range(0, len(values), count)]
    return [" ".join(map(str, [key, *part])) for part in parts]


def boxes_text(mask: Bools, first_row: FirstRow) -> str:
    """Return a mask (ny, nx; True = defect) as lines ``x y w h``; `first_row` is where its row 0 is shown."""
    return "".join("{} {} {} {}\n".format(*box) for box in boxes_of(turned(mask, first_row, "bottom")))


def write_defects(path: str | os.PathLike[str], mask: Bools, kind: Kind, first_row: FirstRow) -> None:
    """Write a mask so that `read_defects` gives it back.

    Parameters
    ----------
    path
        Of a map: ``.mrc``, ``.tif`` or ``.tiff``.
    mask
        (ny, nx) bool, True = defect, rows in the order of the frames.
    kind
        ``serialem``, ``boxes`` or ``map``.
    first_row
        Where row 0 of the frames is shown, as their source says.

    Raises
    ------
    ParameterError
        The name of a map ends otherwise.
    MissingLibraryError
        A TIFF map needs the extra ``tiff``.
    SpaceError
        The folder cannot take the file.
    """
    if kind == "map":
        _write_map(Path(path), mask, first_row)
    else:
        text = serialem_text(mask, first_row) if kind == "serialem" else boxes_text(mask, first_row)
        write_atomic(path, text.encode("ascii"))


def _write_map(path: Path, mask: Bools, first_row: FirstRow) -> None:
    if path.suffix.lower() not in _TIFF:
        write(path, turned(mask, first_row, "bottom").astype(np.int8), codec="none", footer=False)
        return
    tifffile: Any = library("tifffile", "tiff", "TIFF defect maps")
    file = io.BytesIO()
    tifffile.imwrite(file, turned(mask, first_row, "top").astype(np.uint8), photometric="minisblack")
    write_atomic(path, file.getvalue())
