"""The last complete stacks of a stream, their sums compressed: who may be a reference, where they break."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrcz_dask.correction.assess import reason_of
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.numerics.outliers.mask import OutlierMask
from mrcz_dask.numerics.reference.window import Member
from mrcz_dask.numerics.session.breaks import FEWEST, REACH, find_breaks, gather_evidence
from mrcz_dask.numerics.session.contrast import BlockMeans, assess_contrast, block_means
from mrcz_dask.numerics.session.sketch import sketch
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import Settings

PACKED = Codec("zstd", 1)
FEWEST_AFTER = FEWEST + 1  # with one less a jump of dose is placed a stack early
NO_VALUES = np.zeros((0, 0), np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A stack that may be a member of windows.

    Attributes
    ----------
    number
        Of the stack; numbers grow.
    name
        What messages call it.
    dose
        Counts per pixel and frame.
    """

    number: int
    name: str
    dose: float
    _chunk: bytes
    _like: tuple[tuple[int, int], np.dtype[Any]]
    _member: Member
    sketch: bytes

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self._like[0]

    @classmethod
    def of(cls, number: int, name: str, total: StackSum, mask: OutlierMask) -> Kept:
        """Keep the sum of a stack."""
        values = np.ascontiguousarray(total.values)
        member = Member(NO_VALUES, total.exponent, np.flatnonzero(mask.mask), mask.mean, total.n)
        signs = sketch(values, mask.mask, number)
        like = total.shape, values.dtype
        return cls(number, name, mask.mean / total.n, PACKED.compress(values), like, member, signs)

    def load(self) -> Member:
        """Return the stack as a window sees it."""
        values = np.empty(*self._like)
        decompress_into(self._chunk, values)
        return replace(self._member, values=values)


class LastStacks:
    """As many of the last stacks as windows and the search for breaks need.

    Parameters
    ----------
    settings
        Radius, contrast, and which breaks are looked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most = 2 * max(settings.koma.radius, REACH)
        self._kept: list[Kept] = []
        self._grids: list[BlockMeans] = []
        self._count = 0

    @property
    def numbers(self) -> list[int]:
        """Of all that are kept, in order."""
        return [one.number for one in self._kept]

    def load(self, number: int) -> Member:
        """Return a stack that is kept."""
        return next(one for one in self._kept if one.number == number).load()

    def add(self, name: str, total: StackSum, mask: OutlierMask) -> Kept:
        """Keep a stack with a sound mask; the oldest are forgotten."""
        contrast = self._settings.contrast
        newest = Kept.of(self._count, name, total, mask)
        self._count += 1
        self._kept = [*self._kept, newest][-2 * self._most :]
        grid = block_means(total.values, mask.mask, contrast.blocks, 2.0**-total.exponent)
        self._grids = [*self._grids, grid][-max(contrast.history, 2 * self._most) :]
        return newest

    def usable(self) -> list[Kept]:
        """Return those that may be references, by all that is known by now."""
        verdicts = assess_contrast(self._grids, self._settings.koma.radius, self._settings.contrast)
        recent = verdicts[len(verdicts) - len(self._kept) :]
        return [one for one, verdict in zip(self._kept, recent, strict=True) if verdict.usable]

    def part(self) -> str:
        """Forget the stacks before a lasting change of dose or pattern; return what it is, '' for none.

        It is seen when four usable stacks have come after it.
        """
        koma, usable = self._settings.koma, self.usable()
        if koma.breaks != "auto" or not usable:
            return ""
        doses = [one.dose for one in usable]
        found = find_breaks(
            gather_evidence([one.sketch for one in usable], usable[0].shape, doses, koma.break_dose)
        )
        if not found or len(usable) - found[-1].place < FEWEST_AFTER:
            return ""
        first = usable[found[-1].place]
        self._kept = [one for one in self._kept if one.number >= first.number]
        return f"corrections begin anew with {first.name}: {reason_of(found[-1])}"
