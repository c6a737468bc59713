"""Parameters of a simulated session, and sets of them that have a name, such as *standard*."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from mrcz_dask.values.checks import one_of, raise_all, within
from mrcz_dask.values.params import Parameters

CountDtype = Literal["uint8", "int8", "uint16", "int16"]

RANGES = {
    "shape": (16, 16384, " pixels"),
    "frames": (1, 10_000, ""),
    "stacks": (1, 100_000, ""),
    "seed": (0, 2**64 - 1, ""),
    "dose": (0, 1e4, " counts/pixel/frame"),
    "frame_time": (0, 1e3, " s"),
    "dose_jitter": (0, 0.3, ""),
    "gamma": (0, 10, ""),
    "etch": (0, 0.3, ""),
    "cmos": (0, 0.3, ""),
    "pixel": (0, 0.3, ""),
    "evolve": (0, 0.3, ""),
    "tau": (0, 1e9, " e-/pixel"),
    "additive": (0, 1e4, " counts/pixel/frame"),
    "specimen": (0, 0.3, ""),
    "drift": (0, 100, " pixels/frame"),
    "hot": (0, 0.2, ""),
    "hot_median": (0, 1e4, ""),
    "hot_log_sigma": (0, 5, ""),
    "hot_pairs": (0, 1, ""),
    "hot_persistence": (0, 1, ""),
    "dead": (0, 0.2, ""),
    "dead_response": (0, 1, ""),
    "carbon_strength": (0, 0.95, ""),
    "ice_strength": (0, 0.95, ""),
    "dose_factors": (0, 100, ""),
    "coincidence": (0, 1e3, " pixels"),
    "tilts": (0, 1000, " images"),
    "tilt_step": (0, 30, " degrees"),
    "aim_error": (0, 1e3, " pixels"),
    "edge": (0, 0.95, ""),
    "gradient": (0, 0.5, ""),
    "same_area": (1, 1000, " stacks"),
}
ABOVE_ZERO = ("dose", "frame_time", "tau", "hot_median", "dose_factors")


@dataclass(frozen=True, slots=True)
class SimulationParams(Parameters):
    """Parameters of a simulated session; the defaults are the *standard* session.

    Setting an effect to 0 switches it off and leaves every other random draw as it is.

    Attributes
    ----------
    shape
        Rows and columns of a frame, pixels.
    frames, stacks
        Frames of a stack, and stacks of the session.
    dose
        d, mean counts/pixel/frame of a stack without specimen, outliers, carbon and ice.
    seed
        0 <= seed < 2^64; the same seed and parameters give the same pixels.
    dtype
        Type of the counts; counts are clipped to its range.
    frame_time
        Seconds per frame; with the dose it gives the dose rate of gamma.
    dose_jitter
        Relative standard deviation of the dose from stack to stack (normal, cut at 3 sigma).
    gamma
        Exponent of the etching; None = Eq. 11 with the K2's coefficients at the stack's dose rate.
    etch
        Standard deviation of the etching E (mean 1).
    cmos
        Standard deviation of the multiplicative columns and rows.
    pixel
        Standard deviation of the white pixel gain.
    evolve
        Standard deviation of the evolving pattern V.
    tau
        Dose in e-/pixel over which V loses its memory: correlation exp(-dose/tau).
    additive
        Standard deviation of the additive pattern A, counts/pixel/frame.
    specimen
        Relative standard deviation of the specimen.
    drift
        Speed of the drift in pixels/frame; it is 2.5 times as fast at the first frame, half at the last.
    hot
        Shares of hot pixels in the first and the last stack, linear in between.
    hot_median
        Median excess of a hot pixel in units of the dose d.
    hot_log_sigma
        Standard deviation of the natural logarithm of the excess.
    hot_pairs
        Share of the hot pixels that come as two neighbors.
    hot_persistence
        Share of the hot pixels of a stack that are still hot in the next.
    dead
        Share of dead pixels, the same ones in all stacks.
    dead_response
        Counts of a dead pixel relative to a live one.
    super_resolution
        Outliers are physical pixels of 2 x 2 image pixels.
    carbon, ice
        Indices of the stacks with a carbon edge and with ice that grows thick to one side.
    carbon_strength, ice_strength
        Share of the electrons that carbon and thick ice take away.
    new_gain
        Indices of the stacks from which on columns, rows, white pixel gain and V are drawn anew.
    dose_jumps, dose_factors
        Indices of the stacks from which on the dose is multiplied by a factor, and these factors.
    tilts
        Images of a tilt series, all of one specimen with depth, dose-symmetric from 0 on; 0 = no tilt series.
    tilt_step
        Degrees from one tilt to the next.
    aim_error
        Standard deviation in pixels of where the stage or the beam goes: tilts of a series, stacks of the
        same area and the edge of the hole move by it.
    edge
        Share of the electrons that the carbon round the hole takes away, in the same corner of all stacks.
    gradient
        Change of the illumination from one side of the image to the other; its direction turns from stack to
        stack, as with beam-image shift.
    same_area
        Stacks one after the other that show the same area.
    copied
        Indices of the stacks that hold the same data as the stack before.
    coincidence
        Pixels round an electron within which others of the same frame of the sensor are lost, in counting
        cameras some 9; 0 = none are lost.
    """

    _title = "simulation parameters"
    shape: tuple[int, int] = (512, 512)
    frames: int = 30
    stacks: int = 60
    dose: float = 1.0
    seed: int = 0
    dtype: CountDtype = "uint8"
    frame_time: float = 0.3
    dose_jitter: float = 0.02
    gamma: float | None = None
    etch: float = 0.03
    cmos: float = 0.015
    pixel: float = 0.01
    evolve: float = 0.0
    tau: float = 400.0
    additive: float = 0.0
    specimen: float = 0.04
    drift: float = 0.4
    hot: tuple[float, float] = (0.001, 0.005)
    hot_median: float = 2.0
    hot_log_sigma: float = 1.0
    hot_pairs: float = 0.2
    hot_persistence: float = 0.9
    dead: float = 2e-5
    dead_response: float = 0.0
    super_resolution: bool = False
    carbon: tuple[int, ...] = ()
    ice: tuple[int, ...] = ()
    carbon_strength: float = 0.25
    ice_strength: float = 0.25
    new_gain: tuple[int, ...] = ()
    dose_jumps: tuple[int, ...] = ()
    dose_factors: tuple[float, ...] = ()
    coincidence: float = 0.0
    tilts: int = 0
    tilt_step: float = 3.0
    aim_error: float = 4.0
    edge: float = 0.0
    gradient: float = 0.0
    same_area: int = 1
    copied: tuple[int, ...] = ()

    def _problems(self) -> Iterator[str]:
        yield from within("number of sizes in shape", len(self.shape), 2, 2)
        yield from within("number of shares in hot", len(self.hot), 2, 2)
        for name, (low, high, unit) in RANGES.items():
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if name != "gamma" or value is not None:
                    yield from within(name, value, low, high, open_low=name in ABOVE_ZERO, unit=unit)
        if self.super_resolution and any(size % 2 for size in self.shape):
            yield f"shape is {self.shape!r}; expected even sizes with super_resolution"
        for name in ("carbon", "ice", "new_gain", "dose_jumps", "copied"):
            wrong = [i for i in getattr(self, name) if not 0 <= i < self.stacks]
            if wrong:
                yield f"{name} names the stacks {wrong}; expected indices from 0 to {self.stacks - 1}"
        if self.tilts * self.tilt_step > 150:
            yield f"{self.tilts} tilts of {self.tilt_step} degrees; expected at most 150 degrees in all"
        if len(self.dose_jumps) != len(self.dose_factors):
            numbers = len(self.dose_jumps), len(self.dose_factors)
            yield f"dose_jumps and dose_factors have {numbers[0]} and {numbers[1]} entries; expected as many"


_NO_PATTERN: dict[str, Any] = {"etch": 0.0, "cmos": 0.0, "pixel": 0.0, "gamma": 1.0}

SESSIONS = MappingProxyType(
    {
        "standard": {},
        "evolving": {"evolve": 0.02, "tau": 400.0},
        "no pattern": _NO_PATTERN,
        "white": _NO_PATTERN | {"pixel": 0.03},
        "mature": {"etch": 0.05, "cmos": 0.03, "pixel": 0.03, "dose": 0.5},
        "tilt series": {"tilts": 31, "stacks": 93, "frames": 6, "dose": 0.5, "specimen": 0.1, "drift": 0.3},
        "hole edge": {"edge": 0.15, "stacks": 40, "frames": 24},
    }
)
"""The parameters that each named session changes."""


def named(name: str, **overrides: Any) -> SimulationParams:
    """Return the parameters of a named session, with some of them changed.

    Parameters
    ----------
    name
        One of `SESSIONS`: ``standard``, ``evolving``, ``no pattern``, ``white``, ``mature``, ``tilt series``,
        ``hole edge``.
    **overrides
        Fields of `SimulationParams`.

    Raises
    ------
    ParameterError
        For an unknown name or field, or a value out of its range.
    """
    raise_all("simulated session", one_of("name", name, SESSIONS))
    return SimulationParams.from_dict(SESSIONS[name] | overrides)
