"""Corrects live frames: applies the gain, fills outliers, removes the pattern that earlier stacks show."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.source import Closing
from mrcz_dask.gain.applied import stack_gamma
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.live.correction.learning import Against, LearnedCorrection, Learner, LiveSum
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.arrays import Image
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
MASK_AFTER = 2  # frames; measured: two of them and the last stack's mask do what eight do alone
ODD_FRAMES = 3  # of one other shape in a row are no accident
MOST_WAITING = 2  # stacks whose sums wait to be learned from

About = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of `LiveCorrection`: gain, outlier and KOMA parameters, and when outlier masks are updated.

    Attributes
    ----------
    settings
        As those of `koma`: outliers, contrast, and of KOMA the methods ``fit`` and ``plain``, form, radius
        (2 x radius stacks are in the short window), long window, and breaks of dose and pattern.
    gain
        Gain, dark and defects; None = none.
    frames_per_stack
        Number of frames that count as a stack, if the stream names no stacks.
    mask_after
        Number of frames of a running stack after which its own outliers are found, too, and again after
        2, 4, ... times as many; 0 = outliers are found in complete stacks alone.
    wait
        True: `LiveCorrection.take` waits for the correction that it has begun to compute, so that this is
        in force from the very next frame on, and pixels do not depend on the machine. False: it goes on with
        the correction before.

    Raises
    ------
    ParameterError
        A value is out of range.
    """

    settings: Settings = field(default_factory=Settings)
    gain: GainOptions | None = None
    frames_per_stack: int = 40
    mask_after: int = MASK_AFTER
    wait: bool = False

    def __post_init__(self) -> None:
        problems = [
            *whole("frames_per_stack", self.frames_per_stack, 2, 100_000, unit=" frames"),
            *whole("mask_after", self.mask_after, 0, 100_000, unit=" frames"),
        ]
        if self.settings.koma.method == "session":
            problems += ["method is session, which needs all stacks of a session; expected fit or plain"]
        raise_all("live correction", iter(problems))


@dataclass(slots=True)
class _Camera:
    """The correction of one stream, its frames of another shape or type in a row, and warnings given."""

    corrector: _Corrector | None = None
    odd_kind: str = ""
    odd_frames: int = 0
    warned: set[str] = field(default_factory=set)


class LiveCorrection(Closing):
    """Corrects live frames before processors get them; learns outliers and pattern from earlier stacks.

    Each camera is corrected by itself.

    The gain comes first. Then outliers are filled and the pattern is removed: mask and pattern are those of
    earlier stacks, scaled to the mean of the frame, so that the mean dose stays. The running stack adds only
    the outliers of its earlier frames (see `LiveOptions.mask_after`). They are found in a thread of their own
    while frames pass.

    Parameters
    ----------
    options
        None = the defaults.
    listen
        Gets warnings, from the thread that calls `take`.
    """

    def __init__(self, options: LiveOptions | None = None, listen: Listener = silent) -> None:
        self._options, self._listen = options or LiveOptions(), listen
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-correction")
        self._cameras: dict[str, _Camera] = {}

    def take(self, frame: Frame) -> Frame:
        """Return a frame with corrected pixels, float32 counts, and learn from it; if that fails,
        a note says so.

        Returns
        -------
        Frame
            The frame without `chunk`. Its ``meta["correction"]`` tells what was applied: `gain`, the exponent
            of the gain or None; `mask` and `reference`, see `learning.LearnedCorrection`; `since`, the number
            of the first frame that was corrected so; `notes`, caveats.
        """
        camera = self._cameras.setdefault(frame.stream, _Camera())
        try:
            pixels, about = self._correct(frame, camera)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one frame, the stream goes on
            with np.errstate(all="ignore"):
                pixels = np.asarray(frame.data.real, np.float32)
            about = {"notes": [f"not corrected: {_error_text(error)}"]}
        for note in about["notes"]:
            if note not in camera.warned:  # once, as it may be so of every frame
                camera.warned.add(note)
                self._listen(Warned(f"{frame.stream}: {note}" if frame.stream else note))
        return replace(frame, data=pixels, meta={**frame.meta, META: about}, chunk=None)

    def close(self) -> None:
        """Cancel calculations of corrections that have not begun, and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _correct(self, frame: Frame, camera: _Camera) -> tuple[Image, About]:
        pixels = frame.data
        if pixels.ndim != 2 or pixels.dtype.kind not in "iuf":
            raise DtypeError(
                f"the frame is {pixels.shape} {pixels.dtype}; expected (ny, nx) integers or real floats"
            )
        if pixels.dtype.kind in "iu" and pixels.itemsize > 2 and abs(pixels.mean()) >= EXACT:
            raise DtypeError("its counts lie on a large offset, beside which float32 loses them; take it off")
        kind, corrector = _kind(frame), camera.corrector
        if corrector is None:
            corrector = self._begin(camera, frame)
        elif kind != corrector.kind:
            camera.odd_frames = camera.odd_frames + 1 if kind == camera.odd_kind else 1
            camera.odd_kind = kind
            if camera.odd_frames < ODD_FRAMES:
                raise ParameterError(f"a frame of {kind} among frames of {corrector.kind}")
            for future in corrector.waiting:  # work that has not begun
                future.cancel()
            self._listen(Noted(f"frames are {kind} from {frame.number} on: corrections begin anew"))
            corrector = self._begin(camera, frame)
        camera.odd_frames = 0
        return corrector.take(frame)

    def _begin(self, camera: _Camera, frame: Frame) -> _Corrector:
        """Begin a correction of frames like this one."""
        camera.corrector = _Corrector(frame, self._options, self._thread)
        camera.warned = set()
        return camera.corrector


class _RunningStack:
    """The sum of a stack that is being recorded, and digests of its frames."""

    def __init__(self, frame: Frame, exponent: int, mask_after: int) -> None:
        self.stack, self.frames, self.exposed, self.mask_after = frame.stack, 0, 0, mask_after
        self.name = frame.stack or f"frames from {frame.number}"
        self.digests, self.copy_of = set[int](), ""
        self._sum = FrameSum(frame.data.shape, frame.data.dtype, exponent)
        self._fingerprinter = Fingerprinter((frame.data.shape[0], frame.data.shape[1]))

    def add(self, frame: NDArray[Any]) -> float:
        """Add a frame, unless it is blank; return the mean of its finite pixels."""
        self.frames += 1
        if is_blank(frame):
            return float(frame[0, 0])
        self.exposed += 1
        digest = self._fingerprinter.add(frame)
        if digest is not None:
            self.digests.add(digest)
        moments = self._sum.add(frame)
        if moments:
            return float(moments[2]) / frame.size
        return float(np.sum(frame, where=np.isfinite(frame), dtype=np.float64)) / frame.size

    def so_far(self) -> LiveSum:
        """Copy the sum, which goes on."""
        total = self._sum.result()
        nonfinite = None if total.nonfinite is None else total.nonfinite.copy()
        return LiveSum(self.name, replace(total, values=total.values.copy(), nonfinite=nonfinite))

    def complete(self) -> LiveSum:
        """Return the sum of the whole stack, with its fingerprint."""
        total = self._sum.result()
        fingerprint = self._fingerprinter.result(total.values, 2.0**-total.exponent)
        return LiveSum(self.name, total, fingerprint)


class _Corrector:
    """Corrects frames of one shape and type: the running stack, and the correction that is in force."""

    def __init__(self, frame: Frame, options: LiveOptions, thread: Executor) -> None:
        shape, dtype = (frame.data.shape[0], frame.data.shape[1]), frame.data.dtype
        self.kind, self._options, self._thread = _kind(frame), options, thread
        self._gain, gamma, notes, against = _gain_for(frame, options)
        self._exponent = common_exponent([frame.data]) if dtype.kind == "f" else 0
        self._learner = Learner(shape, options.settings, self._gain, self._exponent, against)
        self._gained = None if self._gain is None else np.empty(shape, np.float32)
        self._running = _RunningStack(frame, self._exponent, options.mask_after)
        self.waiting = deque[Future[LearnedCorrection | str]]()
        # as many as may be in windows
        self._earlier = deque[tuple[str, set[int]]](maxlen=4 * max(options.settings.koma.radius, REACH))
        self._has_begun = False
        self._gain_about: About = {"gain": gamma, "notes": notes}
        self._stack_notes: tuple[str, ...] = ()
        self._put_in_force(LearnedCorrection(), frame.number)

    def take(self, frame: Frame) -> tuple[Image, About]:
        """Return corrected pixels and the correction's description, then learn from the frame."""
        running, blank = self._running, is_blank(frame.data)
        is_full = not frame.stack and running.frames >= self._options.frames_per_stack
        if frame.stack != running.stack or is_full:
            self._earlier.append((running.name, running.digests))
            if not running.exposed:
                self._note(f"{running.name}: all its frames are blank; not learned from")
            elif len(self.waiting) < MOST_WAITING:
                self._submit(self._learner.learn, running.complete())
            else:
                self._note(f"{running.name}: not learned from, corrections are behind")
            running = self._running = _RunningStack(frame, self._exponent, self._options.mask_after)
        elif 0 < running.mask_after <= running.exposed and not self.waiting:
            running.mask_after = 2 * running.exposed
            self._submit(self._learner.update_mask, running.so_far())
        if not self._has_begun and not blank:  # a blank one has nothing to fill defects from
            self._has_begun = True
            self._put_in_force(self._learner.fill_defects(frame.data), frame.number)
        while self.waiting and (self._options.wait or self.waiting[0].done()):
            learned = self.waiting.popleft().result()
            if isinstance(learned, str):
                self._note(learned)
            else:
                self._put_in_force(learned, frame.number)
        mean = running.add(frame.data)
        notes = self._about["notes"]
        if blank:
            about = {**self._about, "notes": [*notes, "a blank frame is kept as it is"]}
            return np.asarray(frame.data, np.float32), about
        if not running.copy_of:
            copies = (name for name, digests in self._earlier if digests & running.digests)
            running.copy_of = next(copies, "")
        if running.copy_of:  # its own data are in the pattern
            note = f"{running.name}: frames of {running.copy_of} again: no pattern is off"
            about = {**self._about, "reference": None, "notes": [*notes, note]}
            return self._apply(frame.data, mean, with_pattern=False), about
        return self._apply(frame.data, mean, with_pattern=True), self._about

    def _submit(self, work: Callable[[LiveSum], LearnedCorrection], stack: LiveSum) -> None:
        def learn() -> LearnedCorrection | str:
            """Return the correction, or the reason why there is none."""
            try:
                return work(stack)
            except Exception as error:  # noqa: BLE001 - one bad stack never stops the stream
                return f"{stack.name}: not learned from: {_error_text(error)}"

        self.waiting.append(self._thread.submit(learn))

    def _put_in_force(self, learned: LearnedCorrection, number: int) -> None:
        """Use a correction for the frame with this number and later ones."""
        self._learned = learned
        self._about = {**self._gain_about, **learned.about, "since": number}
        self._note(*(self._stack_notes if learned.notes is None else learned.notes))

    def _note(self, *notes: str) -> None:
        """Put the newest caveats about a stack into the description of every frame."""
        self._stack_notes = notes
        self._about = {**self._about, "notes": [*self._gain_about["notes"], *notes]}

    def _apply(self, frame: NDArray[Any], mean: float, *, with_pattern: bool) -> Image:
        correction, level = self._learned.correction, self._learned.level
        if correction is None:
            return np.asarray(frame, np.float32) if self._gain is None else self._gain.apply(frame)
        gained = frame if self._gain is None else self._gain.apply(frame, self._gained)
        factor = max(0.0, self._learner.level(mean) / level) if level > 0 else 1.0
        scaled = correction.at_dose(factor)
        return (scaled if with_pattern else scaled.without_pattern()).apply(gained)


def _gain_for(
    frame: Frame, options: LiveOptions
) -> tuple[Gain | None, float | None, list[str], Against | None]:
    """Return the gain for frames like this one, its exponent, caveats, and its comparison with a pattern."""
    shape = frame.data.shape[0], frame.data.shape[1]
    gain = options.gain or GainOptions()
    try:
        first_row: FirstRow = "top" if frame.meta.get("first_row") == "top" else "bottom"
        prepared = prepare_gain(gain, shape, first_row, (), inputs=options.settings.input)
        if prepared is None:
            return None, None, [], None
        dark = 0.0 if prepared.gain.dark is None else float(prepared.gain.dark.mean(dtype=np.float64))
        gamma = stack_gamma(prepared.params, float(frame.data.mean(dtype=np.float64)) - dark, None)
        return prepared.gain.at(gamma), gamma, list(prepared.caveats), prepared.against
    except (MrczDaskError, OSError) as error:
        return None, None, [f"gain not applied: {_error_text(error)}"], None


def _kind(frame: Frame) -> str:
    return f"{' x '.join(map(str, frame.data.shape))} {frame.data.dtype}"


def _error_text(error: BaseException) -> str:
    return str(error) if isinstance(error, MrczDaskError | OSError) else f"{type(error).__name__}: {error}"
