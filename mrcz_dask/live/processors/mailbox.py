"""A queue between source and processor, so that a slow processor does not hold up the frames."""

from __future__ import annotations

from collections import deque
from threading import Condition

from mrcz_dask.live.frames import Frame


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
