"""The last task over a stack: its pattern from the sums of its windows, its frames corrected and written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.footer import NO_GOOD, Findings, Noise, steps
from mrcz_dask.correction.outputs import copies_chunks, open_output, open_recompressed, write_references
from mrcz_dask.correction.tasks import CorrectionTask, member_ref, output_files, output_name, output_path
from mrcz_dask.correction.window_sums import (
    Block,
    Kind,
    Window,
    WindowSums,
    WindowTask,
    advance_windows,
    images_of,
    unmasked_member,
)
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import PixelDigest, whole_digest
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import open_source
from mrcz_dask.gain.applied import Exposed, gain_for
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import CorrelationSum, noise_rows
from mrcz_dask.numerics.noise.quiet import middle_rows, noise_taken_off
from mrcz_dask.numerics.outliers.weights import is_masked, near_another
from mrcz_dask.numerics.reference.correction import Correction, ReadyCorrection, make_correction
from mrcz_dask.numerics.reference.koma import Pattern, PatternFit, spread
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.window import Member
from mrcz_dask.session.store import SessionStore
from mrcz_dask.session.thumbnails import keep_thumbnails
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.records import COPY, QUIET, UNTOUCHED, StackResult
from mrcz_dask.values.sizes import some
from mrcz_dask.values.timing import phase

Image = NDArray[np.float32]
SCORES = ("raw", "filtered", "corrected", "raw_in_sample", "corrected_in_sample")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The corrections that frames 0, 2, 4, ... alone would give: the filter, and filter and pattern."""

    filtered: Correction
    corrected: Correction

    def ready(self, rows: NDArray[np.intp]) -> dict[str, ReadyCorrection]:
        """Return both for some rows."""
        both = {"filtered": self.filtered, "corrected": self.corrected}
        return {kind: one.take_rows(rows).ready() for kind, one in both.items()}


@dataclass(frozen=True, slots=True)
class StoredSums:
    """What the store has of all frames of a stack, or of its even ones.

    Attributes
    ----------
    mean
        Their mean, counts per frame.
    n
        How many they are.
    weight
        (ny, nx) uint8, in 255ths.
    mask, near
        (ny, nx) bool, True = outlier, and one with another near.
    """

    mean: MeanImage
    n: int
    weight: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    near: NDArray[np.bool_]

    @classmethod
    def load(cls, store: SessionStore, task: CorrectionTask, which: str) -> StoredSums:
        """Read those of all frames (`which` ''), or of the even ones ('_even')."""
        record = task.record
        n = record.exposed(2 if which else 1)
        values, weight = (store.load(record.stem, f"{name}{which}") for name in ("sum", "weight"))
        mask = is_masked(weight)
        near = near_another(mask, task.settings.outliers.radius)
        return cls(MeanImage(values, 2.0**-record.exponent / n), n, weight, mask, near)

    def correction(self, pattern: Pattern | None, task: CorrectionTask) -> Correction:
        """Return the correction that a pattern makes; None = the filter alone."""
        image, scale = (None, None) if pattern is None else (pattern.image, pattern.scale)
        form, record = task.settings.koma.form, task.record
        noise = math.inf if record.noise is None else record.noise
        noise /= record.dose if form == "divide" and record.has_dose else 1
        return make_correction(form, image, self.mean, self.weight, self.near, scale, noise)


def corrections(
    store: SessionStore, task: CorrectionTask, windows: WindowSums | Exception | None, *, scored: bool = True
) -> tuple[MeanImage, Pattern, Correction, HeldOut | None]:
    """Return mean, pattern and correction of a stack, and if it is scored what its even frames would give.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    record, koma = task.record, task.settings.koma
    sums = StoredSums.load(store, task, "")
    with phase("window"):
        finder = PatternFit(references_of(task, sums, windows), koma)
    with phase("fit"):
        # without a sound mask nothing but pixels that are not finite is masked, and no pattern is taken off
        used = finder if record.sound else PatternFit((), koma)
        pattern = used.find(sums.mean, record.mean / sums.n, sums.mask)
        correction = sums.correction(pattern, task)
        return sums.mean, pattern, correction, _held_out(store, task, finder) if scored else None


def _held_out(store: SessionStore, task: CorrectionTask, finder: PatternFit) -> HeldOut | None:
    mean = task.record.mean_even
    if mean is None or not task.record.sound:
        return None
    sums = StoredSums.load(store, task, "_even")
    corrected = finder.find(sums.mean, mean / sums.n, sums.mask)
    return HeldOut(sums.correction(None, task), sums.correction(corrected, task))


def references_of(
    task: CorrectionTask,
    sums: StoredSums,
    windows: WindowSums | Exception | None = None,
    *,
    masked: bool = True,
) -> list[Image]:
    """Return the images that the method of a task takes: references of its windows, or mean and factor.

    Parameters
    ----------
    task
        Of the stack.
    sums
        Of all its frames.
    windows
        The sums of its windows; None, or what went wrong with them = they are summed here.
    masked
        Whether outliers are left out of all stacks.
    """
    asked = window_task(task, masked=masked)
    found = windows if isinstance(windows, dict) else advance_windows(None, asked)
    if isinstance(found, Exception):
        raise found
    ref, own = member_ref(task.record), None
    if task.usable:
        masked_pixels = np.flatnonzero(sums.mask)
        values = sums.mean.values
        own = (
            Member(values, ref.exponent, masked_pixels, ref.mean, ref.n)
            if masked
            else unmasked_member(ref, values)
        )
    return images_of(found, asked, own)


def window_task(task: CorrectionTask, *, masked: bool = True, blocks: tuple[Block, ...] = ()) -> WindowTask:
    """Return what the windows of a stack are made from.

    Parameters
    ----------
    task
        Of the stack.
    masked
        Whether outliers are left out of all stacks.
    blocks
        Sums in the store that the long window may begin with.
    """
    koma, own = task.settings.koma, member_ref(task.record) if task.usable else None
    kind: Kind = "reference-raw" if koma.form == "subtract-raw" else "reference"
    asked = {"short": task.short, "long": task.long}
    if koma.method == "session":
        kind, asked = "session", {"session": task.short}
    windows = {
        f"{name} {masked}": Window(kind, masked, members, own, blocks if name == "long" else ())
        for name, members in asked.items()
        if members
    }
    return WindowTask(task.name, task.store, task.record.shape[1:], windows)


class NoiseScore:
    """Correlated noise before and after: held out on frames 1, 3, 5, ..., and in sample on all.

    Large images are scored on rows spread over them: two million pixels know R to some 1e-3 / n.

    Parameters
    ----------
    correction
        As it is written.
    held_out
        What frames 0, 2, 4, ... alone would give; None where these made no mask.
    """

    def __init__(self, correction: Correction, held_out: HeldOut | None) -> None:
        self._rows = noise_rows(correction.weight.shape)
        self._in_sample = correction.take_rows(self._rows).ready()
        self._held_out = {} if held_out is None else held_out.ready(self._rows)
        self._sums = {kind: CorrelationSum() for kind in SCORES}
        self._buffer = np.empty((self._rows.size, correction.weight.shape[1]), np.float32)

    def add(self, k: int, frame: NDArray[Any], dose: float | None) -> None:
        """Take in frame k after its gain, with its relative dose; a blank one (None) has nothing to score."""
        if dose is None:
            return
        rows = frame[self._rows]
        with np.errstate(invalid="ignore"):  # frames that are not finite are left out, without a word
            self._sums["raw_in_sample"].add(rows)
            self._sums["corrected_in_sample"].add(self._in_sample.at_dose(dose).apply(rows, self._buffer))
            if k % 2:
                self._sums["raw"].add(rows)
                for kind, ready in self._held_out.items():
                    self._sums[kind].add(ready.at_dose(dose).apply(rows, self._buffer))

    def result(self) -> Noise:
        """Return the scores; None where there were fewer than two frames."""
        values = {kind: total.value() for kind, total in self._sums.items()}
        return {kind: None if np.isnan(v) else v for kind, v in values.items()}


def correct_stack(task: CorrectionTask, windows: WindowSums | Exception | None = None) -> StackResult:
    """Correct and write one stack.

    Parameters
    ----------
    task
        Of the stack.
    windows
        The sums of its windows, or why there are none; None = they are summed here.

    Raises
    ------
    FormatError, OSError
        When the stack cannot be read again, or its output cannot be written.
    SessionError
        When its pixels are no longer those of the first pass.
    CopiesError
        When most stacks around it are one and the same.
    """
    task.check()
    store = SessionStore(task.store)
    if Path(task.folder).is_dir():  # else it went away, and must not be made anew on a bare mount point
        output_path(task).parent.mkdir(parents=True, exist_ok=True)
    with open_source(task.path, task.settings.input) as reader:
        chunks = reader if isinstance(reader, StackReader) and copies_chunks(reader, task) else None
        mean, pattern, correction, held_out = corrections(store, task, windows, scored=chunks is None)
        keep_thumbnails(store, task.record.stem, mean, correction)
        quiet = _quiet(store, task, mean, correction)
        findings = Findings(correction, pattern.fits, (*_caveats(task), *quiet))
        del mean  # as large as the sum
        if chunks is not None:
            noise = _copy(chunks, task, findings, store)
        else:
            with phase("apply"):
                score = NoiseScore(correction, held_out)
                exposed = Exposed(
                    reader, gain_for(task.store, task.settings.gain, task.record.gamma), task.record.offset
                )
            work = _write_references if task.settings.write.write == "references" else _write
            noise = work(exposed, task, findings, score, store)
    output = output_path(task)
    if task.mdoc is not None:
        write_atomic(f"{output}.mdoc", Path(task.mdoc).read_bytes())
    with phase("disk", measure(output).size):
        return _result(task, output, noise, findings)


def _caveats(task: CorrectionTask) -> tuple[str, ...]:
    found = list(task.record.caveats)
    if task.copies:
        found.append(f"{COPY} {some(task.copies)}: not used as each other's reference")
    members = (*task.short, *task.long)
    doses = [m.mean / m.n for m in members]
    if not task.record.sound:
        found.append(
            f"outlier mask {task.record.status}: {UNTOUCHED}, only pixels that are not finite were filled"
        )
    elif not task.record.has_dose and task.settings.koma.form != "subtract-raw":
        found.append(
            f"the mean of its sum is {task.record.mean:.3g} counts, too little to scale by: no reference, "
            f"and {UNTOUCHED}; --form subtract-raw needs no dose"
        )
    elif not members:
        found.append(f"no usable neighbour: {UNTOUCHED}")
    elif spread(doses) > task.settings.koma.dose_spread:
        found.append(f"doses in the window spread by {spread(doses):.0%} of their median")
    if task.record.sound and task.score is not None and not task.usable:
        found.append("high contrast: corrected, but no reference for others")
    if task.provisional:
        found.append("provisional: later stacks of the session will join its window")
    return tuple(found)


def _quiet(
    store: SessionStore, task: CorrectionTask, mean: MeanImage, correction: Correction
) -> tuple[str, ...]:
    """Return the caveat of a stack whose own counting noise goes with its pattern; nothing for others."""
    lit = [k for k in range(task.record.shape[0]) if k not in task.record.blank]
    frames, evens = len(lit), sum(k % 2 == 0 for k in lit)
    if evens in (0, frames) or not task.record.sound:
        return ()
    rows = middle_rows(mean.values.shape)
    even = store.load(task.record.stem, "sum_even")[rows]
    unit, odd = 2.0**-task.record.exponent, mean.values[rows] - even
    halves = even * (unit / evens), odd * (unit / (frames - evens))
    share = noise_taken_off(*halves, frames, correction.take_rows(rows))
    if not share:
        return ()
    return (f"{QUIET}: {share:.0%} of the variance of its own noise went with the pattern. {NO_GOOD}",)


def _write_references(
    exposed: Exposed, task: CorrectionTask, findings: Findings, score: NoiseScore, store: SessionStore
) -> Noise:
    for k, _, frame in _frames(exposed, task):
        with phase("apply"):
            score.add(k, frame, relative_dose(frame, findings.correction.weight, task.record.dose))
    noise = score.result()
    write_references(task, findings, noise, store)
    return noise


def _copy(reader: StackReader, task: CorrectionTask, findings: Findings, store: SessionStore) -> Noise:
    """Copy the chunks; no frame is decoded, and so none is scored."""
    noise: Noise = dict.fromkeys(SCORES)
    digest = xxhash.xxh3_128()
    with open_recompressed(reader, task, findings) as output:
        for k in range(reader.shape[0]):
            raw = reader.stored_chunk(k)
            digest.update(raw)
            output.copy(raw)
        _check_input(task, digest.hexdigest(), task.record.chunks)
        output.conclude(steps(task, findings, noise, output.stored), store)
    return noise


def _write(
    exposed: Exposed, task: CorrectionTask, findings: Findings, score: NoiseScore, store: SessionStore
) -> Noise:
    with open_output(exposed, task, findings, findings.correction.ready()) as output:
        for k, raw, frame in _frames(exposed, task):
            with phase("apply"):
                dose = relative_dose(frame, findings.correction.weight, task.record.dose)
                score.add(k, frame, dose)
                output.append(k, raw, frame, dose)
        noise = score.result()
        output.conclude(steps(task, findings, noise, output.stored), store)
    return noise


def _frames(exposed: Exposed, task: CorrectionTask) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Yield every frame as read and after its gain; then make sure that they were those of the first pass."""
    reader = exposed.source
    digest = PixelDigest(reader.shape, reader.dtype)
    frame = np.empty(reader.shape[1:], reader.dtype)
    for k in range(reader.shape[0]):
        reader.frame(k, frame)
        with phase("sum"):
            digest.update(frame)
        with phase("apply"):
            gained = exposed.gained(frame)
        yield k, frame, gained
    _check_input(task, digest.hexdigest(), task.record.digest)


def _check_input(task: CorrectionTask, found: str, expected: str) -> None:
    if found != expected:
        raise SessionError(
            f"{task.path}: the pixels are no longer those of the first pass (digest {found}, expected "
            f"{expected}); run again when it is complete"
        )


def _result(task: CorrectionTask, output: Path, noise: Noise, findings: Findings) -> StackResult:
    size, mtime_ns = measure(output)
    return StackResult(
        name=task.name,
        output=output_name(task.record.stem, task.settings.write),
        bytes_in=task.record.size,
        bytes_out=size,
        hot=int(task.record.outliers["n_hot"]),
        dead=int(task.record.outliers["n_dead"]),
        usable=task.usable,
        score=task.score,
        noise=noise,
        caveats=findings.all_caveats(noise, task.record.shape),
        digest=whole_digest(output),
        mtime_ns=mtime_ns,
        key=task.key,
        provisional=task.provisional,
        files=output_files(task),
    )
