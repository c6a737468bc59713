"""A live session: a source, its recording, and processors; the reference for what a page may see."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Protocol

from numpy.typing import NDArray

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import Frame, FrameStream, Roi
from mrcz_dask.live.processors.declare import Value
from mrcz_dask.live.processors.loading import Script
from mrcz_dask.live.processors.mailbox import Mailbox
from mrcz_dask.live.processors.pool import Pool, open_pool
from mrcz_dask.live.processors.recent import Rate
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.processors.runner import Runner
from mrcz_dask.live.view import PanelState, Result, SourceState
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.live_messages import FramesMissing, LiveStarted, SourceEnded
from mrcz_dask.values.messages import Listener, Warned

MEMORY = 2_000_000_000
SECONDS = 30.0
# Frames that wait for each processor when every frame is looked at.
DEPTH = 4
JOIN_SECONDS = 0.2
READY_SECONDS = 0.02
END_SECONDS = 60.0


class Recording(Protocol):
    """Where frames are kept."""

    def append(self, frames: Sequence[Frame]) -> None:
        """Keep frames; return when they are safe."""
        ...


class Correction(Protocol):
    """What takes gain, outliers and pattern off frames."""

    def take(self, frame: Frame) -> Frame:
        """Return a frame, corrected."""
        ...


@dataclass(frozen=True, slots=True)
class LiveParams:
    """How a session runs.

    Attributes
    ----------
    roi
        Region of interest at the beginning; None = the whole frame.
    rois
        Of single processors, by their names; the others have `roi`.
    every
        Every processor sees every frame, and the source waits for it: for a recording that is caught up with.
    memory
        Bytes that a processor may take.
    seconds
        So long may a frame take in a processor before its worker is thought to hang.

    Raises
    ------
    ParameterError
        One of them makes no sense.
    """

    roi: Roi | None = None
    every: bool = False
    memory: int = MEMORY
    seconds: float = SECONDS
    rois: Mapping[str, Roi] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.memory < 50_000_000:
            raise ParameterError(f"--memory is {self.memory} bytes for a processor; expected 50 MB or more")
        if not self.seconds > 0:
            raise ParameterError(f"--timeout is {self.seconds} s; expected more than 0")


class Session:
    """A source and its processors; a `LiveView`.

    Parameters
    ----------
    stream
        Where frames come from.
    scripts
        The processors' files.
    pool
        Where processors run.
    listen
        Is told what happens.
    params
        How it runs.
    store
        Where results go; None = nowhere.
    recording
        Where frames go; None = nowhere.
    correction
        What is done to frames before processors get them; None = nothing.
    values
        Parameters at the beginning, by processor.
    """

    def __init__(
        self,
        stream: FrameStream,
        scripts: Sequence[Script],
        pool: Pool,
        listen: Listener,
        params: LiveParams | None = None,
        *,
        store: ResultStore | None = None,
        recording: Recording | None = None,
        correction: Correction | None = None,
        values: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> None:
        self._stream, self._listen, self._params = stream, listen, params or LiveParams()
        self._recording, self._correction = recording, correction
        self._lock, self._stop, self._rate = Lock(), Event(), Rate()
        self._newest: Frame | None = None
        self._others: set[str] = set()
        self._source = SourceState(stream.name, recorded=None if recording is None else 0)
        self._runners = {
            name: self._runner(name, script, pool, store, (values or {}).get(name, {}))
            for name, script in zip(names_of(scripts), scripts, strict=True)
        }
        self._thread = Thread(target=self._feed, name="live-source", daemon=True)

    def _runner(
        self, name: str, script: Script, pool: Pool, store: ResultStore | None, values: Mapping[str, Value]
    ) -> Runner:
        every = self._params.every
        file = Path(script.path).name
        make = None if store is None else store.anew if every else store.series
        return Runner(
            name,
            script,
            pool,
            Mailbox(DEPTH if every else 0),
            None if make is None else make(name, file),
            self._listen,
            seconds=self._params.seconds,
            roi=self._params.rois.get(name, self._params.roi),
            values=dict(values),
            plan=store.settings(name) if store is not None and every else None,
        )

    def start(self) -> None:
        """Begin."""
        self._listen(LiveStarted(self._stream.name, tuple(self._runners)))
        for runner in self._runners.values():
            runner.start()
        self._thread.start()

    def wait(self, stop: Event | None = None) -> None:
        """Return when the source has no more frames and processors have done theirs, or `stop` is set.

        Raises
        ------
        MrczDaskError, OSError
            What ended the source.
        """
        while self._alive() and not (stop is not None and stop.is_set()):
            self._thread.join(JOIN_SECONDS)
            if not self._thread.is_alive():
                time.sleep(JOIN_SECONDS)

    def _alive(self) -> bool:
        return self._thread.is_alive() or not all(one.join(0) for one in self._runners.values())

    def close(self) -> None:
        """Stop the source, and end processors after the frame at hand."""
        self._stop.set()
        for runner in self._runners.values():
            runner.stop()
        self._thread.join(END_SECONDS)
        for runner in self._runners.values():
            runner.join(END_SECONDS)

    # The source's thread.

    def _feed(self) -> None:
        error = ""
        while not self._stop.wait(READY_SECONDS) and any(
            one.state().status in ("starting", "restarting") for one in self._runners.values()
        ):
            pass  # so that no processor misses the beginning while its worker starts
        try:
            self._stream.run(self.publish, self._stop)
        except (MrczDaskError, OSError) as raised:
            error = str(raised)
        with self._lock:
            self._source = replace(self._source, ended=True, error=error)
        self._listen(SourceEnded(self._stream.name, self._source.received, error))
        for runner in self._runners.values():
            runner.end(whole=not error and not self._stop.is_set())

    def publish(self, frames: Sequence[Frame]) -> None:
        """Take frames of the source: record them, then let processors know of each."""
        if self._recording is not None:
            self._recording.append(frames)
        for frame in filter(self._is_followed, frames):
            self._count(frame)
            seen = frame if self._correction is None else self._correction.take(frame)
            with self._lock:
                self._newest = seen
            for runner in self._runners.values():
                runner.offer(seen)

    def _is_followed(self, frame: Frame) -> bool:
        """Return whether a frame is of the stream that is processed: the first one that came."""
        if self._newest is None or frame.stream == self._newest.stream:
            return True
        if frame.stream not in self._others:
            self._others.add(frame.stream)
            fate = "are not recorded" if self._recording is None else "are recorded"
            self._listen(
                Warned(
                    f"frames of {frame.stream} {fate} and not processed, as those of "
                    f"{self._newest.stream} are; run another `mrcz-dask live` for them"
                )
            )
        return False

    def _count(self, frame: Frame) -> None:
        self._rate.count()
        with self._lock:
            before = self._source
            gap = max(0, frame.number - before.number - 1) if before.number >= 0 else 0
            self._source = replace(
                before,
                number=frame.number,
                received=before.received + 1,
                recorded=None if before.recorded is None else before.recorded + 1,
                missing=before.missing + gap,
                shape=(frame.data.shape[0], frame.data.shape[1]),
                dtype=str(frame.data.dtype),
                pixel_size=frame.pixel_size,
            )
        if gap:
            self._listen(FramesMissing(frame.number, gap))

    # What a page sees and asks.

    def source(self) -> SourceState:
        """Return how the source stands."""
        rois = {one.state().roi for one in self._runners.values()}
        with self._lock:
            return replace(
                self._source, rate=self._rate.per_second(), roi=rois.pop() if len(rois) == 1 else None
            )

    def newest(self) -> tuple[int, NDArray[Any]] | None:
        """Return number and pixels, (ny, nx), of the newest frame, read-only; None before the first."""
        with self._lock:
            return None if self._newest is None else (self._newest.number, self._newest.data)

    def panels(self) -> Sequence[PanelState]:
        """Return how every processor stands, in the order in which they were given."""
        return [one.state() for one in self._runners.values()]

    def results(self, panel: str, since: int = 0) -> tuple[int, Sequence[Result]]:
        """Return the place behind the last result, and the results from place `since` on that are kept."""
        return self._of(panel).recent.since(since)

    def set_roi(self, roi: Roi | None, panel: str | None = None) -> None:
        """Let one processor, or all, look at a region from the next frame on; None = the whole frame."""
        for runner in self._runners.values() if panel is None else [self._of(panel)]:
            runner.set_roi(roi)

    def set_value(self, panel: str, parameter: str, value: Value) -> None:
        """Set a parameter from the next frame on; ParameterError if it cannot have that value."""
        self._of(panel).set_value(parameter, value)

    def pause(self, paused: bool, panel: str | None = None) -> None:
        """Let one processor, or all, wait or go on; what comes meanwhile counts as skipped."""
        if panel is None:
            with self._lock:
                self._source = replace(self._source, paused=paused)
        for runner in self._runners.values() if panel is None else [self._of(panel)]:
            runner.pause(paused)

    def reset(self, panel: str) -> None:
        """Begin with a new state and forget the results that are shown; the store keeps them."""
        self._of(panel).reset()

    def _of(self, panel: str) -> Runner:
        if panel not in self._runners:
            raise ParameterError(f"no processor is called {panel!r}; there are {', '.join(self._runners)}")
        return self._runners[panel]


def names_of(scripts: Sequence[Script]) -> list[str]:
    """Return a name for each processor: of its function or file, with a number where two are the same."""
    plain = [one.name or Path(one.path).stem for one in scripts]
    many, so_far = Counter(plain), Counter[str]()
    names = []
    for one in plain:
        so_far[one] += 1
        names.append(one if many[one] == 1 else f"{one}-{so_far[one]}")
    return names


Make = Callable[[Pool], Session]


@contextmanager
def running(
    make: Make, where: ClientOptions, processors: int, memory: int, listen: Listener
) -> Iterator[Session]:
    """Give a session that has begun, and end it and its workers.

    Parameters
    ----------
    make
        Makes the session over workers.
    where
        A running scheduler, or a local cluster.
    processors
        How many there are.
    memory
        Bytes that each may take.
    listen
        Is told what happens.
    """
    with open_pool(where, processors, memory, listen) as pool:
        session = make(pool)
        session.start()
        try:
            yield session
        finally:
            session.close()
