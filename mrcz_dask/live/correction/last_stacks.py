"""Keeps the sums of a live stream's last stacks, from which the pattern is estimated."""

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

CODEC = Codec("zstd", 1)
FEWEST_AFTER = FEWEST + 1  # with one less a jump of dose is placed a stack early
NO_VALUES = np.zeros((0, 0), np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class StoredStack:
    """Record of a complete stack with its compressed sum, kept as a possible member of KOMA windows.

    Attributes
    ----------
    number
        Counts the stacks.
    name
        Name of the stack in messages.
    dose
        Counts per pixel and frame.
    shape, dtype, chunk
        (ny, nx), type and compressed values of the sum.
    member
        The member of windows that it becomes, without values.
    sketch
        Sketch of the sum, for the search for breaks.
    """

    number: int
    name: str
    dose: float
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk: bytes
    member: Member
    sketch: bytes


class LastStacks:
    """Keeps the sums of the last complete stacks, as many as KOMA windows and the search for breaks need.

    Parameters
    ----------
    settings
        Radius, contrast, and the kinds of breaks that are looked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most = 4 * max(settings.koma.radius, REACH)
        self._stacks: list[StoredStack] = []
        self._block_means: list[BlockMeans] = []
        self._count = 0

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of the kept stacks, in order of time."""
        return [stack.number for stack in self._stacks]

    def load(self, number: int) -> Member:
        """Decompress the sum of a kept stack and return the stack as a member of KOMA windows."""
        stack = next(stack for stack in self._stacks if stack.number == number)
        values = np.empty(stack.shape, stack.dtype)
        decompress_into(stack.chunk, values)
        return replace(stack.member, values=values)

    def add(self, name: str, total: StackSum, mask: OutlierMask) -> StoredStack:
        """Keep the sum of a complete stack with a sound outlier mask, and drop the oldest stacks."""
        contrast = self._settings.contrast
        values = np.ascontiguousarray(total.values)
        newest = StoredStack(
            self._count,
            name,
            mask.mean / total.n,
            total.shape,
            values.dtype,
            CODEC.compress(values),
            Member(NO_VALUES, total.exponent, np.flatnonzero(mask.mask), mask.mean, total.n),
            sketch(values, mask.mask, self._count),
        )
        self._count += 1
        self._stacks = [*self._stacks, newest][-self._most :]
        means = block_means(total.values, mask.mask, contrast.blocks, 2.0**-total.exponent)
        self._block_means = [*self._block_means, means][-max(contrast.history, self._most) :]
        return newest

    def usable(self) -> list[StoredStack]:
        """Return the kept stacks that may be members of windows: those without high contrast,
        as known by now.
        """
        verdicts = assess_contrast(self._block_means, self._settings.koma.radius, self._settings.contrast)
        recent = verdicts[len(verdicts) - len(self._stacks) :]
        return [stack for stack, verdict in zip(self._stacks, recent, strict=True) if verdict.usable]

    def forget_old_epoch(self) -> str:
        """Drop the stacks before a lasting change of dose or pattern; return a note for the user,
        '' for none.

        A break is found when four usable stacks have come after it.
        """
        koma, usable = self._settings.koma, self.usable()
        if koma.breaks != "auto" or not usable:
            return ""
        doses, sketches = [stack.dose for stack in usable], [stack.sketch for stack in usable]
        breaks = find_breaks(gather_evidence(sketches, usable[0].shape, doses, koma.break_dose))
        if not breaks or len(usable) - breaks[-1].place < FEWEST_AFTER:
            return ""
        first = usable[breaks[-1].place]
        self._stacks = [stack for stack in self._stacks if stack.number >= first.number]
        return f"corrections begin anew with {first.name}: {reason_of(breaks[-1])}"
