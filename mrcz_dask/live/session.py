"""A live session: a source of frames, their recording, their correction, and processors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mrcz_dask.live.frames import Frame, FrameStream, Roi
from mrcz_dask.live.processors.declare import Value
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import Pool
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.processors.runner import Mailbox, Runner
from mrcz_dask.live.view import PanelState, Rate, Result, SourceState
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.messages import FramesMissing, Listener, LiveStarted, SourceEnded, Warned

if TYPE_CHECKING:
    from mrcz_dask.live.correction.correct import LiveCorrection
    from mrcz_dask.live.record.recorder import Recorder

MEMORY = 2_000_000_000
SECONDS = 30.0
DEPTH = 4  # frames that wait for each processor when all of them get every frame
JOIN_SECONDS = 0.2
READY_SECONDS = 0.02
END_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LiveParams:
    """Parameters of a live session: region of interest, limits of processors, and if each frame must be done.

    Attributes
    ----------
    roi
        Region of interest at the beginning; None = the whole frame.
    every
        True: every processor gets every frame, and the source waits for it. Used to catch up.
    memory
        Bytes that a processor may take.
    seconds
        Longest time for a frame in a processor before its worker is taken to hang.
    rois
        Regions of single processors, by name; the others have `roi`.

    Raises
    ------
    ParameterError
        A value is out of range.
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


class LiveSession:
    """Runs a live session: records and corrects the frames of a source, and passes them to processors.

    A page calls its methods from any thread; they return at once.

    Parameters
    ----------
    stream
        Source of the frames.
    scripts
        Files of the processors.
    pool
        Workers of the processors.
    listen
        Gets messages.
    params
        Parameters of the session.
    store
        Store of the results; None = they are only shown.
    recording
        Recorder of the frames; None = they are not recorded.
    correction
        Correction of the frames that processors get; None = they are not corrected.
    values
        Parameters of processors at the beginning, by the processor's name.
    """

    def __init__(
        self,
        stream: FrameStream,
        scripts: Sequence[Script],
        pool: Pool,
        listen: Listener,
        params: LiveParams,
        *,
        store: ResultStore | None = None,
        recording: Recorder | None = None,
        correction: LiveCorrection | None = None,
        values: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> None:
        self._stream, self._listen = stream, listen
        self._recording, self._correction = recording, correction
        self._lock, self._stop, self._rate = Lock(), Event(), Rate()
        self._newest: Frame | None = None
        self._other_streams: set[str] = set()
        self._source = SourceState(stream.name, recorded=None if recording is None else 0)
        self._thread = Thread(target=self._run_source, name="live-source", daemon=True)
        self._runners: dict[str, Runner] = {}
        every = params.every
        for name, script in zip(names_of(scripts), scripts, strict=True):
            file = Path(script.path).name
            self._runners[name] = Runner(
                name,
                script,
                pool,
                Mailbox(DEPTH if every else 0),
                None if store is None else store.series(name, file, replace=every),
                listen,
                seconds=params.seconds,
                roi=params.rois.get(name, params.roi),
                values=(values or {}).get(name, {}),
                settings=store.settings(name) if store is not None and every else [],
            )

    def start(self) -> None:
        """Start the processors, then the source."""
        self._listen(LiveStarted(self._stream.name, tuple(self._runners)))
        for runner in self._runners.values():
            runner.start()
        self._thread.start()

    def wait(self, stop: Event | None = None) -> None:
        """Wait until all frames are processed, or `stop` is set."""
        while stop is None or not stop.is_set():
            self._thread.join(JOIN_SECONDS)
            if self._thread.is_alive():
                continue
            if all(runner.join(0) for runner in self._runners.values()):
                return
            time.sleep(JOIN_SECONDS)

    def close(self) -> None:
        """Stop the source, and end each processor after the frame that it works on."""
        self._stop.set()
        for runner in self._runners.values():
            runner.stop()
        self._thread.join(END_SECONDS)
        for runner in self._runners.values():
            runner.join(END_SECONDS)

    # The source's thread runs these.

    def _run_source(self) -> None:
        runners = self._runners.values()
        while not self._stop.wait(READY_SECONDS) and any(
            runner.state().status in ("starting", "restarting") for runner in runners
        ):
            pass  # no processor should miss the beginning while its worker starts
        error = ""
        try:
            self._stream.run(self.publish, self._stop)
        except (MrczDaskError, OSError) as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001 - the thread would end in silence, and with it the frames
            error = f"{type(failure).__name__}: {failure}"
        with self._lock:
            self._source = replace(self._source, ended=True, error=error)
        self._listen(SourceEnded(self._stream.name, self._source.received, error))
        for runner in runners:
            runner.end(whole=not error and not self._stop.is_set())

    def publish(self, frames: Sequence[Frame]) -> None:
        """Record frames from the source, correct them if wanted, and pass each to the processors."""
        if self._recording is not None:
            self._recording.append(frames)
        for frame in frames:
            if self._newest is not None and frame.stream != self._newest.stream:
                if frame.stream not in self._other_streams:
                    self._other_streams.add(frame.stream)
                    fate = "are not recorded" if self._recording is None else "are recorded"
                    text = f"frames of {frame.stream} {fate} and not processed, as those of"
                    text = f"{text} {self._newest.stream} are; run another `mrcz-dask live` for them"
                    self._listen(Warned(text))
                continue
            self._count(frame)
            if self._correction is not None:
                frame = self._correction.take(frame)
            with self._lock:
                self._newest = frame
            for runner in self._runners.values():
                runner.offer(frame)

    def _count(self, frame: Frame) -> None:
        self._rate.count()
        with self._lock:
            source = self._source
            gap = max(0, frame.number - source.number - 1) if source.number >= 0 else 0
            self._source = replace(
                source,
                number=frame.number,
                received=source.received + 1,
                recorded=None if source.recorded is None else source.recorded + 1,
                missing=source.missing + gap,
                shape=(frame.data.shape[0], frame.data.shape[1]),
                dtype=str(frame.data.dtype),
                pixel_size=frame.pixel_size,
            )
        if gap:
            self._listen(FramesMissing(frame.number, gap))

    # A page reads these and calls these.

    def source(self) -> SourceState:
        """Return the present state of the source of frames, for the page."""
        rois = {runner.state().roi for runner in self._runners.values()}
        roi = rois.pop() if len(rois) == 1 else None
        with self._lock:
            return replace(self._source, rate=self._rate.per_second(), roi=roi)

    def newest(self) -> tuple[int, NDArray[Any]] | None:
        """Return number and pixels, (ny, nx), of the newest frame, read-only; None before the first."""
        with self._lock:
            return None if self._newest is None else (self._newest.number, self._newest.data)

    def panels(self) -> Sequence[PanelState]:
        """Return the states of all processors, in the order in which they were given."""
        return [runner.state() for runner in self._runners.values()]

    def results(self, panel: str, since: int = 0) -> tuple[int, Sequence[Result]]:
        """Return the number of a processor's results so far, and the kept ones from number `since` on.

        Places count the results of a processor from 0. They begin again after a reset, with a place below
        `since`.
        """
        return self._named(panel)[0].recent.since(since)

    def set_roi(self, roi: Roi | None, panel: str | None = None) -> None:
        """Set the region of interest of one processor, or of all, from the next frame on;
        None = the whole frame.
        """
        for runner in self._named(panel):
            runner.set_roi(roi)

    def set_value(self, panel: str, parameter: str, value: Value) -> None:
        """Set one parameter of a processor from the next frame on.

        Raises
        ------
        ParameterError
            The processor has no such parameter, or it cannot have this value.
        """
        self._named(panel)[0].set_value(parameter, value)

    def pause(self, paused: bool, panel: str | None = None) -> None:
        """Pause or resume one processor, or all; frames that arrive during a pause count as skipped."""
        if panel is None:
            with self._lock:
                self._source = replace(self._source, paused=paused)
        for runner in self._named(panel):
            runner.mailbox.pause(paused)

    def reset(self, panel: str) -> None:
        """Give a processor a new state and clear its results on the page; stored results stay."""
        self._named(panel)[0].reset()

    def _named(self, panel: str | None) -> list[Runner]:
        """Return the runner of a processor, or all."""
        if panel is None:
            return list(self._runners.values())
        if panel not in self._runners:
            raise ParameterError(f"no processor is called {panel!r}; there are {', '.join(self._runners)}")
        return [self._runners[panel]]


def names_of(scripts: Sequence[Script]) -> list[str]:
    """Return a name for each processor: that of its function or file,
    with a number if several are the same.
    """
    plain = [script.name or Path(script.path).stem for script in scripts]
    totals, counts, names = Counter(plain), Counter[str](), []
    for name in plain:
        counts[name] += 1
        names.append(name if totals[name] == 1 else f"{name}-{counts[name]}")
    return names
