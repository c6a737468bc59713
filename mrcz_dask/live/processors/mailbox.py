"""Between a source, which never waits for a processor, and a processor, which takes what is newest."""

from __future__ import annotations

from collections import deque
from threading import Condition

from mrcz_dask.live.frames import Frame


class Mailbox:
    """Holds the newest frame, or all frames in order.

    Parameters
    ----------
    every
        How many frames it holds before `put` waits, for a processor that is to see every frame; 0 = the
        newest alone, and `put` never waits.

    Attributes
    ----------
    skipped
        Frames that were replaced by newer ones, or came while it was shut.
    """

    def __init__(self, every: int = 0) -> None:
        self._every = every
        self._frames: deque[Frame] = deque()
        self._changed = Condition()
        self._shut = self._ended = False
        self.skipped = 0

    def put(self, frame: Frame) -> None:
        """Add a frame."""
        with self._changed:
            if self._every:
                self._changed.wait_for(lambda: len(self._frames) < self._every or self._ended)
            else:
                self.skipped += len(self._frames) + self._shut
                self._frames.clear()
            if not self._shut or self._every:
                self._frames.append(frame)
            self._changed.notify_all()

    def take(self, seconds: float) -> Frame | None:
        """Return the next frame, waiting at most so long for one; None = there is none."""
        with self._changed:
            self._changed.wait_for(lambda: (self._frames and not self._shut) or self._ended, seconds)
            if not self._frames or self._shut:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def shut(self, shut: bool) -> None:
        """Hand out nothing, or go on."""
        with self._changed:
            self._shut = shut
            self._changed.notify_all()

    def end(self) -> None:
        """Tell that no more frames come: `take` and `put` do not wait any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def is_shut(self) -> bool:
        """Whether nothing is handed out."""
        return self._shut

    @property
    def keeps_all(self) -> bool:
        """Whether the source waits, so that every frame is seen."""
        return self._every > 0

    @property
    def ended(self) -> bool:
        """Whether no more frames will come."""
        return self._ended

    @property
    def over(self) -> bool:
        """Whether no frame is left and none will come."""
        with self._changed:
            return self._ended and (not self._frames or self._shut)
