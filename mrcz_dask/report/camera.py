"""Reads how a camera was in several sessions, from their session stores and logs; movies may be gone."""

from __future__ import annotations

import statistics
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import STORE_NAME, output_stem
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.numerics.outliers.population import positions
from mrcz_dask.numerics.reference.evidence import Mean, StackEvidence, session_evidence
from mrcz_dask.numerics.session.control_chart import FEWEST
from mrcz_dask.numerics.session.likeness import Halves, session_pattern, share_left
from mrcz_dask.report.data import LeftOut
from mrcz_dask.session.log import NAME, read_messages
from mrcz_dask.session.store import SessionStore, key_of
from mrcz_dask.values import messages
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, PlaceError, error_text
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.texts import some

SAMPLE = 64  # stacks of a session that are read, evenly spread
SAME, SURE = 0.5, 3.0  # share of a pattern that must be left, and the errors to be sure that it is not
NEW_FILE, NEW_PATTERN = "another gain file was applied", "the pattern of the sessions before is gone"

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class CameraSession:
    """Record of a camera in one session.

    Attributes
    ----------
    folder, session
        Folders of the outputs and of the inputs.
    began, timed
        When the first stack was taken, and whether the microscope's clock says so.
    stacks, sampled
        Stacks with a sound mask, and how many of them were read.
    dose
        Median counts per pixel and frame.
    hot, dead
        Pixels that are hot or dead in at least half of the stacks.
    hot_births, hot_deaths, dead_births, dead_deaths
        Those that are new since the session before, and those that are gone; None in the first.
    lines
        Rows and columns that read too much or too little in at least half of the stacks.
    pattern, noise
        Variances relative to the squared mean: the pattern in columns, rows and pixels, and counting noise of
        a stack's sum. None = not measured.
    gain
        Digest of the gain that was applied to the frames; empty = none.
    new_gain
        Reason to think that the gain reference is new in this session; empty if it is not.
    likeness
        Share of the pattern of the first five sessions after the last new gain that is still there; None in
        these, and where it is not known.
    """

    folder: str
    session: str
    began: datetime
    timed: bool
    stacks: int
    sampled: int
    dose: float
    pattern: Mean | None
    noise: float | None
    gain: str
    hot: int = 0
    dead: int = 0
    lines: tuple[str, ...] = ()
    hot_births: int | None = None
    hot_deaths: int | None = None
    dead_births: int | None = None
    dead_deaths: int | None = None
    new_gain: str = ""
    likeness: Mean | None = None

    @property
    def lost(self) -> float | None:
        """Share by which the pattern lowers the DQE where it is not taken off; None = not measured."""
        if self.pattern is None or not self.noise:
            return None
        power = max(0.0, self.pattern.value)
        return power / (power + self.noise)


@dataclass(frozen=True, slots=True)
class CameraData:
    """Record of a camera over several sessions.

    Attributes
    ----------
    sessions
        In order of acquisition.
    shape
        (ny, nx) of its frames.
    left_out
        Folders that are not in it, with the reason; `rejected` if something is wrong with them.
    """

    sessions: tuple[CameraSession, ...]
    shape: tuple[int, int]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session as its log shows it, and what is to be read of its store: few values, as there may be many.

    Attributes
    ----------
    session
        The session without what the store shows.
    stems
        Stems of the sampled stacks, in order of time.
    shape, digest
        (ny, nx) of the frames, and digest of the first stack's pixels.
    """

    session: CameraSession
    stems: tuple[str, ...]
    shape: tuple[int, int]
    digest: str

    @property
    def store(self) -> SessionStore:
        """The session store."""
        return SessionStore(Path(self.session.folder) / STORE_NAME)


@dataclass(slots=True)
class _Seen:
    """What a store shows of a camera: places of lasting outliers, and the pattern."""

    hot: Places
    dead: Places
    pattern: Halves | None


def gather_camera(folders: Sequence[Path]) -> CameraData:
    """Read how a camera was in several sessions, one session after the other, in order of acquisition.

    Parameters
    ----------
    folders
        Where runs of `koma` put their outputs, in any order. Those that cannot be read, name a session twice,
        or hold frames of another shape are left out; the shape is that of most sessions.

    Raises
    ------
    PlaceError
        When none is an output folder of `koma`.
    FormatError
        When none can be read.
    """
    left_out: list[LeftOut] = []
    opened: dict[Path, _Opened] = {}
    problems: list[Exception] = []
    for path in folders:
        if (place := path.resolve()) in opened:
            left_out.append(LeftOut(str(path), "named twice; it counts once", False))
            continue
        try:
            opened[place] = _open(path)
        except (MrczDaskError, OSError) as error:
            problems.append(error)
            left_out.append(LeftOut(str(path), error_text(error), True))
    if not opened:
        raise problems[0]
    shape = Counter(one.shape for one in opened.values()).most_common(1)[0][0]
    history, known = _History(), dict[str, str]()
    for one in sorted(opened.values(), key=lambda one: one.session.began):
        unfit = _unfit(one, shape, known)
        if unfit is not None:
            left_out.append(unfit)
            continue
        try:
            history.add(one)
            known[one.digest] = one.session.folder
        except (MrczDaskError, OSError) as error:
            problems.append(error)
            left_out.append(LeftOut(one.session.folder, error_text(error), True))
    if not history.sessions:
        if problems:
            raise problems[0]
        raise PlaceError(f"{some(folders)}: one stack in each session; expected sessions of two or more")
    return CameraData(tuple(history.sessions), shape, tuple(left_out))


def _unfit(one: _Opened, shape: tuple[int, int], known: Mapping[str, str]) -> LeftOut | None:
    """Return why a session is left out although it can be read; None if it is not.

    `known` has the folders of the sessions before, by the digests of their first stacks.
    """
    folder = one.session.folder
    if one.shape != shape:
        sizes = " x ".join(map(str, one.shape)), " x ".join(map(str, shape))
        reason = f"frames of {sizes[0]} pixels, most sessions have {sizes[1]}: another camera or mode"
        return LeftOut(folder, f"{reason}; make a page of its own", True)
    if one.session.stacks < 2:
        return LeftOut(folder, "one stack alone: what lasts in it cannot be told", False)
    if one.digest in known:
        return LeftOut(folder, f"the same movies as {known[one.digest]}; they count once", False)
    return None


def _open(folder: Path) -> _Opened:
    """Read the log of a session, and the record of its first stack."""
    state, untimed = SessionState(), set()
    for time, message in read_messages(folder):
        state.take(message, time)
        if isinstance(message, messages.StackFound) and message.acquired_from == "mtime":
            untimed.add(message.name)
    has_store = (folder / STORE_NAME).is_dir()
    if state.run is None and has_store:
        raise DamagedError(f"{folder / NAME}: no run is known, but its store is there; run `koma` again")
    if state.run is None:
        expected = "expected the output folder of `mrcz-dask koma`, such as SESSION/koma"
        raise PlaceError(f"{folder / NAME}: no run is known; {expected}")
    summed = [(s, s.summed) for s in sorted(state.stacks.values(), key=lambda s: s.key) if s.summed]
    sound = [(s, one) for s, one in summed if one.status in ("ok", "sparse")]
    if not sound:
        raise FormatError(f"{folder / NAME}: no stack has a sound outlier mask; look at its report")
    if not has_store:
        raise DamagedError(f"{folder / STORE_NAME}: is not there; run `mrcz-dask koma` again")
    results = [s.result for s, _ in sound if s.result is not None]
    known = [r.evidence for r in results if r.usable and r.evidence and not r.too_quiet]
    evidence = session_evidence([StackEvidence.from_dict(dict(one)) for one in known])
    chosen = np.unique(np.linspace(0, len(sound) - 1, min(SAMPLE, len(sound))).round().astype(int))
    session = CameraSession(
        folder=str(folder),
        session=state.run.session,
        began=sound[0][0].acquired,
        timed=not any(s.name in untimed for s, _ in sound),
        stacks=len(sound),
        sampled=chosen.size,
        dose=statistics.median(one.dose for _, one in sound),
        pattern=None if evidence is None or evidence.stacks < 2 else evidence.fine,
        noise=None if evidence is None else evidence.noise,
        gain=state.run.settings.get("gain", {}).get("gain", ""),
    )
    stems = tuple(output_stem(sound[k][0].output) for k in chosen.tolist())
    record = _record(SessionStore(folder / STORE_NAME), stems[0])
    return _Opened(session, stems, record.shape[1:], record.digest)


def _record(store: SessionStore, stem: str) -> StackRecord:
    record = store.record(stem)
    if record is None:
        raise DamagedError(f"{store.path}: no record of {stem} that can be read; run `koma` again")
    return record


@dataclass(slots=True)
class _History:
    """The sessions so far, and what the next one is compared with."""

    sessions: list[CameraSession] = field(default_factory=list)
    _last: _Seen | None = None
    _first: list[Halves] = field(default_factory=list)  # sessions after the last new gain
    _recent: deque[Halves] = field(default_factory=lambda: deque(maxlen=FEWEST))

    def add(self, opened: _Opened) -> None:
        """Read the next session, and compare it with those before."""
        seen, session = _look(opened)
        if self._last is not None:
            for kind in ("hot", "dead"):
                now, before = getattr(seen, kind), getattr(self._last, kind)
                both = int(np.intersect1d(now, before, assume_unique=True).size)
                changes = {f"{kind}_births": now.size - both, f"{kind}_deaths": before.size - both}
                session = replace(session, **changes)
        self._last = seen
        if self.sessions and session.gain != self.sessions[-1].gain:
            session = replace(session, new_gain=NEW_FILE)
        elif seen.pattern is not None and self._recent:
            left = share_left(np.mean(self._recent, axis=0), seen.pattern)
            if left is not None and left.value + SURE * left.error < SAME:
                session = replace(session, new_gain=NEW_PATTERN)
        if session.new_gain:
            self._first.clear()
            self._recent.clear()
        if seen.pattern is not None:
            self._recent.append(seen.pattern)
            if len(self._first) < FEWEST:
                self._first.append(seen.pattern)
            else:
                likeness = share_left(np.mean(self._first, axis=0), seen.pattern)
                session = replace(session, likeness=likeness)
        self.sessions.append(session)


def _look(opened: _Opened) -> tuple[_Seen, CameraSession]:
    """Read a sample of a session's stacks from its store."""
    counts = np.zeros((2, opened.shape[0] * opened.shape[1]), np.uint8)
    lines: Counter[str] = Counter()
    sketches, sums, number = [], [], len(opened.stems)
    for stem in opened.stems:
        record = _record(opened.store, stem)
        for kind, places in enumerate(_outliers(opened.store, record)):
            counts[kind, places] += 1
        bad = record.outliers.get("lines", ())
        lines.update({f"{('column', 'row')[int(axis)]} {int(place)}" for axis, place, *_ in bad})
        sketches.append(b64decode(record.sketch))
        sums.append(record.mean)
    enough = max(2, (number + 1) // 2)
    hot, dead = (np.flatnonzero(one >= enough) for one in counts)
    lasting = tuple(sorted(name for name, many in lines.items() if many >= enough))
    seen = _Seen(hot, dead, session_pattern(sketches, sums, opened.shape))
    return seen, replace(opened.session, hot=hot.size, dead=dead.size, lines=lasting)


def _outliers(store: SessionStore, record: StackRecord) -> tuple[Places, Places]:
    """Return the flat indices of a stack's hot and dead pixels, as its sum and the stacks around it show."""
    packed = store.packed_outliers(record.stem)
    if packed is None:
        raise DamagedError(f"{store.path}: no outliers of {record.name}; run `mrcz-dask koma` again")
    flat = [y * record.shape[2] + x for y, x in map(positions, packed[0])]
    group = f"lasting/{key_of(record.stem)}"
    if store.attributes(group):
        more = store.arrays(group, "hot", "dead")
        flat = [np.union1d(one, other) for one, other in zip(flat, more, strict=True)]
    return flat[0], flat[1]
