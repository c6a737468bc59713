"""Reads the data of a report from an output folder, one stack's mask at a time, to save memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.judged_stacks import spread_beyond_counting
from mrcz_dask.correction.tasks import STORE_NAME, output_stem
from mrcz_dask.correction.verdict import verdict_on
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.monitor.state import SessionState, StackState
from mrcz_dask.numerics.outliers.population import Census, Turnover, lifetime
from mrcz_dask.numerics.reference.structure import smooth_structure
from mrcz_dask.report.data import (
    KINDS,
    Band,
    Health,
    LeftOut,
    MaskFacts,
    SessionData,
    StackData,
    StackSample,
    sample,
)
from mrcz_dask.report.progress import RunLog
from mrcz_dask.session.log import NAME, read_messages
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError, PlaceError
from mrcz_dask.values.records import SMOOTH_KEPT, Break, StackRecord, StackResult, is_too_quiet

# Stacks whose histograms and patches are in a report, and thumbnails of stacks left out of windows.
LOOKS = 100
THUMBNAILS = 48
COARSE = 24  # stacks whose coarse images are averaged

T = TypeVar("T")
Steps = Mapping[str, Mapping[str, Any]]


def gather(folder: Path) -> SessionData:
    """Read the data of a report from an output folder; the movies need not exist any more.

    Parameters
    ----------
    folder
        Where a run of `koma` put its outputs.

    Raises
    ------
    SessionError
        When no run over this folder is known.
    FormatError
        When its log is of another layout.
    """
    state, log = SessionState(), RunLog()
    times_from: dict[str, str] = {}
    for time, message in read_messages(folder):
        state.take(message, time)
        log.take(message, time)
        if isinstance(message, messages.StackFound):
            times_from[message.name] = message.acquired_from
    run, runs = state.run, tuple(log.runs)
    if run is None:
        expected = "expected the output folder of `mrcz-dask koma`, such as SESSION/koma"
        raise PlaceError(f"{folder / NAME}: no run is known; {expected}")
    reader = _Reader(folder)
    ordered = sorted(state.stacks.values(), key=lambda s: s.key)
    stacks = [
        reader.stack(number, stack, ordered[0].acquired, times_from.get(stack.name, ""))
        for number, stack in enumerate(ordered, 1)
    ]
    health, turnover = reader.health(stacks)
    gain = run.settings.get("gain", {}).get("gain", "")
    about_gain = reader.attempt(lambda: reader.store.gain_about(gain)) if gain else None
    stacks = [replace(s, turnover=t) for s, t in zip(stacks, turnover, strict=True)]
    contrast = sorted((s for s in stacks if s.high_contrast), key=lambda s: -(s.score or 0))
    return SessionData(
        folder=str(folder),
        session=run.session,
        version=run.version,
        platform=run.platform,
        settings=run.settings,
        gain=about_gain,
        running=runs[-1].how.partition(":")[0],
        error=state.ended.error if state.ended else None,
        stacks=tuple(stacks),
        left_out=tuple(LeftOut(file.name, file.reason, file.rejected) for file in state.left_out.values()),
        warnings=tuple(text for _, text in state.warnings),
        runs=runs,
        health=health,
        samples=reader.samples(stacks),
        high_contrast={s.number: reader.thumbnails(s) for s in contrast[:THUMBNAILS]},
        shared=reader.shared(stacks),
        verdict=verdict_on(state.results),
        problems=tuple(reader.problems),
    )


class _Reader:
    """Reads an output folder; what cannot be read is a problem, and left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = SessionStore(folder / STORE_NAME)
        self.problems: list[str] = []

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return the result of `read`; None where it cannot be read, which is a problem of the report."""
        try:
            return read()
        except (MrczDaskError, OSError) as error:
            self.problems.append(str(error))
            return None

    def stack(self, number: int, state: StackState, begin: datetime, acquired_from: str) -> StackData:
        """Read everything that a report knows about one stack, but for the turnover of its outliers."""
        stem, result = output_stem(state.output), state.result
        record = self.attempt(lambda: self.store.record(stem))
        steps: Steps | None = None
        if result is not None:
            steps = self.attempt(lambda: last_steps(read_footer(self._folder / state.output) or {}))
        koma = (steps or {}).get("koma", {}).get("results", {})
        return StackData(
            number=number,
            name=state.name,
            stem=stem,
            output=state.output,
            acquired=state.acquired,
            acquired_from=acquired_from,
            hours=(state.acquired - begin).total_seconds() / 3600,
            state=state.state,
            reason=state.reason,
            mask=None if record is None else mask_facts(record, result),
            turnover=Turnover(),
            usable=None if result is None else result.usable,
            score=None if result is None else result.score,
            noise=dict.fromkeys(KINDS) if result is None else result.noise,
            caveats=() if result is None else result.caveats,
            evidence={} if result is None else result.evidence,
            bands=tuple(Band.from_dict(band) for band in koma.get("bands", ())),
            breaks=tuple(Break.from_dict(item) for item in koma.get("breaks", ())),
            agrees=_agree(record, steps),
            bytes_in=state.bytes_in,
            bytes_out=0 if result is None else result.bytes_out,
        )

    def health(self, stacks: list[StackData]) -> tuple[Health, list[Turnover]]:
        """Follow the outliers through the session."""
        shapes = [s.mask.shape[1:] for s in stacks if s.mask is not None]
        if not shapes:
            return Health(None, None, (), None), [Turnover()] * len(stacks)
        census = Census(shapes[0])
        for stack in stacks:
            sound = stack.mask is not None and stack.mask.sound
            read = partial(self.store.packed_outliers, stack.stem)
            outliers = self.attempt(read) if sound else None
            census.add(None if outliers is None else outliers[0])
        survival = census.survival()
        return Health(census.places(0), census.places(1), survival, lifetime(survival)), census.turnover

    def samples(self, stacks: Sequence[StackData]) -> dict[int, StackSample]:
        """Read histograms and patches of a sample of stacks, and thumbnails of a good one in the middle."""
        chosen = sample(stacks, LOOKS)
        good = [s for s in chosen if s.usable and not is_too_quiet(s.caveats)]
        found = {}
        for stack in chosen:
            fit = self.attempt(partial(self.store.histogram, stack.stem))
            patch = self.attempt(partial(self.store.patch, stack.stem))
            look = self.thumbnails(stack) if stack in good[len(good) // 2 :][:1] else StackSample()
            if patch is not None:
                look = replace(look, patch=patch[0], weight=patch[1], corner=patch[2])
            found[stack.number] = replace(look, fit=fit)
        return found

    def shared(self, stacks: Sequence[StackData]) -> NDArray[np.float64] | None:
        """Return the smooth structure that a sample of stacks shares and that was not taken off."""
        having = [s for s in stacks if any(text.startswith(SMOOTH_KEPT) for text in s.caveats)]
        images = [
            self.attempt(partial(self.store.load, s.stem, "coarse"))
            for s in having[:: -(-len(having) // COARSE) or 1]
        ]
        known = [pair[0].astype(np.float64) for pair in images if pair is not None]
        return smooth_structure(np.mean(known, axis=0)) if known else None

    def thumbnails(self, stack: StackData) -> StackSample:
        """Read the thumbnails of a stack."""
        kept = self.attempt(lambda: self.store.thumbnails(stack.stem))
        return StackSample() if kept is None else StackSample(thumbnails=kept[0], grays=kept[1:])


def mask_facts(record: StackRecord, result: StackResult | None) -> MaskFacts:
    """Return the facts about a stack's sum and outlier mask that a report shows, from its record.

    Numbers of outliers are those of its result, which has those that the stacks around it add.
    """
    mask = record.outliers
    counts = record.exponent == 0 or "int" in record.dtype  # of other floats a spread says nothing
    return MaskFacts(
        shape=record.shape,
        dtype=record.dtype,
        dose=record.dose,
        n_masked=int(mask["n_masked"]),
        n_hot=int(mask["n_hot"]) if result is None else result.hot,
        n_dead=int(mask["n_dead"]) if result is None else result.dead,
        n_neighbourly=int(mask["n_neighbourly"]),
        status=record.status,
        illumination=bool(mask["illumination"]),
        spread=spread_beyond_counting(record) if counts else None,
        gamma=record.gamma,
        **record.fit,
    )


def _agree(record: StackRecord | None, steps: Steps | None) -> bool | None:
    """Compare the mask and the pixels that footer and store speak of; None where one is missing."""
    if record is None or not steps or "outliers" not in steps:
        return None
    step = steps["outliers"]
    same = step["results"].get("mask") == record.outliers
    return bool(same and step["inputs"][0].get("digest") == record.digest)
