"""Frames on their way to workers: compressed with the smallest setting that keeps up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Batch, Method, counter_of
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.parallel import available_cores
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.zeroing import fill_zeros, zero_below
from mrcz_dask.values import messages
from mrcz_dask.values.errors import ParameterError

# From small to fast. Pixels are all there again whichever is taken, so that results do not depend on it.
LADDER = ("zstd:1", "lz4:5", "lz4:1")
# Frames over which it is judged whether a setting keeps up, and the share of the time it may take.
JUDGED, BUSY = 64, 0.8


@dataclass(frozen=True, slots=True)
class SentTask:
    """Consecutive frames of a stack, compressed.

    Attributes
    ----------
    first
        Place of the first one in its stack.
    chunks
        One for each frame.
    dtype
        Of the pixels.
    method
        How they are counted.
    zeroed
        Whether 0 stands for the dark.
    """

    first: int
    chunks: tuple[bytes, ...]
    dtype: str
    method: Method
    zeroed: bool

    @property
    def nbytes(self) -> int:
        """Return the bytes of all chunks."""
        return sum(map(len, self.chunks))


def count_sent(task: SentTask) -> Batch:
    """Return the electrons of frames that were sent."""
    counter = counter_of(task.method)
    calibration = counter.calibration

    def frames() -> Iterator[NDArray[Any]]:
        frame: NDArray[Any] = np.empty(calibration.shape, task.dtype)
        for chunk in task.chunks:
            decompress_into(chunk, frame)
            yield fill_zeros(frame, calibration.dark) if task.zeroed else frame

    return counter.batch(task.first, frames())


class Shipping:
    """Compresses frames in threads.

    Parameters
    ----------
    calibration
        Of the detector.
    zero_below
        Pixels below so many read noises are set to 0, which is lossy; None = nothing is lost.
    threads
        That compress; by default as many as there are cores.
    listen
        Is told when a faster setting is taken.

    Attributes
    ----------
    bytes_in, bytes_out
        Of the frames so far: as they came, and compressed.

    Raises
    ------
    ParameterError
        0 cannot stand for the dark: a pixel's limit is not above 0.
    """

    def __init__(
        self,
        calibration: Calibration,
        zero_below: float | None = None,
        threads: int | None = None,
        listen: messages.Listener = messages.silent,
    ) -> None:
        self._pool = ThreadPoolExecutor(threads or available_cores(), "shipping")
        self._threads = threads or available_cores()
        self._step, self._listen = 0, listen
        self._limit = None if zero_below is None else _limit(calibration, zero_below)
        self._limits: dict[np.dtype[Any], NDArray[Any]] = {}
        self.bytes_in = self.bytes_out = 0
        self._frames, self._work, self._since = 0, 0.0, time.monotonic()

    @property
    def zeroed(self) -> bool:
        """Return whether 0 stands for the dark."""
        return self._limit is not None

    @property
    def codec(self) -> str:
        """Return the setting of now."""
        return LADDER[self._step]

    def chunks(self, frames: Sequence[Frame]) -> tuple[bytes, ...]:
        """Return frames as chunks; those that came as chunks go as they came."""
        made = tuple(self._pool.map(self._chunk, frames))
        self.bytes_in += sum(one.data.nbytes for one in frames)
        self.bytes_out += sum(map(len, made))
        self._judge(len(frames))
        return made

    def _chunk(self, frame: Frame) -> bytes:
        if frame.chunk is not None and self._limit is None:
            return frame.chunk
        began = time.perf_counter()
        data = frame.data if self._limit is None else zero_below(frame.data, self._limit_as(frame.data.dtype))
        chunk = Codec.parse(self.codec).compress(np.ascontiguousarray(data, data.dtype.newbyteorder("<")))
        self._work += time.perf_counter() - began
        return chunk

    def _limit_as(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the limit in the type of the pixels, where comparing takes a tenth of the time."""
        if dtype not in self._limits and self._limit is not None:
            most = np.iinfo(dtype).max if dtype.kind in "iu" else np.inf
            limit = np.minimum(np.ceil(self._limit) if dtype.kind in "iu" else self._limit, most)
            self._limits[dtype] = limit.astype(dtype)
        return self._limits[dtype]

    def _judge(self, frames: int) -> None:
        """Take a faster setting if this one takes too much of the time."""
        self._frames += frames
        if self._frames < JUDGED:
            return
        now = time.monotonic()
        busy = self._work / max(self._threads * (now - self._since), 1e-9)
        if busy > BUSY and self._step < len(LADDER) - 1:
            self._step += 1
            self._listen(messages.Noted(f"frames come fast: they are sent with {self.codec} from here on"))
        self._frames, self._work, self._since = 0, 0.0, now

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _limit(calibration: Calibration, below: float) -> NDArray[np.float32]:
    limit = calibration.dark + np.float32(below) * calibration.noise
    if not 0 < below <= 20 or not (limit[calibration.used] > 0).all():
        raise ParameterError(
            f"--zero-below is {below}; expected 0 to 20 read noises, and a dark above 0 in all pixels"
        )
    return np.where(calibration.used, limit, np.inf).astype(np.float32)
