"""Compute the pattern for a stack still being recorded from the stacks before it, for live correction.

The share of them that is subtracted is fitted to the last complete stack, with references without it: what
was best for that one is applied to references that have it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.bands import Bands, make_bands
from mrcz_dask.numerics.reference.koma import without_mean
from mrcz_dask.numerics.reference.parts import MeanImage, References, measure_bands
from mrcz_dask.numerics.reference.regression import BandFit, fit_bands, pattern_of
from mrcz_dask.numerics.reference.structure import (
    SMALLEST_SIDE,
    coarse_means,
    smooth_deviation,
    without_smooth,
)
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import KomaParams

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Load = Callable[[int], Member]


class Relay:
    """A running sum over the last length / 2 to `length` stacks, exact, although older stacks can no longer
    be loaded and subtracted.

    When there are more than `length` of them, a second sum takes over, which began when there were half as
    many: the sum is of the last length / 2 to length stacks, and exact.

    Parameters
    ----------
    length
        Most stacks.
    make
        Gives a sum of nothing.
    """

    def __init__(self, length: int, make: Callable[[], WindowSum[int]]) -> None:
        self._length, self._make = length, make
        self.sum, self._start = make(), 0
        self._heir: tuple[int, WindowSum[int]] | None = None

    def move(self, within: Sequence[int], usable: Sequence[int], exponent: int, load: Load) -> None:
        """Update the sum: of the recent stacks `within`, the `usable` become members; older members stay."""
        for start, window in [(self._start, self.sum), *([self._heir] if self._heir else [])]:
            recent = frozenset(k for k in usable if k >= start)
            members = (window.members - set(within)) | recent
            if len(members ^ window.members) > len(members):
                members = recent  # the sum would begin again, and nothing else can be loaded
            window.move_to(members, exponent, load)

    def hand_over(self, newest: int) -> None:
        """Start a second sum, or let it replace the first, when the number of stacks calls for it; `newest`
        is the last stack's number.
        """
        if self._heir is not None and len(self.sum.members) > self._length:
            (self._start, self.sum), self._heir = self._heir, None
        if self._heir is None and 2 * len(self.sum.members) >= self._length:
            self._heir = newest + 1, self._make()


class OneSided:
    """Short and long window of the stacks before the one being recorded, and the pattern they give.

    Parameters
    ----------
    shape
        (ny, nx).
    exponent
        Binary exponent of all sums.
    params
        Method ``fit`` or ``plain``, form, bands, and lengths: 2 x radius stacks in the short window, at most
        `long_window` in the long one.

    Raises
    ------
    ParameterError
        For the method ``session``, which needs the whole of it.
    """

    def __init__(self, shape: tuple[int, int], exponent: int, params: KomaParams) -> None:
        if params.method == "session":
            raise ParameterError("method session needs all stacks of a session; expected fit or plain")
        self._shape, self._exponent, self._params = shape, exponent, params
        self._fitted = params.method == "fit"
        self._short, self._long = self._make(), Relay(params.long_window, self._make)
        self._images: tuple[object, tuple[Image, ...]] = (None, ())
        self._split: tuple[object, References | None] = (None, None)

    def _make(self) -> WindowSum[int]:
        return WindowSum(self._shape, self._params.form == "subtract-raw")

    @property
    def members(self) -> tuple[int, int]:
        """Numbers of stacks in the short and in the long window; ``plain`` has 0 in the long one."""
        return len(self._short.members), len(self._long.sum.members) if self._fitted else 0

    def move(self, within: Sequence[int], usable: Sequence[int], load: Load) -> None:
        """Update both windows to the most recent usable stacks.

        Parameters
        ----------
        within
            Numbers of the last stacks, in order of time: all that can be loaded.
        usable
            Those of them that may be references. Older stacks stay in the long window.
        load
            Gives the member of a number.
        """
        if not self._short.members <= set(within):
            self._short = self._make()  # a member cannot be loaded any more, and so not be taken out
        self._short.move_to(usable[-2 * self._params.radius :], self._exponent, load)
        if self._fitted:
            self._long.move(within, usable, self._exponent, load)

    def hand_over(self, newest: int) -> None:
        """Tell the long window that stack `newest` is complete, so that it can drop old ones."""
        self._long.hand_over(newest)

    def images(self) -> tuple[Image, ...]:
        """Return the references, (ny, nx) float32: of the short window, and of the long one if it differs."""
        short, long = self._short, self._long.sum
        key = short.members, long.members
        if self._images[0] != key:
            windows = [window for window in (short, long) if window.members]
            differ = self._fitted and short.members != long.members
            references = (window.reference() for window in windows[: 2 if differ else 1])
            self._images = key, tuple(self._detectors_part(one) for one in references)
        return self._images[1]

    def _detectors_part(self, reference: Image) -> Image:
        """Return a reference without smooth structure, if it has more of it than a detector."""
        if self._params.trust_reference or min(self._shape) < SMALLEST_SIDE:
            return reference
        coarse = coarse_means(reference)
        if smooth_deviation(coarse) <= self._params.smooth_limit:
            return reference
        return without_smooth(reference, coarse)

    def fit(self, mean: MeanImage, mask: Mask) -> tuple[BandFit, ...]:
        """Fit the references to a complete stack outside the windows, band by band, for the coefficients.

        Parameters
        ----------
        mean
            Its mean image, on the scale of the references.
        mask
            (ny, nx) bool, True = outlier of this stack.

        Returns
        -------
        tuple of BandFit
            A fit of each band; none without a reference, or for ``plain``.
        """
        references = self._references() if self._fitted else None
        if references is None:
            return ()
        return fit_bands(measure_bands(mean, references, mask, self._bands), self._bands)

    def pattern(self, fits: Sequence[BandFit], mask: Mask) -> Image | None:
        """Return the pattern of the next stack, (ny, nx) float32, mean zero, from the last coefficients.

        Relative to the dose, or in counts per frame for ``subtract-raw``. None: no reference, or no fits.

        Parameters
        ----------
        fits
            Result of `fit` for the last stack; ``plain`` takes none.
        mask
            (ny, nx) bool, True = outlier, not in the mean that ``plain`` takes off.
        """
        images = self.images()
        if not self._fitted:
            return without_mean(images[0], mask) if images else None
        references = self._references() if fits else None
        if references is None:
            return None
        # a second image that was not there when a fit was made has no share
        fits = [replace(fit, coefficients=(*fit.coefficients, 0.0)[: len(images)]) for fit in fits]
        return pattern_of(fits, references, self._bands)

    def _references(self) -> References | None:
        images = self.images()
        if self._split[0] is not self._images[0]:
            self._split = self._images[0], References.of(images, self._bands) if images else None
        return self._split[1]

    @property
    def _bands(self) -> Bands:
        return make_bands(self._shape, self._params.min_modes)
