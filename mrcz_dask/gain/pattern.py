"""The pattern of a session from the sums of its stacks: what a gain should undo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.numerics.doses import is_blank
from mrcz_dask.numerics.gain.estimate import PatternSum, SessionPattern
from mrcz_dask.numerics.noise.correlation import FINENESS
from mrcz_dask.numerics.outliers.mask import OutlierMask, outlier_mask
from mrcz_dask.numerics.session.contrast import Usability, assess_contrast, block_means
from mrcz_dask.numerics.session.copies import Copies
from mrcz_dask.numerics.session.fingerprint import Fingerprint, Fingerprinter
from mrcz_dask.numerics.sums import FrameSum, StackSum, common_exponent
from mrcz_dask.values.errors import FormatError, MrczDaskError, SessionError
from mrcz_dask.values.messages import Listener, PhaseFinished, PhaseStarted, StackDone, StackFailed, silent
from mrcz_dask.values.params import ContrastParams, InputParams, OutlierParams

PHASE = "pattern"
GROUP = 16


@dataclass(frozen=True, slots=True)
class StackLook:
    """A stack summed: what the pattern, flats and frames' orientation need of it.

    Attributes
    ----------
    path
        Of the stack.
    frames
        How many it has.
    total
        The exact sum of those that are not blank.
    mask
        Its outliers.
    format, first_row
        Of its file; see `FrameSource`.
    prints
        What tells copies of it.
    """

    path: Path
    frames: int
    total: StackSum
    mask: OutlierMask
    format: str
    first_row: FirstRow
    prints: Fingerprint

    @property
    def dose(self) -> float:
        """Counts per pixel and frame, over unmasked pixels."""
        return self.mask.mean / self.total.n


def look_at(
    path: Path, inputs: InputParams | None = None, outliers: OutlierParams | None = None
) -> StackLook:
    """Read every frame of a stack and return its sum and outliers.

    Raises
    ------
    FormatError, OSError, OutlierError
        It cannot be read, holds quantized pixels, blank frames alone, or nothing finite.
    """
    with open_source(path, inputs) as source:
        if source.quantized:
            raise FormatError(f"{path}: its pixels are quantized (an output); expected counts")
        total, prints = _summed(source)
        if not total.n:
            raise FormatError(f"{path}: all its frames are blank; leave it out")
        mask = outlier_mask(total, outliers)
        return StackLook(path, len(source), total, mask, source.format, source.first_row, prints)


def _summed(source: FrameSource) -> tuple[StackSum, Fingerprint]:
    """Return the exact sum of a stack without blank frames, and its fingerprint; counts are read once."""
    shape = source.shape[1], source.shape[2]
    floats = source.dtype.kind == "f"
    exponent = common_exponent(frame for frame in source if not is_blank(frame)) if floats else None
    summed, prints = FrameSum(shape, source.dtype, exponent), Fingerprinter(shape)
    for frame in source:
        if not is_blank(frame):
            summed.add(frame)
            prints.add(frame)
    total = summed.result()
    return total, prints.result(total.values, 2.0**-total.exponent)


@dataclass(frozen=True, slots=True)
class FoundPattern:
    """The pattern of a session, and of which stacks it is.

    Attributes
    ----------
    pattern
        How the pixels respond.
    used
        Names of the stacks.
    left_out
        Reasons by name: high contrast, no sound mask, unreadable, the same data as another stack.
    """

    pattern: SessionPattern
    used: tuple[str, ...]
    left_out: dict[str, str]


def session_pattern(
    paths: Sequence[Path],
    *,
    inputs: InputParams | None = None,
    outliers: OutlierParams | None = None,
    contrast: ContrastParams | None = None,
    listen: Listener = silent,
) -> FoundPattern:
    """Return the pattern of stacks, outliers masked; high-contrast stacks and copies of others are left out.

    At most 16 sums are in memory: the contrast of a stack is judged within a group of as many.

    Parameters
    ----------
    paths
        Of stacks of one shape, before any gain.
    inputs, outliers, contrast
        How they are read, masked and judged.
    listen
        Told of every stack.

    Raises
    ------
    SessionError
        If no stack can be used, or shapes differ.
    """
    found: PatternSum | None = None
    used: list[str] = []
    copies, names = Copies(), list[str]()  # '' for a stack that is left out
    left_out: dict[str, str] = {}
    sizes = {path: _size(path) for path in paths}
    listen(PhaseStarted(PHASE, len(paths), sum(sizes.values())))
    for group in _groups(paths):
        looks = list(_looks(group, inputs, outliers, left_out, sizes, listen))
        for one, verdict in zip(looks, _verdicts(looks, contrast or ContrastParams()), strict=True):
            copies.add(one.prints)
            same = [names[k] for k in copies.of(len(names)) if names[k]]
            reason = _unusable(one, verdict) or (same and f"holds the same data as {same[0]}")
            names.append("" if reason else one.path.name)
            if reason:
                left_out[one.path.name] = reason
                continue
            found = found or PatternSum(one.total.shape)
            _add(found, one)
            used.append(one.path.name)
    listen(PhaseFinished(PHASE))
    if found is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:5])
        raise SessionError(f"no pattern can be made of {len(paths)} stacks: {reasons or 'there are none'}")
    return FoundPattern(found.pattern(), tuple(used), left_out)


def _groups(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    number = -(-len(paths) // GROUP)
    edges = [k * len(paths) // number for k in range(number + 1)] if number else []
    yield from (paths[a:b] for a, b in pairwise(edges))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _looks(
    paths: Sequence[Path],
    inputs: InputParams | None,
    outliers: OutlierParams | None,
    left_out: dict[str, str],
    sizes: dict[Path, int],
    listen: Listener,
) -> Iterator[StackLook]:
    for path in paths:
        try:
            one = look_at(path, inputs, outliers)
        except (MrczDaskError, OSError) as error:
            left_out[path.name] = str(error)
            listen(StackFailed(PHASE, path.name, str(error), sizes[path]))
        else:
            listen(StackDone(PHASE, path.name, sizes[path]))
            yield one


def _verdicts(looks: Sequence[StackLook], params: ContrastParams) -> list[Usability]:
    grids = [
        block_means(one.total.values, one.mask.mask, params.blocks, 2.0**-one.total.exponent)
        if one.mask.usable
        else None
        for one in looks
    ]
    return assess_contrast(grids, GROUP, params)


def _unusable(one: StackLook, verdict: Usability) -> str | None:
    if not one.mask.usable:
        return f"its outlier mask is {one.mask.status}"
    if np.spacing(np.float32(one.mask.mean)) > one.mask.sigma / FINENESS:
        return f"its mean of {one.dose:g} counts hides its noise: it has a constant offset, which is no gain"
    if not verdict.usable:
        return f"high contrast: score {verdict.score:.3f} above {verdict.limit:.3f}"
    return None


def _add(found: PatternSum, one: StackLook) -> None:
    if one.total.shape != found.shape:
        raise SessionError(
            f"{one.path}: frames of {one.total.shape}, the others {found.shape}; expected one shape"
        )
    mask = one.mask.mask if one.total.nonfinite is None else np.logical_or(one.mask.mask, one.total.nonfinite)
    found.add(one.total, mask, one.mask.mean)
