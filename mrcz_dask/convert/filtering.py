"""Finds and fills the outliers of one stack, without its neighbors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.convert.recompress import (
    Converted,
    converted,
    input_of,
    range_of,
    stored_as,
    target_of,
)
from mrcz_dask.correction.outputs import check_codec
from mrcz_dask.formats import provenance
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import dtype_text
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer, reversed_rows, row_order, stored_type
from mrcz_dask.numerics.doses import blank_note, is_blank, relative_dose
from mrcz_dask.numerics.outliers.filling import Replacement, fill_values
from mrcz_dask.numerics.outliers.mask import OutlierMask, outlier_mask
from mrcz_dask.numerics.outliers.value_weights import QUIET
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.philox import key_of
from mrcz_dask.numerics.reference.correction import make_correction
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.sums import StackSum, sum_stack
from mrcz_dask.session.readback import pixel_digest
from mrcz_dask.values.params import USUAL_INPUT, InputParams, OutlierParams, OutputFormat

Fill = Callable[[NDArray[Any], int], NDArray[Any]]


def filter_outliers(
    path: Path,
    folder: Path,
    outliers: OutlierParams,
    codec: str,
    format: OutputFormat = "mrcz",
    *,
    stem: str | None = None,
    params: InputParams = USUAL_INPUT,
    overwrite: bool = False,
    resume: bool = False,
) -> Converted:
    """Find the outliers of one stack and write it with them filled, without KOMA.

    Counts stay counts: each outlier is kept, or replaced as a whole by a Poisson draw round the mean of its
    neighbors, with the probability that its weight says. Floats are blended with the fill.

    Parameters
    ----------
    path
        Path of the stack.
    folder
        Where STEM and the format's suffix go.
    outliers
        Parameters of the outlier filter.
    codec
        As `check_format_codec` has it.
    format
        Format of the output; see `recompress`.
    stem, resume
        See `recompress`.
    params
        How the stack is read where its header leaves something open.
    overwrite
        Replace an output that is there.

    Raises
    ------
    OutlierError
        When the stack has no finite pixel.
    DtypeError
        The format cannot hold the pixels; says what to do.
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    """
    check_codec(codec, format, may_keep=False)
    about = outliers.to_dict() | {"codec": codec, "input": params.to_dict()}
    made_by = ("outliers", about) if resume else None
    target, earlier = target_of(
        path, folder, OUTPUT_SUFFIXES[format], stem, overwrite, made_by, resume=resume, params=params
    )
    if earlier is not None:
        findings = earlier["results"]["mask"] | {"caveats": earlier["caveats"]}
        return converted(path, target, findings, kept=True)
    with open_source(path, params) as reader:
        blank = [k for k in range(len(reader)) if is_blank(reader.physical(k))]
        total = sum_stack(_ExposedFrames(reader, () if len(blank) == len(reader) else blank))
        mask = outlier_mask(total, outliers)
        digest = pixel_digest(reader)
        is_count = reader.dtype.kind in "iu" and not reader.quantized
        dose = float(mask.mean) / total.n
        fill = _replacing(mask, total, digest, dose) if is_count else _blending(mask, total, dose)
        notes = (*reader.notes, *blank_note(blank, len(reader)))
        dtype = reader.dtype if is_count else np.dtype(np.float32)
        reverse = reversed_rows(reader, format)
        with _open_output(reader, target, codec, format, dtype, fill, dose) as writer:
            for k in range(len(reader)):
                writer.append(fill(reader.physical(k), k))
            step = provenance.step(
                "outliers",
                parameters=about,
                inputs=[input_of(path, digest)],
                results={
                    "mask": mask.summary(),
                    "filled": "poisson draws" if is_count else "blended",
                    **stored_as(writer, reverse),
                },
                caveats=[*mask.caveats, *notes],
            )
            writer.provenance = provenance.append(reader.provenance, step)
    return converted(path, target, mask.summary() | {"caveats": list(mask.caveats)}, notes)


def _open_output(
    reader: FrameSource,
    target: Path,
    codec: str,
    format: OutputFormat,
    dtype: np.dtype[Any],
    fill: Fill,
    dose: float,
) -> FrameWriter:
    frames = (fill(reader.physical(k), k) for k in range(len(reader)))
    stored, four_bit = stored_type(format, dtype, *range_of(frames, dtype, format))
    about = {"unit": "counts", "dose_per_frame": dose, "dtype": dtype_text(dtype)}
    return open_writer(
        target,
        format,
        reader.shape,
        stored,
        codec=codec,
        pixel_size=reader.pixel_size,
        meta=reader.meta or None,
        pixels={**about, **row_order(reader, format)},
        four_bit=four_bit,
        mrc_header=reader.labeled_header,
        reverse_rows=reversed_rows(reader, format),
    )


class _ExposedFrames:
    """The frames of a stack without some of them, to be gone through more than once."""

    def __init__(self, reader: FrameSource, without: Collection[int]) -> None:
        self._reader, self._without = reader, without

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self._reader.physical(k) for k in range(len(self._reader)) if k not in self._without)


def _replacing(mask: OutlierMask, total: StackSum, digest: str, dose: float) -> Fill:
    """Draw with the noise of counting, or where integers are quieter than that with theirs, on a pedestal."""
    weight, variance = mask.weight255, mask.sigma**2 / total.n
    quiet = variance < QUIET**2 * mask.mean / total.n
    pedestal = math.floor(dose - variance) if quiet else 0
    mean = (total.less(pedestal).total() / total.n).astype(np.float32)
    fill = fill_values(mean, is_masked(weight), mask.neighbourly, where=weight < 255)
    replacement = Replacement.make(weight, fill, key_of(digest), pedestal)

    def filled(frame: NDArray[Any], k: int) -> NDArray[Any]:
        """Return frame k with its outliers filled at its own dose."""
        factor = relative_dose(frame, weight, dose)
        if pedestal and factor is not None:
            factor = 1 + (factor - 1) * dose / (dose - pedestal)
        return replacement.at_dose(factor).apply(frame, k)

    return filled


def _blending(mask: OutlierMask, total: StackSum, dose: float) -> Fill:
    weight, mean = mask.weight255, (total.total() / total.n).astype(np.float32)
    correction = make_correction("subtract", None, MeanImage(mean), weight, mask.neighbourly).ready()
    return lambda frame, k: correction.at_dose(relative_dose(frame, weight, dose)).apply(frame)
