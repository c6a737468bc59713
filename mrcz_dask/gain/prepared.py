"""From the options about gain, dark and defects to what is applied to frames, and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.defects import MOST, read_defects
from mrcz_dask.formats.digest import digest_array, digest_bytes
from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.gains import Reference, read_reference
from mrcz_dask.gain.check import Finding, Way, accepted, compare
from mrcz_dask.gain.flags import ProgramFlags, program_flags, told
from mrcz_dask.gain.options import GainOptions, parse_gamma
from mrcz_dask.gain.pattern import session_pattern
from mrcz_dask.numerics.gain.estimate import SessionPattern
from mrcz_dask.numerics.gain.gain import Gain, as_multiplier, fit_dark, fit_gain, fit_mask, named, size_factor
from mrcz_dask.numerics.gain.orientation import (
    ALL,
    IDENTITY,
    Orientation,
    Score,
    Sense,
    decide,
    rotated_flipped,
    score_orientations,
)
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import GainParams, InputParams

Bools = NDArray[np.bool_]
Patterns = Callable[[int], SessionPattern]

AS_FRAMES, SAME_SIZE = "as the frames", "same size as the frames"
FIRST, MORE = 5, 20
SEEN, FEWEST_SEEN = 0.3, 3
USUAL = (0.5, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedGain:
    """What is applied to the frames of a session.

    Attributes
    ----------
    gain
        Dark, multiplier and defects, in the frames' orientation and size.
    params
        Its digest, and which exponent a stack's gain gets.
    about
        Plain values for the provenance: names, digests, orientation, sense, sizes. The same whichever stacks
        showed the orientation.
    caveats
        What a person should know.
    flags
        What other programs have to be told of the gain; None without one.
    way
        How gain and dark are turned.
    """

    gain: Gain
    params: GainParams
    about: dict[str, Any]
    caveats: tuple[str, ...]
    flags: ProgramFlags | None
    way: Way

    def against(self, pattern: SessionPattern) -> tuple[Finding, ...]:
        """Return what the pattern of stacks, before the gain, says against gain and dark."""
        return tuple(compare(self.gain, self.params, self.about, self.way, pattern))

    def lines(self) -> Iterator[str]:
        """Yield what is applied, for people."""
        for name in ("gain", "dark", "defects"):
            if name in self.about:
                yield f"{name}: {_described(self.about[name])}"
        if self.flags is not None:
            yield from ("for " + line for line in told(self.flags) if not line.startswith("note"))


def _described(about: dict[str, Any]) -> str:
    """Return such as ``gain.mrc, same size as the frames, multiplied, --gain-rotate 1 ...``."""
    words = [about["name"]]
    if "size" in about:
        words.append(SAME_SIZE if about["size"] == AS_FRAMES else about["size"])
    if "sense" in about:
        words.append({"multiply": "multiplied", "divide": "divided by"}[about["sense"]])
    if "pixels" in about:
        words.append(f"{about['pixels']} pixels")
    if "orientation" in about:
        way = about["orientation"]
        by = "found by comparing with the stacks" if way["said_by"] == "stacks" else "as the options say"
        words.append(f"--gain-rotate {way['turns']} --gain-flip {int(way['flip_rows'])} ({by})")
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Turned:
    """How a reference is turned, and who said so.

    Attributes
    ----------
    orientation, sense
        Of the gain.
    said_by
        ``options`` or ``stacks``.
    scores
        All 16 if the stacks said it, best first.
    """

    orientation: Orientation
    sense: Sense
    said_by: str
    scores: tuple[Score, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = {"turns": self.orientation.turns, "flip_rows": self.orientation.flip, "said_by": self.said_by}
        return {"sense": self.sense, "orientation": found}


def prepare_gain(
    options: GainOptions,
    shape: tuple[int, int],
    first_row: FirstRow,
    stacks: Sequence[Path],
    *,
    frames_format: str = "MRC",
    inputs: InputParams | None = None,
    listen: Listener = silent,
) -> PreparedGain | None:
    """Read, turn and fit what the options name; None if they name nothing.

    Parameters
    ----------
    options
        What is asked for.
    shape
        (ny, nx) of the frames.
    first_row
        Where row 0 of the frames is shown, as their source says.
    stacks
        Of the session in order of time. The first five, or 20 if these do not decide, are summed to see
        whether gain and dark take their pattern away, and the first five which way round defects are.
    frames_format
        Of the stacks' files, for what other programs have to be told.
    inputs
        How they are read.
    listen
        Told of the stacks that are summed.

    Raises
    ------
    FormatError, OSError
        A reference cannot be read.
    ParameterError
        It does not fit the frames; names both shapes. Or it is worse than none in every orientation.
    SessionError
        The stacks do not decide about the orientation; lists the scores.
    """
    if not options.asked:
        return None
    patterns = _Patterns(stacks, inputs, listen)
    about: dict[str, Any] = {"order": "dark, gain ** gamma, defects, then outliers and pattern"}
    caveats: list[str] = []
    reference = None if options.gain is None else read_reference(options.gain)
    turned, multiplier, subpixels = _gain(options, reference, shape, patterns, about, caveats)
    dark = None if options.dark is None else _dark(options.dark, turned.orientation, shape, about)
    masks = (
        []
        if options.defects is None
        else _defects(options.defects, shape, first_row, patterns, about, caveats)
    )
    gain = Gain.of(multiplier, dark=dark, defects=masks)
    about["defects_in_all"] = int(np.count_nonzero(gain.bad))
    if gain.bad.mean() > MOST:
        given = ", ".join(filter(None, (options.gain, options.dark, options.defects)))
        raise ParameterError(
            f"{given}: {gain.bad.mean():.0%} of the frame's {named(gain.shape)} pixels would be defects; "
            f"expected at most {MOST:.0%}. Give the references and the list of this camera"
        )
    rule = parse_gamma(options.gamma)
    arrays: list[NDArray[Any]] = [gain.image, gain.bad.view(np.uint8)]
    arrays += [] if gain.dark is None else [gain.dark]
    digest = digest_bytes(" ".join(digest_array(a) for a in arrays).encode())
    params = GainParams(digest, rule.numbers, subpixels, options.frame_time)
    flags = None
    if reference is not None:
        flags = program_flags(turned.orientation, turned.sense, reference, frames_format)
    way = Way(turned.orientation, turned.sense == "divide")
    made = PreparedGain(gain, params, about, tuple(caveats), flags, way)
    return _checked(made, patterns, force=options.force)


def _checked(made: PreparedGain, patterns: _Patterns, *, force: bool) -> PreparedGain:
    """Return it with what the stacks say against it as caveats; refuse what is worse than nothing."""
    found: tuple[Finding, ...] = ()
    if not patterns.available or not {"gain", "dark"} & made.about.keys():
        return made
    try:
        for count in (FIRST, MORE):
            found = made.against(patterns(count))
            if patterns.available <= FIRST or not any(one.undecided for one in found):
                break
    except SessionError as error:
        return replace(made, caveats=(*made.caveats, f"gain and dark are not compared with stacks: {error}"))
    told = accepted(found, force=force)
    if any(one.worse for one in found):
        made.about["forced"] = True
    return replace(made, caveats=(*made.caveats, *told))


class _Patterns:
    """The pattern of the first stacks, made once."""

    def __init__(self, stacks: Sequence[Path], inputs: InputParams | None, listen: Listener) -> None:
        self._stacks, self._inputs, self._listen = stacks, inputs, listen
        self._made: dict[int, SessionPattern] = {}

    @property
    def available(self) -> int:
        return len(self._stacks)

    def __call__(self, count: int) -> SessionPattern:
        count = min(count, len(self._stacks))
        if count not in self._made:
            found = session_pattern(self._stacks[:count], inputs=self._inputs, listen=self._listen)
            self._made[count] = found.pattern
        return self._made[count]


def _gain(
    options: GainOptions,
    reference: Reference | None,
    shape: tuple[int, int],
    patterns: _Patterns,
    about: dict[str, Any],
    caveats: list[str],
) -> tuple[Turned, NDArray[np.float32], int]:
    """Return how the gain is turned, the multiplier for frames, and frames' pixels in one of the sensor."""
    said = Turned(
        rotated_flipped(options.rotate, options.flip), "divide" if options.divide else "multiply", "options"
    )
    if options.gain is None or reference is None:
        return said, np.ones(shape, np.float32), 1
    turned = find_orientation(reference, patterns, patterns.available) if options.auto else said
    raw = turned.orientation.apply(as_multiplier(reference.image, divide=turned.sense == "divide"))
    multiplier = _fitted(options.gain, partial(fit_gain, raw, shape))
    factor = size_factor(raw.shape, shape) or 1
    caveats += _unusual(reference.name, multiplier)
    about["gain"] = {**reference.about(), **turned.to_dict(), "size": _size(factor, "harmonic mean")}
    return turned, multiplier, max(factor, 1) ** 2


def find_orientation(reference: Reference, patterns: Patterns, available: int) -> Turned:
    """Return the orientation and sense that the first five stacks show, or 20 if these do not decide.

    Parameters
    ----------
    reference
        The gain.
    patterns
        Gives the pattern of so many of the first stacks.
    available
        How many there are.

    Raises
    ------
    SessionError
        If they do not decide; lists the scores.
    """
    try:
        return turned_by(reference, patterns(FIRST))
    except SessionError:
        if available <= FIRST:
            raise
    return turned_by(reference, patterns(MORE))


def turned_by(reference: Reference, pattern: SessionPattern) -> Turned:
    """Return the orientation and sense of a gain that a pattern shows.

    Raises
    ------
    SessionError
        If it does not decide; lists the scores.
    """
    scores = score_orientations(pattern.response, pattern.good, reference.image)
    try:
        best = decide(scores)
    except SessionError as error:
        raise SessionError(f"{reference.name} on {pattern.stacks} stacks: {error}") from error
    return Turned(best.orientation, best.sense, "stacks", scores)


def _fitted(path: str, fit: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    try:
        return fit()
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from error


def _size(factor: int, how: str) -> str:
    if factor == 1:
        return AS_FRAMES
    return f"repeated {factor} x {factor}" if factor > 1 else f"{how} of {-factor} x {-factor}"


def _unusual(name: str, multiplier: NDArray[np.float32]) -> Iterator[str]:
    good = multiplier[multiplier > 0]
    middle = float(np.median(good)) if good.size else 1.0
    if not USUAL[0] <= middle <= USUAL[1]:
        yield f"{name}: the median of the gain is {middle:.4g}, not about 1; it changes the unit of counts"


def _dark(
    path: str, orientation: Orientation, shape: tuple[int, int], about: dict[str, Any]
) -> NDArray[np.float32]:
    reference = read_reference(path, "dark")
    raw = orientation.apply(reference.image)
    factor = size_factor(raw.shape, shape) or 1
    size = f"shared out over {factor} x {factor}" if factor > 1 else _size(factor, "sum")
    about["dark"] = {**reference.about(), "turned_as": "the gain", "size": size}
    return _fitted(path, partial(fit_dark, raw, shape))


def _defects(
    path: str,
    shape: tuple[int, int],
    first_row: FirstRow,
    patterns: _Patterns,
    about: dict[str, Any],
    caveats: list[str],
) -> list[Bools]:
    """Return the mask of a list, in the orientation of its convention unless the stacks show another."""
    defects = read_defects(path, shape)
    plain = defects.as_frames(first_row)
    pattern = patterns(FIRST) if patterns.available else None
    orientation, seen, said_by = place_defects(plain, shape, pattern)
    mask: Bools = _fitted(path, partial(fit_mask, orientation.apply(plain), shape))
    caveats += defects.notes
    if said_by == "stacks":
        caveats.append(f"{defects.name}: turned ({orientation}) to where the stacks have dead or hot pixels")
    elif pattern is not None and mask.any() and seen < SEEN:
        caveats.append(
            f"{defects.name}: {seen:.0%} of its pixels are bad in the stacks; is it of this camera?"
        )
    about["defects"] = {
        "name": defects.name,
        "digest": defects.digest,
        "kind": defects.kind,
        "pixels": int(np.count_nonzero(mask)),
        "orientation": {"turns": orientation.turns, "flip_rows": orientation.flip, "said_by": said_by},
    }
    return [mask]


def place_defects(
    mask: Bools, shape: tuple[int, int], pattern: SessionPattern | None
) -> tuple[Orientation, float, str]:
    """Return how a mask is turned, the share of its pixels that the stacks find bad so, and who says it.

    Parameters
    ----------
    mask
        2-D bool, True = defect, as its convention has it.
    shape
        (ny, nx) of the frames.
    pattern
        What the stacks show; None = the convention decides.

    Notes
    -----
    Another orientation than the convention's is taken only if at least .3 of the mask, and three pixels, are
    bad in the stacks, and twice as many as in every other orientation.
    """
    if pattern is None or not mask.any():
        return IDENTITY, 0.0, "convention"
    fitting = [o for o in ALL if size_factor(o.shape(mask.shape), shape) is not None]
    placed = {o: fit_mask(o.apply(mask), shape) for o in fitting}
    hits = {o: int(np.count_nonzero(m & ~pattern.good)) for o, m in placed.items()}
    shares = {o: hits[o] / max(1, int(np.count_nonzero(m))) for o, m in placed.items()}
    best = max(hits, key=hits.__getitem__, default=IDENTITY)
    rest = max((hits[o] for o in hits if o != best), default=0)
    clear = hits.get(best, 0) >= max(FEWEST_SEEN, 2 * rest) and shares[best] >= SEEN
    if best != IDENTITY and clear:
        return best, shares[best], "stacks"
    return IDENTITY, shares.get(IDENTITY, 0.0), "convention"


def turned_multiplier(reference: Reference, turned: Turned) -> NDArray[np.float32]:
    """Return the gain as a multiplier in the frames' orientation, its own size; 0 = defect."""
    return turned.orientation.apply(as_multiplier(reference.image, divide=turned.sense == "divide"))
