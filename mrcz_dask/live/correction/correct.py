"""Frames as processors get them: gain applied, outliers filled, the pattern of earlier stacks taken off."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.gain.applied import stack_gamma
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.live.correction.learning import Against, Applied, Learner, Summed
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.doses import is_blank
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.numerics.session.fingerprint import EXACT, Fingerprinter
from mrcz_dask.numerics.sums import FrameSum, common_exponent
from mrcz_dask.values.checks import raise_all, whole
from mrcz_dask.values.errors import DtypeError, MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener, Noted, Warned, silent
from mrcz_dask.values.params import Settings

META = "correction"
FIRST_LOOK = 2  # frames; measured: two of them and the last stack's mask do what eight do alone
ODD_FRAMES = 3  # of one other shape in a row are no accident
MOST_WAITING = 2  # stacks whose sums wait to be learned from

Image = NDArray[np.float32]
About = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How live frames are corrected.

    Attributes
    ----------
    settings
        As those of `koma`: outliers, contrast, and of KOMA the methods ``fit`` and ``plain``, form, radius
        (2 x radius stacks are in the short window), long window, and breaks of dose and pattern.
    gain
        Gain, dark and defects; None = none.
    first_row
        Where row 0 of the frames is shown, for a list of defects.
    stacks
        Recorded earlier, for ``auto`` orientation of the gain.
    frames_per_stack
        So many frames make a stack where the stream names none.
    look
        After so many frames of a stack, then twice, four times, ... as many, outliers are also taken from
        these frames; 0 = only from stacks that are complete.
    wait
        Whether `LiveCorrection.take` waits for what it asks to be found, so that a correction is in force
        from the very next frame on: the same pixels each time. Else it goes on with the one before.
    """

    settings: Settings = field(default_factory=Settings)
    gain: GainOptions | None = None
    first_row: FirstRow = "bottom"
    stacks: Sequence[Path] = ()
    frames_per_stack: int = 40
    look: int = FIRST_LOOK
    wait: bool = False

    def __post_init__(self) -> None:
        raise_all("live correction", self._problems())

    def _problems(self) -> Iterator[str]:
        yield from whole("frames_per_stack", self.frames_per_stack, 2, 100_000, unit=" frames")
        yield from whole("look", self.look, 0, 100_000, unit=" frames")
        if self.settings.koma.method == "session":
            yield "method is session, which needs all stacks of a session; expected fit or plain"


class LiveCorrection:
    """Corrects the frames of a live stream one after the other, and learns from them; each camera apart.

    Gain first. Then outliers are filled and the pattern is taken off: mask and pattern are those of the
    stacks before, scaled to the mean of the frame, so that the mean dose stays; of the running stack nothing
    enters but what earlier frames say of outliers (see `LiveOptions.look`). They are found in a thread of
    their own while frames pass.

    Parameters
    ----------
    options
        None = the defaults.
    listen
        Told, from the thread that calls `take`, what a person should know.
    """

    def __init__(self, options: LiveOptions | None = None, listen: Listener = silent) -> None:
        self._options, self._listen = options or LiveOptions(), listen
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-correction")
        self._cameras: dict[str, _Camera] = {}

    def take(self, frame: Frame, out: Image | None = None) -> Frame:
        """Return a frame with corrected pixels, float32 counts, and learn from it; never raises.

        Parameters
        ----------
        frame
            The next frame of the stream.
        out
            (ny, nx) float32, C-contiguous: where to put the pixels.

        Returns
        -------
        Frame
            Without `chunk`. Its ``meta["correction"]`` says what was applied: `gain`, the exponent of the
            gain or None; `mask` and `reference`, see `learning.Applied`; `since`, the number of the first
            frame that was corrected so; `notes`, what a person should know.
        """
        try:
            pixels, about = self._taken(frame, out)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one frame, the stream goes on
            pixels, about = _passed(frame, out), {"notes": [f"not corrected: {_words(error)}"]}
        self._warn(frame.stream, about["notes"])
        return replace(frame, data=pixels, meta={**frame.meta, META: about}, chunk=None)

    def close(self) -> None:
        """Forget what is being found, and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taken(self, frame: Frame, out: Image | None) -> tuple[Image, About]:
        if frame.data.ndim != 2 or frame.data.dtype.kind not in "iuf":
            kind = f"{frame.data.shape} {frame.data.dtype}"
            raise DtypeError(f"the frame is {kind}; expected (ny, nx) integers or real floats")
        if frame.data.dtype.kind in "iu" and frame.data.itemsize > 2 and abs(frame.data.mean()) >= EXACT:
            raise DtypeError("its counts lie on a large offset, beside which float32 loses them; take it off")
        camera = self._cameras.setdefault(frame.stream, _Camera())
        alike = camera.alike
        if alike is None or camera.changes(frame, alike):
            alike = self._begin(camera, frame)
        if not alike.fits(frame):
            raise ParameterError(f"a frame of {_kind(frame)} among frames of {alike.kind}")
        return alike.take(frame, out)

    def _begin(self, camera: _Camera, frame: Frame) -> _Alike:
        if camera.alike is not None:
            camera.alike.leave()
            self._listen(Noted(f"frames are {_kind(frame)} from {frame.number} on: corrections begin anew"))
        gain, gamma, notes, against = _gain_for(frame, self._options)
        about = {"gain": gamma, "notes": notes}
        camera.alike = _Alike(frame, self._options, gain, about, self._thread, against)
        camera.odd, camera.told = (None, 0), set()
        return camera.alike

    def _warn(self, stream: str, notes: Sequence[str]) -> None:
        """Tell once what may be so of every frame."""
        told = self._cameras.setdefault(stream, _Camera()).told
        for note in notes:
            if note not in told:
                told.add(note)
                self._listen(Warned(f"{stream}: {note}" if stream else note))


@dataclass(slots=True)
class _Camera:
    """The frames of one stream: those of one kind, how many came of another kind, and what was told."""

    alike: _Alike | None = None
    odd: tuple[object, int] = (None, 0)
    told: set[str] = field(default_factory=set)

    def changes(self, frame: Frame, alike: _Alike) -> bool:
        """Whether frames are of another shape or type from now on."""
        kind = _kind(frame)
        before, count = self.odd
        self.odd = (kind, 0) if alike.fits(frame) else (kind, count + 1 if kind == before else 1)
        return self.odd[1] >= ODD_FRAMES


class _Running:
    """The sum of a stack that is being recorded."""

    def __init__(self, frame: Frame, exponent: int, look: int) -> None:
        self.stack, self.n, self.exposed, self.look = frame.stack, 0, 0, look
        self.name = frame.stack or f"frames from {frame.number}"
        self.digests, self.copy_of = set[int](), ""
        self._sum = FrameSum(frame.data.shape, frame.data.dtype, exponent)
        self._prints = Fingerprinter((frame.data.shape[0], frame.data.shape[1]))

    def add(self, frame: NDArray[Any]) -> float:
        """Add a frame, unless it is blank; return its mean, of finite pixels."""
        self.n += 1
        if is_blank(frame):
            return float(frame[0, 0])
        self.exposed += 1
        digest = self._prints.add(frame)
        self.digests |= set() if digest is None else {digest}
        found = self._sum.add(frame)
        total = float(found[2]) if found else float(np.sum(frame, where=np.isfinite(frame), dtype=np.float64))
        return total / frame.size

    def so_far(self) -> Summed:
        """Return what there is of it, and go on with sums of its own."""
        total = self._sum.result()
        bad = None if total.nonfinite is None else total.nonfinite.copy()
        return Summed(self.name, replace(total, values=total.values.copy(), nonfinite=bad))

    def complete(self) -> Summed:
        """Return all of it."""
        total = self._sum.result()
        return Summed(self.name, total, self._prints.result(total.values, 2.0**-total.exponent))


class _Alike:
    """Frames of one shape and type: the running stack, and what is applied to it."""

    def __init__(
        self,
        frame: Frame,
        options: LiveOptions,
        gain: Gain | None,
        about: About,
        thread: Executor,
        against: Against | None,
    ) -> None:
        shape, dtype = frame.data.shape, frame.data.dtype
        self.kind, self._options, self._gain = _kind(frame), options, gain
        self._exponent = common_exponent([frame.data]) if dtype.kind == "f" else 0
        self._learner = Learner((shape[0], shape[1]), options.settings, gain, self._exponent, against)
        self._buffer = None if gain is None else np.empty(shape, np.float32)
        self._running = _Running(frame, self._exponent, options.look)
        self._thread, self._waiting = thread, deque[Future[Applied | str]]()
        # as many as may be in windows
        self._earlier = deque[tuple[str, set[int]]](maxlen=4 * max(options.settings.koma.radius, REACH))
        self._notes: tuple[str, ...] = ()
        self._always, self._applied, self._about = about, Applied(), about
        self._begun = False
        self._put_in_force(Applied(), frame.number)

    def fits(self, frame: Frame) -> bool:
        """Whether a frame is of this shape and type."""
        return self.kind == _kind(frame)

    def leave(self) -> None:
        """Forget what is still to be found."""
        for future in self._waiting:
            future.cancel()

    def take(self, frame: Frame, out: Image | None) -> tuple[Image, About]:
        """Return corrected pixels, and what was applied; then learn from the frame."""
        if self._is_next(frame):
            self._complete()
            self._running = _Running(frame, self._exponent, self._options.look)
        elif 0 < self._running.look <= self._running.exposed and not self._waiting:
            self._running.look = 2 * self._running.exposed
            self._ask(self._learner.look, self._running.so_far())
        if not self._begun and not is_blank(frame.data):  # a blank one has nothing to fill defects from
            self._begun = True
            self._put_in_force(self._learner.begin(frame.data), frame.number)
        self._collect(frame.number)
        mean = self._running.add(frame.data)
        if is_blank(frame.data):
            notes = [*self._about["notes"], "a blank frame is kept as it is"]
            return _as_float(frame.data, out), {**self._about, "notes": notes}
        if same := self._same():
            notes = [
                *self._about["notes"],
                f"{self._running.name}: frames of {same} again: no pattern is off",
            ]
            about = {**self._about, "reference": None, "notes": notes}
            return self._apply(frame.data, mean, out, pattern=False), about
        return self._apply(frame.data, mean, out), self._about

    def _same(self) -> str:
        """Return the earlier stack whose frames the running one has: its own data are in the pattern."""
        running = self._running
        if not running.copy_of:
            running.copy_of = next((name for name, seen in self._earlier if seen & running.digests), "")
        return running.copy_of

    def _is_next(self, frame: Frame) -> bool:
        """Whether a frame is of the next stack."""
        running = self._running
        full = not frame.stack and running.n >= self._options.frames_per_stack
        return frame.stack != running.stack or full

    def _complete(self) -> None:
        self._earlier.append((self._running.name, self._running.digests))
        if not self._running.exposed:
            self._note(f"{self._running.name}: all its frames are blank; not learned from")
        elif len(self._waiting) < MOST_WAITING:
            self._ask(self._learner.learn, self._running.complete())
        else:
            self._note(f"{self._running.name}: not learned from, corrections are behind")

    def _ask(self, work: Callable[[Summed], Applied], stack: Summed) -> None:
        self._waiting.append(self._thread.submit(_found, work, stack))

    def _collect(self, number: int) -> None:
        """Put in force what was found, for the frame of a number and later ones."""
        while self._waiting and (self._options.wait or self._waiting[0].done()):
            found = self._waiting.popleft().result()
            if isinstance(found, str):
                self._note(found)
            else:
                self._put_in_force(found, number)

    def _put_in_force(self, applied: Applied, number: int) -> None:
        self._applied = applied
        self._about = {**self._always, **applied.about, "since": number}
        self._note(*(self._notes if applied.notes is None else applied.notes))

    def _note(self, *notes: str) -> None:
        """Say with every frame what was found last about a stack."""
        self._notes = notes
        self._about = {**self._about, "notes": [*self._always["notes"], *notes]}

    def _apply(self, frame: NDArray[Any], mean: float, out: Image | None, *, pattern: bool = True) -> Image:
        ready, level = self._applied.ready, self._applied.level
        if ready is None:
            return _as_float(frame, out) if self._gain is None else self._gain.apply(frame, out)
        gained = frame if self._gain is None else self._gain.apply(frame, self._buffer)
        factor = max(0.0, self._learner.level(mean) / level) if level > 0 else 1.0
        made = ready.at_dose(factor)
        return (made if pattern else made.without_pattern()).apply(gained, out)


def _found(work: Callable[[Summed], Applied], stack: Summed) -> Applied | str:
    """Return what a stack teaches, or in words why it teaches nothing."""
    try:
        return work(stack)
    except Exception as error:  # noqa: BLE001 - one bad stack never stops the stream
        return f"{stack.name}: not learned from: {_words(error)}"


def _gain_for(
    frame: Frame, options: LiveOptions
) -> tuple[Gain | None, float | None, list[str], Against | None]:
    """Return what is applied to frames like this one, its exponent, and what is to be said against it."""
    shape = frame.data.shape[0], frame.data.shape[1]
    try:
        prepared = prepare_gain(
            options.gain or GainOptions(),
            shape,
            options.first_row,
            options.stacks,
            inputs=options.settings.input,
        )
        if prepared is None:
            return None, None, [], None
        dark = 0.0 if prepared.gain.dark is None else float(prepared.gain.dark.mean(dtype=np.float64))
        gamma = stack_gamma(prepared.params, float(frame.data.mean(dtype=np.float64)) - dark, None)
        return prepared.gain.at(gamma), gamma, list(prepared.caveats), prepared.against
    except (MrczDaskError, OSError) as error:
        return None, None, [f"gain not applied: {_words(error)}"], None


def _passed(frame: Frame, out: Image | None) -> Image:
    """Return the pixels of a frame that cannot be corrected."""
    with np.errstate(all="ignore"):
        return _as_float(frame.data, out if out is not None and out.shape == frame.data.shape else None)


def _as_float(frame: NDArray[Any], out: Image | None) -> Image:
    if out is None:
        return np.asarray(frame.real, np.float32)
    out[...] = frame.real
    return out


def _kind(frame: Frame) -> str:
    return f"{' x '.join(map(str, frame.data.shape))} {frame.data.dtype}"


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, MrczDaskError | OSError) else f"{type(error).__name__}: {error}"
