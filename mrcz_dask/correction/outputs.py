"""Writers for the three kinds of output: corrected pixels, counts with a recipe, or references alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.footer import Findings
from mrcz_dask.correction.stored_pixels import int16_storage, type_of_counts
from mrcz_dask.correction.tasks import STORE_NAME, CorrectionTask
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import PixelDigest, correction_digest
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import StackWriter, write
from mrcz_dask.formats.sources import FrameSource
from mrcz_dask.formats.stats import FrameStats, from_moments
from mrcz_dask.formats.writers import (
    UINT4,
    check_format_codec,
    open_writer,
    reversed_rows,
    row_order,
    stored_type,
)
from mrcz_dask.gain.applied import GainedFrames
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.philox import key_of
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.numerics.reference.rounding import (
    round_to_half,
)
from mrcz_dask.session.readback import read_back
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import OutputFormat

COMMON_CHUNKS = 2
RECIPE_VERSION = 2
REVERSED = "rows_reversed"
GENERATOR = "Philox4x32-10"


class StackOutput(ABC):
    """Base of the three writers that store one corrected stack.

    Attributes
    ----------
    stored
        How the pixels are stored, for the footer.
    """

    def __init__(self, task: CorrectionTask, findings: Findings, stored: dict[str, Any]) -> None:
        self.task, self.findings, self.stored = task, findings, stored

    @abstractmethod
    def append(self, k: int, stored: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write frame k from `stored`, as it was read, or `frame`, after its gain.

        `dose` is relative to the stack's; None = a blank frame.
        """

    @abstractmethod
    def conclude(self, steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Complete the output after its last frame: add the run's provenance steps to its footer."""


class NormalizedOutput(StackOutput):
    """Writes corrected pixels as float32, or rounded stochastically: to float16, to int16 with a scale, or to
    whole counts.

    `steps` are step and offset of integers, in counts; None for floats.
    """

    def __init__(
        self, *args: Any, writer: FrameWriter, ready: ReadyCorrection, steps: tuple[float, float] | None
    ) -> None:
        super().__init__(*args)
        self._writer, self._ready, self._steps = writer, ready, steps
        self._key = key_of(self.task.record.digest)

    def append(self, k: int, stored: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Correct `frame`, number k after its gain, at its dose, and write it as floats or rounded."""
        ready = self._ready.at_dose(dose)
        if self._steps is not None:
            step, offset = self._steps
            if self.task.settings.write.dtype == "counts":
                ready = ready.drawn(self._key, k)
            rounded, moments = ready.apply_rounded(frame, step, self._key, k, offset)
            stats = from_moments(rounded.size, moments)
            self._writer.append(rounded.astype(self._writer.dtype, copy=False), owned=True, stats=stats)
        else:
            pixels: NDArray[Any] = ready.apply(frame)
            if self._writer.dtype == np.float16:
                pixels = round_to_half(pixels, self._key, k)
            self._writer.append(pixels, owned=True)

    def conclude(self, steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Add the provenance steps of the run to the output's footer."""
        self._writer.provenance = _appended(self._writer.provenance, steps)


class RecompressedOutput(StackOutput):
    """Writes the counts unchanged, and a recipe in the footer by which readers correct them."""

    def __init__(self, *args: Any, writer: FrameWriter, reverse: bool, written: PixelDigest) -> None:
        super().__init__(*args)
        self._writer, self._reverse, self._written = writer, reverse, written

    def append(self, k: int, stored: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write the counts of frame k as they were read; gain, dose and correction are left to the recipe."""
        self._written.update(stored[::-1] if self._reverse else stored)
        self._writer.append(stored)

    def copy(self, chunk: bytes | memoryview) -> None:
        """Copy the compressed bytes of the next frame from the input without decoding them."""
        assert isinstance(self._writer, StackWriter)
        record = self.task.record
        count = record.shape[1] * record.shape[2]
        known = FrameStats(count, record.low, record.high, record.average, record.rms**2 * count)
        self._writer.append_chunk(chunk, stats=known)

    def conclude(self, steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Keep the correction in the session store, and write the recipe that names it into the footer."""
        self._writer.provenance = _appended(self._writer.provenance, steps)
        record, gain = self.task.record, self.task.settings.gain.gain
        self._writer.recipe = {
            "version": RECIPE_VERSION,
            "store": STORE_NAME,
            "stem": record.stem,
            "form": self.findings.correction.form,
            "digest": store.put_correction(record.stem, self.findings.correction),
            "pixels": record.digest,
            **({"gain": gain, "gamma": record.gamma} if gain else {}),
            **({"offset": record.offset} if record.offset else {}),
            **({REVERSED: True} if self._reverse else {}),
        }


class ReferencesOutput(StackOutput):
    """Writes the pattern and the outlier mask of a stack as two MRC files, and no frames."""

    def append(self, k: int, stored: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write nothing: this output holds no frames."""

    def conclude(self, steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Write pattern and mask as MRC; keep correction and outlier table in the session store."""
        task, correction = self.task, self.findings.correction
        y, x = np.nonzero(correction.weight < np.iinfo(np.uint8).max)
        table: dict[str, NDArray[Any]] = {
            "y": y.astype(np.int32),
            "x": x.astype(np.int32),
            "weight": correction.weight[y, x],
            "fill": correction.fill,
        }
        store.put_reference(task.record.stem, correction, table)
        masked = is_masked(correction.weight).astype(np.int8)
        pattern = correction.pattern.astype(np.float32) * np.float32(correction.step)
        unit = "relative to 1" if correction.form == "divide" else "counts"
        pixels = {"unit": unit, "correction": correction_digest(correction)}
        both: dict[str, Any] = {
            "codec": "none",
            "pixel_size": task.pixel_size,
            "provenance": _appended([], steps),
        }
        try:
            write(task.mask_output, masked, pixels={"unit": "1 = outlier"}, **both)
            write(task.output, pattern, pixels=pixels, **both)
        except BaseException:  # a mask without its reference is half an output
            task.mask_output.unlink(missing_ok=True)
            raise


def _appended(chain: list[dict[str, Any]] | None, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for step in steps:
        chain = provenance.append(chain, step)
    return chain or []


@contextmanager
def open_output(exposed: GainedFrames, task: CorrectionTask, findings: Findings) -> Iterator[StackOutput]:
    """Open the writer that `--write` names; the file gets its name when the block ends without error."""
    reader, params = exposed.source, task.settings.write
    if params.write == "recompressed":
        with open_recompressed(reader, task, findings) as output:
            yield output
        return
    if params.write == "references":
        yield ReferencesOutput(task, findings, {"form": findings.correction.form})
        return
    ready = findings.correction.ready()
    stored: dict[str, Any] = {"unit": "counts", "dose_per_frame": task.record.dose}
    counts = params.dtype == "counts"
    steps = (1.0, 0.0) if counts else int16_storage(task, ready, exposed)
    dtype, four_bit = np.dtype(np.int16), False
    if counts:
        dtype, four_bit = type_of_counts(task, ready, exposed)
        stored["filled"] = "poisson draws"
    elif steps is not None:
        stored |= {"scale": steps[0], "offset": steps[1] + task.record.offset}
    else:
        as_float = "float32" if params.dtype == "int16" else params.dtype
        dtype, _ = stored_type(params.format, as_float, -np.inf, np.inf)
    if steps is not None or params.dtype == "float16":
        stored |= {"rounding": "stochastic", "generator": GENERATOR}
    pixels = stored | row_order(reader, params.format)
    with open_writer(
        task.output,
        params.format,
        reader.shape,
        dtype,
        codec=params.codec,
        pixel_size=reader.pixel_size or task.pixel_size,
        meta=reader.meta or None,
        pixels=pixels,
        provenance=reader.provenance,
        mrc_header=reader.labeled_header,
        four_bit=four_bit,
        reverse_rows=reversed_rows(reader, params.format),
    ) as writer:
        in_step = pixels | _reversed(reader, params.format)
        yield NormalizedOutput(task, findings, in_step, writer=writer, ready=ready, steps=steps)


@contextmanager
def open_recompressed(
    reader: FrameSource, task: CorrectionTask, findings: Findings
) -> Iterator[RecompressedOutput]:
    """Open a writer of unchanged counts; the file gets its name once it was read back and compared."""
    record, format = task.record, task.settings.write.format
    dtype, four_bit = stored_type(format, reader.dtype, record.low, record.high, task.settings.write.codec)
    pixels = {"unit": "counts", "dose_per_frame": record.dose} | row_order(reader, format)
    input_type = {} if dtype == reader.dtype else {"dtype": reader.dtype.newbyteorder("<").str}
    copies, reverse = copies_chunks(reader, task), reversed_rows(reader, format)
    written = PixelDigest(reader.shape, reader.dtype)
    digest = record.chunks if copies else written.hexdigest
    with (
        read_back(task.output, digest, bytes_alone=copies) as place,
        open_writer(
            place,
            format,
            reader.shape,
            dtype,
            codec=output_codec(reader, task.settings.write.codec),
            pixel_size=reader.pixel_size or task.pixel_size,
            **reader.carried(),
            pixels=pixels | input_type,
            provenance=reader.provenance,
            four_bit=four_bit,
            reverse_rows=reverse,
        ) as writer,
    ):
        in_step = pixels | _reversed(reader, format)
        yield RecompressedOutput(task, findings, in_step, writer=writer, reverse=reverse, written=written)


def _reversed(reader: FrameSource, format: OutputFormat) -> dict[str, Any]:
    """Return the provenance step's note that rows are reversed; the footer's facts on pixels must lack it."""
    return {REVERSED: True} if reversed_rows(reader, format) else {}


def copies_chunks(reader: FrameSource, task: CorrectionTask) -> bool:
    """Return whether an output copies the compressed frames of its input, without decoding them."""
    write = task.settings.write
    return write.write == "recompressed" and write.format == "mrcz" and keeps_chunks(reader, write.codec)


def keeps_chunks(reader: FrameSource, codec: str) -> bool:
    """Return whether compressed frames can be copied: codec ``keep``, and a version all readers know."""
    if codec != "keep" or not isinstance(reader, StackReader):
        return False
    return reader.chunk_version == COMMON_CHUNKS and reader.header.dtype.isnative


def output_codec(reader: FrameSource, codec: str) -> str:
    """Return the codec of an output: the input's where compressed frames are copied, else `codec`."""
    if keeps_chunks(reader, codec):
        return str(reader.codec)
    return "auto" if codec == "keep" else codec


def check_codec(codec: str, format: OutputFormat = "mrcz", *, may_keep: bool) -> None:
    """Raise an error if a format lacks a codec; ``keep`` and ``uint4`` are for unchanged counts alone.

    Raises
    ------
    ParameterError
        If it does not fit; before any file is opened.
    """
    if codec != "keep":
        check_format_codec(format, codec)
        if codec == UINT4 and not may_keep:
            raise ParameterError(f"codec {UINT4} holds counts as they are; it goes with recompression only")
    elif not may_keep or format != "mrcz":
        raise ParameterError("codec keep copies chunks as they are; it goes with recompression to mrcz only")
