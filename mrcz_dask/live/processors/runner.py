"""Runs one processor through a live session, in a thread that handles its frames, worker,
edits and failures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event, Lock, Thread

from mrcz_dask.live.frames import Frame, FrameInfo, Roi
from mrcz_dask.live.processors.declare import Value
from mrcz_dask.live.processors.host import WATCH_SECONDS, FileWatch, ProcessorAnswer, Script
from mrcz_dask.live.processors.pool import Hosted, Pool, WorkerLostError
from mrcz_dask.live.processors.results import ProcessorSettings, Series
from mrcz_dask.live.view import PanelState, Rate, Recent, Result
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener, ProcessorFailed, ProcessorLoaded, ProcessorRestarted, Warned

IDLE_SECONDS = 0.1
LOAD_SECONDS = 60.0
MOST_RESTARTS = 3  # while a processor is loaded, if its source waits for it


class Mailbox:
    """Queue of frames for one processor: keeps only the newest frame, or all frames in order.

    Parameters
    ----------
    depth
        Number of frames that wait before `put` waits, so that every frame is seen; 0 = the newest frame
        replaces the one before, and `put` never waits.

    Attributes
    ----------
    skipped
        Number of frames that newer ones replaced, or that arrived during a pause.
    paused, ended
        True during a pause, and when no more frames come.
    """

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.skipped = 0
        self.paused = self.ended = False
        self._frames: deque[Frame] = deque()
        self._changed = Condition()

    def put(self, frame: Frame) -> None:
        """Add a frame; it replaces a waiting one, or waits for room if every frame must be processed."""
        with self._changed:
            if self.depth:
                self._changed.wait_for(lambda: len(self._frames) < self.depth or self.ended)
            else:
                self.skipped += len(self._frames) + self.paused
                self._frames.clear()
            if self.depth or not self.paused:
                self._frames.append(frame)
            self._changed.notify_all()

    def take(self, seconds: float) -> Frame | None:
        """Return the next frame, or None if none comes within some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: (self._frames and not self.paused) or self.ended, seconds)
            if not self._frames or self.paused:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def pause(self, paused: bool) -> None:
        """Stop handing out frames, or go on (`paused` False)."""
        with self._changed:
            self.paused = paused
            self._changed.notify_all()

    def end(self) -> None:
        """Declare that no more frames come, so that `take` and `put` no longer wait."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Return True when no frame is left and none will come."""
        with self._changed:
            return self.ended and (not self._frames or self.paused)


class Runner:
    """Runs one processor on the frames of a session: sends frames to its worker, stores results,
    replaces lost workers.

    Parameters
    ----------
    name
        Name of the processor in this session.
    script
        Its file.
    pool
        Workers, of which it takes one.
    mailbox
        Passes it frames.
    series
        Stores its results; None = they are only shown.
    listen
        Gets messages about it.
    seconds
        Longest time for a frame, unless the processor declares another one.
    roi, values
        Region and parameters at the beginning.
    settings
        Region and parameters of an earlier session, to be repeated; empty = those of the page.
    """

    def __init__(
        self,
        name: str,
        script: Script,
        pool: Pool,
        mailbox: Mailbox,
        series: Series | None,
        listen: Listener,
        *,
        seconds: float,
        roi: Roi | None,
        values: Mapping[str, Value],
        settings: list[ProcessorSettings],
    ) -> None:
        self.name, self.mailbox, self.recent = name, mailbox, Recent()
        self._script, self._pool, self._series, self._listen = script, pool, series, listen
        self._seconds, self._settings = seconds, settings
        self._lock, self._stop, self._incomplete = Lock(), Event(), Event()
        self._state = PanelState(name, Path(script.path).name, values=dict(values), roi=roi)
        self._reset = False
        self._hosted: Hosted | None = None
        self._pickled: bytes | None = None
        self._last_setting: ProcessorSettings | None = None
        self._rate, self._newest, self._arrivals = Rate(), -1, dict[int, float]()
        self._file = FileWatch(Path(script.path))
        self._thread = Thread(target=self._run, name=f"live-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread that runs the processor."""
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Add a new frame of the source to the processor's queue."""
        self._newest = frame.number
        self._arrivals[frame.number] = time.monotonic()
        self.mailbox.put(frame)

    def join(self, seconds: float) -> bool:
        """Wait up to some seconds for the processor to end; return True if it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def end(self, *, whole: bool) -> None:
        """End the processor after the frames in its queue; `whole` if the
        source has sent all of its frames.
        """
        if not whole:
            self._incomplete.set()
        self.mailbox.end()

    def stop(self) -> None:
        """End the processor after the frame that it works on now."""
        self._stop.set()
        self.mailbox.end()

    # The page reads these and calls these.

    def state(self) -> PanelState:
        """Return the processor's present state, for the page."""
        with self._lock:
            state = self._state
            is_paused = self.mailbox.paused and state.status in ("waiting", "running")
            return replace(
                state,
                status="paused" if is_paused else state.status,
                skipped=self.mailbox.skipped,
                rate=self._rate.per_second(),
                behind=max(0, self._newest - state.number) if state.number >= 0 else 0,
            )

    def set_roi(self, roi: Roi | None) -> None:
        """Set the processor's region of interest from the next frame on; None = the whole frame."""
        self._update(roi=roi)

    def set_value(self, parameter: str, value: Value) -> None:
        """Set one parameter of the processor from the next frame on.

        Raises
        ------
        ParameterError
            The processor has no such parameter, or it cannot have this value.
        """
        with self._lock:
            spec = self._state.spec
            parameters = {each.name: each for each in spec.parameters} if spec else {}
            if parameter not in parameters:
                raise ParameterError(
                    f"{self.name} has no parameter {parameter}; it has {', '.join(parameters) or 'none'}"
                )
            values = self._state.values | {parameter: parameters[parameter].checked(value)}
            self._state = replace(self._state, values=values)

    def reset(self) -> None:
        """Give the processor a new state from the next frame on, and forget its recent results."""
        self._reset = True
        self.recent.clear()

    # The thread runs these.

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._step():
                pass
        except Exception as error:  # noqa: BLE001 - the thread must not end without a word
            self._incomplete.set()
            self._fail(-1, f"its results end here: {error!r}")
        if self._hosted is not None:
            self._pool.release(self._hosted.address)
        try:
            if self._series is not None:
                self._series.close(whole=not (self._incomplete.is_set() or self._stop.is_set()))
        except (OSError, MrczDaskError) as error:
            self._fail(-1, f"its results could not be written: {error}")
        self._update(status="ended")
        self.mailbox.end()

    def _step(self) -> bool:
        """Do one thing; return True if there may be more to do."""
        if self._hosted is None and not self._start_worker():
            # a source that waits for this processor would wait for ever
            if self.mailbox.depth and (self._state.load_error or self._state.restarts > MOST_RESTARTS):
                self._incomplete.set()
                return False
            return not self.mailbox.ended
        self._reload_edited()
        if self._hosted is None:
            return True
        frame = self.mailbox.take(IDLE_SECONDS)
        if frame is not None:
            self._process(frame)
        elif self._series is not None:
            self._series.flush()
        return frame is not None or not self.mailbox.over

    def _start_worker(self) -> bool:
        """Take a worker and load the file there; return True if the processor is ready."""
        try:
            self._hosted = self._pool.take(self.name, self._stop)
            if self._hosted is None:
                return False
            error = self._load(self._script)
        except (WorkerLostError, TimeoutError) as lost:
            self._lose_worker(-1, f"while it was loaded: {lost}")
            self._stop.wait(WATCH_SECONDS)
            return False
        if not error:
            return True
        self._update(status="failed", load_error=error)
        self._listen(ProcessorFailed(self.name, -1, error))
        while not (self.mailbox.depth or self.mailbox.ended or self._stop.wait(WATCH_SECONDS)):
            script = self._file.edited(self._script)
            if script is not None:
                self._script = script
                break
        self._pool.release(self._hosted.address)
        self._hosted = None
        return False

    def _load(self, script: Script) -> str:
        """Load a version of the file in the worker; return the error if it cannot be loaded."""
        assert self._hosted is not None
        spec, error = self._hosted.call("load", script, self._pickled, seconds=LOAD_SECONDS)
        if spec is None:
            return str(error)
        if self._series is not None:
            self._series.declare(spec)
        with self._lock:
            earlier = self._state.values
            values = spec.values(earlier)
            version = self._state.version + (script != self._script or self._state.version == 0)
            self._state = replace(self._state, spec=spec, values=values, version=version)
        self._update(status="waiting", load_error="", trace="")
        self._script = script
        self._listen(ProcessorLoaded(self.name, self._state.file, script.digest, version))
        for parameter, value in earlier.items():
            if values.get(parameter) != value:
                self._listen(Warned(f"{self.name}: {parameter} = {value!r} does not fit it and is ignored"))
        return ""

    def _reload_edited(self) -> None:
        """Load the file again if it was edited; the old version goes on if that fails."""
        script = self._file.edited(self._script)
        if script is None:
            return
        try:
            error = self._load(script)
        except (WorkerLostError, TimeoutError) as lost:
            self._lose_worker(-1, f"while its new version was loaded: {lost}")
            error = f"the new version ended or stopped its worker while it was loaded ({lost})"
        if error:
            self._update(load_error=error)
            self._listen(ProcessorFailed(self.name, -1, error))

    def _process(self, frame: Frame) -> None:
        setting = self._setting(frame.number)
        hosted, spec = self._hosted, self._state.spec
        assert hosted is not None and spec is not None
        self._update(status="running")
        number, shape = frame.number, (frame.data.shape[0], frame.data.shape[1])
        roi = Roi.whole(shape) if setting.roi is None else setting.roi.within(shape)
        facts = (number, frame.time, frame.stack, frame.index, frame.pixel_size, frame.meta)
        info = FrameInfo(*facts, roi, shape, corrected="since" in frame.meta.get("correction", {}))
        seconds = spec.seconds or self._seconds
        try:
            if setting.reset:
                hosted.call("reset", seconds=LOAD_SECONDS)
                self._pickled = None
            last = self._last_setting
            is_same = last is not None and replace(setting, number=last.number) == last
            if setting.reset or not is_same:
                self._last_setting = replace(setting, reset=False)
                if self._series is not None:
                    self._series.add_setting(setting)
            answer: ProcessorAnswer = hosted.call(
                "run", roi.cut(frame.data), info, setting.values, seconds=seconds
            )
        except TimeoutError:
            self._lose_worker(number, f"no answer for {seconds:g} s: it hangs, and was ended")
        except WorkerLostError as error:
            self._lose_worker(number, str(error))
        else:
            self._take_answer(frame, answer)

    def _setting(self, number: int) -> ProcessorSettings:
        """Return region and parameters for a frame."""
        settings, digest = self._settings, self._script.digest
        if settings:
            while len(settings) > 1 and settings[1].number <= number:
                settings.pop(0)
            is_reset = settings[0].reset and settings[0].number == number
            return replace(settings[0], reset=is_reset, digest=digest)
        with self._lock:
            is_reset, self._reset = self._reset, False
            return ProcessorSettings(number, self._state.roi, self._state.values, digest, is_reset)

    def _take_answer(self, frame: Frame, answer: ProcessorAnswer) -> None:
        self._pickled = answer.state
        if answer.error:
            self._fail(frame.number, answer.error)
            return
        if answer.values:
            result = Result(frame.number, frame.time, answer.values)
            self.recent.add(result)
            if self._series is not None:
                self._series.append(result)
        self._rate.count()
        now, processed = time.monotonic(), self._state.processed + 1
        lag = now - self._arrivals.get(frame.number, now)
        for number in [number for number in list(self._arrivals) if number <= frame.number]:
            self._arrivals.pop(number, None)
        self._update(status="waiting", trace="", processed=processed, lag=lag, number=frame.number)

    def _fail(self, number: int, trace: str) -> None:
        """Show a failure on a frame, or on none of them (-1)."""
        failed = self._state.failed + (number >= 0)
        self._update(status="failed", failed=failed, number=max(number, self._state.number), trace=trace)
        self._listen(ProcessorFailed(self.name, number, trace))

    def _lose_worker(self, number: int, reason: str) -> None:
        """Give up the worker; the next step takes another one."""
        if self._hosted is not None:
            self._pool.end(self._hosted)
            self._hosted = None
        self._fail(number, reason)
        self._update(status="restarting", restarts=self._state.restarts + 1)
        self._listen(ProcessorRestarted(self.name, number, reason))

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)  # type: ignore[arg-type]
