"""Reading session store, log and footers, in bounded memory: masks one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mrcz_dask.correction.assess import spread_beyond_counting
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.tasks import STORE_NAME, output_stem
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.monitor.state import SessionState, StackState
from mrcz_dask.numerics.outliers.population import Census, Packed, Turnover, lifetime
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
from mrcz_dask.values.records import Break, StackRecord

# Stacks whose histograms and patches are in a report, and thumbnails of stacks left out of windows.
LOOKS = 100
THUMBNAILS = 48

T = TypeVar("T")
Steps = Mapping[str, Mapping[str, Any]]


def gather(folder: Path) -> SessionData:
    """Return all that a report shows of an output folder.

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
    if state.run is None:
        raise PlaceError(
            f"{folder / NAME}: no run is known; expected the output folder of `mrcz-dask koma`, such as "
            "SESSION/koma"
        )
    return _Gathering(folder, state, times_from).data(log)


class _Gathering:
    """One look at an output folder."""

    def __init__(self, folder: Path, state: SessionState, times_from: Mapping[str, str]) -> None:
        self._folder, self._state, self._times_from = folder, state, times_from
        self._store = SessionStore(folder / STORE_NAME)
        self._problems: list[str] = []

    def data(self, log: RunLog) -> SessionData:
        run = self._state.run
        assert run is not None
        ordered = sorted(self._state.stacks.values(), key=lambda s: s.key)
        stacks = [self._stack(k, one, ordered[0].acquired) for k, one in enumerate(ordered, 1)]
        health, turnover = self._health(stacks)
        stacks = [replace(s, turnover=t) for s, t in zip(stacks, turnover, strict=True)]
        runs = log.runs()
        contrast = sorted((s for s in stacks if s.high_contrast), key=lambda s: -(s.score or 0))
        return SessionData(
            folder=str(self._folder),
            session=run.session,
            version=run.version,
            platform=run.platform,
            settings=run.settings,
            gain=self._gain(run.settings),
            running=runs[-1].how.partition(":")[0],
            error=self._state.ended.error if self._state.ended else None,
            stacks=tuple(stacks),
            left_out=tuple(LeftOut(e.name, e.reason, e.rejected) for e in self._state.left_out.values()),
            warnings=tuple(text for _, text in self._state.warnings),
            runs=runs,
            health=health,
            looks={s.number: self._look(s) for s in sample(stacks, LOOKS)},
            high_contrast={s.number: self._thumbnails(s) for s in contrast[:THUMBNAILS]},
            problems=tuple(self._problems),
        )

    def _stack(self, number: int, one: StackState, begin: datetime) -> StackData:
        stem = output_stem(one.output)
        record = self._try(lambda: self._store.record(stem))
        result = one.result
        steps = (
            self._try(lambda: last_steps(read_footer(self._folder / one.output) or {})) if result else None
        )
        return StackData(
            number=number,
            name=one.name,
            stem=stem,
            output=one.output,
            acquired=one.acquired,
            acquired_from=self._times_from.get(one.name, ""),
            hours=(one.acquired - begin).total_seconds() / 3600,
            state=one.state,
            reason=one.reason,
            mask=None if record is None else mask_facts(record),
            turnover=Turnover(),
            usable=None if result is None else result.usable,
            score=None if result is None else result.score,
            noise=dict.fromkeys(KINDS) if result is None else result.noise,
            caveats=() if result is None else result.caveats,
            bands=tuple(Band.from_dict(band) for band in _of(steps, "koma").get("bands", ())),
            breaks=tuple(Break.from_dict(one) for one in _of(steps, "koma").get("breaks", ())),
            agrees=_agree(record, steps),
            bytes_in=one.bytes_in,
            bytes_out=0 if result is None else result.bytes_out,
        )

    def _gain(self, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
        digest = settings.get("gain", {}).get("gain", "")
        return self._try(lambda: self._store.gain_about(digest)) if digest else None

    def _health(self, stacks: list[StackData]) -> tuple[Health, list[Turnover]]:
        """Follow the outliers through the session."""
        shapes = [s.mask.shape[1:] for s in stacks if s.mask is not None]
        if not shapes:
            return Health(None, None, (), None), [Turnover()] * len(stacks)
        census = Census(shapes[0])
        for packed in self._masks(stacks):
            census.add(packed)
        survival = census.survival()
        places = census.places(0), census.places(1)
        return Health(*places, survival, lifetime(survival)), census.turnover

    def _masks(self, stacks: list[StackData]) -> Iterator[Packed | None]:
        for one in stacks:
            sound = one.mask is not None and one.mask.sound
            found = self._try(partial(self._store.packed_outliers, one.stem)) if sound else None
            yield None if found is None else found[0]

    def _look(self, one: StackData) -> StackSample:
        fit = self._try(lambda: self._store.histogram(one.stem))
        found = self._try(lambda: self._store.patch(one.stem))
        if found is None:
            return StackSample(fit)
        return StackSample(fit, *found)

    def _thumbnails(self, one: StackData) -> StackSample:
        found = self._try(lambda: self._store.thumbnails(one.stem))
        return StackSample() if found is None else StackSample(thumbnails=found[0], greys=found[1:])

    def _try(self, read: Callable[[], T]) -> T | None:
        """Return what is read; what cannot be is a problem, and told."""
        try:
            return read()
        except (MrczDaskError, OSError) as error:
            self._problems.append(str(error))
            return None


def mask_facts(record: StackRecord) -> MaskFacts:
    """Return what a report shows of a record."""
    mask = record.outliers
    return MaskFacts(
        shape=record.shape,
        dtype=record.dtype,
        dose=record.dose,
        n_masked=int(mask["n_masked"]),
        n_hot=int(mask["n_hot"]),
        n_dead=int(mask["n_dead"]),
        n_neighbourly=int(mask["n_neighbourly"]),
        t_dark=_finite(mask["t_dark"]),
        t_hot=_finite(mask["t_hot"]),
        mu=_finite(mask["mu"]),
        sigma=_finite(mask["sigma"]),
        misfit=_finite(mask["misfit"]),
        status=record.status,
        illumination=bool(mask["illumination"]),
        spread=_spread(record),
        gamma=record.gamma,
    )


def _spread(record: StackRecord) -> float | None:
    """Return the spread beyond counting; of floats that are no counts there is none to speak of."""
    counts = record.exponent == 0 or "int" in record.dtype
    return spread_beyond_counting(record) if counts else None


def _finite(value: Any) -> float | None:
    number = float("nan" if value is None else value)
    return number if math.isfinite(number) else None


def _of(steps: Steps | None, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (steps or {}).get(name, {}).get("results", {})
    return found


def _agree(record: StackRecord | None, steps: Steps | None) -> bool | None:
    """Whether footer and store tell of the same mask of the same pixels."""
    if record is None or not steps or "outliers" not in steps:
        return None
    step = steps["outliers"]
    same = step["results"].get("mask") == record.outliers
    return bool(same and step["inputs"][0].get("digest") == record.digest)
