"""One processor through a session: its worker, its file, its frames, its failures; a thread for each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread

from mrcz_dask.live.frames import Frame, Roi, info_of, whole
from mrcz_dask.live.processors.declare import Value
from mrcz_dask.live.processors.host import Answer, Loaded
from mrcz_dask.live.processors.loading import Script
from mrcz_dask.live.processors.mailbox import Mailbox
from mrcz_dask.live.processors.pool import Hosted, Pool, WorkerLostError
from mrcz_dask.live.processors.recent import Rate, Recent
from mrcz_dask.live.processors.results import Series, Setting
from mrcz_dask.live.processors.watch import FILE_SECONDS, FileWatch
from mrcz_dask.live.view import PanelState, Result
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.live_messages import ProcessorFailed, ProcessorLoaded, ProcessorRestarted
from mrcz_dask.values.messages import Listener

IDLE_SECONDS = 0.1
LOAD_SECONDS = 60.0
MOST_RESTARTS = 3  # of one that is lost while it is loaded, and holds up its source


@dataclass(slots=True)
class Wishes:
    """What somebody asked of a processor, from the next frame on."""

    roi: Roi | None = None
    values: dict[str, Value] | None = None
    reset: bool = False


class Runner:
    """Runs a processor on frames until there are no more.

    Parameters
    ----------
    name
        In this session.
    script
        Its file.
    pool
        Where it runs.
    mailbox
        Where its frames come from.
    series
        Where its results go; None = they are shown alone.
    listen
        Is told what happens to it.
    seconds
        So long may a frame take, unless the processor says another time.
    roi, values
        The region and the parameters at the beginning.
    plan
        What it worked with the first time, if that is to be done again.
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
        roi: Roi | None = None,
        values: dict[str, Value] | None = None,
        plan: list[Setting] | None = None,
    ) -> None:
        self.name, self.mailbox, self.recent = name, mailbox, Recent()
        self._script, self._pool, self._series, self._listen = script, pool, series, listen
        self._seconds, self._plan = seconds, list(plan or ())
        self._lock, self._stop, self._broken = Lock(), Event(), Event()
        self._wishes = Wishes(roi, dict(values or {}))
        self._state = PanelState(name, Path(script.path).name)
        self._hosted: Hosted | None = None
        self._kept: bytes | None = None
        self._used: Setting | None = None
        self._rate, self._newest, self._arrived = Rate(), -1, dict[int, float]()
        self._file = FileWatch(Path(script.path))
        self._thread = Thread(target=self._run, name=f"live-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Hand on a frame of the source."""
        self._newest = frame.number
        self._arrived[frame.number] = time.monotonic()
        self.mailbox.put(frame)

    def join(self, seconds: float | None = None) -> bool:
        """Wait until all is done; return whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def end(self, *, whole: bool) -> None:
        """Do what is left; `whole` if the source handed on all that it had."""
        if not whole:
            self._broken.set()
        self.mailbox.end()

    def stop(self) -> None:
        """End after the frame at hand."""
        self._stop.set()
        self.mailbox.end()

    # What a page sees and asks.

    def state(self) -> PanelState:
        """Return how it stands."""
        with self._lock:
            one = self._state
            behind = max(0, self._newest - one.number) if one.number >= 0 else 0
            held = self.mailbox.is_shut and one.status in ("waiting", "running")
            return replace(
                one,
                status="paused" if held else one.status,
                skipped=self.mailbox.skipped,
                rate=self._rate.per_second(),
                behind=behind,
                roi=self._wishes.roi,
            )

    def set_roi(self, roi: Roi | None) -> None:
        """Look at a region from the next frame on."""
        with self._lock:
            self._wishes.roi = roi

    def set_value(self, parameter: str, value: Value) -> None:
        """Set a parameter from the next frame on.

        Raises
        ------
        ParameterError
            There is none of that name, or it cannot have that value.
        """
        with self._lock:
            spec = self._state.spec
            known = {one.name: one for one in spec.parameters} if spec else {}
            if parameter not in known:
                raise ParameterError(
                    f"{self.name} has no parameter {parameter}; it has {', '.join(known) or 'none'}"
                )
            checked = {**(self._state.values or {}), parameter: known[parameter].checked(value)}
            self._wishes.values = checked
            self._state = replace(self._state, values=checked)

    def pause(self, paused: bool) -> None:
        """Wait, or go on."""
        self.mailbox.shut(paused)

    def reset(self) -> None:
        """Begin with a new state from the next frame on, and forget what is shown."""
        with self._lock:
            self._wishes.reset = True
        self.recent.clear()

    # Its thread.

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._step():
                pass
        except Exception as error:  # noqa: BLE001 - a thread that ends must not end without a word
            self._broken.set()
            self._failed(-1, f"its results end here: {error!r}")
        finally:
            self._finish()

    def _step(self) -> bool:
        """Do one thing; return whether there is more to do."""
        if self._hosted is None and not self._host():
            return self._is_worth_waiting()
        self._reload()
        frame = self.mailbox.take(IDLE_SECONDS)
        if frame is not None:
            self._process(frame)
        elif self._series is not None:
            self._series.flush()
        return frame is not None or not self.mailbox.over

    def _is_worth_waiting(self) -> bool:
        """Return whether a processor that could not be loaded may still get frames.

        A source that waits for it would wait for ever, and one that has ended has none.
        """
        if self.mailbox.keeps_all and (self._state.load_error or self._state.restarts > MOST_RESTARTS):
            self._broken.set()
            return False
        return not (self._stop.is_set() or self.mailbox.ended)

    def _finish(self) -> None:
        if self._hosted is not None:
            self._pool.forget(self._hosted)
        try:
            if self._series is not None:
                self._series.close(whole=not (self._broken.is_set() or self._stop.is_set()))
        except (OSError, MrczDaskError) as error:
            self._failed(-1, f"its results could not be written: {error}")
        self._update(status="ended")
        self.mailbox.end()

    def _host(self) -> bool:
        """Take a worker and load the file there; return whether the processor is ready."""
        try:
            self._hosted = self._pool.take(self.name, self._stop)
            if self._hosted is None:
                return False
            loaded = self._load(self._script)
        except (WorkerLostError, TimeoutError) as error:
            self._lost(-1, f"while it was loaded: {error}")
            self._stop.wait(FILE_SECONDS)
            return False
        if loaded.spec is None:
            self._wait_for_an_edit(loaded.error)
        return loaded.spec is not None

    def _load(self, script: Script) -> Loaded:
        assert self._hosted is not None
        loaded: Loaded = self._hosted.call("load", script, self._kept, seconds=LOAD_SECONDS)
        if loaded.spec is not None:
            self._take(loaded, script)
        return loaded

    def _take(self, loaded: Loaded, script: Script) -> None:
        spec = loaded.spec
        assert spec is not None
        if self._series is not None:
            self._series.declare(spec)
        with self._lock:
            wished = {**(self._state.values or {}), **(self._wishes.values or {})}
            values = _fitting(spec.checked, wished)
            self._wishes.values = values
            version = self._state.version + (script != self._script or self._state.version == 0)
            self._state = replace(
                self._state,
                spec=spec,
                values=values,
                status="waiting",
                load_error="",
                trace="",
                version=version,
            )
        self._script = script
        self._listen(ProcessorLoaded(self.name, self._state.file, script.digest, version))

    def _wait_for_an_edit(self, error: str) -> None:
        """Show why there is no processor at all until its file is another one."""
        self._failed(-1, error, load=True)
        while not (self.mailbox.keeps_all or self.mailbox.ended or self._stop.wait(FILE_SECONDS)):
            script = self._file.changed(self._script)
            if script is not None:
                self._script = script
                break
        if self._hosted is not None:
            self._pool.forget(self._hosted)
            self._hosted = None

    def _reload(self) -> None:
        """Take the file's new version; the old one goes on if that does not load."""
        script = self._file.changed(self._script)
        if script is None or self._hosted is None:
            return
        try:
            loaded = self._load(script)
            error = loaded.error
        except (WorkerLostError, TimeoutError) as lost:
            self._lost(-1, f"while its new version was loaded: {lost}")
            error = f"the new version ended or stopped its worker while it was loaded ({lost})"
        if error:
            self._update(load_error=error)
            self._listen(ProcessorFailed(self.name, -1, error))

    def _process(self, frame: Frame) -> None:
        setting = self._setting(frame.number)
        hosted, spec = self._hosted, self._state.spec
        assert hosted is not None and spec is not None
        self._update(status="running")
        roi = whole(frame.data.shape) if setting.roi is None else setting.roi.of(frame.data.shape)
        info = info_of(frame, roi)
        try:
            if setting.reset:
                hosted.call("reset", seconds=LOAD_SECONDS)
                self._kept = None
            self._use(setting)
            limit = spec.seconds or self._seconds
            answer: Answer = hosted.call("run", roi.cut(frame.data), info, setting.values, seconds=limit)
        except TimeoutError:
            self._lost(
                frame.number, f"no answer for {spec.seconds or self._seconds:g} s: it hangs, and was ended"
            )
        except WorkerLostError as error:
            self._lost(frame.number, str(error))
        else:
            self._answered(frame, answer)

    def _setting(self, number: int) -> Setting:
        """Return what the processor works with on a frame."""
        if self._plan:
            while len(self._plan) > 1 and self._plan[1].number <= number:
                self._plan.pop(0)
            one = self._plan[0]
            return replace(one, reset=one.reset and one.number == number, digest=self._script.digest)
        with self._lock:
            wishes = self._wishes
            made = Setting(number, wishes.roi, dict(wishes.values or {}), self._script.digest, wishes.reset)
            wishes.reset = False
            return made

    def _use(self, setting: Setting) -> None:
        """Keep a setting that differs from the one before."""
        before = self._used
        if (
            before is None
            or setting.reset
            or replace(setting, number=before.number, reset=before.reset) != before
        ):
            self._used = setting
            if self._series is not None:
                self._series.setting(setting)

    def _answered(self, frame: Frame, answer: Answer) -> None:
        self._kept = answer.state
        if answer.error:
            self._failed(frame.number, answer.error)
            return
        if answer.values:
            result = Result(frame.number, frame.time, answer.values)
            self.recent.add(result)
            if self._series is not None:
                self._series.append(result)
        self._rate.count()
        lag = time.monotonic() - self._arrival(frame.number)
        done = self._state.processed + 1
        self._update(status="waiting", trace="", processed=done, lag=lag, number=frame.number)

    def _arrival(self, number: int) -> float:
        """Return when a frame came, and forget the older ones."""
        came = self._arrived.get(number, time.monotonic())
        for old in [one for one in list(self._arrived) if one <= number]:
            self._arrived.pop(old, None)
        return came

    def _failed(self, number: int, trace: str, *, load: bool = False) -> None:
        failed = self._state.failed + (number >= 0)
        more = {"load_error": trace} if load else {"trace": trace}
        self._update(status="failed", failed=failed, number=max(number, self._state.number), **more)
        self._listen(ProcessorFailed(self.name, number, trace))

    def _lost(self, number: int, reason: str) -> None:
        """Give the worker up; the next step takes another one."""
        if self._hosted is not None:
            self._pool.end(self._hosted)
            self._hosted = None
        self._failed(number, reason)
        self._update(status="restarting", restarts=self._state.restarts + 1)
        self._listen(ProcessorRestarted(self.name, number, reason))

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)  # type: ignore[arg-type]


def _fitting(
    checked: Callable[[dict[str, Value]], dict[str, Value]], wished: dict[str, Value]
) -> dict[str, Value]:
    """Return the values that a new version takes: the old ones where they still fit."""
    kept: dict[str, Value] = {}
    for name, value in wished.items():
        try:
            kept |= {name: checked({name: value})[name]} if name in checked({name: value}) else {}
        except ParameterError:
            continue
    return checked(kept)
