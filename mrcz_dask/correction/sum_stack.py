"""The first tasks over a stack: its exact sums, its outlier mask and contrast, kept in the session store."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import SumTask, made_with
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
from mrcz_dask.numerics.session.contrast import block_means
from mrcz_dask.numerics.session.fingerprint import Fingerprinter
from mrcz_dask.numerics.session.sketch import sketch
from mrcz_dask.numerics.sums import FrameSum, StackSum, common_exponent
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DtypeError, FormatError, OutlierError
from mrcz_dask.values.params import OutlierParams
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase


class Sums(NamedTuple):
    """Of all frames, and of frames 0, 2, 4, ..."""

    total: StackSum
    even: StackSum


@dataclass(slots=True)
class Pass:
    """What one look at every frame collects."""

    even: FrameSum
    odd: FrameSum
    digest: PixelDigest
    prints: Fingerprinter
    chunks: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    statistics: list[FrameStats | None] = field(default_factory=list)
    levels: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)
    constant: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class StackSums:
    """What reading a stack once gives.

    Attributes
    ----------
    file
        Size and modification time of its file.
    shape, dtype, notes
        (n, ny, nx), type of the pixels, and caveats of its reader.
    sums
        Of its frames before a gain, less `offset`.
    offset
        Counts that every pixel has too many.
    statistics
        Of each frame; None where there are none.
    constant
        Numbers of the frames whose pixels are all equal.
    levels, ends
        Of each frame: its level without hot pixels and the error of that, and its constant rows at both ends.
    digest, chunks
        Of the pixels, and of the stored bytes.
    frames, grain
        Fingerprint of the frames and their noise, as text.
    """

    file: Measured
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    notes: tuple[str, ...]
    sums: Sums
    offset: int
    statistics: list[FrameStats | None]
    constant: list[int]
    levels: list[tuple[float, float]]
    ends: list[tuple[int, int]]
    digest: str
    chunks: str
    frames: str
    grain: str


def sum_and_mask(task: SumTask) -> StackRecord:
    """Sum and mask a stack, keep both in the store, and return its record; see `sum_stack`, `mask_stack`."""
    return mask_stack(task, sum_stack(task))


def sum_stack(task: SumTask) -> StackSums:
    """Read a stack once, and return its sums.

    Raises
    ------
    FormatError, OSError
        When the stack cannot be read.
    DtypeError
        For a gain and counts on a constant offset, beside which float32 loses them.
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
    """Return the sums of frames that were opened already; see `sum_stack`."""
    with phase("sum"):
        read = _read(reader)
    with phase("sum"):
        sums = Sums(read.even.result_with(read.odd), read.even.result())
        offset = constant_offset(*sums)
        if len(read.constant) == reader.shape[0] and reader.dtype.kind in "iu":  # blank frames are in no sum
            offset = offset_below(float(combine(read.statistics).minimum), 1.0)
        if offset and task.settings.gain.gain:
            raise DtypeError(
                f"{task.path}: its counts lie on a constant offset of about {offset:g}, beside which gain "
                "and dark, float32, lose them. Take the offset off in the file, and run again"
            )
        sums = Sums(sums.total.less(offset), sums.even.less(offset))
        frames, grain = read.prints.result(sums.total.values, 2.0**-sums.total.exponent).to_text()
    return StackSums(
        file=file,
        shape=reader.shape,
        dtype=reader.dtype,
        notes=reader.notes,
        sums=sums,
        offset=offset,
        statistics=read.statistics,
        constant=read.constant,
        levels=read.levels,
        ends=read.ends,
        digest=read.digest.hexdigest(),
        chunks=read.chunks.hexdigest(),
        frames=frames,
        grain=grain,
    )


def mask_stack(task: SumTask, read: StackSums) -> StackRecord:
    """Find the outliers of a stack, keep its sums and weights in the store, and return its record.

    Raises
    ------
    OutlierError
        When no pixel of it is finite.
    ParameterError
        When gamma goes by dose rate, and nothing says how long the stack was exposed.
    """
    settings, n, statistics = task.settings, read.shape[0], combine(read.statistics)
    with phase("fit"):
        gamma, (total, even) = _gained(read.sums, task, n)
        mask = gained_mask(read.sums.total, total, settings.outliers)
        mask_even = _mask_or_none(read.sums.even, even, settings.outliers) if even.n else None
        blank = _blank(read, task)
        means = [one.mean - read.offset if one else 0.0 for one in read.statistics]
        partly = partly_blank_note(read.ends, blank, means, read.shape[1:])
        grid = block_means(total.values, mask.mask, settings.contrast.blocks, 2.0**-total.exponent)
    record = StackRecord(
        name=task.name,
        stem=task.stem,
        shape=read.shape,
        dtype=read.dtype.name,
        size=read.file.size,
        mtime_ns=read.file.mtime_ns,
        digest=read.digest,
        chunks=read.chunks,
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
        caveats=(*read.notes, *mask.caveats, *_of_offset(read.offset), *blank_note(blank, n), *partly),
        gamma=gamma,
        sketch=b64encode(sketch(total.values, mask.mask, key_of(read.digest))).decode("ascii"),
        made_with=made_with(task),
        blank=blank,
        brightest=max((one.mean for one in read.statistics if one is not None), default=0.0),
        noise=frame_noise(total, even),
        offset=read.offset,
        frames=read.frames,
        grain=read.grain,
    )
    store = SessionStore(task.store)
    store.put_histogram(task.stem, kept_fit(mask, settings.outliers), mask.hot, mask.dead)
    store.put_stack(record, _arrays(total, even, mask, mask_even))  # last: with it the stack is done
    return record


def _of_offset(offset: int) -> tuple[str, ...]:
    found = f"a constant offset of {offset} was taken off every pixel; pixels.offset of the footer holds it"
    return (found,) if offset else ()


def _read(reader: FrameSource) -> Pass:
    ny, nx = reader.shape[1:]
    exponent = common_exponent(_frames(reader)) if reader.dtype.kind == "f" else None
    collected = Pass(
        FrameSum((ny, nx), reader.dtype, exponent),
        FrameSum((ny, nx), reader.dtype, exponent),
        PixelDigest(reader.shape, reader.dtype),
        Fingerprinter((ny, nx)),
    )
    frame = np.empty((ny, nx), reader.dtype)
    for k in range(reader.shape[0]):
        _take(reader, k, frame, collected)
        collected.digest.update(frame)
        collected.prints.add(frame)
        collected.levels.append(level_without_hot(frame))
        collected.ends.append(constant_ends(frame))
        found = None
        if is_blank(frame):
            collected.constant.append(k)
        else:
            found = (collected.odd if k % 2 else collected.even).add(frame)
        collected.statistics.append(from_moments(frame.size, found) if found else frame_stats(frame))
    return collected


def _take(reader: FrameSource, k: int, frame: NDArray[Any], collected: Pass) -> None:
    """Read a frame; the stored bytes of MRCZ, which may be copied, go into a digest of their own."""
    if isinstance(reader, StackReader):
        raw = reader.stored_chunk(k)
        collected.chunks.update(raw)
        reader.decode(k, raw, frame)
    else:
        reader.frame(k, frame)


def _blank(read: StackSums, task: SumTask) -> tuple[int, ...]:
    """Return the numbers of the blank frames."""
    gain = task.settings.gain.gain
    dark = stored_gain(task.store, gain, 1.0).dark if gain else None
    level = 0.0 if dark is None else float(dark.mean(dtype=np.float64))
    found = [one or FrameStats(1, 0.0, 0.0, math.inf, 0.0) for one in read.statistics]
    errors = [math.sqrt(max(0.0, one.squares)) / one.count for one in found]
    all_pixels = blank_frames(read.constant, [one.mean - level for one in found], errors)
    level = 0.0 if dark is None else level_without_hot(dark)[0]
    levels, of_levels = zip(*read.levels, strict=True)
    usual = blank_frames(read.constant, [one - level for one in levels], of_levels)
    return tuple(sorted({*all_pixels, *usual}))  # few counts are in no usual pixel


def _frames(reader: FrameSource) -> Iterator[NDArray[Any]]:
    frames = (reader.frame(k) for k in range(reader.shape[0]))
    return (frame for frame in frames if not is_blank(frame))


def _gained(before: Sums, task: SumTask, n: int) -> tuple[float, Sums]:
    """Return the stack's gamma, and its sums after the gain; the same sums where there is none."""
    settings = task.settings
    if not settings.gain.gain:
        return 1.0, before
    seconds = task.exposure and task.exposure / n
    reference = stored_gain(task.store, settings.gain.gain, 1.0)
    gamma = gamma_of(reference, settings.gain, before.total, seconds, settings.outliers)
    gain = stored_gain(task.store, settings.gain.gain, gamma)
    exponent = gained_exponent(before.total, gain)
    return gamma, Sums(*(gained_sum(one, gain, exponent) for one in (before.total, before.even)))


def _mask_or_none(before: StackSum, even: StackSum, params: OutlierParams) -> OutlierMask | None:
    """Return the mask of the even frames; there is none where they hold nothing finite."""
    try:
        mask = gained_mask(before, even, params)
    except OutlierError:
        return None
    return mask if mask.status in ("ok", "sparse") else None


def _arrays(
    total: StackSum, even: StackSum, mask: OutlierMask, mask_even: OutlierMask | None
) -> dict[str, NDArray[Any]]:
    arrays = {"sum": total.values, "weight": mask.weight255, "sum_even": even.values}
    return arrays if mask_even is None else arrays | {"weight_even": mask_even.weight255}
