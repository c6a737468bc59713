"""The last task of a stack: fits its pattern to sums of its neighbors, corrects and writes its frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.footer import NO_GOOD, Findings, Noise, provenance_steps, stack_result
from mrcz_dask.correction.outputs import copies_chunks, open_output, open_recompressed
from mrcz_dask.correction.pooling import pooled_of
from mrcz_dask.correction.references import StoredSums, WindowReferences, evidence_of, references_of
from mrcz_dask.correction.tasks import CorrectionTask
from mrcz_dask.correction.window_sums import WindowSums
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.source import read_file
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.text.mdoc import LARGEST
from mrcz_dask.gain.applied import GainedFrames, gain_for
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import CorrelationSum, noise_rows
from mrcz_dask.numerics.noise.quiet import middle_rows, noise_taken_off
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.evidence import negligible
from mrcz_dask.numerics.reference.koma import Pattern, PatternFit, spread
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.session.store import SessionStore, key_of
from mrcz_dask.session.thumbnails import keep_thumbnails
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.records import COPY, GROUP, NO_PATTERN, QUIET, SMOOTH_KEPT, UNTOUCHED, StackResult
from mrcz_dask.values.texts import some
from mrcz_dask.values.timing import phase

NOWHERE = np.zeros(0, np.int64)
SCORES = ("raw", "filtered", "corrected", "raw_in_sample", "corrected_in_sample")


def correct_stack(task: CorrectionTask, windows: WindowSums | Exception | None = None) -> StackResult:
    """Fit the pattern of one stack, correct its frames, write its output, and measure R; this is a Dask task.

    Parameters
    ----------
    task
        Values that the correction needs.
    windows
        Sums of the stack's windows; None, or the error that they gave = they are summed here.

    Raises
    ------
    FormatError, OSError
        If the stack cannot be read again, or its output cannot be written.
    SessionError
        If its pixels have changed since it was summed.
    CopiesError
        If most stacks around it hold the same data.
    """
    task.check()
    store, record = SessionStore(task.store), task.record
    if Path(task.folder).is_dir():  # else it went away, and must not be made anew on a bare mount point
        task.output.parent.mkdir(parents=True, exist_ok=True)
    with open_source(task.path, task.settings.input) as reader:
        copied = reader if isinstance(reader, StackReader) and copies_chunks(reader, task) else None
        fitted = fit_stack(store, task, windows, scored=copied is None)
        mean, pattern, correction, held_out, references, highest, evidence, added = fitted
        keep_thumbnails(store, record.stem, mean, correction)
        caveats = (
            *_caveats(task),
            *_caveats_of_references(references, highest),
            *_caveat_of_quiet(store, task, mean, correction),
        )
        findings = Findings(correction, pattern.fits, caveats, references.to_dict(), evidence, added)
        del mean, fitted, references  # as large as the sum
        with _mdoc_before_output(task):
            if copied is not None:
                noise = _copy(copied, task, findings, store)
            else:
                with phase("apply"):
                    score = NoiseScore(correction, held_out)
                    gain = gain_for(task.store, task.settings.gain, record.gamma)
                noise = _write(GainedFrames(reader, gain, record.offset), task, findings, score, store)
    with phase("disk", measure(task.output).size):
        return stack_result(task, noise, findings.all_caveats(noise, record.shape), evidence, added)


@contextmanager
def _mdoc_before_output(task: CorrectionTask) -> Iterator[None]:
    """Copy the .mdoc beside the output before that appears; without an output it goes again."""
    copy = Path(f"{task.output}.mdoc")
    if task.mdoc is not None:
        write_atomic(copy, read_file(task.mdoc, LARGEST))
    try:
        yield
    except BaseException:
        if not task.output.exists():
            copy.unlink(missing_ok=True)
        raise


class FittedStack(NamedTuple):
    """Record of the pattern that was fitted to a stack, and of the corrections made from it.

    Attributes
    ----------
    mean
        Mean of its frames, counts.
    pattern, correction
        From all frames.
    held_out
        Corrections from frames 0, 2, 4, ...: ``filtered`` by the outlier filter alone, and ``corrected``.
        Empty if these frames have no sound mask, or the stack is not scored.
    references
        Its references, and what was left out of them as the specimen's.
    highest
        Upper limit of the pattern, relative to the mean, if it is too small to be taken off; else None.
    evidence
        `StackEvidence` as plain values; empty if it is not known.
    added
        Numbers of hot and dead pixels that only the stacks around it show; empty if they were not asked.
    """

    mean: MeanImage
    pattern: Pattern
    correction: Correction
    held_out: dict[str, Correction]
    references: WindowReferences
    highest: float | None
    evidence: dict[str, Any]
    added: dict[str, int]


def fit_stack(
    store: SessionStore, task: CorrectionTask, windows: WindowSums | Exception | None, *, scored: bool = True
) -> FittedStack:
    """Fit the pattern of a stack to its windows and build its correction; if `scored`, also those for
    held-out R.

    Raises
    ------
    DamagedError
        If the session store cannot be read.
    """
    record, koma = task.record, task.settings.koma
    sums, held_out, evidence = StoredSums.load(store, task, ""), {}, {}
    nothing = PatternFit((), koma)
    with phase("window"):
        references = references_of(task, sums, windows)
        finder = PatternFit(references.images, koma)
    with phase("fit"):
        pooled, added = pooled_of(task.pool, task.name), {}
        hot, dead = (NOWHERE, NOWHERE) if pooled is None else (pooled.hot, pooled.dead)
        store.put(f"lasting/{key_of(record.stem)}", {"hot": hot, "dead": dead}, {})
        if pooled is not None:
            flat = sums.mask.reshape(-1)
            added = {"n_hot": int((~flat[hot]).sum()), "n_dead": int((~flat[dead]).sum())}
            sums = sums.with_outliers(np.concatenate([hot, dead]), task)
        # without a sound mask nothing but pixels that are not finite is masked, and no pattern is taken off
        dose, good = record.mean / sums.n, int(sums.mask.size - np.count_nonzero(sums.mask))
        pattern = (finder if record.sound else nothing).find(sums.mean, dose, sums.mask)
        raw = koma.form == "subtract-raw"  # its products are no shares of the mean
        highest = None if koma.always or raw else negligible(pattern, good)
        taken = nothing.find(sums.mean, dose, sums.mask) if highest is not None else pattern
        correction = sums.correction(taken, task)
        if scored and record.sound and record.mean_even is not None:
            even = StoredSums.load(store, task, "_even")
            if pooled is not None:  # not even by its odd frames, on which it is scored
                even = even.with_outliers(pooled.others, task)
            even_dose = record.mean_even / even.n
            pattern_even = finder.find(even.mean, even_dose, even.mask)
            evidence = evidence_of(task, references, pattern, pattern_even, good)
            if highest is not None:
                pattern_even = nothing.find(even.mean, even_dose, even.mask)
            held_out["filtered"] = even.correction(None, task)
            held_out["corrected"] = even.correction(pattern_even, task)
    return FittedStack(sums.mean, taken, correction, held_out, references, highest, evidence, added)


def _caveats(task: CorrectionTask) -> tuple[str, ...]:
    record, koma = task.record, task.settings.koma
    caveats = list(record.caveats)
    members = (*task.short, *task.long)
    dose_spread = spread([m.mean / m.n for m in members])
    if task.copies:
        caveats.append(
            f"{COPY} {some(task.copies)}: not used as each other's reference; remove those you do not need"
        )
    if task.same_specimen:
        caveats.append(
            f"{task.same_specimen} of the neighbors in its reference show its specimen: some of it goes with "
            "the pattern; run again without --trust-reference"
        )
    if task.groups:
        caveats.append(
            f"{GROUP} {'; '.join(f'{group.name}, {group.reason}' for group in task.groups)}; "
            "--groups says it otherwise"
        )
    if not record.sound:
        caveats.append(
            f"outlier mask {record.status}: {UNTOUCHED}, only pixels that are not finite were filled"
        )
    elif not record.has_dose and koma.form != "subtract-raw":
        caveats.append(
            f"the mean of its sum is {record.mean:.3g} counts, too little to scale by: no reference, "
            f"and {UNTOUCHED}; --form subtract-raw needs no dose"
        )
    elif not members:
        outside = " that shows another specimen" if task.groups else ""
        caveats.append(f"no usable neighbor{outside}: {UNTOUCHED}; add movies of the same camera and mode")
    elif dose_spread > koma.dose_spread:
        caveats.append(
            f"doses in the window spread by {dose_spread:.0%} of their median; if the pattern is "
            "added to every frame, and does not go with the dose, use --form subtract-raw"
        )
    if record.sound and task.score is not None and not task.usable:
        caveats.append("high contrast: corrected, but no reference for others; look at its image")
    if task.provisional:
        caveats.append(
            "provisional: it is written again once later stacks have joined its window; use it then"
        )
    return tuple(caveats)


def _caveats_of_references(references: WindowReferences, highest: float | None) -> Iterator[str]:
    """Yield caveats of a stack whose references show its specimen, too little, or what no detector has."""
    if highest is not None:
        yield (
            f"{NO_PATTERN}: it is at most {100 * highest:.2g} % of the mean, and {UNTOUCHED}; --always takes "
            "it off"
        )
    if references.left_out:
        moves, limit = references.movement.seen, 100 * references.limit
        why = "moves with the specimen" if moves else f"a detector shows at most {limit:g} %"
        yield (
            f"{SMOOTH_KEPT}: it is {100 * max(references.smooth):.2g} % of its references, and {why}; "
            "--trust-reference takes it off"
        )


def _caveat_of_quiet(
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


class NoiseScore:
    """Measures R of a stack before and after correction, held out on frames 1, 3, 5, ... and in sample on
    all.

    Large images are scored on rows spread over them: two million pixels know R to some 1e-3 / n.

    Parameters
    ----------
    correction
        Correction that is written.
    held_out
        Corrections from frames 0, 2, 4, ...; see `FittedStack`.
    """

    def __init__(self, correction: Correction, held_out: dict[str, Correction]) -> None:
        self._rows = noise_rows(correction.weight.shape)
        self._in_sample = correction.take_rows(self._rows).ready()
        self._held_out = {
            kind: correction.take_rows(self._rows).ready() for kind, correction in held_out.items()
        }
        self._sums = {kind: CorrelationSum() for kind in SCORES}
        self._buffer = np.empty((self._rows.size, correction.weight.shape[1]), np.float32)

    def add(self, k: int, frame: NDArray[Any], dose: float | None) -> None:
        """Add frame k, after its gain, to each R; `dose` is relative to the stack's, None if it is blank."""
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
        """Return R before and after correction, held out and in sample; None below two frames."""
        values = {kind: total.value() for kind, total in self._sums.items()}
        return {kind: None if np.isnan(v) else v for kind, v in values.items()}


def _write(
    exposed: GainedFrames, task: CorrectionTask, findings: Findings, score: NoiseScore, store: SessionStore
) -> Noise:
    with open_output(exposed, task, findings) as output:
        for k, stored, frame in _frames(exposed, task):
            with phase("apply"):
                dose = relative_dose(frame, findings.correction.weight, task.record.dose)
                score.add(k, frame, dose)
                output.append(k, stored, frame, dose)
        noise = score.result()
        output.conclude(provenance_steps(task, findings, noise, output.stored), store)
    return noise


def _frames(exposed: GainedFrames, task: CorrectionTask) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Yield every frame as read and after its gain; then make sure that they are those that were summed."""
    reader = exposed.source
    digest = PixelDigest(reader.shape, reader.dtype)
    stored = np.empty(reader.shape[1:], reader.dtype)
    for k in range(reader.shape[0]):
        reader.frame(k, stored)
        with phase("sum"):
            digest.update(stored)
        with phase("apply"):
            frame = exposed.gained(stored)
        yield k, stored, frame
    _check_digest(task, digest.hexdigest(), task.record.digest)


def _copy(reader: StackReader, task: CorrectionTask, findings: Findings, store: SessionStore) -> Noise:
    """Copy the chunks; no frame is decoded, and so none is scored."""
    noise: Noise = dict.fromkeys(SCORES)
    digest = xxhash.xxh3_128()
    with open_recompressed(reader, task, findings) as output:
        for k in range(reader.shape[0]):
            chunk = reader.stored_chunk(k)
            digest.update(chunk)
            output.copy(chunk)
        _check_digest(task, digest.hexdigest(), task.record.chunks)
        output.conclude(provenance_steps(task, findings, noise, output.stored), store)
    return noise


def _check_digest(task: CorrectionTask, digest: str, expected: str) -> None:
    if digest != expected:
        raise SessionError(
            f"{task.path}: the pixels are no longer those that were summed (digest {digest}, expected "
            f"{expected}); run again when it is complete"
        )
