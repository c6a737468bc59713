"""Reads the defects that a Falcon camera writes into its gain reference (``.gain``, a TIFF file)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np

from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.values.errors import UnfitReferenceError

_ROOT = re.compile(r"\s*(<\?xml[^>]*>\s*)?<defects[\s>/]")
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?")


def falcon_defects(source: FrameSource) -> Mask | None:
    """Read the defects from the tags of a TIFF file.

    Parameters
    ----------
    source
        A gain reference, (1, ny, nx).

    Returns
    -------
    ndarray or None
        (ny, nx) bool, True = defect, rows in the order of the file; None if no tag lists defects.

    Raises
    ------
    UnfitReferenceError
        The list is not understood, or leaves the image.

    Notes
    -----
    A tag holds ``<defects>`` with ``row``, ``col`` (numbers and ranges), ``point`` (x,y) and ``area`` (x, y
    of the first pixel and of the last one); x and y count from 0, y from the first row of the TIFF. This is
    how IMOD reads them (CorrectDefects.cpp).
    """
    texts = [value for value in source.tags.values() if isinstance(value, str) and _ROOT.match(value)]
    if not texts:
        return None
    ny, nx = source.shape[1:]
    mask = np.zeros((ny, nx), bool)
    try:
        root = ElementTree.fromstring(texts[0])
    except ElementTree.ParseError as error:
        raise UnfitReferenceError(f"{source.name}: its list of defects is no XML ({error})") from error
    for element in root:
        kind, text = element.tag.rpartition("}")[2], element.text or ""
        where = f"{source.name}: its list of defects has <{kind}>{text[:80]}</{kind}>"
        values = list(_values(text, where))
        ends: list[tuple[int, ...]]
        match kind, len(values):
            case "row", _:
                ends = [(0, y, nx - 1, y) for y in values]
            case "col", _:
                ends = [(x, 0, x, ny - 1) for x in values]
            case (("point" | "nonmaskingpoint"), 2):
                ends = [(*values, *values)]
            case (("area" | "nonmaskingpoint"), 4):
                ends = [tuple(values)]
            case _:
                raise UnfitReferenceError(f"{where}; expected row, col, point with x,y or area with x,y,x,y")
        for x0, y0, x1, y1 in ends:
            if not (x0 <= x1 < nx and y0 <= y1 < ny):
                raise UnfitReferenceError(f"{where}, outside of {ny} rows of {nx} pixels; copy it again")
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def _values(text: str, where: str) -> Iterator[int]:
    """Yield the numbers of a list such as ``3,7-9``."""
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise UnfitReferenceError(f"{where}; expected whole numbers, or ranges such as 7-9")
        yield from range(int(found[1]), int(found[2] or found[1]) + 1)
