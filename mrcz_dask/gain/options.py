"""Options for gain, dark, defects and gamma, checked before any file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcz_dask.formats.text.mdoc import read_mdoc
from mrcz_dask.numerics.gain.gain import K2, GammaCurve
from mrcz_dask.values.checks import whole, within
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Parameters

LONGEST = 1e3  # seconds per frame


@dataclass(frozen=True, slots=True)
class GammaRule:
    """The rule for the exponent gamma of each stack's gain: one number for all, or a curve over dose rate.

    Attributes
    ----------
    curve
        Exponent by dose rate (Eq. 11); None = `value` for all stacks.
    value
        The exponent if there is no curve.
    """

    curve: GammaCurve | None = None
    value: float = 1.0

    @classmethod
    def of(cls, gamma: tuple[float, ...]) -> GammaRule:
        """Make the rule from the numbers in `GainParams.gamma`."""
        return cls(value=gamma[0]) if len(gamma) == 1 else cls(GammaCurve(*gamma))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers from which `of` makes this rule again."""
        c = self.curve
        return (self.value,) if c is None else (c.a1, c.b1, c.a2, c.a3, c.low, c.high)

    def at(self, rate: float | None) -> float:
        """Return gamma at a dose rate, e-/pixel/s of the sensor; without a curve the rate does not matter.

        Raises
        ------
        ParameterError
            If there is a curve and no rate.
        """
        if self.curve is None:
            return self.value
        if rate is None:
            raise ParameterError(
                "gamma by dose rate needs the time of a frame, and nothing beside this stack says it; "
                "expected ExposureTime in its .mdoc, or --frame-time SECONDS; or give --gain-gamma a number"
            )
        return self.curve.at(rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain values, for the provenance."""
        if self.curve is None:
            return {"value": self.value}
        c = self.curve
        return {"curve": [c.a1, c.b1, c.a2, c.a3], "calibrated": [c.low, c.high]}


def parse_gamma(text: str | None) -> GammaRule:
    """Parse `--gain-gamma`: ``auto`` (the K2's curve), a number, or ``a1,b1,a2,a3[,low,high]``; None = 1.

    Raises
    ------
    ParameterError
        For anything else.
    """
    if text is None:
        return GammaRule()
    if text == "auto":
        return GammaRule(K2)
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 0 <= numbers[0] <= 10:
        return GammaRule(value=numbers[0])
    if len(numbers) in (4, 6):
        return GammaRule(GammaCurve(*numbers))
    raise ParameterError(
        f"--gain-gamma is {text!r}; expected auto, a number from 0 to 10, a1,b1,a2,a3 (for dose "
        "rates from 0.25 to 9), or a1,b1,a2,a3,low,high"
    )


@dataclass(frozen=True, slots=True)
class GainOptions(Parameters):
    """Options of gain, dark and defects: their paths, and how they are turned and applied.

    Attributes
    ----------
    gain, dark, defects
        Paths of the references and of the list or map of defects; None = none.
    divide
        Frames are divided by the gain.
    rotate, flip
        Quarter turns of gain and dark, then 0, 1 (upside down) or 2 (left to right), as RELION and MotionCor
        have them; rows as they are in the files.
    auto
        Find orientation and sense of the gain from the first stacks instead.
    gamma
        ``auto``, a number or ``a1,b1,a2,a3[,low,high]``; None = 1.
    frame_time
        Seconds per frame, for gamma; None = as the .mdoc says.
    force
        Apply gain and dark even where the first stacks show that they make the pattern worse.
    """

    _title = "gain options"
    gain: str | None = None
    divide: bool = False
    rotate: int = 0
    flip: int = 0
    auto: bool = False
    dark: str | None = None
    gamma: str | None = None
    defects: str | None = None
    frame_time: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        Parameters.__post_init__(self)
        parse_gamma(self.gamma)

    def _problems(self) -> Iterator[str]:
        yield from whole("--gain-rotate", self.rotate, 0, 3, unit=" quarter turns")
        yield from whole("--gain-flip", self.flip, 0, 2)
        if self.frame_time is not None:
            yield from within("--frame-time", self.frame_time, 0, LONGEST, open_low=True, unit=" s")
        if self.auto and (self.rotate or self.flip or self.divide):
            yield "--gain-orient auto finds what --gain-rotate, --gain-flip and --gain-divide say; give one"
        if self.gain is None and (self.divide or self.auto or self.gamma is not None):
            yield "--gain-divide, --gain-orient and --gain-gamma are about a gain; give --gain FILE"
        if self.gain is None and self.dark is None and (self.rotate or self.flip):
            yield "--gain-rotate and --gain-flip turn gain and dark; give --gain FILE"

    @property
    def any_file(self) -> bool:
        """Whether the user gave a gain, a dark or defects."""
        return any(path is not None for path in (self.gain, self.dark, self.defects))


NO_GAIN = GainOptions()


def stated_exposure(mdoc: Path | None) -> float | None:
    """Return a stack's exposure time, seconds, from ExposureTime in its .mdoc; None if it is missing."""
    try:
        words = (read_mdoc(mdoc).get("ExposureTime") or "").split() if mdoc else []
        seconds = float(words[0]) if words else 0.0
    except (OSError, ValueError):
        return None
    return seconds if 0 < seconds < LONGEST else None
