"""Add the frames of a stack exactly, so that the order of frames does not change a bit of the sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.numerics.kernels import flat
from mrcz_dask.numerics.moments import add_and_measure
from mrcz_dask.values.checks import expect
from mrcz_dask.values.errors import DtypeError, ParameterError

Array = NDArray[Any]
BAND = 1 << 16
SUM_BITS = 40
EXACT_BITS = 44
# No camera has both: pixels so many times brighter than those that are lit, and more counts in a frame.
BRIGHTEST = 2.0**24
MOST_COUNTS = 2.0**20
SAMPLE = 1 << 14
TINY = float(np.finfo(np.float32).tiny)
MEASURED = 2

Moments = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class StackSum:
    """The exact sum of a stack's frames, kept as integers, with the pixels that have no valid value.

    Attributes
    ----------
    values
        (y, x) signed integers; S = values * 2**-exponent, in counts. 0 where `nonfinite`.
    exponent
        0 for integers and for floats that hold integers (counts); else the power of two that floats
        were rounded to, once, before they were added.
    n
        Number of frames.
    nonfinite
        (y, x) bool, True = no count in some frame (not finite, or absurdly large), or a defect; None =
        nowhere.
    of_counts
        Whether fractions (an exponent) came from counts, by a gain.
    defects
        Number of pixels of `nonfinite` that are defects known before.
    """

    values: Array
    exponent: int
    n: int
    nonfinite: NDArray[np.bool_] | None = None
    of_counts: bool = False
    defects: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the sum, (y, x)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def unit(self) -> float:
        """Counts per unit of the stored integers `values`."""
        return 2.0**-self.exponent

    @property
    def is_counts(self) -> bool:
        """Whether the stack's pixels are integers, or became fractions only through a gain, so that they may
        be Poisson counts.
        """
        return self.exponent == 0 or self.of_counts

    def less(self, offset: int) -> StackSum:
        """Return the sum that the stack would have if `offset` counts were subtracted from every frame; for
        sums of integers.
        """
        if not offset:
            return self
        values = self.values.astype(np.int64) - self.n * offset
        limit = max(-int(values.min(initial=0)), int(values.max(initial=0)))
        return replace(self, values=values.astype(narrowest(limit)))

    def total(self) -> NDArray[np.float64]:
        """Return the sum in counts, float64 (y, x); 0 where `nonfinite`."""
        return self.values * np.float64(self.unit)


class FrameSum:
    """Accumulates, frame by frame, a stack's exact sum, in the narrowest integer that cannot overflow.

    Parameters
    ----------
    shape
        (y, x) of every frame.
    dtype
        Type of the frames: an integer, or a float of which `exponent` says how to round it.
    exponent
        For floats, as `common_exponent` gives it for the whole stack; integers need none.

    Raises
    ------
    DtypeError
        For complex and other types that are no counts.
    ParameterError
        For floats without exponent, or a frame of another shape.

    Notes
    -----
    Frames in any order give the same `StackSum`, its dtype included.
    """

    def __init__(self, shape: tuple[int, int], dtype: DTypeLike, exponent: int | None = None) -> None:
        self._dtype = _summable(dtype)
        if self._dtype.kind == "f" and exponent is None:
            raise ParameterError(
                f"{self._dtype} frames need an exponent; take it from common_exponent(frames)"
            )
        self._exponent = exponent or 0
        self._n = self._bound = 0
        self._values: Array = np.zeros(shape, np.int64 if self._dtype.kind == "f" else np.int8)
        self._bad: NDArray[np.bool_] | None = None

    def add(self, frame: Array) -> Moments | None:
        """Add one frame (y, x) to the sum; it must have the dtype given at the start.

        Returns
        -------
        tuple of int or None
            For integers of at most 16 bits minimum, maximum, sum and sum of squares, which come with it.
        """
        if frame.shape != self._values.shape or frame.dtype != self._dtype:
            raise ParameterError(
                f"frame {self._n} is {frame.shape} {frame.dtype}, not {self._values.shape} {self._dtype}: "
                "the frames of a stack have one shape and type"
            )
        self._n += 1
        if self._dtype.kind == "f":
            self._add_floats(frame)
            return None
        info = np.iinfo(frame.dtype)
        if info.bits < 64:  # a bound from the type alone: then the type of the sum depends on n alone
            self._bound += max(-info.min, info.max)
        else:
            self._bound += max(int(frame.max(initial=0)), -int(frame.min(initial=0)))
        self._values = self._values.astype(narrowest(self._bound, self._values), copy=False)
        if frame.itemsize <= MEASURED and frame.size:
            return add_and_measure(flat(frame), self._values.reshape(-1))
        np.add(self._values, frame, out=self._values, casting="unsafe")
        return None

    def _add_floats(self, frame: Array) -> None:
        scale = np.float64(2.0**self._exponent)
        limit = np.float64(2.0 ** ((SUM_BITS if self._exponent else EXACT_BITS) - self._exponent))
        for rows in _bands(frame):
            band = frame[rows]
            possible = np.abs(band) <= limit
            if not possible.all():
                band = np.where(possible, band, 0)
                if self._bad is None:
                    self._bad = np.zeros(self._values.shape, bool)
                self._bad[rows] |= ~possible
            self._values[rows] += np.rint(band * scale).astype(np.int64)

    def result(self) -> StackSum:
        """Return the sum of the frames added so far."""
        return StackSum(self._values, self._exponent, self._n, self._bad)

    def result_with(self, other: FrameSum) -> StackSum:
        """Return the sum of the frames of two sums (even and odd ones), equal in shape, dtype, exponent."""
        values = self._values.astype(narrowest(self._bound + other._bound, self._values, other._values))
        values += other._values
        bad = self._bad if other._bad is None else other._bad if self._bad is None else self._bad | other._bad
        return StackSum(values, self._exponent, self._n + other._n, bad)


def narrowest(bound: int, *at_least: Array) -> np.dtype[Any]:
    """Return the narrowest signed integer dtype that holds `bound` and is at least as wide as the arrays.

    Raises
    ------
    DtypeError
        If 64 bits do not hold it.
    """
    for size in (1, 2, 4, 8):
        if bound < 1 << (8 * size - 1) and all(size >= array.itemsize for array in at_least):
            return np.dtype(f"i{size}")
    raise DtypeError(f"a sum of frames may reach {bound:.3g}, and integers end at 2**63; give float32")


def sum_stack(frames: Array | Iterable[Array]) -> StackSum:
    """Return the exact sum of a stack's frames, and the pixels that are not finite.

    Parameters
    ----------
    frames
        (n, y, x) array, (y, x) array (one frame), or an iterable of (y, x) frames. All are gone through
        more than once, so an iterator is first read into memory.

    Returns
    -------
    StackSum
        The sum of all frames, non-finite pixels marked.

    Raises
    ------
    DtypeError
        For complex and other types that are no counts.
    ParameterError
        For no frames, or frames that differ in shape or type.
    """
    if not hasattr(frames, "__getitem__"):
        expect("stack", frames, Iterable, "an array (frames, y, x), or its frames")
    shape, stack = getattr(frames, "shape", None), frames
    if shape is None or not hasattr(frames, "__getitem__"):
        stack = list(frames) if isinstance(frames, Iterator) else frames
    elif len(shape) not in (2, 3):
        raise ParameterError(f"the array is {shape}; expected (frames, y, x), or (y, x) for one frame")
    elif len(shape) == 2:
        stack = np.asarray(frames)[None]
    elif not isinstance(frames, np.ndarray):
        stack = _ComputedFrames(frames)
    first = next(iter(stack), None)
    if first is None:
        raise ParameterError("the stack has no frames; expected at least one")
    expect("frame", first, np.ndarray, "an array (y, x)")
    dtype = _summable(first.dtype)
    total = FrameSum(first.shape, dtype, common_exponent(stack) if dtype.kind == "f" else None)
    for frame in stack:
        total.add(frame)
    return total.result()


@dataclass(frozen=True, slots=True)
class _ComputedFrames:
    """The frames of an array that is not NumPy's, such as dask's: computed one at a time, anew each time."""

    array: Any

    def __iter__(self) -> Iterator[Array]:
        return (np.asarray(self.array[k]) for k in range(self.array.shape[0]))


def common_exponent(frames: Iterable[Array]) -> int:
    """Choose the k for which float frames, rounded to multiples of 2**-k, can be added exactly as integers.

    0 if every pixel is an integer and the sum stays below 2**44; else 40 - ceil(log2(n max|x|)), but never 0,
    so that 0 always means integers. Pixels that cannot be counts have no say: not finite, or both above 2**20
    and 2**24 times as bright as the lit pixels of most frames. `FrameSum` marks what is too large for k.

    Parameters
    ----------
    frames
        (y, x) float frames of the whole stack.
    """
    surveys = [_survey(frame) for frame in frames]
    lit = [typical for typical, _, _ in surveys if typical]
    limit = _largest_count(float(np.median(lit)) if lit else 0.0)
    counts = [(largest, whole) for _, largest, whole in surveys if largest <= limit]
    mantissa, log2 = math.frexp(len(surveys) * max((largest for largest, _ in counts), default=0.0))
    if all(whole for _, whole in counts) and log2 <= EXACT_BITS:
        return 0
    return SUM_BITS - log2 + (mantissa == 0.5) or 1


def _survey(frame: Array) -> tuple[float, float, bool]:
    """Return the typical lit pixel of a frame, its largest possible count, and whether all are integers."""
    sample = np.abs(frame.reshape(-1)[:: max(1, frame.size // SAMPLE)])
    lit = sample[(sample > TINY) & np.isfinite(sample)]
    typical = float(np.median(lit)) if lit.size else 0.0
    limit, largest, whole = np.float64(_largest_count(typical)), 0.0, True
    for rows in _bands(frame):
        band = frame[rows]
        size = np.abs(band)
        possible = size <= limit
        if not possible.all():
            band, size = np.where(possible, band, 0), np.where(possible, size, 0)
        largest = max(largest, float(size.max(initial=0)))
        whole = whole and bool(((np.rint(band) == band) | (size < TINY)).all())
    return typical, largest, whole


def _largest_count(typical: float) -> float:
    return max(BRIGHTEST * typical, MOST_COUNTS)


def _bands(frame: Array) -> Iterator[slice]:
    """Yield rows that fit a processor's cache together."""
    step = max(1, BAND // max(1, frame.shape[1]))
    return (slice(top, top + step) for top in range(0, frame.shape[0], step))


def _summable(dtype: DTypeLike) -> np.dtype[Any]:
    checked = np.dtype(dtype)
    if checked.kind not in "iuf":
        raise DtypeError(
            f"the pixels are {checked}; expected integers or real floats: cast them, e.g. to float32"
        )
    return checked
