"""Measure gamma of flat-field stacks at several dose rates, and fit the curve of gamma over dose rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.gains import check_there
from mrcz_dask.formats.text.mdoc import find_mdoc
from mrcz_dask.gain.applied import without_dark
from mrcz_dask.gain.options import GainOptions, GammaRule, stated_exposure
from mrcz_dask.gain.pattern import SummedStack, read_sum
from mrcz_dask.gain.prepared import PreparedGain, prepare_gain
from mrcz_dask.numerics.gain.gain import GammaCurve
from mrcz_dask.numerics.gain.gamma import FEWEST, SIDE, best_gamma, fit_curve, relief
from mrcz_dask.numerics.gain.sums import gained_mask
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Listener, PhaseFinished, PhaseStarted, StackDone, Warned, silent
from mrcz_dask.values.params import OutlierParams

PHASE = "flats"


@dataclass(frozen=True, slots=True)
class Flat:
    """Results for a flat-field stack: dose rate, best gamma, and evenness without and with that gamma.

    Attributes
    ----------
    name
        Name of its file.
    rate
        Dose rate, e-/pixel/s of the sensor.
    gamma
        The exponent that makes it flattest (Eq. 10).
    before, after
        `relief` of the flat with the gain as it is, and to the power of gamma (Fig. 10).
    """

    name: str
    rate: float
    gamma: float
    before: NDArray[np.float32] = field(compare=False, repr=False)
    after: NDArray[np.float32] = field(compare=False, repr=False)

    @property
    def uneven(self) -> tuple[float, float]:
        """Unevenness of the flat without and with gamma: standard deviation, relative to the mean."""
        return float(np.nanstd(self.before)), float(np.nanstd(self.after))


@dataclass(frozen=True, slots=True)
class GammaFit:
    """Result of measuring gamma: flat-field stacks by dose rate, and the curve fitted to them.

    Attributes
    ----------
    flats
        In order of dose rate.
    curve
        Eq. 11, or None for fewer than four dose rates.
    """

    flats: tuple[Flat, ...]
    curve: GammaCurve | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        rows = [
            {
                "name": f.name,
                "dose_rate": f.rate,
                "gamma": f.gamma,
                "uneven_before": f.uneven[0],
                "uneven_after": f.uneven[1],
                "curve": self.curve and self.curve.at(f.rate),
            }
            for f in self.flats
        ]
        return {"flats": rows, "fit": self.curve and GammaRule(self.curve).to_dict()}


def fit_gamma(
    paths: Sequence[Path],
    options: GainOptions,
    frame_times: Sequence[float] = (),
    side: int = SIDE,
    listen: Listener = silent,
) -> GammaFit:
    """Measure gamma of flat-field stacks at several dose rates, and fit its curve over dose rate (Eq. 11).

    Parameters
    ----------
    paths
        Stacks without specimen at several dose rates, counts before dark and gain.
    options
        The gain, how it is turned, and the dark.
    frame_times
        Seconds per frame: none (as the .mdoc of each says), one for all, or one for each.
    side
        Pixels over which flats and gain are averaged.
    listen
        Told of every flat.

    Raises
    ------
    ParameterError
        Without a gain, or where a frame's time is not known.
    FormatError, OSError
        A stack or the gain cannot be read.
    """
    if options.gain is None or not paths:
        raise ParameterError(
            f"{len(paths)} flats and gain {options.gain!r}; expected some flats and --gain FILE"
        )
    times = _times(paths, frame_times)
    for path in paths:
        check_there(path, "flat")
    listen(PhaseStarted(PHASE, len(paths), sum(path.stat().st_size for path in paths)))
    flats = sorted(_flats(paths, options, times, side, listen), key=lambda flat: flat.rate)
    listen(PhaseFinished(PHASE))
    rates, gammas = [flat.rate for flat in flats], [flat.gamma for flat in flats]
    apart = {f"{rate:.1e}" for rate in rates}  # rates that differ by a per cent are one
    return GammaFit(tuple(flats), fit_curve(rates, gammas) if len(apart) >= FEWEST else None)


def _times(paths: Sequence[Path], times: Sequence[float]) -> list[float | None]:
    if len(times) not in (0, 1, len(paths)):
        raise ParameterError(
            f"--frame-time is given {len(times)} times for {len(paths)} flats; give one or each"
        )
    if not all(0 < time < 1e3 for time in times):
        raise ParameterError(f"--frame-time is {list(times)}; expected seconds above 0")
    return [*times] * len(paths) if len(times) == 1 else [*times] or [None] * len(paths)


def _flats(
    paths: Sequence[Path],
    options: GainOptions,
    times: Sequence[float | None],
    side: int,
    listen: Listener,
) -> Iterator[Flat]:
    prepared: PreparedGain | None = None
    for path, time in zip(paths, times, strict=True):
        stack = read_sum(path)
        if prepared is None:
            prepared = prepare_gain(options, stack.total.shape, stack.first_row, paths)
            assert prepared is not None
            for text in prepared.caveats:
                listen(Warned(text))
        yield _flat(stack, prepared, time, side)
        listen(StackDone(PHASE, path.name, path.stat().st_size))


def _flat(stack: SummedStack, prepared: PreparedGain, time: float | None, side: int) -> Flat:
    exposure = stated_exposure(find_mdoc(stack.path))
    seconds = time or (exposure and exposure / stack.frames)
    if seconds is None:
        raise ParameterError(
            f"{stack.path}: the time of a frame is not known; expected ExposureTime in its .mdoc, or "
            "--frame-time SECONDS"
        )
    after = without_dark(stack.total, prepared.gain)
    mask = gained_mask(stack.total, after, OutlierParams())
    good = ~(mask.mask | prepared.gain.bad)
    counts, gain = after.total(), prepared.gain.image
    gamma = best_gamma(counts, gain, good, side)
    reliefs = (relief(counts, gain, power, good, side) for power in (1.0, gamma))
    rate = mask.mean / after.n * prepared.params.subpixels / seconds
    return Flat(stack.path.name, rate, gamma, *reliefs)
