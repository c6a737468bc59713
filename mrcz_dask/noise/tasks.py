"""Scoring the correlated noise of one stack: with and without filter and pattern, and against the radius."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.correct_stack import Image, StoredSums, references_of
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef
from mrcz_dask.correction.window_sums import WindowSums as WindowSums
from mrcz_dask.formats.sources import open_source
from mrcz_dask.gain.applied import Exposed, gain_for
from mrcz_dask.noise.results import KINDS, VARIANTS, Score, StackCurve, StackNoise, against, score
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.noise.error import BlockedCorrelation, Correlation
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.numerics.reference.fused import masked_sum
from mrcz_dask.numerics.reference.koma import Finder, Pattern
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import Method

# Rows of frames that are kept in memory, bytes; more are read again for every radius.
KEPT_ROWS = 1 << 27
EVEN = "_even"
BASE = {"plain": "raw", "fit": "raw", "plain+filter": "filter", "fit+filter": "filter"}

Rows = NDArray[np.intp]
# None stands for the pixels as they are.
Ready = ReadyCorrection | None
Dosed = tuple[NDArray[Any], float | None]


@dataclass(frozen=True, slots=True)
class CurveTask:
    """What scoring a stack against the radius needs.

    Attributes
    ----------
    finish
        Of the stack, with the settings of the run.
    windows
        Radius, short and long window (empty where it is the same), in ascending order of the radius.
    key
        What the result depends on, as a digest.
    """

    finish: CorrectionTask
    windows: tuple[tuple[int, tuple[MemberRef, ...], tuple[MemberRef, ...]], ...]
    key: str

    @property
    def name(self) -> str:
        """Of the stack, relative to the session."""
        return self.finish.name

    @property
    def stem(self) -> str:
        """Of the stack."""
        return self.finish.record.stem

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there."""
        return self.finish.places


class Scores:
    """R of the same frames after several corrections.

    Parameters
    ----------
    corrections
        Of the rows that are scored, by name; None = the pixels as they are.
    shape
        (rows, nx).
    """

    def __init__(self, corrections: dict[str, Ready], shape: tuple[int, int]) -> None:
        self._corrections = corrections
        self._sums = {name: BlockedCorrelation(shape) for name in corrections}
        self._buffer = np.empty(shape, np.float32)

    def add(self, pixels: NDArray[Any], dose: float | None) -> None:
        """Take in a frame's rows, with its relative dose; a blank one (None) has nothing to score."""
        if dose is None:
            return
        with np.errstate(invalid="ignore"):  # frames that are not finite are left out, without a word
            for name, ready in self._corrections.items():
                corrected = pixels if ready is None else ready.at_dose(dose).apply(pixels, self._buffer)
                self._sums[name].add(corrected)

    def results(self) -> dict[str, Correlation]:
        """Return R of each."""
        return {name: total.result() for name, total in self._sums.items()}


class Side:
    """A stack with its outliers masked, in its windows too, or without any mask.

    Parameters
    ----------
    task
        Of the stack.
    masked
        Which of both.
    """

    def __init__(self, task: CorrectionTask, masked: bool) -> None:
        self._task, self._masked = task, masked
        self._store = SessionStore(task.store)
        self._rows = noise_rows(task.record.shape[1:])

    def sums(self, which: str) -> StoredSums | None:
        """Return the sums of all frames ('') or the even ones ('_even'); None without a sound mask."""
        record = self._task.record
        if self._masked:
            there = record.sound and (not which or record.mean_even is not None)
            return StoredSums.load(self._store, self._task, which) if there else None
        values = self._store.load(record.stem, f"sum{which}")
        n = record.exposed(2 if which else 1)
        nowhere = np.zeros(values.shape, bool)
        weight = np.full(values.shape, WEIGHT_STEPS, np.uint8)
        return StoredSums(MeanImage(values, 2.0**-record.exponent / n), n, weight, nowhere, nowhere)

    def references(
        self, task: CorrectionTask, sums: StoredSums, windows: WindowSums | Exception | None = None
    ) -> list[Image]:
        """Return the references of a task's windows, see `references_of`; `sums` are of all its frames."""
        return references_of(task, sums, windows, masked=self._masked)

    def filtered(self, sums: StoredSums) -> ReadyCorrection:
        """Return the correction by the filter alone."""
        return self._ready(sums, None)

    def corrected(self, sums: StoredSums, which: str, finder: Finder) -> ReadyCorrection:
        """Return the correction by the pattern, and by the filter where there is one."""
        return self._ready(sums, finder.find(sums.mean, self._dose(sums, which), sums.mask))

    def _ready(self, sums: StoredSums, pattern: Pattern | None) -> ReadyCorrection:
        return sums.correction(pattern, self._task).take_rows(self._rows).ready()

    def _dose(self, sums: StoredSums, which: str) -> float:
        record = self._task.record
        if self._masked:
            return float((record.mean_even if which else record.mean) or 0.0) / sums.n
        total, good = masked_sum(*sums.mean.arguments(), sums.mask)
        return float(total) / good


def score_stack(task: CorrectionTask, windows: WindowSums | Exception | None = None) -> StackNoise:
    """Return R of a stack, raw, after the filter, after KOMA and after both, held out and in sample.

    Parameters
    ----------
    task
        Of the stack.
    windows
        The sums of its windows, with outliers left out and without; None = they are summed here.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    rows = noise_rows(task.record.shape[1:])
    shape = rows.size, task.record.shape[2]
    in_sample, held_out = (Scores(one, shape) for one in _corrections(task, windows))
    with opened(task) as frames:
        for k in range(task.record.shape[0]):
            pixels, dose = frames.rows(k, rows)
            in_sample.add(pixels, dose)
            if k % 2:
                held_out.add(pixels, dose)
    return StackNoise(task.name, task.record.shape[0], _by_kind(held_out), _by_kind(in_sample))


def _by_kind(scores: Scores) -> dict[str, Score]:
    found = scores.results()
    return {kind: score(found.get(kind)) for kind in KINDS}


def _corrections(
    task: CorrectionTask, windows: WindowSums | Exception | None
) -> tuple[dict[str, Ready], dict[str, Ready]]:
    """Return the corrections by kind, in sample and held out."""
    found: tuple[dict[str, Ready], dict[str, Ready]] = ({"raw": None}, {"raw": None})
    for masked, alone, kind in ((True, "filter", "both"), (False, "raw", "koma")):
        side = Side(task, masked)
        sums = side.sums("")
        if sums is None:
            continue
        images = side.references(task, sums, windows)
        finder = Finder(images, task.settings.koma)
        for which, into in zip(("", EVEN), found, strict=True):
            some = side.sums(which) if which else sums
            if some is None:
                continue
            if masked:
                into[alone] = side.filtered(some)
            if images:
                into[kind] = side.corrected(some, which, finder)
    return found


def score_curve(task: CurveTask) -> StackCurve:
    """Return held-out R of a stack against the radius, with the filter and without, `plain` and `fit`.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    with opened(task.finish) as frames:
        curve = _Curve(task.finish, frames)
        scores = [curve.at(*window) for window in task.windows]
    return StackCurve(
        name=task.name,
        radii=tuple(radius for radius, _, _ in task.windows),
        window_frames=tuple(sum(m.n for m in short) for _, short, _ in task.windows),
        alone={kind: score(curve.alone.get(kind)) for kind in ("raw", "filter")},
        curves={variant: [one[variant] for one in scores] for variant in VARIANTS},
    )


class _Curve:
    """Held-out scores of one stack, one radius after the other.

    Attributes
    ----------
    alone
        Without KOMA: raw, and after the filter.
    """

    def __init__(self, task: CorrectionTask, frames: _Frames) -> None:
        self._task = task
        rows = noise_rows(task.record.shape[1:])
        self._shape = rows.size, task.record.shape[2]
        self._pixels = frames.odd(rows)
        self._sides = [self._side(masked) for masked in (False, True)]
        side, _, even = self._sides[1]
        alone: dict[str, Ready] = {"raw": None}
        if even is not None:
            alone["filter"] = side.filtered(even)
        self.alone = self._scored(alone)

    def _side(self, masked: bool) -> tuple[Side, StoredSums | None, StoredSums | None]:
        side = Side(self._task, masked)
        return side, side.sums(""), side.sums(EVEN)

    def at(self, radius: int, short: tuple[MemberRef, ...], long: tuple[MemberRef, ...]) -> dict[str, Score]:
        """Return R, its error, R above that without KOMA, and the error of this, by variant."""
        settings = replace(self._task.settings, koma=replace(self._task.settings.koma, radius=radius))
        task = replace(self._task, short=short, long=long, settings=settings)
        made: dict[str, Ready] = {}
        for (side, whole, even), ending in zip(self._sides, ("", "+filter"), strict=True):
            if whole is not None and even is not None:
                for method, finder in _finders(side.references(task, whole), task):
                    made[f"{method}{ending}"] = side.corrected(even, EVEN, finder)
        found = self._scored(made)
        return {v: against(found.get(v), self.alone.get(BASE[v])) for v in VARIANTS}

    def _scored(self, corrections: dict[str, Ready]) -> dict[str, Correlation]:
        scores = Scores(corrections, self._shape)
        for pixels, dose in self._pixels:
            scores.add(pixels, dose)
        return scores.results()


def _finders(images: Sequence[Image], task: CorrectionTask) -> Iterator[tuple[Method, Finder]]:
    koma = task.settings.koma
    yield "plain", Finder(images[:1], replace(koma, method="plain"))
    yield "fit", Finder(images, replace(koma, method="fit"))


class _Frames:
    """The frames of a stack after its gain, rows of them at a time."""

    def __init__(self, exposed: Exposed, weight: NDArray[np.uint8], dose: float) -> None:
        self._exposed, self._weight, self._dose = exposed, weight, dose
        source = exposed.source
        self._frame = np.empty(source.shape[1:], source.dtype)

    def rows(self, k: int, rows: Rows) -> Dosed:
        """Return rows of frame k, and its dose relative to the stack's, None if it is blank."""
        self._exposed.source.frame(k, self._frame)
        gained = self._exposed.gained(self._frame)
        return gained[rows], relative_dose(gained, self._weight, self._dose)

    def odd(self, rows: Rows) -> Iterable[Dosed]:
        """Return rows of frames 1, 3, 5, ..., to be gone through several times."""
        source = self._exposed.source
        itemsize = source.dtype.itemsize if self._exposed.gain is None else 4
        lazy = _OddRows(self, rows, source.shape[0])
        small = source.shape[0] // 2 * rows.size * source.shape[2] * itemsize <= KEPT_ROWS
        return list(lazy) if small else lazy


@dataclass(frozen=True, slots=True)
class _OddRows:
    frames: _Frames
    rows: Rows
    n: int

    def __iter__(self) -> Iterator[Dosed]:
        return (self.frames.rows(k, self.rows) for k in range(1, self.n, 2))


@contextmanager
def opened(task: CorrectionTask) -> Iterator[_Frames]:
    """Give the frames of a stack after its gain; an error where it must not be corrected."""
    task.check()
    with open_source(task.path, task.settings.input) as reader:
        gain = gain_for(task.store, task.settings.gain, task.record.gamma)
        weight = SessionStore(task.store).load(task.record.stem, "weight")
        yield _Frames(Exposed(reader, gain, task.record.offset), weight, task.record.dose)
