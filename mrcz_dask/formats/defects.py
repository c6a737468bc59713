"""Reads and writes a camera's defects: as SerialEM's list, as boxes ``x y w h``, or as an image.

Reads those in the header of a Falcon's gain reference, and RELION's table of a movie's hot pixels, too.

A box is column, row, width and height; both count from 0. Maps are 8-bit images, 0 = good, all else = defect;
1 is written. Each knows where its row 0 is shown: SerialEM and TIFF count from the top, MRC and boxes (as
MotionCor and RELION hold frames) from the bottom.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.falcon_defects import falcon_defects
from mrcz_dask.formats.foreign.tiff import MAGIC as TIFF
from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.gains import check_there
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.source import open_file
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.values.errors import MissingLibraryError, MrczDaskError, UnfitReferenceError, error_text

DefectBox = tuple[int, int, int, int]
DefectsKind = Literal["serialem", "boxes", "map"]  # how lists are written

MOST = 0.5
_PIXELS_IN_LINE, _COLUMNS_IN_LINE = 10, 20
_LONG, _WIDEST = 32, 3  # pixels of a line; lines side by side that are no block
_LONGEST_TEXT = 1 << 24
# keys of SerialEM that say nothing about which pixels are bad
_OTHER_KEYS = {"RotationAndFlip", "K2Type", "FalconType", "NumToAvgSuperRes"}
# keys with so many numbers and no others
_NUMBERS = {
    "WasScaled": ("how often",),
    "UsableArea": ("top", "left", "bottom", "right"),
    "PartialBadColumn": ("column", "width", "first row", "last row"),
    "PartialBadRow": ("row", "height", "first column", "last column"),
}
_MARKS = ("BadPixels", "BadColumns", "BadRows", "PartialBadColumn", "PartialBadRow")
_KEYS = ("CameraSizeX", "CameraSizeY", *_OTHER_KEYS, *dict.fromkeys([*_NUMBERS, *_MARKS]))
_LARGEST_SIDE = 1 << 16  # pixels of a camera


@dataclass(frozen=True, slots=True, eq=False)
class Defects:
    """Record of the camera defects read from a list or image: their mask, and where row 0 is shown.

    Attributes
    ----------
    name, digest
        Name of the file without folders, and xxh3-128 of its bytes.
    kind
        ``serialem``, ``boxes``, ``map``, ``falcon``: the list in a gain reference, or ``relion``: the table
        of hot pixels in a movie's STAR file.
    mask
        (ny, nx) bool, True = defect, of the camera or map; of the frames, for boxes.
    first_row
        Where row 0 of the mask is shown.
    notes
        Lines that were passed over, for people.
    """

    name: str
    digest: str
    kind: DefectsKind | Literal["falcon", "relion"]
    mask: Mask
    first_row: FirstRow
    notes: tuple[str, ...] = ()

    def as_frames(self, first_row: FirstRow) -> Mask:
        """Return the defect mask (ny, nx) with its rows in the order of frames
        whose row 0 is at `first_row`.
        """
        return _turned(self.mask, self.first_row, first_row)


def _turned(mask: Mask, first_row: FirstRow, target: FirstRow) -> Mask:
    """Return a mask, flipped if need be, from row 0 at `first_row` (top or bottom) to row 0 at `target`."""
    return mask if first_row == target else np.ascontiguousarray(mask[::-1])


def read_defects(path: str | os.PathLike[str], shape: tuple[int, int] | None) -> Defects:
    """Read camera defects from SerialEM's list, boxes ``x y w h``, RELION's table, or an image file.

    Parameters
    ----------
    path
        Text of SerialEM or lines of ``x y w h`` (``#`` begins a comment), a STAR file with RELION's table
        ``data_hot_pixels``, a one-image MRC or TIFF file, or a Falcon's gain reference (``.gain``), of which
        the list in its header counts.
    shape
        (ny, nx) of the frames, which boxes must not leave; None = not known yet.

    Raises
    ------
    UnfitReferenceError
        A line is not understood, or a map marks more than half of its pixels.
    MissingFileError
        There is no such file.
    MissingLibraryError
        A package is needed to read it.
    """
    path = check_there(path, "defects")
    notes: tuple[str, ...] = ()
    first_row: FirstRow = "bottom"
    try:
        with os.fdopen(open_file(path), "rb") as stream:
            head = stream.read(4096)
            wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            is_text = wide or not (b"\0" in head or head[:4] in TIFF)
            raw = head + stream.read(_LONGEST_TEXT) if is_text else b""
        text = raw.decode("utf-16" if wide else "utf-8-sig", "replace")
        numbered = enumerate(text.splitlines(), 1)
        words_of = ((k, line.partition("#")[0].replace(",", " ").split()) for k, line in numbered)
        lines = [(number, words) for number, words in words_of if words]
        if not is_text:
            kind: DefectsKind | Literal["falcon", "relion"]
            kind, mask, first_row = _read_map(path)
        elif any(words[0].startswith("data_") for _, words in lines):
            kind, mask = "relion", _parse_star(str(path), text, shape)
        elif any(words[0][0].isalpha() for _, words in lines):
            kind, first_row = "serialem", "top"
            mask, notes = _parse_serialem(str(path), lines)
        else:
            kind, mask = "boxes", np.zeros(shape or (0, 0), bool)
            for number, words in lines:
                where = f"{path}: line {number}"
                x, y, w, h = _integers(where, words, "four whole numbers: x y width height", 4)
                if shape:
                    _mark(mask, (x, y, w, h), where)
        return Defects(path.name, file_digest(path), kind, mask, first_row, notes)
    except (MissingLibraryError, UnfitReferenceError):
        raise
    except (MrczDaskError, OSError) as error:
        raise UnfitReferenceError(f"defects {error_text(error)}") from error


def _read_map(path: Path) -> tuple[Literal["map", "falcon"], Mask, FirstRow]:
    with open_source(path) as source:
        if source.shape[0] != 1:
            raise UnfitReferenceError(f"{path}: {source.shape[0]} frames; expected a defect map of one image")
        listed = falcon_defects(source)
        if listed is not None:
            return "falcon", listed, source.first_row
        image, first_row = source.frame(0), source.first_row
    mask = ~np.isfinite(image) | (image != 0)
    if mask.mean() > MOST:
        raise UnfitReferenceError(
            f"{path}: {mask.mean():.0%} of the pixels are not 0; expected 0 = good, 1 = defect; invert it"
        )
    return "map", mask, first_row


def _integers(where: str, words: list[str], expected: str, count: int | None) -> list[int]:
    try:
        values = [int(word) for word in words]
    except ValueError:
        values = []
    if not values or min(values) < 0 or (count is not None and len(values) != count):
        raise UnfitReferenceError(f"{where} has {' '.join(words)[:80]!r}; expected {expected}")
    return values


def _mark(mask: Mask, box: DefectBox, where: str) -> None:
    x, y, w, h = box
    if w < 1 or h < 1 or y + h > mask.shape[0] or x + w > mask.shape[1]:
        raise UnfitReferenceError(
            f"{where}: the box x {x}, y {y}, width {w}, height {h} is empty or leaves the "
            f"{mask.shape[0]} rows of {mask.shape[1]} pixels; give the list of this camera, turned so"
        )
    mask[y : y + h, x : x + w] = True


def _parse_star(name: str, text: str, shape: tuple[int, int] | None) -> Mask:
    """Return the mask of the table of hot pixels that RELION's motion correction writes."""
    table = read_star(text).get("hot_pixels", {})
    if not {"rlnCoordinateX", "rlnCoordinateY"} <= table.keys():
        raise UnfitReferenceError(
            f"{name}: no table data_hot_pixels with rlnCoordinateX and rlnCoordinateY; give the STAR file of "
            "a movie, as RELION's motion correction writes it"
        )
    mask = np.zeros(shape or (0, 0), bool)
    for row, words in enumerate(zip(table["rlnCoordinateX"], table["rlnCoordinateY"], strict=True), 1):
        where = f"{name}: data_hot_pixels: row {row}"
        plain = [re.sub(r"\.0*$", "", word) for word in words]
        x, y = _integers(where, plain, "rlnCoordinateX and rlnCoordinateY, whole numbers", 2)
        if shape:
            _mark(mask, (x, y, 1, 1), where)
    return mask


def _parse_serialem(name: str, lines: list[tuple[int, list[str]]]) -> tuple[Mask, tuple[str, ...]]:
    """Return the mask of SerialEM's list, and notes about lines that were passed over.

    As in IMOD keys may be shortened, those without a number say nothing, and others are passed over.
    """
    settings = {"CameraSizeX": [0], "CameraSizeY": [0], "WasScaled": [0], "UsableArea": [0, 0, 0, 0]}
    marks: list[tuple[str, str, list[int]]] = []
    notes: list[str] = []
    for number, (word, *words) in lines:
        where = f"{name}: line {number}"
        key = _whole_key(where, word)
        if key is None:
            notes.append(
                f"{where} begins with {word[:80]!r}, which is no key of SerialEM's "
                "defect list; it is passed over, as IMOD does"
            )
        elif words and key not in _OTHER_KEYS and (key, words) != ("WasScaled", ["-1"]):
            names, expected = _NUMBERS.get(key, ()), f"whole numbers after {key}"
            if names:
                expected = f"{len(names)} {expected}: {', '.join(names)}"
            values = _integers(where, words, expected, len(names) or None)
            if key == "BadPixels" and len(values) % 2:
                raise UnfitReferenceError(f"{where} has {len(values)} numbers; expected pairs of x y")
            if key in settings:
                settings[key] = values
            else:
                marks.append((where, key, values))
    shape = settings["CameraSizeY"][0], settings["CameraSizeX"][0]
    if not 1 <= min(shape) <= max(shape) <= _LARGEST_SIDE:
        raise UnfitReferenceError(
            f"{name}: the camera is {shape[0]} x {shape[1]}; expected CameraSizeX and CameraSizeY from 1 to "
            f"{_LARGEST_SIDE}"
        )
    mask = np.zeros(shape, bool)
    top, left, bottom, right = settings["UsableArea"]
    mask[:top], mask[:, :left] = True, True
    mask[bottom + 1 if bottom else shape[0] :] = True
    mask[:, right + 1 if right else shape[1] :] = True
    edge = 1 << min(settings["WasScaled"][0], 2)
    for where, key, values in marks:
        for box in _boxes_of_mark(key, values, shape, edge):
            _mark(mask, box, where)
    return mask, tuple(notes)


def _whole_key(where: str, word: str) -> str | None:
    """Return the key of SerialEM's list that a word is or shortens; None if it is no key."""
    keys = [key for key in _KEYS if key.startswith(word)]
    if len(keys) > 1 and word not in keys:
        raise UnfitReferenceError(
            f"{where} begins with {word!r}, which may be {' or '.join(keys)}; expected one of them"
        )
    if not keys and not word[0].isalpha():
        raise UnfitReferenceError(
            f"{where} begins with {word[:80]!r}; expected a key of SerialEM's defect "
            f"list, such as {', '.join(_MARKS)}"
        )
    return word if word in keys else next(iter(keys), None)


def _boxes_of_mark(key: str, values: list[int], shape: tuple[int, int], edge: int) -> list[DefectBox]:
    """Return the defects in one line of SerialEM's list as boxes (x, y, w, h).

    Each of BadPixels is a box of `edge` x `edge` pixels: 1 x 1, or 2 x 2 in a list that was scaled up once.
    """
    ny, nx = shape
    match key:
        case "BadPixels":
            return [(x, y, edge, edge) for x, y in zip(values[::2], values[1::2], strict=True)]
        case "BadColumns":
            return [(x, 0, 1, ny) for x in values]
        case "BadRows":
            return [(0, y, nx, 1) for y in values]
    start, width, first, last = values
    length = last - first + 1
    return [(start, first, width, length) if key == "PartialBadColumn" else (first, start, length, width)]


def boxes_of(mask: Mask) -> list[DefectBox]:
    """Return boxes (x, y, w, h) that together cover exactly the True pixels of a mask (ny, nx).

    Long lines come first, each a box of width or height 1, whatever pixels beside them are bad; then what is
    left, in boxes of rows that are alike.
    """
    rest = mask.copy()
    done = [(x, y, 1, h) for x, y, h in _taken_lines(rest)]
    done += [(x, y, w, 1) for y, x, w in _taken_lines(rest.T)]
    growing: dict[tuple[int, int], int] = {}
    for y, row in enumerate(np.concatenate([rest, np.zeros((1, mask.shape[1]), bool)])):
        edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0)).tolist()
        runs = set(zip(edges[::2], edges[1::2], strict=True))
        ended = [run for run in growing if run not in runs]
        done += [(x0, start, x1 - x0, y - start) for x0, x1 in ended for start in [growing.pop((x0, x1))]]
        growing |= {run: y for run in runs if run not in growing}
    return sorted(done, key=lambda box: (box[1], box[0]))


def _taken_lines(mask: Mask) -> list[tuple[int, int, int]]:
    """Take the long columns out of a mask: return the index of each, its first pixel, and its length.

    More than three side by side are a block, and stay.
    """
    changes = np.diff(mask.astype(np.int8), axis=0, prepend=0, append=0).T
    columns, starts = np.nonzero(changes > 0)
    stops = np.nonzero(changes < 0)[1]
    long = stops - starts >= _LONG
    runs = list(zip(*(some[long].tolist() for some in (columns, starts, stops)), strict=True))
    only_long = np.zeros(mask.shape, bool)
    for x, start, stop in runs:
        only_long[start:stop, x] = True
    taken = []
    for x, start, stop in runs:
        beside = only_long[start:stop, max(0, x - _WIDEST) : x + _WIDEST + 1].mean(axis=0) > 0.5
        edges = np.flatnonzero(np.diff(np.concatenate([[0], beside, [0]])))
        place = min(x, _WIDEST)
        k = int(np.searchsorted(edges, place, "right")) - 1
        if edges[k + 1] - edges[k] <= _WIDEST:
            mask[start:stop, x] = False
            taken.append((x, start, stop - start))
    return taken


def serialem_text(mask: Mask, first_row: FirstRow) -> str:
    """Return a defect mask (ny, nx; True = defect) as text of SerialEM's defect list."""
    ny, nx = mask.shape
    boxes = boxes_of(_turned(mask, first_row, "top"))
    columns = [x + k for x, _, w, h in boxes if h == ny for k in range(w)]
    rows = [y + k for _, y, w, h in boxes if w == nx and h < ny for k in range(h)]
    pixels = [n for x, y, w, h in boxes if w * h == 1 and (ny, nx) != (1, 1) for n in (x, y)]
    parts = [b for b in boxes if b[3] < ny and b[2] < nx and b[2] * b[3] > 1]
    head = {"CameraSizeX": nx, "CameraSizeY": ny, "RotationAndFlip": 0, "WasScaled": 0, "K2Type": 0}
    lines = [f"{key} {value}" for key, value in head.items()] + ["UsableArea 0 0 0 0"]
    lines += [f"PartialBadColumn {x} {w} {y} {y + h - 1}" for x, y, w, h in parts]
    lists = (("BadPixels", pixels, 2 * _PIXELS_IN_LINE), ("BadColumns", columns, _COLUMNS_IN_LINE))
    for key, values, count in (*lists, ("BadRows", rows, _COLUMNS_IN_LINE)):
        parts_of_list = (values[k : k + count] for k in range(0, len(values), count))
        lines += [" ".join(map(str, [key, *part])) for part in parts_of_list]
    return "\n".join(lines) + "\n"


def write_defects(path: str | os.PathLike[str], mask: Mask, kind: DefectsKind, first_row: FirstRow) -> None:
    """Write a defect mask as SerialEM's list, as boxes ``x y w h``, or as an image.

    Parameters
    ----------
    path
        Path of a map: ``.mrc``, ``.tif`` or ``.tiff``.
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
    SpaceError
        The folder cannot take the file.
    """
    path = Path(path)
    if kind == "serialem":
        write_atomic(path, serialem_text(mask, first_row).encode("ascii"))
    elif kind == "boxes":
        boxes = boxes_of(_turned(mask, first_row, "bottom"))
        write_atomic(path, "".join("{} {} {} {}\n".format(*box) for box in boxes).encode("ascii"))
    elif path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        file = io.BytesIO()
        image = _turned(mask, first_row, "top").astype(np.uint8)
        tifffile.imwrite(file, image, photometric="minisblack")
        write_atomic(path, file.getvalue())
    else:
        write(path, _turned(mask, first_row, "bottom").astype(np.int8), codec="none", footer=False)
