"""The tasks of counting: count some frames of a stack, and write the outputs of a stack that is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import calibration_once
from mrcz_dask.counting.counter import Batch, CountingMethod, counter_of
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.recording import Origin, Summary, about_stack
from mrcz_dask.counting.rendering import write_counted
from mrcz_dask.counting.spool import SpooledEvents
from mrcz_dask.counting.store import event_problems, write_events
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.formats.digest import files_in, whole_digest
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.spool import SpoolReader
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.session.shared_readers import shared_reader
from mrcz_dask.values.errors import DamagedError, SessionError
from mrcz_dask.values.params import USUAL_INPUT, InputParams
from mrcz_dask.values.records import Written
from mrcz_dask.values.timing import phase

# A process with the compiled code; bytes per pixel of the detector in it, of a task's frame as read,
# standardized and compressed, and of a counted frame on its way into a file.
PROCESS_BYTES = 350_000_000
DETECTOR_PIXEL, FRAME_PIXEL, COUNTED_PIXEL = 80, 24, 6
# Electrons raise the median of a raw frame above its dark by `RISE` times what they add to its spread below
# the median (.16 and 1.05 read noises at 3 % occupancy, 1.4 and 1.7 at 20 %). A frame that is off by more
# than `MISFIT` and a step of whole numbers is not of this detector. So many rows tell.
RISE, MISFIT, STEP_SLACK, CHECKED_ROWS = 2.1, 1.2, 1.0, 64
BATCH_PIXELS, LONGEST_BATCH = 1 << 26, 64


def estimate_memory(shape: tuple[int, int], upsampling: int) -> MemoryEstimate:
    """Estimate the memory of a counting worker, bytes: the same for any number of stacks and frames."""
    size = shape[0] * shape[1]
    task = size * max(FRAME_PIXEL, COUNTED_PIXEL * upsampling**2)
    return MemoryEstimate(PROCESS_BYTES + size * DETECTOR_PIXEL, task + (64 << 20))


def batch_frames(shape: tuple[int, int]) -> int:
    """Return the number of frames that one task counts: some 64 million pixels, so that no task is too
    long.
    """
    return int(np.clip(BATCH_PIXELS // (shape[0] * shape[1]), 1, LONGEST_BATCH))


@dataclass(frozen=True, slots=True)
class CountTask:
    """Task: count consecutive raw frames of a stack.

    Attributes
    ----------
    path, size, mtime_ns, inputs
        The stack's file, and how it is read.
    name
        Name of the stack in messages.
    first, count
        Number of the first frame, and how many frames.
    method
        How they are counted.
    """

    path: str
    size: int
    mtime_ns: int
    inputs: InputParams
    name: str
    first: int
    count: int
    method: CountingMethod

    @property
    def places(self) -> tuple[str, ...]:
        """Paths of the files that the task reads."""
        return (self.path, self.method.calibration)


def check_background(frame: NDArray[Any], detector: Detector, name: str) -> None:
    """Check that a raw frame's background, between electrons, has the calibration's dark and noise.

    Parameters
    ----------
    frame
        Raw frame, (ny, nx).
    detector
        Detector with which it is to be counted.
    name
        Name of stack and frame for the message.

    Raises
    ------
    SessionError
        If their median, or their spread below it, is impossible: every electron in it would be wrong.
    """
    sparse = np.s_[:: max(1, frame.shape[0] // CHECKED_ROWS)]
    used = detector.used[sparse]
    z = (frame[sparse].astype(np.float64) - detector.dark[sparse])[used] / detector.noise[sparse][used]
    z = z[np.isfinite(z)]
    low, middle = np.quantile(z, (0.1587, 0.5)) if z.size else (0.0, np.inf)
    steps = STEP_SLACK / detector.unit if frame.dtype.kind in "iu" else 0.0
    if abs(middle - RISE * (middle - low - 1)) < MISFIT + steps:
        return
    raise SessionError(
        f"{name}: its background lies {middle:.1f} read noises above the dark, with a spread of "
        f"{middle - low:.1f}; expected about 0 and 1. It is blank, or dark or calibration are not of this "
        "camera and session: leave it out, or give another --dark or --calibration"
    )


def count_frames(task: CountTask) -> Batch:
    """Run a `CountTask`: find the electrons of its frames, and return them packed.

    Raises
    ------
    SessionError
        As `check_background` does; it is not asked where a user's own function finds the electrons.
    """
    counter = counter_of(task.method)
    with shared_reader(task.path, task.size, task.mtime_ns, task.inputs) as reader:

        def frames() -> Iterator[NDArray[Any]]:
            """Yield the frames, one in memory at a time."""
            for k in range(task.first, task.first + task.count):
                with phase("decode"):
                    frame = reader.physical(k)
                if task.method.script is None and frame.shape == counter.calibration.shape:
                    check_background(frame, counter.calibration.detector, f"{task.name}, frame {k}")
                yield frame

        return counter.batch(task.first, frames())


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Task: write the outputs of a stack whose events are all in its spool.

    Attributes
    ----------
    spool
        Path of the spool.
    origin
        Origin of the frames.
    frames
        Number of frames that must be there.
    method
        How they were counted.
    find, fractions
        Parameters of counting.
    target
        Path of the counted stack.
    events
        Path of the event list; None = none is written.
    more, caveats
        More results and caveats for the provenance.
    inputs
        How the frames were read.
    """

    spool: str
    origin: Origin
    frames: int
    method: CountingMethod
    find: FindParams
    fractions: FractionParams
    target: str
    events: str | None
    more: dict[str, Any] | None = None
    caveats: tuple[str, ...] = ()
    inputs: InputParams = USUAL_INPUT

    @property
    def name(self) -> str:
        """Name of the stack, for messages."""
        return self.origin.name

    @property
    def places(self) -> tuple[str, ...]:
        """Paths of the files that the task reads."""
        return self.spool, self.method.calibration


@dataclass(frozen=True, slots=True)
class Counted:
    """Record of a counted stack: its outputs, numbers of electrons, dose and losses.

    Attributes
    ----------
    name, output, events_output
        Names of the input and of the outputs; '' = no event list.
    frames, events
        Number of raw frames, and of electrons in them.
    bytes_in, bytes_out
        Size of the input, and of the outputs.
    coincidence
        Occupancy and loss, from `recording.coincidence`.
    dose, corrected_dose
        Electrons per pixel of the detector in all of the stack: counted, and corrected (None = not known).
    written
        Files of the outputs.
    kept
        Whether an earlier run made the outputs.
    """

    name: str
    output: str
    events_output: str
    frames: int
    events: int
    bytes_in: int
    bytes_out: int
    coincidence: dict[str, float | None]
    dose: float
    corrected_dose: float | None
    written: Written
    kept: bool = False


def write_outputs(task: WriteTask) -> Counted:
    """Run a `WriteTask`: write a stack's event list, if wanted, and counted stack; read both back.

    Raises
    ------
    DamagedError
        Frames are missing, or the outputs are not read as they were written; the spool must stay.
    """
    with SpoolReader.open(Path(task.spool)) as spool:
        source, summary = SpooledEvents(spool), Summary()
        for digests, events in source.parts():
            summary.add(digests, events)
        if summary.frames != task.frames:
            raise DamagedError(f"{task.spool}: holds {summary.frames} of {task.frames} frames; count again")
        source.about = about_stack(
            task.origin,
            calibration_once(task.method.calibration, task.method.digest),
            task.find,
            summary,
            inputs=task.inputs,
            detector=None if task.method.script is None else task.method.script.about(),
            more=task.more,
            caveats=task.caveats,
        )
        if task.events is not None:
            write_events(Path(task.events), source.about, (events for _, events in source.parts()))
        write_counted(Path(task.target), source, task.fractions)
    problems = list(verify_file(task.target).problems)
    if task.events is not None:
        problems += event_problems(Path(task.events))
    if problems:
        raise DamagedError(
            f"{task.target}: read back otherwise than it was written ({'; '.join(problems)}); check disk and "
            "memory, and count again with --overwrite"
        )
    return result_of(task.name, Path(task.target), task.events, source.about, task.origin.size or 0)


def result_of(
    name: str, target: Path, events: str | None, about: dict[str, Any], bytes_in: int, *, kept: bool = False
) -> Counted:
    """Return the record of a counted stack whose outputs are on disk."""
    coincidence = about["provenance"][-1]["results"]["coincidence"]
    dose = about["events"] / (about["shape"][1] * about["shape"][2])
    factor = coincidence["factor"]
    outputs = [target, *([] if events is None else [Path(events)])]
    return Counted(
        name=name,
        output=target.name,
        events_output="" if events is None else Path(events).name,
        frames=about["frames"],
        events=about["events"],
        bytes_in=bytes_in,
        bytes_out=sum(measure(path).size for path in outputs),
        coincidence=coincidence,
        dose=dose,
        corrected_dose=None if factor is None else dose * factor,
        written=Written(
            name, target.name, measure(target).size, whole_digest(target), files_in(outputs, target.parent)
        ),
        kept=kept,
    )
