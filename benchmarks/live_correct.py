"""Live correction: a frame on its way to processors, and what is found at the end of a stack meanwhile."""

from __future__ import annotations

from benchmarks.harness import Bench, Pair, at_most, movie, row
from benchmarks.koma import read_frames
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.live.correction.correct import LiveCorrection, LiveOptions
from mrcz_dask.live.correction.learning import Learner, LiveSum
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import Settings

FRAMES = 20


def _shape(bench: Bench) -> tuple[int, int, int]:
    return (FRAMES, 960, 928) if bench.quick else (FRAMES, 3838, 3710)


@row("live correction of frames, mask and pattern known", rival="decoding them, one thread", goal=at_most(1))
def frames(bench: Bench) -> Pair:
    path, stack = bench.folder / "live.mrcz", movie(_shape(bench), 0)
    write(path, stack, durable=False)
    correction = LiveCorrection(LiveOptions(wait=True, mask_after=0))

    def take(name: str) -> Frame:
        made = [correction.take(Frame(k, 0.0, one, name)) for k, one in enumerate(stack)]
        return made[-1]

    for name in ("first", "second", "third"):
        take(name)
    assert take("last").meta["correction"]["reference"]["stacks"] == 3
    return Pair(lambda: take("last"), lambda: read_frames(path))


@row("what a stack teaches live, mask, references, fit", rival="reading 60 frames, a thread", goal=at_most(2))
def learning(bench: Bench) -> Pair:
    path, (_, ny, nx) = bench.folder / "live60.mrcz", _shape(bench)
    stack = movie((60, ny, nx), 0)
    write(path, stack, durable=False)
    learner, total = Learner((ny, nx), Settings(), None, 0), sum_stack(stack)
    return Pair(lambda: learner.learn(LiveSum("stack", total)), lambda: read_frames(path))
