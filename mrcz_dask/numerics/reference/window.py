"""Sum the stacks of a moving window exactly, in integers, and compute the reference from the sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.numerics.outliers.filling import fill_values
from mrcz_dask.values.errors import SessionError

DOSE_BITS = 20
LARGEST_SHIFT = 61  # beyond it nothing but 0 is left of a sum
INT32_MAX = 2**31 - 1
NOTHING = np.zeros(0, np.int16)
NOBODY = np.zeros(0, bool)
Ref = TypeVar("Ref", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Member:
    """A stack in a window, as the window's sum needs it: its sum, its outliers, its dose.

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
class MovingSum(ABC, Generic[Ref]):
    """Base class of sums over the stacks of a window, in integers, that are updated as the window moves.

    Taking a member out gives to the bit what never adding it gives: the order of stacks, the number of
    workers and retries change nothing.

    Attributes
    ----------
    shape
        (ny, nx).
    exponent
        Smallest binary exponent of the members.
    members
        The stacks that the window holds.
    """

    shape: tuple[int, int]
    exponent: int = field(init=False)
    members: frozenset[Ref] = field(init=False)

    def __post_init__(self) -> None:
        self._clear(0)

    def _clear(self, exponent: int) -> None:
        self.members, self.exponent = frozenset(), exponent
        self._empty()

    @abstractmethod
    def _empty(self) -> None:
        """Begin sums of nothing."""

    @abstractmethod
    def _add(self, member: Member, sign: int) -> None:
        """Add a member of the right shape, or with sign -1 take it out."""

    @abstractmethod
    def images(self, without: Member | None = None) -> tuple[NDArray[np.float32], ...]:
        """Return the images (ny, nx) that correct the stack `without`: the reference of all other members."""

    def moved_to(self, members: Iterable[Ref], exponent: int, load: Callable[[Ref], Member]) -> Self:
        """Return a copy of the sum that is moved to other members; see `move_to`."""
        moved = copy(self)
        for name, array in self._arrays().items():
            setattr(moved, name, array.copy())
        moved.move_to(members, exponent, load)
        return moved

    def _arrays(self) -> dict[str, NDArray[Any]]:
        values = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def __sizeof__(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())  # Dask keeps large results in place

    def move_to(self, members: Iterable[Ref], exponent: int, load: Callable[[Ref], Member]) -> None:
        """Change the members of the window, with the fewest additions and subtractions of stacks.

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
            member = load(ref)
            if member.values.shape != self.shape:
                raise SessionError(f"a stack of shape {member.values.shape} in a window of {self.shape}")
            self._add(member, +1)
            self.members |= {ref}


@dataclass(slots=True)
class WindowSum(MovingSum[Ref]):
    """The sum over the stacks of a window from which its reference is made: summed counts, and doses to
    divide them by.

    Outliers are few: what the weights of pixels lack is kept for these alone.

    Attributes
    ----------
    raw
        True: the denominator counts frames (`subtract-raw`); False: it sums doses.
    numerator
        (ny, nx) sum of the members' values where they are not masked.
    masked, missing
        Flat indices, in order, of the pixels that a member masks, and the weight that they lack by that.
    weight
        Weight of a pixel that no member masks.
    bound
        Largest numerator that there can be.
    """

    raw: bool = False
    numerator: NDArray[np.integer[Any]] = field(init=False)
    masked: NDArray[np.int64] = field(init=False)
    missing: NDArray[np.int64] = field(init=False)
    weight: int = field(init=False)
    bound: int = field(init=False)

    def _empty(self) -> None:
        self.numerator = np.zeros(self.shape, np.int32)
        self.masked, self.missing = np.zeros((2, 0), np.int64)
        self.weight, self.bound = 0, 0

    def _add(self, member: Member, sign: int) -> None:
        values = self._values(member)
        self._widen(sign << (8 * values.itemsize - 1))
        _add_member(self.numerator.reshape(-1), values, member.masked, sign)
        weight = sign * self._weight_of(member)
        self._miss(member.masked, np.full(member.masked.size, weight))
        self.weight += weight

    def _widen(self, bound: int) -> None:
        """Widen the sum before an addition could make it overflow; 64 bits hold any."""
        self.bound += bound
        if self.bound > INT32_MAX:
            self.numerator = self.numerator.astype(np.int64, copy=False)

    def _miss(self, masked: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Add weights that pixels lack, given by flat indices in order."""
        place = np.searchsorted(self.masked, masked)
        known = np.append(self.masked, -1)[place] == masked
        self.missing[place[known]] += weights[known]
        self.masked = np.insert(self.masked, place[~known], masked[~known])
        self.missing = np.insert(self.missing, place[~known], weights[~known])
        if not self.missing.all():
            self.masked, self.missing = self.masked[self.missing != 0], self.missing[self.missing != 0]

    def _values(self, member: Member) -> NDArray[np.integer[Any]]:
        """Return the flat values of a member in steps of the window's exponent, rounded half up."""
        values, bits = member.values, min(member.exponent - self.exponent, LARGEST_SHIFT)
        if bits:
            values = (values.astype(np.int64) + (1 << (bits - 1))) >> bits
        return np.ascontiguousarray(values).reshape(-1)

    def _weight_of(self, member: Member) -> int:
        return member.n << DOSE_BITS if self.raw else round(member.mean * 2**DOSE_BITS)

    def images(self, without: Member | None = None) -> tuple[NDArray[np.float32], ...]:
        """Return the reference of the window as a tuple of one image, (ny, nx)."""
        return (self.reference(without),)

    def reference(self, without: Member | None = None) -> NDArray[np.float32]:
        """Return the reference of the window, (ny, nx): summed counts over summed doses (`raw`: counts per
        frame); gaps are filled.

        Parameters
        ----------
        without
            A member that is left out: the stack which the reference is for.

        Raises
        ------
        OutlierError
            When no pixel has any weight.
        """
        image = np.empty(self.shape, np.float32)
        own: NDArray[np.integer[Any]] = NOTHING
        own_mask, weight = NOBODY, 0
        if without is not None:
            own, weight = self._values(without), self._weight_of(without)
            own_mask = masked_image(without)
        empty = _ratio(
            self.numerator.reshape(-1), self.masked, self.missing, own, own_mask, weight,
            self.weight - weight, 2.0**DOSE_BITS * 2.0**-self.exponent, image.reshape(-1),
        )  # fmt: skip
        if empty:
            fill_empty(image)
        return image

    def add(self, other: WindowSum[Ref]) -> None:
        """Add all members of another sum; it must share no stack with this one, and have its shape and
        exponent.
        """
        self._widen(other.bound)
        np.add(self.numerator, other.numerator, out=self.numerator, casting="unsafe")
        self._miss(other.masked, other.missing)
        self.weight += other.weight
        self.members |= other.members


def fill_empty(image: NDArray[np.float32]) -> None:
    """Fill, in place, NaN pixels of a reference (outliers in all stacks of the window) from pixels around."""
    empty = np.isnan(image)
    image[empty] = 0
    filled = fill_values(image, empty, np.ones_like(empty), where=empty)
    image[empty] = filled[empty]


def masked_image(member: Member) -> NDArray[np.bool_]:
    """Return the outliers of a stack in the window as a flat mask, True = outlier."""
    mask = np.zeros(member.values.size, bool)
    mask[member.masked] = True
    return mask


@compiled
def _add_member(total: NDArray[Any], values: NDArray[Any], masked: NDArray[np.int64], sign: int) -> None:
    """Add flat values to a total, or with sign -1 take them off; at the masked indices nothing changes."""
    if sign > 0:
        for i in range(total.size):
            total[i] += total.dtype.type(values[i])
    else:
        for i in range(total.size):
            total[i] -= total.dtype.type(values[i])
    for k in range(masked.size):
        total[masked[k]] -= total.dtype.type(sign * values[masked[k]])


@compiled
def _ratio(
    numerator: NDArray[Any],
    masked: NDArray[np.int64],
    missing: NDArray[np.int64],
    own: NDArray[Any],
    own_mask: NDArray[np.bool_],
    own_weight: int,
    weight: int,
    factor: float,
    out: NDArray[np.float32],
) -> int:
    """Put (numerator - own) * factor over the weight of a pixel into out, all flat; an empty own is 0.

    The weight of a pixel is `weight` less what it is `missing`, given for the pixels of `masked`, in order.
    Returns how many pixels have no weight; they are not a number.
    """
    empty = next_masked = 0
    for i in range(out.size):
        value, left = np.int64(numerator[i]), weight
        if next_masked < masked.size and masked[next_masked] == i:
            left -= missing[next_masked]
            next_masked += 1
        if own.size:
            if own_mask[i]:
                left += own_weight
            else:
                value -= np.int64(own[i])
        if left > 0:
            out[i] = np.float32(np.float64(value) * factor / np.float64(left))
        else:
            out[i] = np.nan
            empty += 1
    return empty
