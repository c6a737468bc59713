"""The first tasks of a stack: its exact sum, its outlier mask, and its record."""

from __future__ import annotations

import math
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import SumTask
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.places import Measured, measure
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats, from_moments
from mrcz_dask.gain.applied import gamma_of, stored_gain
from mrcz_dask.numerics.doses import (
    blank_frames,
    blank_note,
    constant_ends,
    is_blank,
    level_without_hot,
    partly_blank_note,
)
from mrcz_dask.numerics.gain.sums import gained_exponent, gained_mask, gained_sum
from mrcz_dask.numerics.noise.correlation import constant_offset, frame_noise, offset_below
from mrcz_dask.numerics.outliers.kept_fit import kept_fit
from mrcz_dask.numerics.outliers.mask import OutlierMask
from mrcz_dask.numerics.philox import key_of
from mrcz_dask.numerics.reference.structure import coarse_image, coarse_means, early_less_late, grid
from mrcz_dask.numerics.session.contrast import block_means
from mrcz_dask.numerics.session.fingerprint import Fingerprinter
from mrcz_dask.numerics.session.sketch import sketch
from mrcz_dask.numerics.session.specimens import scene_of
from mrcz_dask.numerics.sums import FrameSum, StackSum, common_exponent
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DtypeError, FormatError, OutlierError
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase


class FrameMeasures(NamedTuple):
    """Record of one frame's measures, from which blank and partly blank frames are recognized.

    Attributes
    ----------
    constant
        Whether all its pixels are equal.
    statistics
        Extremes, mean and deviation of its finite pixels; None if there are none.
    level
        Its level without hot pixels, and the standard error of it.
    ends
        Its first row that is not constant, and the row after the last.
    """

    constant: bool
    statistics: FrameStats | None
    level: tuple[float, float]
    ends: tuple[int, int]


LARGEST_COARSE = 6e4  # of float16


@dataclass(frozen=True, slots=True, eq=False)
class StackSums:
    """Record of one reading of a stack: sums of all and of even frames, digests, and measures of each frame.

    Attributes
    ----------
    file
        Size and modification time of the file.
    shape, dtype, notes
        (n, ny, nx), type of the pixels, and caveats of the reader.
    total, even
        Sums of all frames and of frames 0, 2, 4, ..., before the gain and less `offset`, without blank ones.
    offset
        Counts that are subtracted from every pixel.
    measures
        Measures of each frame.
    differences
        (2, by, bx) of frames 0, 2, ... and of 1, 3, ...: see `structure.CoarseStack`.
    digest, chunks
        Digests of the pixels and of the stored bytes.
    frames, grain
        Fingerprint, as text.
    """

    file: Measured
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    notes: tuple[str, ...]
    total: StackSum
    even: StackSum
    offset: int
    measures: list[FrameMeasures]
    differences: NDArray[np.float64]
    digest: str
    chunks: str
    frames: str
    grain: str


def sum_and_mask(task: SumTask) -> StackRecord:
    """Sum a stack, find its outliers, keep both in the session store, and return the stack's record."""
    return mask_stack(task, sum_stack(task))


def sum_stack(task: SumTask) -> StackSums:
    """Read a stack once; return its exact sums with digests and measures of each frame. This is a Dask task.

    Raises
    ------
    FormatError, OSError
        If the stack cannot be read.
    DtypeError
        If a gain is to be applied to counts on a constant offset, beside which float32 cannot hold counts.
    """
    file = measure(task.path)
    with open_source(task.path, task.settings.input) as reader:
        if reader.quantized:
            raise FormatError(
                f"{task.path}: its integers are quantized (scale {reader.scale:g}); expected counts "
                "or floats. Write it as float32 first (mrcz-dask decompress)"
            )
        return sum_frames(task, reader, file)


def sum_frames(task: SumTask, reader: FrameSource, file: Measured) -> StackSums:
    """Sum the frames of a reader that is already open; see `sum_stack`."""
    n, ny, nx = reader.shape
    digest, prints, chunks = (
        PixelDigest(reader.shape, reader.dtype),
        Fingerprinter((ny, nx)),
        xxhash.xxh3_128(),
    )
    measures = []
    frame = np.empty((ny, nx), reader.dtype)
    with phase("sum"):
        exponent = None
        if reader.dtype.kind == "f":
            frames = (reader.frame(k) for k in range(n))
            exponent = common_exponent(one for one in frames if not is_blank(one))
        even, odd = (FrameSum((ny, nx), reader.dtype, exponent) for _ in range(2))
        early = [(0, np.zeros(grid((ny, nx)))) for _ in range(2)]
        for k in range(n):
            if k == n // 2:
                early = [(one.n, coarse_means(one.values)) for one in (even.result(), odd.result())]
            if isinstance(reader, StackReader):  # its bytes may be copied, and get a digest of their own
                stored = reader.stored_chunk(k)
                chunks.update(stored)
                reader.decode(k, stored, frame)
            else:
                reader.frame(k, frame)
            digest.update(frame)
            prints.add(frame)
            measures.append(_add(frame, odd if k % 2 else even))
        total, total_even = even.result_with(odd), even.result()
        offset = constant_offset(total, total_even)
        if all(one.constant for one in measures) and reader.dtype.kind in "iu":  # then they are in no sum
            offset = offset_below(float(combine(one.statistics for one in measures).minimum), 1.0)
        halves = zip(early, (even.result(), odd.result()), strict=True)
        differences = np.array(
            [early_less_late(e, n_e, coarse_means(s.values), s.n, offset) for (n_e, e), s in halves]
        )
        total, total_even = total.less(offset), total_even.less(offset)
        fingerprint = prints.result(total.values, 2.0**-total.exponent).to_text()
    if offset and task.settings.gain.gain:
        raise DtypeError(
            f"{task.path}: its counts lie on a constant offset of about {offset:g}, beside which gain "
            "and dark, float32, lose them. Take the offset off in the file, and run again"
        )
    digests = digest.hexdigest(), chunks.hexdigest(), *fingerprint
    kind = reader.shape, reader.dtype, reader.notes
    return StackSums(file, *kind, total, total_even, offset, measures, differences, *digests)


def _add(frame: NDArray[Any], to: FrameSum) -> FrameMeasures:
    """Add a frame to a sum, unless it is blank, and return its statistics."""
    constant = is_blank(frame)
    moments = None if constant else to.add(frame)
    statistics = from_moments(frame.size, moments) if moments else frame_stats(frame)
    return FrameMeasures(constant, statistics, level_without_hot(frame), constant_ends(frame))


def mask_stack(task: SumTask, sums: StackSums) -> StackRecord:
    """Find the outliers of a stack, keep its sums and weights in the session store, and return its record.

    Raises
    ------
    OutlierError
        If none of its pixels is finite.
    ParameterError
        If gamma depends on the dose rate and the exposure time of the stack is not known.
    """
    params, total, even, gamma = task.settings.outliers, sums.total, sums.even, 1.0
    with phase("fit"):
        if digest := task.settings.gain.gain:
            seconds = task.exposure and task.exposure / sums.shape[0]
            reference = stored_gain(task.store, digest, 1.0)
            gamma = gamma_of(reference, task.settings.gain, total, seconds, params)
            gain = stored_gain(task.store, digest, gamma)
            exponent = gained_exponent(total, gain)
            total, even = (gained_sum(one, gain, exponent) for one in (total, even))
        mask = gained_mask(sums.total, total, params)
        mask_even = None
        if even.n:
            with suppress(OutlierError):  # no pixel of these frames is finite
                mask_even = gained_mask(sums.even, even, params)
        if mask_even is not None and not mask_even.usable:
            mask_even = None
        image = coarse_image(total.values, mask.mask)
        record = _record(task, sums, gamma, total, mask, mask_even, frame_noise(total, even), scene_of(image))
    images = np.array([image, *sums.differences])
    coarse = np.clip(images, -LARGEST_COARSE, LARGEST_COARSE).astype(np.float16)
    arrays = {"sum": total.values, "weight": mask.weight255, "sum_even": even.values, "coarse": coarse}
    if mask_even is not None:
        arrays["weight_even"] = mask_even.weight255
    store = SessionStore(task.store)
    store.put_histogram(task.stem, kept_fit(mask, params), mask.hot, mask.dead)
    store.put_stack(record, arrays)  # last: with it the stack is done
    return record


def _record(
    task: SumTask,
    sums: StackSums,
    gamma: float,
    total: StackSum,
    mask: OutlierMask,
    mask_even: OutlierMask | None,
    noise: float | None,
    scene: str,
) -> StackRecord:
    blank, of_frames = _blank_frames(task, sums), [one.statistics for one in sums.measures]
    statistics = combine(of_frames)
    means = [one.mean - sums.offset if one else 0.0 for one in of_frames]
    caveats = [*sums.notes, *mask.caveats]
    if sums.offset:
        caveats.append(
            f"a constant offset of {sums.offset} was taken off every pixel; "
            "pixels.offset of the footer holds it"
        )
    caveats += blank_note(blank, sums.shape[0])
    caveats += partly_blank_note([one.ends for one in sums.measures], blank, means, sums.shape[1:])
    grid = block_means(total.values, mask.mask, task.settings.contrast.blocks, 2.0**-total.exponent)
    return StackRecord(
        name=task.name,
        stem=task.stem,
        shape=sums.shape,
        dtype=sums.dtype.name,
        size=sums.file.size,
        mtime_ns=sums.file.mtime_ns,
        digest=sums.digest,
        chunks=sums.chunks,
        exponent=total.exponent,
        low=float(statistics.minimum),
        high=float(statistics.maximum),
        average=statistics.mean,
        rms=statistics.rms,
        mean=float(mask.mean),
        mean_even=float(mask_even.mean) if mask_even else None,
        status=mask.status,
        outliers=mask.summary(),
        outliers_even=mask_even.summary() if mask_even else None,
        grid_means=tuple(map(tuple, grid.means.tolist())),
        grid_pixels=tuple(map(tuple, grid.pixels.tolist())),
        caveats=tuple(caveats),
        gamma=gamma,
        sketch=b64encode(sketch(total.values, mask.mask, key_of(sums.digest))).decode("ascii"),
        made_with=task.made_with,
        blank=blank,
        brightest=max((one.mean for one in of_frames if one is not None), default=0.0),
        noise=noise,
        offset=sums.offset,
        frames=sums.frames,
        grain=sums.grain,
        scene=scene,
    )


def _blank_frames(task: SumTask, sums: StackSums) -> tuple[int, ...]:
    """Return the numbers of the blank frames: mean, or level without hot pixels, are those of the dark."""
    gain = task.settings.gain.gain
    dark = stored_gain(task.store, gain, 1.0).dark if gain else None
    dark_mean = 0.0 if dark is None else float(dark.mean(dtype=np.float64))
    constant = [k for k, one in enumerate(sums.measures) if one.constant]
    statistics = [one.statistics or FrameStats(1, 0.0, 0.0, math.inf, 0.0) for one in sums.measures]
    errors = [math.sqrt(max(0.0, one.squares)) / one.count for one in statistics]
    by_mean = blank_frames(constant, [one.mean - dark_mean for one in statistics], errors)
    dark_level = 0.0 if dark is None else level_without_hot(dark)[0]
    levels, level_errors = zip(*(one.level for one in sums.measures), strict=True)
    by_level = blank_frames(constant, [level - dark_level for level in levels], level_errors)
    return tuple(sorted({*by_mean, *by_level}))  # with few counts the level is 0
