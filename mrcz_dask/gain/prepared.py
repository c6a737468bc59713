"""Read gain, dark and defects, turn and resize them to fit the frames, and check them on the stacks."""

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
from mrcz_dask.gain.check import (
    GainOrientation,
    GainProblem,
    ProgramFlags,
    accepted,
    compare,
    option_lines,
    program_flags,
)
from mrcz_dask.gain.options import GainOptions, parse_gamma
from mrcz_dask.gain.pattern import session_pattern
from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.numerics.gain.estimate import SessionPattern
from mrcz_dask.numerics.gain.gain import (
    Gain,
    as_multiplier,
    fit_dark,
    fit_gain,
    fit_mask,
    size_factor,
    size_text,
)
from mrcz_dask.numerics.gain.orientation import (
    ALL,
    IDENTITY,
    Orientation,
    Sense,
    decide,
    rotated_flipped,
    score_orientations,
)
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import GainParams, InputParams

AS_FRAMES, SAME_SIZE = "as the frames", "same size as the frames"
FIRST, MORE = 5, 20
SEEN, FEWEST_SEEN = 0.3, 3
USUAL = (0.5, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedGain:
    """Gain, dark and defects of a session, turned and resized to fit the frames and ready to be applied.

    Attributes
    ----------
    gain
        Dark, multiplier and defects, in the frames' orientation and size.
    params
        Its digest, and the rule for the exponent of a stack's gain.
    about
        Plain values for the provenance: names, digests, orientation, sense, sizes. The same whichever stacks
        showed the orientation.
    caveats
        Doubts that a person should know.
    flags
        Options of other programs for the gain; None without one.
    way
        Orientation and sense of the gain; the dark is turned alike.
    """

    gain: Gain
    params: GainParams
    about: dict[str, Any]
    caveats: tuple[str, ...]
    flags: ProgramFlags | None
    way: GainOrientation

    def against(self, pattern: SessionPattern) -> tuple[GainProblem, ...]:
        """Check gain and dark against the pattern of stacks (before the gain), and return warnings."""
        return tuple(compare(self.gain, self.params, self.about, self.way, pattern))

    def lines(self) -> Iterator[str]:
        """Yield text for the user: a line for each reference, and the options for other programs."""
        for name in ("gain", "dark", "defects"):
            if name in self.about:
                yield f"{name}: {', '.join(self._words(self.about[name]))}"
        if self.flags is not None:
            yield from ("for " + line for line in option_lines(self.flags) if not line.startswith("note"))

    def _words(self, about: dict[str, Any]) -> Iterator[str]:
        yield about["name"]
        if "size" in about:
            yield SAME_SIZE if about["size"] == AS_FRAMES else about["size"]
        if "sense" in about:
            yield {"multiply": "multiplied", "divide": "divided by"}[about["sense"]]
        if "pixels" in about:
            yield f"{about['pixels']} pixels"
        if "defects" in about:
            yield f"{about['defects']} defects in its header"
        if "orientation" in about:
            way = about["orientation"]
            by = "found by comparing with the stacks" if way["said_by"] == "stacks" else "as the options say"
            yield f"--gain-rotate {way['turns']} --gain-flip {int(way['flip_rows'])} ({by})"


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
    """Read, turn, resize and check the user's gain, dark and defects; None if the user gave none.

    Parameters
    ----------
    options
        References, and how they are turned and applied.
    shape
        (ny, nx) of the frames.
    first_row
        Place of row 0 of the frames in the image, as their source says.
    stacks
        Stacks of the session in order of time. The first five, or 20 if these do not decide, are summed to
        see whether gain and dark take their pattern away, and the first five for the orientation of defects.
    frames_format
        Format of the stacks' files, for the options of other programs.
    inputs
        How they are read.
    listen
        Gets a message about each stack that is summed.

    Raises
    ------
    FormatError, OSError
        If a reference cannot be read.
    ParameterError
        If it does not fit the frames, or is worse than none in every orientation.
    SessionError
        If the stacks do not decide about the orientation; lists the scores.
    """
    if not options.any_file:
        return None
    first = _FirstStacks(stacks, inputs, listen)
    about: dict[str, Any] = {"order": "dark, gain ** gamma, defects, then outliers and pattern"}
    caveats: list[str] = []
    reference = None if options.gain is None else read_reference(options.gain)
    turned, multiplier, subpixels = _gain(options, reference, shape, first, about, caveats)
    dark, masks = None, list[Mask]()
    if reference is not None and reference.defects is not None:
        masks.append(fit_mask(turned.orientation.apply(reference.defects), shape))
        about["gain"]["defects"] = int(np.count_nonzero(masks[0]))
    if options.dark is not None:
        dark = _dark(options.dark, turned.orientation, shape, about)
    if options.defects is not None:
        masks.append(_defects(options.defects, shape, first_row, first, about, caveats))
    gain = Gain.of(multiplier, dark=dark, defects=masks)
    about["defects_in_all"] = int(np.count_nonzero(gain.bad))
    if gain.bad.mean() > MOST:
        names = ", ".join(filter(None, (options.gain, options.dark, options.defects)))
        raise ParameterError(
            f"{names}: {gain.bad.mean():.0%} of the frame's {size_text(gain.shape)} pixels would be defects; "
            f"expected at most {MOST:.0%}. Give the references and the list of this camera"
        )
    arrays: list[NDArray[Any]] = [gain.image, gain.bad.view(np.uint8)]
    arrays += [] if gain.dark is None else [gain.dark]
    digest = digest_bytes(" ".join(digest_array(a) for a in arrays).encode())
    params = GainParams(digest, parse_gamma(options.gamma).numbers, subpixels, options.frame_time)
    flags = None
    if reference is not None:
        flags = program_flags(turned.orientation, turned.sense, reference, frames_format)
    prepared = PreparedGain(gain, params, about, tuple(caveats), flags, turned)
    if not stacks or not {"gain", "dark"} & about.keys():
        return prepared
    caveats += _findings(prepared, first, force=options.force)
    return replace(prepared, caveats=tuple(caveats))


def _findings(prepared: PreparedGain, first: _FirstStacks, *, force: bool) -> tuple[str, ...]:
    """Compare with the first stacks; return what is wrong, and refuse what is worse than nothing."""
    findings: tuple[GainProblem, ...] = ()
    try:
        for count in (FIRST, MORE):
            findings = prepared.against(first.pattern(count))
            if first.number <= FIRST or not any(problem.undecided for problem in findings):
                break
    except SessionError as error:
        return (f"gain and dark are not compared with stacks: {error}",)
    texts = accepted(findings, force=force)
    if any(problem.worse for problem in findings):
        prepared.about["forced"] = True
    return texts


class _FirstStacks:
    """The patterns of the first stacks of a session, each found once."""

    def __init__(self, stacks: Sequence[Path], inputs: InputParams | None, listen: Listener) -> None:
        self._stacks, self._inputs, self._listen = stacks, inputs, listen
        self._patterns: dict[int, SessionPattern] = {}
        self.number = len(stacks)

    def pattern(self, count: int) -> SessionPattern:
        """Return the pattern of so many stacks, or of all that there are."""
        count = min(count, self.number)
        if count not in self._patterns:
            pattern = session_pattern(self._stacks[:count], inputs=self._inputs, listen=self._listen)
            self._patterns[count] = pattern.pattern
        return self._patterns[count]


def _gain(
    options: GainOptions,
    reference: Reference | None,
    shape: tuple[int, int],
    first: _FirstStacks,
    about: dict[str, Any],
    caveats: list[str],
) -> tuple[GainOrientation, NDArray[np.float32], int]:
    """Return how the gain is turned, the multiplier for frames, and frames' pixels in one of the sensor."""
    sense: Sense = "divide" if options.divide else "multiply"
    turned = GainOrientation(rotated_flipped(options.rotate, options.flip), sense, "options")
    if options.gain is None or reference is None:
        return turned, np.ones(shape, np.float32), 1
    if options.auto:
        try:
            turned = turned_by(reference, first.pattern(FIRST))
        except SessionError:
            if first.number <= FIRST:
                raise
            turned = turned_by(reference, first.pattern(MORE))
    raw = turned_multiplier(reference, turned)
    multiplier = _fitted(options.gain, partial(fit_gain, raw, shape))
    factor = size_factor(raw.shape, shape) or 1
    good = multiplier[multiplier > 0]
    middle = float(np.median(good)) if good.size else 1.0
    if not USUAL[0] <= middle <= USUAL[1]:
        caveats.append(
            f"{reference.name}: the median of the gain is {middle:.4g}, not about 1; it changes the unit of "
            "counts"
        )
    about["gain"] = {**reference.about(), **turned.to_dict(), "size": _size(factor, "harmonic mean")}
    return turned, multiplier, max(factor, 1) ** 2


def turned_by(reference: Reference, pattern: SessionPattern) -> GainOrientation:
    """Find the orientation of a gain, and whether it multiplies or divides, from the pattern of stacks.

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
    return GainOrientation(best.orientation, best.sense, "stacks", scores)


def _fitted(path: str, fit: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    try:
        return fit()
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from error


def _size(factor: int, how: str) -> str:
    if factor == 1:
        return AS_FRAMES
    return f"repeated {factor} x {factor}" if factor > 1 else f"{how} of {-factor} x {-factor}"


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
    first: _FirstStacks,
    about: dict[str, Any],
    caveats: list[str],
) -> Mask:
    """Return the mask of a list, in the orientation of its convention unless the stacks show another."""
    defects = read_defects(path, shape)
    plain = defects.as_frames(first_row)
    pattern = first.pattern(FIRST) if first.number else None
    orientation, seen, said_by = place_defects(plain, shape, pattern)
    mask: Mask = _fitted(path, partial(fit_mask, orientation.apply(plain), shape))
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
    return mask


def place_defects(
    mask: Mask, shape: tuple[int, int], pattern: SessionPattern | None
) -> tuple[Orientation, float, str]:
    """Find the orientation of a map of defects: return it, the share of its pixels that are bad in the
    stacks, and how it was decided.

    Parameters
    ----------
    mask
        2-D bool, True = defect, as its convention has it.
    shape
        (ny, nx) of the frames.
    pattern
        Pattern of the stacks; None = the convention decides.

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


def turned_multiplier(reference: Reference, turned: GainOrientation) -> NDArray[np.float32]:
    """Turn a gain to the frames' orientation, as an image to multiply by, not resized; 0 = defect."""
    return turned.orientation.apply(as_multiplier(reference.image, divide=turned.sense == "divide"))
