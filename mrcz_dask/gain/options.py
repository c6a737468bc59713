"""What is asked for about gain, dark, defects and gamma, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrcz_dask.formats.text.mdoc import read_mdoc
from mrcz_dask.gain.applied import GammaRule
from mrcz_dask.numerics.gain.gain import K2, GammaCurve
from mrcz_dask.values.checks import raise_all, whole, within
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Parameters

LONGEST = 1e3  # seconds per frame


def parse_gamma(text: str | None) -> GammaRule:
    """Return the rule of ``auto`` (the K2's curve), a number, or ``a1,b1,a2,a3[,low,high]``; None = 1.

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
        f"--gain-gamma is {text!r}; expected auto, a number from 0 to 10, or a1,b1,a2,a3 and, if it is not "
        "0.25,9, the range of dose rates that they are of: a1,b1,a2,a3,low,high"
    )


@dataclass(frozen=True, slots=True)
class GainOptions(Parameters):
    """What is asked for.

    Attributes
    ----------
    gain, dark, defects
        Paths of the references and of the list or map of defects; None = none.
    divide
        Frames are divided by the gain.
    rotate, flip
        How gain and dark are turned: quarter turns, then 0, 1 (upside down) or 2 (left to right), as RELION
        and MotionCor have them; rows as they are in the files.
    auto
        Find orientation and sense of the gain from the first stacks instead.
    gamma
        ``auto``, a number or ``a1,b1,a2,a3[,low,high]``; None = 1.
    frame_time
        Seconds per frame, for gamma; None = as the .mdoc says.
    force
        Apply gain and dark even where the first stacks show that they make the pattern worse.
    """

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
        raise_all("gain options", self._problems())
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
    def asked(self) -> bool:
        """Whether there is anything to apply."""
        return any(path is not None for path in (self.gain, self.dark, self.defects))


def stated_exposure(mdoc: Path | None) -> float | None:
    """Return the seconds that a stack was exposed, as ExposureTime in its .mdoc says, or None."""
    try:
        words = (read_mdoc(mdoc).get("ExposureTime") or "").split() if mdoc else []
        seconds = float(words[0]) if words else 0.0
    except (OSError, ValueError):
        return None
    return seconds if 0 < seconds < LONGEST else None
