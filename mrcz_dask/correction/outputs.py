"""The three ways to write a stack: normalised pixels, counts with a recipe, references alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.footer import Findings, Noise, steps
from mrcz_dask.correction.tasks import STORE_NAME, CorrectionTask, mask_path, output_path
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import PixelDigest
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
from mrcz_dask.gain.applied import Exposed
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import FINENESS
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.philox import key_of
from mrcz_dask.numerics.reference.correction import Correction, ReadyCorrection
from mrcz_dask.numerics.reference.rounding import (
    TOLERATED,
    fine_step,
    int16_steps,
    round_to_half,
    step_that_fits,
)
from mrcz_dask.session.readback import read_back
from mrcz_dask.session.store import SessionStore, correction_digest
from mrcz_dask.values.errors import DtypeError, ParameterError
from mrcz_dask.values.params import OutputFormat, WriteParams
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase

Image = NDArray[np.float32]
COMMON_CHUNKS = 2
RECIPE_VERSION = 2
REVERSED = "rows_reversed"
GENERATOR = "Philox4x32-10"
LOST = 4  # times the noise of a frame: a step that is coarser leaves nothing of it


class Output(ABC):
    """A stack that is being written.

    Attributes
    ----------
    path
        Where it will be.
    stored
        What the footer says of the stored pixels.
    """

    def __init__(
        self, task: CorrectionTask, findings: Findings, writer: FrameWriter, stored: dict[str, Any]
    ) -> None:
        self.task = task
        self.findings = findings
        self.writer = writer
        self.path = output_path(task)
        self.stored = stored

    @abstractmethod
    def append(self, k: int, raw: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write frame k, given as read and after its gain, with its dose relative to the stack's."""

    def conclude(self, new_steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Give the writer its provenance, after the last frame."""
        for one in new_steps:
            self.writer.provenance = provenance.append(self.writer.provenance, one)


class NormalizedOutput(Output):
    """Corrected pixels: int16 in steps and float16, both rounded stochastically, or float32."""

    def __init__(self, *args: Any, ready: ReadyCorrection) -> None:
        super().__init__(*args)
        self._ready = ready
        self._key = key_of(self.task.record.digest)

    def append(self, k: int, raw: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write the corrected frame."""
        ready = self._ready.at_dose(dose)
        if "scale" in self.stored:
            offset = self.stored["offset"] - self.task.record.offset
            steps, found = ready.apply_rounded(frame, self.stored["scale"], self._key, k, offset)
            self.writer.append(steps, owned=True, stats=from_moments(steps.size, found))
        else:
            made = ready.apply(frame)
            half = self.writer.dtype == np.float16
            self.writer.append(round_to_half(made, self._key, k) if half else made, owned=True)


class RecompressedOutput(Output):
    """The counts as they were; the footer's recipe turns them into corrected pixels."""

    def __init__(self, *args: Any, reverse: bool, written: PixelDigest) -> None:
        super().__init__(*args)
        self._reverse, self._written = reverse, written

    def append(self, k: int, raw: NDArray[Any], frame: NDArray[Any], dose: float | None) -> None:
        """Write the frame as it was."""
        self._written.update(raw[::-1] if self._reverse else raw)
        self.writer.append(raw)

    def copy(self, raw: bytes | memoryview) -> None:
        """Write a frame's chunk as it was; nothing is decoded, as its statistics are known."""
        assert isinstance(self.writer, StackWriter)
        record = self.task.record
        count = record.shape[1] * record.shape[2]
        known = FrameStats(count, record.low, record.high, record.average, record.rms**2 * count)
        self.writer.append_chunk(raw, stats=known)

    def conclude(self, new_steps: list[dict[str, Any]], store: SessionStore) -> None:
        """Keep the correction in the store, and say in the recipe where it is."""
        super().conclude(new_steps, store)
        stem = self.task.record.stem
        gain = self.task.settings.gain.gain
        applied = {"gain": gain, "gamma": self.task.record.gamma} if gain else {}
        applied |= {"offset": self.task.record.offset} if self.task.record.offset else {}
        self.writer.recipe = {
            "version": RECIPE_VERSION,
            "store": STORE_NAME,
            "stem": stem,
            "form": self.findings.correction.form,
            "digest": store.put_correction(stem, self.findings.correction),
            "pixels": self.task.record.digest,
            **applied,
            **({REVERSED: True} if self._reverse else {}),
        }


@contextmanager
def open_output(
    exposed: Exposed, task: CorrectionTask, findings: Findings, ready: ReadyCorrection
) -> Iterator[Output]:
    """Open the output that the settings ask for; it appears whole when the block ends without an error."""
    reader, params = exposed.source, task.settings.write
    if params.write == "recompressed":
        with open_recompressed(reader, task, findings) as output:
            yield output
        return
    stored = stored_normalized(task, ready, exposed) | _rows(reader, params.format)
    as_float = "float32" if params.dtype == "int16" else params.dtype
    with open_writer(
        output_path(task),
        params.format,
        reader.shape,
        "int16" if "scale" in stored else stored_type(params.format, as_float, -np.inf, np.inf)[0],
        codec=params.codec,
        pixel_size=reader.pixel_size or task.pixel_size,
        meta=reader.meta or None,
        pixels=_kept(stored),
        provenance=reader.provenance,
        mrc_header=reader.labelled_header,
        reverse_rows=reversed_rows(reader, params.format),
    ) as writer:
        yield NormalizedOutput(task, findings, writer, stored, ready=ready)


@contextmanager
def open_recompressed(
    reader: FrameSource, task: CorrectionTask, findings: Findings
) -> Iterator[RecompressedOutput]:
    """Open an output of counts; it gets its name when it was read back."""
    record, format = task.record, task.settings.write.format
    dtype, four_bit = stored_type(format, reader.dtype, record.low, record.high, task.settings.write.codec)
    stored = stored_counts(task) | _rows(reader, format)
    known = {} if dtype == reader.dtype else {"dtype": reader.dtype.newbyteorder("<").str}
    copies, reverse = copies_chunks(reader, task), reversed_rows(reader, format)
    written = PixelDigest(reader.shape, reader.dtype)
    digest = record.chunks if copies else written.hexdigest
    with (
        read_back(output_path(task), digest, bytes_alone=copies) as place,
        open_writer(
            place,
            format,
            reader.shape,
            dtype,
            codec=output_codec(reader, task.settings.write.codec),
            pixel_size=reader.pixel_size or task.pixel_size,
            **reader.carried(),
            pixels=_kept(stored) | known,
            provenance=reader.provenance,
            four_bit=four_bit,
            reverse_rows=reverse,
        ) as writer,
    ):
        yield RecompressedOutput(task, findings, writer, stored, reverse=reverse, written=written)


def _rows(reader: FrameSource, format: OutputFormat) -> dict[str, Any]:
    """Return what is said of the order of rows: nothing where it is the input's, and MRC's."""
    return {**row_order(reader, format), **({REVERSED: True} if reversed_rows(reader, format) else {})}


def _kept(stored: dict[str, Any]) -> dict[str, Any]:
    """Return what a file says of its pixels; how its rows lie compared with the input's is the step's."""
    return {key: value for key, value in stored.items() if key != REVERSED}


def copies_chunks(reader: FrameSource, task: CorrectionTask) -> bool:
    """Return whether the output of a stack is a copy of its chunks."""
    write = task.settings.write
    return write.write == "recompressed" and write.format == "mrcz" and keeps_chunks(reader, write.codec)


def keeps_chunks(reader: FrameSource, codec: str) -> bool:
    """Return whether chunks are copied as they are: asked for, and of the version that every reader knows."""
    if codec != "keep" or not isinstance(reader, StackReader):
        return False
    return reader.chunk_version == COMMON_CHUNKS and reader.header.dtype.isnative


def output_codec(reader: FrameSource, codec: str) -> str:
    """Return the codec of the output: the input's where chunks are copied; else what was asked for."""
    if keeps_chunks(reader, codec):
        return str(reader.codec)
    return "auto" if codec == "keep" else codec


def check_codec(codec: str, format: OutputFormat = "mrcz", *, may_keep: bool) -> None:
    """Return if `codec` is one of the format; ``keep`` and ``uint4`` only where counts stay as they are.

    Raises
    ------
    ParameterError
        Otherwise; before any file is opened.
    """
    if codec != "keep":
        check_format_codec(format, codec)
        if codec == UINT4 and not may_keep:
            raise ParameterError(f"codec {UINT4} holds counts as they are; it goes with recompression only")
    elif not may_keep or format != "mrcz":
        raise ParameterError("codec keep copies chunks as they are; it goes with recompression to mrcz only")


def write_references(task: CorrectionTask, findings: Findings, noise: Noise, store: SessionStore) -> None:
    """Write a stack's pattern and mask as MRC, and the correction with its outlier table into the store."""
    correction = findings.correction
    store.put_reference(task.record.stem, correction, outlier_table(correction))
    masked = is_masked(correction.weight).astype(np.int8)
    chain: list[dict[str, Any]] = []
    for one in steps(task, findings, noise, {"form": correction.form}):
        chain = provenance.append(chain, one)
    both: dict[str, Any] = {"codec": "none", "pixel_size": task.pixel_size, "provenance": chain}
    pattern = correction.pattern.astype(np.float32) * np.float32(correction.step)
    unit = "relative to 1" if correction.form == "divide" else "counts"
    digest = correction_digest(correction)
    try:
        write(mask_path(task), masked, pixels={"unit": "1 = outlier"}, **both)
        write(output_path(task), pattern, pixels={"unit": unit, "correction": digest}, **both)
    except BaseException:  # a mask without its reference is half an output
        mask_path(task).unlink(missing_ok=True)
        raise


def outlier_table(correction: Correction) -> dict[str, NDArray[Any]]:
    """Return the pixels of weight < 255: y, x, weight (255ths) and fill (counts)."""
    y, x = np.nonzero(correction.weight < np.iinfo(np.uint8).max)
    return {
        "y": y.astype(np.int32),
        "x": x.astype(np.int32),
        "weight": correction.weight[y, x],
        "fill": correction.fill,
    }


def stored_counts(task: CorrectionTask) -> dict[str, Any]:
    """Return what the footer says of counts that stay as they are."""
    return {"unit": "counts", "dose_per_frame": task.record.dose}


def stored_normalized(task: CorrectionTask, ready: ReadyCorrection, exposed: Exposed) -> dict[str, Any]:
    """Return what the footer says of normalised pixels: in steps, if int16 holds them in fine ones.

    Raises
    ------
    DtypeError
        Neither int16 nor float32 can hold what the pixels tell, or what was asked for cannot.
    """
    settings = task.settings.write
    stored: dict[str, Any] = {"unit": "counts", "dose_per_frame": task.record.dose}
    steps = _storage(task, ready, exposed)
    if steps is not None:
        stored |= {"scale": steps[0], "offset": steps[1] + task.record.offset}
    if steps is not None or settings.dtype == "float16":
        stored |= {"rounding": "stochastic", "generator": GENERATOR}
    return stored


def _storage(task: CorrectionTask, ready: ReadyCorrection, exposed: Exposed) -> tuple[float, float] | None:
    """Return step and offset of int16, None for floats; see `stored_normalized`.

    Frames are looked at only if a quick bound asks for it: a hot pixel that is filled anyway is in the bound,
    and must not coarsen all others.
    """
    record, settings, asked = task.record, task.settings.write, _asked_step(task)
    weight = ready.correction.weight
    # without a sound mask the pixels stay as they are: integers exact in steps of 1 or less, floats as floats
    whole = exposed.gain is None and "int" in record.dtype
    coarsest = max(asked, _noise(record) / TOLERATED) if record.sound else float(whole)
    bound = exposed.largest(record.low, record.high)
    if record.blank:  # what is blank gets no gain
        bound = max(bound, abs(record.low), abs(record.high))
    # what a frame's good pixels may have at most, were all counts in them
    brightest = bound if record.low < 0 else exposed.largest(0, record.brightest)
    good = max(1, int(np.count_nonzero(~is_masked(weight))))
    factor = max(1.0, brightest * weight.size / good / record.dose) if record.dose > 0 else 1.0
    bound = ready.largest(-bound, bound, factor)
    if settings.dtype == "int16" and step_that_fits(asked, bound) == asked <= coarsest:
        return asked, 0.0
    if settings.dtype != "int16" and not record.offset and _float_tells(task, bound):
        return None
    with phase("apply"):
        doses = ((frame, relative_dose(frame, weight, record.dose)) for frame in exposed)
        made = (ready.at_dose(dose).apply(frame) for frame, dose in doses)
        ends = [(float(one.min()), float(one.max())) for one in made]
    low, high = min(least for least, _ in ends), max(most for _, most in ends)
    found = int16_steps(asked, low, high, coarsest) if settings.dtype == "int16" else None
    if found is None and (record.offset or not _float_tells(task, max(-low, high))):
        other = "" if settings.dtype == "int16" else "write --dtype int16 --format mrcz, or "
        raise DtypeError(
            f"{task.path}: its pixels reach from {low + record.offset:g} to {high + record.offset:g} with a "
            f"noise of {_noise(record):.3g} counts a frame, which {settings.dtype} cannot hold together; "
            f"{other}take the offset off in the file first"
        )
    return found


def _noise(record: StackRecord) -> float:
    return math.inf if record.noise is None else record.noise


def _asked_step(task: CorrectionTask) -> float:
    """Return the step that was asked for; the usual one is finer where the noise is small."""
    step, noise = task.settings.write.step, _noise(task.record)
    if not (noise and task.record.sound):
        return step
    if step == WriteParams().step:
        return fine_step(step, noise)
    if step > LOST * noise:
        raise DtypeError(
            f"{task.path}: --step {step:g} would hide the noise of a frame, {noise:.3g} counts; expected at "
            f"most {fine_step(step, noise):g}"
        )
    return step


def _float_tells(task: CorrectionTask, largest: float) -> bool:
    """Whether the step of floats of the type asked for is small against the noise of a frame."""
    record = task.record
    if task.settings.write.dtype == "float16" and record.sound:
        return float(np.spacing(np.float16(record.dose))) <= _noise(record) / TOLERATED
    kind = np.float16 if task.settings.write.dtype == "float16" else np.float32
    finest = _noise(record) / FINENESS if record.sound else 1.0
    return "int" not in record.dtype or float(np.spacing(kind(largest))) <= finest
