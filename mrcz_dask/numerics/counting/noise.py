"""Measure a detector's dark and read noise from its frames, and the charge of an electron from many events.

Without dark frames both come from the data's own zero peak. A pixel's values are mostly noise; those with
charge lie above. Its offset is at first a clipped mean, less what electrons pull that up in all pixels, and
its noise that of the values below. Then electrons are found and their clouds taken off, and both come from
the pixels that are not next to any.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit, minimize
from scipy.special import erfc

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.values.errors import ParameterError

CLIP = 2.0  # sigma round the middle within which values are averaged
TURNS = 4
ROWS = 32
UNIFORM = 1 / np.sqrt(12)  # noise of rounding to whole ADU
BINS = 0.1
UPPER = 0.4  # the zero peak is fitted up to so many sigma above its middle
REFINEMENTS = 2
FEW = 8  # values of a pixel without electrons that its statistics need
NOISY, STUCK, UNSTABLE = 1.5, 0.25, 12.0


def dark_statistics(frames: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each pixel, (ny, nx) ADU, over dark frames (n, ny, nx)."""
    if frames.ndim != 3 or frames.shape[0] < 8:
        raise ParameterError(f"dark frames have shape {frames.shape}; expected (n, ny, nx), n at least 8")
    mean = frames.mean(axis=0, dtype=np.float64)
    square = np.zeros(mean.shape)
    for frame in frames:
        square += (frame - mean) ** 2
    return mean, np.sqrt(square / (frames.shape[0] - 1))


def zero_peak(values: NDArray[Any], middle: float, scale: float) -> tuple[float, float]:
    """Fit the noise peak in a histogram of pixels, some with charge; return its center and deviation.

    Parameters
    ----------
    values
        Values of any shape; infinite ones and those that are no numbers are left out.
    middle, scale
        First guesses; the peak is fitted within 3 scales of the middle.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    for _ in range(TURNS):
        edges = middle + scale * np.arange(-3.5, UPPER + BINS / 2, BINS)
        number = np.histogram(flat, edges)[0].astype(float)
        place = (edges[1:] + edges[:-1]) / 2
        start = float(number.max()), middle, scale
        peak = curve_fit(
            lambda x, height, center, width: height * np.exp(-0.5 * ((x - center) / width) ** 2),
            place,
            number,
            start,
            sigma=np.sqrt(number + 1),
            maxfev=2000,
        )[0]
        middle, scale = float(peak[1]), abs(float(peak[2]))
    return middle, scale


def _clipped(values: Floats) -> tuple[Floats, Floats]:
    """Return clipped mean and noise over axis 0; the noise is that of the values below the mean."""
    middle = np.median(values, axis=0)
    low = np.quantile(values, 0.16, axis=0)
    scale = np.maximum(middle - low, UNIFORM)
    for _ in range(TURNS):
        off = (values - middle) / scale
        near = np.abs(off) < CLIP
        number = np.maximum(near.sum(axis=0), 1)
        middle = middle + scale * (off * near).sum(axis=0) / number
        below = values < middle
        count = np.maximum(below.sum(axis=0), 1)
        square = (np.square(values - middle) * below).sum(axis=0) / count
        scale = np.maximum(np.sqrt(square), UNIFORM)
    return middle, scale


def classes(noise: Floats) -> NDArray[np.uint8]:
    """Classify pixels by their noise: 0 quiet, 1 noisy, 2 unusable (stuck or unstable)."""
    relative = noise / np.median(noise)
    kinds = np.where(relative > NOISY, 1, 0)
    kinds[(relative < STUCK) | (relative > UNSTABLE) | ~np.isfinite(relative)] = 2
    return kinds.astype(np.uint8)


def detector_from(dark: Floats, noise: Floats) -> Detector:
    """Make a detector from dark and noise images: one noise for quiet pixels, unusable ones left out.

    The noise of a pixel from some 100 frames is known to 7 %; that of all quiet ones together much better.
    """
    kind = classes(noise)
    quiet = kind == 0
    return Detector(dark, np.where(quiet, np.sqrt(np.mean(noise[quiet] ** 2)), noise), unused=kind == 2)


def estimate_detector(frames: NDArray[Any], params: CountingParams | None = None) -> Detector:
    """Estimate the detector's dark and read noise from raw frames with electrons, (n, ny, nx), if there are
    no dark frames.

    Parameters
    ----------
    frames
        Raw, at least 32, with electrons in 5 % of the pixels at most, or the zero peak is no longer a peak.
        The offset of a pixel is known to some 1.2 read noises / root n.
    params
        Charge, width and sharing, with which electrons are found and kept out of the statistics.
    """
    if frames.ndim != 3 or frames.shape[0] < 32:
        raise ParameterError(f"frames have shape {frames.shape}; expected (n, ny, nx), n at least 32")
    dark, noise = np.empty(frames.shape[1:]), np.empty(frames.shape[1:])
    for y in range(0, frames.shape[1], ROWS):
        dark[y : y + ROWS], noise[y : y + ROWS] = _clipped(frames[:, y : y + ROWS].astype(np.float64))
    some = frames[:: max(1, frames.shape[0] // 32)]
    shift, scale = zero_peak((some - dark) / noise, 0.0, 1.0)
    dark, noise = dark + shift * noise, noise * scale
    for _ in range(REFINEMENTS):
        dark, noise = _without_electrons(frames, detector_from(dark, noise), params)
    return detector_from(dark, noise)


def _without_electrons(
    frames: NDArray[Any], detector: Detector, params: CountingParams | None
) -> tuple[Floats, Floats]:
    finder = EventFinder(detector, params)
    sums = np.zeros((4, *detector.shape))
    for frame in frames:
        events = finder.find(frame)
        hit = np.zeros(detector.shape, np.bool_)
        _mark(events.y, events.x, hit)
        _add_rest(finder.rest, hit, sums)
    number = np.maximum(sums[0], 1)
    mean = sums[1] / number
    square = sums[3] / np.maximum(sums[2], 1)
    few = (sums[2] < FEW) | ~detector.used
    scale = np.where(detector.used, 1 / np.maximum(detector.inverse, 1e-30), 0)
    dark = np.where(few, detector.dark, detector.dark + mean * scale)
    return dark, np.where(few, detector.noise, np.sqrt(square) * scale)


@compiled
def _mark(y: NDArray[np.float32], x: NDArray[np.float32], hit: NDArray[np.bool_]) -> None:
    """Mark the 3 x 3 pixels round each electron."""
    ny, nx = hit.shape
    for k in range(y.size):
        row, column = int(np.floor(y[k])), int(np.floor(x[k]))
        hit[max(0, row - 1) : min(ny, row + 2), max(0, column - 1) : min(nx, column + 2)] = True


@compiled
def _add_rest(rest: NDArray[np.float32], hit: NDArray[np.bool_], sums: Floats) -> None:
    """Add number and values of the pixels that are not hit, number and squares of those below 0, to sums.

    Electrons that were not found lie above 0: only values below tell the noise. sums is (4, ny, nx).
    """
    for y in range(hit.shape[0]):
        for x in range(hit.shape[1]):
            if not hit[y, x]:
                value = np.float64(rest[y, x])
                sums[0, y, x] += 1
                sums[1, y, x] += value
                if value < 0:
                    sums[2, y, x] += 1
                    sums[3, y, x] += value * value


class ChargeSpectrum(NamedTuple):
    """The charge spectrum of electrons: most probable charge and relative spread (Moyal distribution)."""

    charge: float
    width: float


def charge_spectrum(charges: NDArray[Any], noise: float) -> ChargeSpectrum:
    """Fit the charge spectrum to the charges of many events: a Moyal distribution, widened by noise.

    Parameters
    ----------
    charges
        (n,) of events, at least 500.
    noise
        Standard deviation of an event's charge by read noise; some 1.75 read noises for a fitted cloud.

    Notes
    -----
    Maximum likelihood between .7 and 1.8 times the most frequent charge: below, events are missed; above,
    two may have been taken for one.
    """
    values = np.asarray(charges, np.float64)
    if values.size < 500:
        raise ParameterError(f"{values.size} charges; expected at least 500 for a spectrum")
    middle = float(np.median(values))
    number, edges = np.histogram(values, np.linspace(0.5 * middle, 2.2 * middle, 86))
    mode = edges[int(np.argmax(np.convolve(number, np.ones(9), "same")))]
    number, edges = np.histogram(values, np.linspace(0.7 * mode, 1.8 * mode, 56))
    place = (edges[1:] + edges[:-1]) / 2

    def minus_log_likelihood(theta: Floats) -> float:
        """Return it up to a constant, at a charge and relative width."""
        density = _blurred_moyal(place, theta[0], abs(theta[1]) * theta[0], noise)
        expected = density / density.sum()
        return -float((number * np.log(expected + 1e-12)).sum())

    start = [0.95 * mode, 0.12]
    fitted = minimize(minus_log_likelihood, start, method="Nelder-Mead", options={"xatol": 1e-4}).x
    return ChargeSpectrum(float(fitted[0]), abs(float(fitted[1])))


def _blurred_moyal(place: Floats, charge: float, scale: float, noise: float) -> Floats:
    """Return at some charges the Moyal distribution with Gaussian noise, by 41 points of the noise."""
    off = np.linspace(-4, 4, 41)
    weight = np.exp(-0.5 * off**2)
    step = (place[1] - place[0]) / 2
    upper = _moyal_below((place[:, None] + step - off * noise - charge) / scale)
    lower = _moyal_below((place[:, None] - step - off * noise - charge) / scale)
    return np.asarray(((upper - lower) * weight).sum(axis=1) / weight.sum())


def _moyal_below(value: Floats) -> Floats:
    return np.asarray(erfc(np.exp(np.clip(-value / 2, -300, 300)) / np.sqrt(2)))
