"""Compresses live frames before workers count them, and reads those whose noise the sender set to 0."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Batch, CountingMethod, counter_of
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.parallel import available_cores
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.kernels import compiled, native
from mrcz_dask.values import messages
from mrcz_dask.values.errors import ParameterError

LADDER = ("zstd:1", "lz4:5", "lz4:1")  # from small to fast; all are lossless, so results do not depend on it
JUDGED = 64  # frames over which the time of compression is measured
BUSY = 0.8  # share of the time above which the next codec is taken


@dataclass(frozen=True, slots=True)
class SentTask:
    """Description of consecutive raw frames of one stack, sent with their
    compressed pixels to the worker that counts.

    Attributes
    ----------
    first
        Position of the first frame in its stack.
    dtype
        Type of the pixels.
    method
        Method of counting.
    zeroed
        True if 0 stands for the dark.
    """

    first: int
    dtype: str
    method: CountingMethod
    zeroed: bool


def count_sent(task: SentTask, *chunks: bytes) -> Batch:
    """Decompress raw frames on a worker and count their electrons;
    each frame was sent as one compressed chunk.
    """
    counter = counter_of(task.method)
    calibration = counter.calibration

    def frames() -> Iterator[NDArray[Any]]:
        """Decode the frames, one in memory at a time."""
        frame: NDArray[Any] = np.empty(calibration.shape, task.dtype)
        for chunk in chunks:
            decompress_into(chunk, frame)
            yield fill_zeros(frame, calibration.dark) if task.zeroed else frame

    return counter.batch(task.first, frames())


class FrameCompressor:
    """Compresses live frames before they go to the workers that count them;
    takes a faster codec when it cannot keep up.

    Parameters
    ----------
    calibration
        Calibration of the detector.
    zero_below
        Pixels below so many read noises are set to 0, which is lossy; None = lossless.
    threads
        Number of threads; None = number of cores.
    listen
        Gets a note when a faster codec is taken.

    Attributes
    ----------
    is_zeroed
        True if 0 stands for the dark.

    Raises
    ------
    ParameterError
        0 cannot stand for the dark, as a pixel's limit is not above 0.
    """

    def __init__(
        self,
        calibration: Calibration,
        zero_below: float | None = None,
        threads: int | None = None,
        listen: messages.Listener = messages.silent,
    ) -> None:
        self._threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self._threads, "compress")
        self._step, self._listen = 0, listen
        self._limit: NDArray[np.float32] | None = None  # counts of each pixel below which it is set to 0
        if zero_below is not None:
            limit, used = calibration.dark + np.float32(zero_below) * calibration.noise, calibration.used
            if not 0 < zero_below <= 20 or not (limit[used] > 0).all():
                raise ParameterError(
                    f"--zero-below is {zero_below}; expected 0 to 20 read noises, and a dark above 0 in all "
                    "pixels"
                )
            self._limit = np.where(used, limit, np.inf).astype(np.float32)
        self._limits: dict[np.dtype[Any], NDArray[Any]] = {}
        self.is_zeroed = zero_below is not None
        self._frames, self._work, self._since = 0, 0.0, time.monotonic()

    @property
    def codec(self) -> str:
        """Return the name of the codec in use now, such as ``zstd:1``."""
        return LADDER[self._step]

    def chunks(self, frames: Sequence[Frame]) -> tuple[bytes, ...]:
        """Return frames as compressed bytes for workers; frames that arrived
        compressed are passed on unchanged.
        """
        chunks = tuple(self._pool.map(self._chunk, frames))
        self._frames += len(frames)
        if self._frames >= JUDGED:
            now = time.monotonic()
            busy = self._work / max(self._threads * (now - self._since), 1e-9)
            if busy > BUSY and self._step < len(LADDER) - 1:
                self._step += 1
                self._listen(messages.Noted(f"frames come fast: they are sent with {self.codec} from now on"))
            self._frames, self._work, self._since = 0, 0.0, now
        return chunks

    def _chunk(self, frame: Frame) -> bytes:
        if frame.chunk is not None and self._limit is None:
            return frame.chunk
        began, data = time.perf_counter(), frame.data
        if self._limit is not None:
            # comparing pixels with limits of their own type takes a tenth of the time
            if data.dtype not in self._limits:
                limit: NDArray[Any] = self._limit
                if data.dtype.kind in "iu":
                    limit = np.minimum(np.ceil(limit), np.iinfo(data.dtype).max)
                self._limits[data.dtype] = limit.astype(data.dtype)
            data = zero_below(data, self._limits[data.dtype])
        chunk = Codec.parse(self.codec).compress(np.ascontiguousarray(data, data.dtype.newbyteorder("<")))
        self._work += time.perf_counter() - began
        return chunk

    def close(self) -> None:
        """End the threads that compress."""
        self._pool.shutdown()


@compiled
def _zero(frame: NDArray[Any], limit: NDArray[Any], out: NDArray[Any]) -> None:
    values, limits, into = frame.reshape(-1), limit.reshape(-1), out.reshape(-1)
    for k in range(values.size):
        into[k] = values[k] * (values[k] >= limits[k])


@compiled
def _fill(frame: NDArray[Any], dark: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    values, darks, into = frame.reshape(-1), dark.reshape(-1), out.reshape(-1)
    for k in range(values.size):
        into[k] = values[k] if values[k] != 0 else darks[k]


def zero_below(frame: NDArray[Any], limit: NDArray[Any]) -> NDArray[Any]:
    """Set pixels of a raw frame below a per-pixel limit (ny, nx), ADU, to 0, so that it compresses well."""
    raw = np.ascontiguousarray(native(frame))
    out = np.empty_like(raw)
    _zero(raw, limit, out)
    return out


def fill_zeros(frame: NDArray[Any], dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a frame from `zero_below` as float32 in which zeros are replaced by the detector's dark (ny,
    nx), so that electrons can be counted.
    """
    out = np.empty(frame.shape, np.float32)
    _fill(np.ascontiguousarray(native(frame)), dark, out)
    return out
