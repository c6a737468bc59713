"""Counting a stream, stage by stage: compressing, shipping over loopback, counting; and the cores of cameras.

``python -m benchmarks.counting`` prints the tables of docs/how-to/count.md: raw GB/s of each stage and core
at 1, 3 and 10 % occupancy, and the number of cores as a calculation from it. Raw pixels are bytes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Amounts, Bench, at_least, row
from mrcz_dask.counting import Calibration
from mrcz_dask.counting.counter import Batch, CountingMethod
from mrcz_dask.counting.packing import unpack
from mrcz_dask.counting.tasks import batch_frames, estimate_memory
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.live.counting.frame_compressor import LADDER, FrameCompressor, SentTask, count_sent
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values.messages import silent

OCCUPANCIES = (0.01, 0.03, 0.1)
ZEROS = (None, 2.0, 4.0)  # pixels below so many read noises are sent as 0; None = nothing is lost
GOAL = 150e6  # pixels a second and core, from compressed frames to events at 1 %
CAMERAS = {
    "K2, 3838 x 3710 at 400 Hz": 3838 * 3710 * 400,
    "Falcon 3, 4096 x 4096 at 100 Hz": 4096 * 4096 * 100,
}
SHAPE, QUICK = (1919, 1855), (960, 928)
DISTINCT = 2


@cache
def raw_frames(occupancy: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    params = RawParams(shape, DISTINCT, occupancy, saturation=255, dtype="uint8")
    return np.stack([RawStack(params).frame(k).values for k in range(DISTINCT)])


def calibration(shape: tuple[int, int], folder: Path) -> tuple[Calibration, CountingMethod]:
    stack = RawStack(RawParams(shape, DISTINCT, saturation=255, dtype="uint8"))
    images = (one.astype(np.float32) for one in (stack.offset, stack.noise, np.maximum(stack.gain, 0.01)))
    dark, noise, gain = images
    made = Calibration(dark, noise, gain, stack.gain > 0, CountingParams())
    path = folder / "calibration.zarr"
    if not path.exists():
        made.save(path)
    return made, CountingMethod(str(path), made.digest)


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the processor seconds of this thread, so that what else runs counts for little."""
    work()
    found = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return statistics.median(found)


@dataclass(frozen=True)
class Stages:
    """Raw GB/s of one core, and ratios of sizes."""

    occupancy: float
    zeroed: float | None
    codec: str
    compress: float
    ratio: float
    decode: float
    count: float
    events_ratio: float
    store_ratio: float
    electrons: int


def stages(
    occupancy: float, zeroed: float | None, codec: str, shape: tuple[int, int], folder: Path
) -> Stages:
    frames = raw_frames(occupancy, shape)
    known, method = calibration(shape, folder)
    compressor = FrameCompressor(known, zeroed, threads=1)
    compressor._step = LADDER.index(codec)
    sent = [Frame(k, 0.0, one) for k, one in enumerate(frames)]
    compress = seconds(lambda: [compressor._chunk(one) for one in sent])
    chunks = tuple(compressor._chunk(one) for one in sent)
    compressor.close()
    out = np.empty(shape, np.uint8)
    decode = seconds(lambda: [decompress_into(one, out) for one in chunks])
    task = SentTask(0, chunks, "|u1", method, zeroed is not None)
    counting = seconds(lambda: count_sent(task))
    found = count_sent(task)
    images = events_as_images(found, shape)
    small = sum(len(Codec.parse("zstd:1").compress(one)) for one in images)
    gigabytes = frames.nbytes / 1e9
    return Stages(
        occupancy,
        zeroed,
        codec,
        gigabytes / compress,
        frames.nbytes / sum(map(len, chunks)),
        gigabytes / decode,
        gigabytes / counting,
        frames.nbytes / len(found.packed),
        frames.nbytes / small,
        int(sum(one.sum() for one in images)),
    )


def events_as_images(batch: Batch, shape: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return counted frames without upsampling, one for each raw frame."""
    found = unpack(batch.packed)
    made = np.zeros((found.counts.size, *shape), np.uint8)
    which = np.repeat(np.arange(found.counts.size), found.counts)
    np.add.at(made, (which, found.y // 32, found.x // 32), 1)
    return list(made)


def shipping_rate(shape: tuple[int, int], folder: Path, total: int = 1 << 28) -> float:
    """Return the GB/s from the master over loopback to one worker, which does nothing with them."""
    size = batch_frames((3838, 3710)) * 3838 * 3710 // 2  # as compressed batches of a K2 are
    blob = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with open_client(ClientOptions(workers=1), estimate_memory(shape, 1), silent) as executor:
        client: Any = executor.client  # type: ignore[attr-defined]
        number = max(4, total // size)

        def send() -> Any:
            return client.submit(len, client.scatter(blob, direct=True, hash=False), pure=False)

        send().result()
        began = time.perf_counter()
        assert sum(client.gather([send() for _ in range(number)])) == number * size
        return number * size / (time.perf_counter() - began) / 1e9


def cores(rate: float, one: Stages) -> tuple[float, float]:
    """Return the cores for compressing and for counting raw bytes at a rate (bytes/s)."""
    return rate / 1e9 / one.compress, rate / 1e9 / one.count


def _pick(bench: Bench) -> tuple[int, int]:
    return QUICK if bench.quick else SHAPE


@row("count: compressed frames to events at 1 %, one core", rival=f"{GOAL / 1e6:g} Mpx/s", goal=at_least(1))
def to_events(bench: Bench) -> Amounts:
    found = stages(0.01, None, LADDER[0], _pick(bench), bench.folder)
    return Amounts(1 / (found.count * 1e9), 1 / GOAL)


@row("count: compressing raw frames at 1 %, one core", rival="counting them, one core")
def compressing(bench: Bench) -> Amounts:
    found = stages(0.01, None, LADDER[-1], _pick(bench), bench.folder)
    return Amounts(1 / found.compress, 1 / found.count)


def main() -> None:
    shape = QUICK if "--quick" in sys.argv else SHAPE
    with TemporaryDirectory() as folder:
        place = Path(folder)
        rows = [
            stages(occupancy, zeroed, codec, shape, place)
            for zeroed in ZEROS
            for codec in (LADDER[0], LADDER[-1])
            for occupancy in OCCUPANCIES
        ]
        print(stage_table(rows))
        print(f"\nShipping over loopback to one worker: {shipping_rate(shape, place):.2f} GB/s\n")
        print(camera_table(rows))


def stage_table(rows: list[Stages]) -> str:
    lines = [
        "| occupancy | zeroed | codec | compress, GB/s | ratio | decode, GB/s | to events, Mpx/s | "
        "raw / events | raw / counted frames | electrons |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    whole = {one.occupancy: one.electrons for one in rows if one.zeroed is None}
    for one in rows:
        zeroed = "no" if one.zeroed is None else f"below {one.zeroed:g}"
        lines.append(
            f"| {one.occupancy:.0%} | {zeroed} | {one.codec} | {one.compress:.2f} | {one.ratio:.2f} | "
            f"{one.decode:.2f} | {one.count * 1000:.0f} | {one.events_ratio:.1f} | {one.store_ratio:.0f} | "
            f"{one.electrons / whole[one.occupancy]:.1%} |"
        )
    return "\n".join(lines)


def camera_table(rows: list[Stages]) -> str:
    lines = ["| camera | occupancy | zeroed | codec | cores to compress | cores to count | sent, GB/s |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, rate in CAMERAS.items():
        for one in rows:
            compress, counting = cores(rate, one)
            zeroed = "no" if one.zeroed is None else f"below {one.zeroed:g}"
            kind = f"{name} | {one.occupancy:.0%} | {zeroed} | {one.codec}"
            lines.append(f"| {kind} | {compress:.1f} | {counting:.0f} | {rate / 1e9 / one.ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
