"""The moving window over stacks: integer sums that are exact in any order, and the reference they make."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.filling import fill_values
from mrcz_dask.numerics.kernels import ratio
from mrcz_dask.values.errors import SessionError

DOSE_BITS = 20
LARGEST_SHIFT = 61  # beyond it nothing but 0 is left of a sum
Ref = TypeVar("Ref", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Member:
    """One stack as the window sees it.

    Attributes
    ----------
    values
        (ny, nx) integers; the sum over frames is values * 2**-exponent counts.
    exponent
        Binary exponent of `values`; 0 for counts.
    masked
        Flat indices of the outliers and of pixels that are not finite.
    mean
        Mean of the sum over unmasked pixels, n * d, counts.
    n
        Number of frames.
    """

    values: NDArray[np.integer[Any]]
    exponent: int
    masked: NDArray[np.int64]
    mean: float
    n: int


@dataclass(slots=True)
class WindowSum(Generic[Ref]):
    """Sum over the members of a window, kept up to date as the window moves.

    Numerators and denominators are int64, so that taking a member out gives to the bit what never adding it
    gives: the order of stacks, the number of workers and retries change nothing.

    Attributes
    ----------
    shape
        (ny, nx).
    raw
        True: the denominator counts frames (`subtract-raw`); False: it sums doses.
    """

    shape: tuple[int, int]
    raw: bool = False
    exponent: int = 0
    members: frozenset[Ref] = frozenset()
    _numerator: NDArray[np.int64] = field(init=False)
    _missing: NDArray[np.int64] = field(init=False)
    _weight: int = 0

    def __post_init__(self) -> None:
        self._clear(0)

    def _clear(self, exponent: int) -> None:
        self._numerator = np.zeros(self.shape, np.int64)
        self._missing = np.zeros(self.shape, np.int64)
        self._weight, self.members, self.exponent = 0, frozenset(), exponent

    def move_to(self, members: Iterable[Ref], exponent: int, load: Callable[[Ref], Member]) -> None:
        """Change the window to `members`, by the fewest additions and subtractions.

        Parameters
        ----------
        members
            The stacks that the window shall hold, by any hashable name.
        exponent
            Smallest binary exponent among them; a change of it starts the sum again.
        load
            Gives the member of a name. What it raises leaves a sum of the members moved so far.

        Raises
        ------
        SessionError
            For a member of another shape.
        """
        wanted = frozenset(members)
        if exponent != self.exponent or len(wanted ^ self.members) > len(wanted):
            self._clear(exponent)
        for ref in self.members - wanted:
            self._add(load(ref), -1)
            self.members -= {ref}
        for ref in wanted - self.members:
            self._add(load(ref), +1)
            self.members |= {ref}

    def _add(self, member: Member, sign: int) -> None:
        if member.values.shape != self.shape:
            raise SessionError(f"a stack of shape {member.values.shape} in a window of {self.shape}")
        weight = sign * (member.n << DOSE_BITS if self.raw else round(member.mean * 2**DOSE_BITS))
        values = _shifted(member.values, member.exponent - self.exponent)
        (np.add if sign > 0 else np.subtract)(self._numerator, values, out=self._numerator)
        self._numerator.flat[member.masked] -= sign * values.flat[member.masked].astype(np.int64)
        self._missing.flat[member.masked] += weight
        self._weight += weight

    def reference(self) -> NDArray[np.float32]:
        """Return P (ny, nx): sum M S / sum M n d (`raw`: counts per frame); filled where no weight is.

        Raises
        ------
        OutlierError
            When no pixel has any weight.
        """
        image = np.empty(self.shape, np.float32)
        factor = 2.0**DOSE_BITS * 2.0**-self.exponent
        flat = image.reshape(-1)
        if ratio(self._numerator.reshape(-1), self._missing.reshape(-1), self._weight, factor, flat):
            empty = self._missing >= self._weight
            filled = fill_values(image, empty, np.ones_like(empty), where=empty)
            image[empty] = filled[empty]
        return image


def _shifted(values: NDArray[np.integer[Any]], bits: int) -> NDArray[np.integer[Any]]:
    """Return values / 2**bits, rounded half up; bits >= 0."""
    if bits == 0:
        return values
    bits = min(bits, LARGEST_SHIFT)
    return (values.astype(np.int64) + (1 << (bits - 1))) >> bits
