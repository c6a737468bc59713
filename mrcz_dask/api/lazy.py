"""KOMA as dask arrays: sums and masks go into a folder, corrected frames only into memory.

Sums and masks are kept in a folder of their own, which all workers must see, as windows hold many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from mrcz_dask.correction.correct_stack import fit_stack
from mrcz_dask.correction.judged_stacks import judge_stacks
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.pooling import pooled_of
from mrcz_dask.correction.sum_stack import mask_stack, sum_and_mask, sum_frames
from mrcz_dask.correction.summing import known_record, sum_task
from mrcz_dask.correction.tasks import CorrectionTask, SumTask
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine.loop import attempt
from mrcz_dask.formats.frames import FirstRow, FrameSource
from mrcz_dask.formats.places import Measured
from mrcz_dask.gain.applied import GainedFrames, gain_for
from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.correction import Correction, ReadyCorrection
from mrcz_dask.numerics.reference.structure import coarse_image
from mrcz_dask.numerics.session.specimens import scene_of
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.shared_readers import identity, shared_reader
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.records import Failure, StackRecord
from mrcz_dask.values.windows import koma_window

# Stacks that are assessed in one task.
TOGETHER = 24
# A score that no stack reaches: contrast is not looked at.
NO_CONTRAST = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStack:
    """Record of a stack that the user gives as a dask array, with its mask and dose if known.

    Attributes
    ----------
    frames
        (n, ny, nx), counts.
    mask
        (ny, nx) bool, True = outlier; None = found.
    dose
        Counts per pixel and frame; None = found.
    """

    frames: da.Array
    mask: NDArray[np.bool_] | None = None
    dose: float | None = None


class MemoryFrames(FrameSource):
    """Reads frames from memory, with the interface of a file reader."""

    name, format = "array", "Zarr"
    first_row: FirstRow = "bottom"

    def __init__(self, frames: Sequence[NDArray[Any]]) -> None:
        self._frames = frames
        self.shape = (len(frames), *frames[0].shape[-2:])
        self.dtype = frames[0].dtype.newbyteorder("=")

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), copied into `out` if that is given."""
        frame = np.asarray(self._frames[i], self.dtype).reshape(self.shape[1:])
        if out is None:
            return frame
        out[...] = frame
        return out

    def close(self) -> None:
        """Do nothing, since no file is open."""


class Graph(dict[Any, Any]):
    """Graph of an array, which keeps the plan's folder of sums and masks as long as the array is there."""

    made_by: LazyKoma

    def __reduce__(self) -> tuple[type, tuple[dict[Any, Any]]]:
        return dict, (dict(self),)  # the folder stays with this process


class LazyKoma:
    """Builds dask arrays of corrected frames, masks and references, from a plan over files or arrays.

    Parameters
    ----------
    plan
        Over the session; its folder has the sums and masks.
    arrays
        The stacks that are arrays, by index; others are files.
    """

    def __init__(self, plan: Plan, arrays: Sequence[ArrayStack] = ()) -> None:
        self._plan, self._arrays = plan, arrays
        names = [array.frames.name for array in arrays]
        self._token = tokenize(
            plan.settings.to_dict(), str(plan.folder), [e.name for e in plan.stacks], names
        )
        self._grouped = bool(plan.groups())
        self._graph: dict[Any, Any] = {}
        for i in range(len(plan.stacks)):
            self._graph |= self._tasks(i)

    def _key(self, name: str, i: int) -> tuple[str, int]:
        return f"{name}-{self._token}", i

    def _tasks(self, i: int) -> dict[Any, Any]:
        """Return the tasks of a stack up to its correction."""
        plan, entry = self._plan, self._plan.stacks[i]
        if self._arrays:
            array = self._arrays[i]
            frames = [(array.frames.name, k, 0, 0) for k in range(array.frames.shape[0])]
            summed: tuple[Any, ...] = (sum_array, sum_task(plan, entry), array.mask, array.dose, frames)
        else:
            summed = (sum_file, plan, entry)
        near = self._members(i)
        first = i if near is not None else i - i % TOGETHER
        among = range(len(plan.stacks)) if near is None else near
        records = [self._key("sum-stack", k) for k in among]
        tasks = {
            self._key("sum-stack", i): summed,
            self._key("correct-stack", i): (correction_of, self._key("assess-session", first), i - first),
        }
        if first == i:
            count = TOGETHER if near is None else 1
            tasks[self._key("assess-session", i)] = (assess, plan, [*among], first, count, records)
        return tasks

    def _members(self, i: int) -> list[int] | None:
        """Return the stacks that decide about stack i where the order alone does; None = all of them."""
        settings = self._plan.settings
        if (
            settings.koma.pooled
            or self._grouped
            or settings.koma.breaks == "auto"
            or settings.contrast.floor < NO_CONTRAST
        ):
            return None
        if settings.koma.method != "plain" or settings.koma.break_after is not None:
            return None
        return sorted([i, *koma_window(i, len(self._plan.stacks), settings.koma.radius)])

    def _array(self, name: str, key: Any, function: Callable[..., Any], i: int, dtype: Any) -> da.Array:
        """Return an image of a stack as a dask array of one chunk."""
        name = f"{name}-{self._token}-{i}"
        graph = {(name, 0, 0): (function, key, *self._about(i))}
        ny, nx = self._plan.stacks[i].shape[1:]
        return da.Array(self._with_inputs(graph), name, ((ny,), (nx,)), dtype=dtype)

    def _about(self, i: int) -> tuple[str, str]:
        return str(self._plan.store), self._plan.stacks[i].stem

    def _with_inputs(self, graph: dict[Any, Any]) -> Graph:
        inputs = [dict(array.frames.__dask_graph__()) for array in self._arrays]
        whole = Graph(chain.from_iterable(some.items() for some in (*inputs, self._graph, graph)))
        whole.made_by = self
        return whole

    def mask(self, i: int) -> da.Array:
        """Return the outlier mask of stack i as a dask array, (ny, nx) bool, True = outlier."""
        _, tasks, k = self._graph[self._key("correct-stack", i)]
        return self._array("mask-stack", (correction_task, tasks, k), mask_of, i, bool)

    def reference(self, i: int) -> da.Array:
        """Return the reference subtracted from stack i's frames as a dask array, (ny, nx) float32 counts.

        For the form ``divide`` it is what frames are divided by, minus 1.
        """
        return self._array("reference", self._key("correct-stack", i), reference_of, i, np.float32)

    def corrected(self, i: int) -> da.Array:
        """Return stack i's corrected frames as a dask array, (n, ny, nx) float32 counts, chunked by frame."""
        entry, name = self._plan.stacks[i], f"corrected-{self._token}-{i}"
        n, ny, nx = entry.shape
        key = self._key("correct-stack", i)
        if self._arrays:
            source = self._arrays[i].frames.name
            graph: dict[Any, Any] = {
                (name, k, 0, 0): (correct_frame, key, (source, k, 0, 0)) for k in range(n)
            }
        else:
            known = identity(entry.path, self._plan.settings.input)
            graph = {(name, k, 0, 0): (correct_file_frame, key, known, k) for k in range(n)}
        return da.Array(self._with_inputs(graph), name, ((1,) * n, (ny,), (nx,)), dtype=np.float32)


def sum_file(plan: Plan, entry: StackEntry) -> StackRecord | Failure:
    """Sum a stack's file and find its outliers, unless the session store has its record already."""
    record = known_record(plan, SessionStore(plan.store), entry)
    return attempt(sum_and_mask, "sum", sum_task(plan, entry)) if record is None else record


def sum_array(
    task: SumTask, mask: NDArray[np.bool_] | None, dose: float | None, frames: Sequence[NDArray[Any]]
) -> StackRecord:
    """Sum a stack in memory and find its outliers; a given mask or dose replaces the one found."""
    sums = sum_frames(task, MemoryFrames(frames), Measured(0, 0))
    record, store = mask_stack(task, sums), SessionStore(task.store)
    if mask is None and dose is None:
        return record
    names = ("sum", "weight", "sum_even", "coarse", *(("weight_even",) if record.outliers_even else ()))
    arrays = {name: store.load(record.stem, name) for name in names}
    if mask is not None:
        weight = np.where(mask, 0, 255).astype(np.uint8)
        arrays |= {"weight": weight, "weight_even": weight}
        coarse = coarse_image(arrays["sum"], mask)
        arrays["coarse"][0] = coarse
        mean = float(arrays["sum"][~mask].mean(dtype=np.float64)) * 2.0**-record.exponent
        record = replace(record, mean=mean, mean_even=mean / 2, status="ok", scene=scene_of(coarse))
    if dose is not None:
        record = replace(record, mean=dose * record.shape[0])
    store.put_stack(record, arrays)
    return record


def assess(
    plan: Plan, among: list[int], first: int, count: int, records: Sequence[StackRecord | Failure]
) -> list[CorrectionTask | Failure]:
    """Decide which stacks are usable, and build the correction tasks of `count` stacks from `first` on."""
    summed = {k: record for k, record in zip(among, records, strict=True) if isinstance(record, StackRecord)}
    failed = {k: failure for k, failure in zip(among, records, strict=True) if isinstance(failure, Failure)}
    ready = judge_stacks([plan.stacks[k] for k in summed], list(summed.values()), plan.settings)
    chosen = [k for k in among if first <= k < first + count]
    start = sum(k < first for k in summed)
    tasks = correction_tasks(plan, ready, start=start)
    return [failed[k] if k in failed else next(tasks) for k in chosen]


@dataclass(frozen=True, slots=True, eq=False)
class StackCorrection:
    """The correction of one stack, ready to be applied to its frames."""

    ready: ReadyCorrection
    task: CorrectionTask

    def apply(self, exposed: GainedFrames, frame: NDArray[Any]) -> Image:
        """Apply gain and correction to a frame, at its own dose; return it as a chunk (1, ny, nx)."""
        gained = exposed.gained(frame)
        dose = relative_dose(gained, self.ready.correction.weight, self.task.record.dose)
        return self.ready.at_dose(dose).apply(gained)[None]


def correction_task(tasks: Sequence[CorrectionTask | Failure], k: int) -> CorrectionTask:
    """Return the k-th of some correction tasks.

    Raises
    ------
    SessionError
        When the stack could not be summed; with the reason.
    """
    task = tasks[k]
    if isinstance(task, Failure):
        raise SessionError(task.reason)
    return task


def correction_of(tasks: Sequence[CorrectionTask | Failure], k: int) -> StackCorrection:
    """Fit and return the correction of the k-th stack among some correction tasks.

    Raises
    ------
    SessionError
        When the stack could not be summed; with the reason.
    """
    task = correction_task(tasks, k)
    correction = fit_stack(SessionStore(task.store), task, None, scored=False).correction
    return StackCorrection(correction.ready(), task)


def mask_of(task: CorrectionTask, store: str, stem: str) -> NDArray[np.bool_]:
    """Return a stack's outlier mask, (ny, nx) bool, True = outlier."""
    mask = is_masked(SessionStore(store).load(stem, "weight"))
    pooled = pooled_of(task.pool, task.name)
    for at in () if pooled is None else (pooled.hot, pooled.dead):
        mask.reshape(-1)[at] = True
    return mask


def reference_of(correction: StackCorrection, store: str, stem: str) -> Image:
    """Return the reference that a correction subtracts from each frame, (ny, nx) float32 counts."""
    fitted: Correction = correction.ready.correction
    return fitted.pattern.astype(np.float32) * np.float32(fitted.step)


def correct_frame(correction: StackCorrection, frame: NDArray[Any]) -> Image:
    """Correct a frame that is in memory; return it as a chunk (1, ny, nx)."""
    frame = np.asarray(frame).reshape(correction.ready.shape)
    return correction.apply(GainedFrames(MemoryFrames([frame]), None, correction.task.record.offset), frame)


def correct_file_frame(correction: StackCorrection, known: tuple[Any, ...], k: int) -> Image:
    """Read frame k of a file, and apply its gain and correction; return it as a chunk (1, ny, nx)."""
    task = correction.task
    with shared_reader(*known) as reader:
        gain = gain_for(task.store, task.settings.gain, task.record.gamma)
        return correction.apply(GainedFrames(reader, gain, task.record.offset), reader.frame(k))
