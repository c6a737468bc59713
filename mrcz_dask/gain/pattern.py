"""Find a session's pattern from the sums of its stacks, to check a gain or to make one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.sources import open_source
from mrcz_dask.numerics.doses import is_blank
from mrcz_dask.numerics.gain.estimate import PatternSum, SessionPattern
from mrcz_dask.numerics.noise.correlation import FINENESS
from mrcz_dask.numerics.outliers.mask import OutlierMask, outlier_mask
from mrcz_dask.numerics.session.contrast import Usability, block_means, judge_contrast
from mrcz_dask.numerics.session.fingerprint import Copies, Fingerprint, Fingerprinter
from mrcz_dask.numerics.sums import FrameSum, StackSum, common_exponent
from mrcz_dask.values.errors import FormatError, MrczDaskError, SessionError
from mrcz_dask.values.messages import Listener, PhaseFinished, PhaseStarted, StackDone, StackFailed, silent
from mrcz_dask.values.params import ContrastParams, InputParams

PHASE = "pattern"
GROUP = 16


@dataclass(frozen=True, slots=True)
class SummedStack:
    """The sum of a stack, with its outliers and the fingerprint by which copies are recognized.

    Attributes
    ----------
    path
        Path of the stack.
    frames
        Number of its frames.
    total
        Exact sum of the frames that are not blank.
    mask
        Outliers of the sum.
    format, first_row
        See `FrameSource`.
    prints
        Fingerprint by which copies are found.
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
        """Dose: mean counts per pixel and frame, over unmasked pixels."""
        return self.mask.mean / self.total.n


def read_sum(path: Path, inputs: InputParams | None = None) -> SummedStack:
    """Read all frames of a stack, and return their sum and its outliers; blank frames are left out.

    Raises
    ------
    FormatError, OSError, OutlierError
        If it cannot be read, holds quantized pixels, blank frames alone, or nothing finite.
    """
    with open_source(path, inputs) as source:
        if source.quantized:
            raise FormatError(f"{path}: its pixels are quantized (an output); expected counts")
        shape, exponent = (source.shape[1], source.shape[2]), None
        if source.dtype.kind == "f":
            exponent = common_exponent(frame for frame in source if not is_blank(frame))
        summed, prints = FrameSum(shape, source.dtype, exponent), Fingerprinter(shape)
        for frame in source:
            if not is_blank(frame):
                summed.add(frame)
                prints.add(frame)
        total = summed.result()
        if not total.n:
            raise FormatError(f"{path}: all its frames are blank; leave it out")
        fingerprint = prints.result(total.values, 2.0**-total.exponent)
        return SummedStack(
            path, len(source), total, outlier_mask(total), source.format, source.first_row, fingerprint
        )


@dataclass(frozen=True, slots=True)
class FoundPattern:
    """The pattern of a session, with the names of the stacks it was made from and of those left out.

    Attributes
    ----------
    pattern
        Response of the pixels.
    used
        Names of the stacks.
    left_out
        Reasons by name: high contrast, no sound mask, unreadable, a copy of another stack.
    """

    pattern: SessionPattern
    used: tuple[str, ...]
    left_out: dict[str, str]


def session_pattern(
    paths: Sequence[Path], *, inputs: InputParams | None = None, listen: Listener = silent
) -> FoundPattern:
    """Find the pattern of a session from its stacks; high-contrast stacks, copies and outliers are left out.

    At most 16 sums are in memory: the contrast of a stack is judged within a group of as many.

    Parameters
    ----------
    paths
        Stacks of one shape, before any gain.
    inputs
        How they are read.
    listen
        Gets a message about every stack.

    Raises
    ------
    SessionError
        If no stack can be used, or shapes differ.
    """
    total: PatternSum | None = None
    used: list[str] = []
    copies, names = Copies(), list[str]()  # '' for a stack that is left out
    left_out: dict[str, str] = {}
    sizes = dict.fromkeys(paths, 0)
    for path in paths:
        with suppress(OSError):
            sizes[path] = path.stat().st_size
    listen(PhaseStarted(PHASE, len(paths), sum(sizes.values())))
    groups = -(-len(paths) // GROUP)
    for k in range(groups):
        stacks: list[SummedStack] = []
        for path in paths[k * len(paths) // groups : (k + 1) * len(paths) // groups]:
            try:
                stacks.append(read_sum(path, inputs))
                listen(StackDone(PHASE, path.name, sizes[path]))
            except (MrczDaskError, OSError) as error:
                left_out[path.name] = str(error)
                listen(StackFailed(PHASE, path.name, str(error), sizes[path]))
        for stack, verdict in zip(stacks, _verdicts(stacks), strict=True):
            copies.add(stack.prints)
            same = [names[k] for k in copies.of(len(names)) if names[k]]
            reason = _unusable(stack, verdict) or (same and f"holds the same data as {same[0]}")
            names.append("" if reason else stack.path.name)
            if reason:
                left_out[stack.path.name] = reason
                continue
            total = total or PatternSum(stack.total.shape)
            if stack.total.shape != total.shape:
                raise SessionError(
                    f"{stack.path}: frames of {stack.total.shape}, the others {total.shape}; expected one "
                    "shape"
                )
            mask, nonfinite = stack.mask.mask, stack.total.nonfinite
            total.add(stack.total, mask if nonfinite is None else mask | nonfinite, stack.mask.mean)
            used.append(stack.path.name)
    listen(PhaseFinished(PHASE))
    if total is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:5])
        raise SessionError(f"no pattern can be made of {len(paths)} stacks: {reasons or 'there are none'}")
    return FoundPattern(total.pattern(), tuple(used), left_out)


def _verdicts(stacks: Sequence[SummedStack]) -> list[Usability]:
    params = ContrastParams()
    grids = [
        block_means(stack.total.values, stack.mask.mask, params.blocks, 2.0**-stack.total.exponent)
        if stack.mask.usable
        else None
        for stack in stacks
    ]
    return judge_contrast(grids, GROUP, params)


def _unusable(stack: SummedStack, verdict: Usability) -> str | None:
    """Return why a stack is left out; None if it is used."""
    mask = stack.mask
    if not mask.usable:
        return f"its outlier mask is {mask.status}"
    if np.spacing(np.float32(mask.mean)) > mask.sigma / FINENESS:
        return f"its mean of {stack.dose:g} counts hides its noise: a constant offset, which is no gain"
    if not verdict.usable:
        return f"high contrast: score {verdict.score:.3f} above {verdict.limit:.3f}"
    return None
