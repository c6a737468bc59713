"""Stacks of a live stream while their electrons are counted: waiting frames, electrons in a spool, output."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any

from mrcz_dask.counting.counter import CountingMethod
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.recording import Origin
from mrcz_dask.counting.spool import SUFFIX, frame_count, frames_in, ordered_batches
from mrcz_dask.counting.store import SUFFIX as EVENTS
from mrcz_dask.counting.tasks import WriteTask
from mrcz_dask.formats.spool import Spool, SpoolReader, SpoolRecord
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import StreamInfo, describe_damage, ranges
from mrcz_dask.values.checks import raise_all, whole
from mrcz_dask.values.errors import DamagedError, OutputExistsError
from mrcz_dask.values.messages import Listener, Warned, silent


@dataclass(frozen=True)
class StreamOptions:
    """Options of counting a live stream: folders, calibration, length of stacks, most waiting tasks,
    compression.

    Attributes
    ----------
    folder
        Folder of the outputs.
    calibration
        Folder of the detector's calibration, which `count` wrote.
    find, fractions
        How electrons are found and become frames. The calibration decides about `find`, except for the
        user's function.
    events
        True: write event lists.
    detector
        A user's function, ``FILE.py:NAME``.
    stack_frames
        Most raw frames of a stack.
    backlog
        Tasks that wait or run at a time, for each slot of the workers.
    zero_below
        Lossy: pixels below so many read noises are sent as 0.
    record
        Folder in which the raw frames are kept, too.

    Raises
    ------
    ParameterError
        A number is out of range.
    """

    folder: Path
    calibration: Path
    find: FindParams = field(default_factory=FindParams)
    fractions: FractionParams = field(default_factory=FractionParams)
    events: bool = False
    detector: str | None = None
    stack_frames: int = 1000
    backlog: int = 4
    zero_below: float | None = None
    record: Path | None = None

    def __post_init__(self) -> None:
        raise_all("stream", whole("stack_frames", self.stack_frames, 1, 1 << 24))
        raise_all("stream", whole("backlog", self.backlog, 1, 1000))


@dataclass(slots=True, eq=False)
class CountingStack:
    """A stack whose electrons are being counted: its waiting frames, and the spool file of its electrons.

    Attributes
    ----------
    about, first
        Properties that its frames share, and the number of the first one.
    spool
        Spool of its electrons.
    sent
        Number of frames that were handed to workers.
    waiting
        Frames that were not yet.
    running
        Number of tasks at workers.
    ended
        True if no more frames come.
    """

    about: StreamInfo
    first: int
    spool: Spool
    sent: int = 0
    waiting: list[Frame] = field(default_factory=list)
    running: int = 0
    ended: bool = False

    def __len__(self) -> int:
        """Return the number of frames, counted or not."""
        return self.sent + len(self.waiting)

    def numbers(self, *more: tuple[int, list[int]]) -> list[int]:
        """Return the numbers of the frames whose electrons are in the spool, up to the first missing frame.

        Parameters
        ----------
        more
            Batches that will be there, too: place of the first frame in the stack, and numbers of the frames.
        """
        batches = {r.header["first"]: r.header["numbers"] for r in self.spool.records} | dict(more)
        numbers: list[int] = []
        while len(numbers) in batches:
            numbers += batches[len(numbers)]
        return numbers


def spool_header(
    about: StreamInfo, first: int, method: CountingMethod, zero_below: float | None
) -> dict[str, Any]:
    """Return the header of a spool of electrons: properties of the stack,
    and how its electrons are counted.
    """
    return {
        **asdict(about),
        "shape": list(about.shape),
        "first": first,
        "method": [method.digest, None if method.script is None else method.script.about()["digest"]],
        "zeroed": zero_below,
    }


def resume_stacks(
    folder: Path, method: CountingMethod, zero_below: float | None, listen: Listener = silent
) -> list[CountingStack]:
    """Take up the stacks whose spool files an ended or killed run left in a folder; delete empty ones.

    Batches behind a gap are left out, as the sender sends their frames again. But not if their own frames
    were acknowledged: then damage made the gap, and the sender has no frames of it any more.

    Raises
    ------
    OutputExistsError
        Electrons were counted in another way.
    """
    stacks: list[CountingStack] = []
    streams: defaultdict[str, list[SpoolReader]] = defaultdict(list)
    with ExitStack() as opened:
        for path in sorted(folder.glob(f".*{SUFFIX}")):
            left = opened.enter_context(SpoolReader.open(path))
            streams[left.header.get("stream", "")].append(left)
        for spools in streams.values():
            acknowledged, expected = _acknowledged(spools), None
            for left in sorted(spools, key=lambda spool: int(spool.header.get("first", 0))):
                batches: list[SpoolRecord] = []
                for batch in sorted(left.records, key=lambda record: int(record.header["first"])):
                    numbers = batch.header["numbers"]
                    follows = batch.header["first"] == frames_in(batches)
                    if not batches:
                        follows &= expected in (None, numbers[0])
                    if not follows and numbers[-1] >= acknowledged:
                        break
                    batches.append(batch)
                stack = _resume_stack(left, batches, method, zero_below, listen)
                expected = left.header.get("first") if stack is None else stack.numbers()[-1] + 1
                if stack is not None:
                    stacks.append(stack)
    return sorted(stacks, key=lambda stack: stack.first)


def _acknowledged(spools: list[SpoolReader]) -> float:
    """Return the number below which frames of a stream were acknowledged, as its batches say (``safe``).

    What a damaged batch at the end of a file said is not known: then any frame may have been.
    """
    damaged = [left for left in spools if left.damage]
    unknown = inf if damaged else 0.0
    if any(left.damage[-1].start > max((r.start for r in left.records), default=0) for left in damaged):
        return inf
    return max((r.header.get("safe", unknown) for left in spools for r in left.records), default=unknown)


def _resume_stack(
    left: SpoolReader,
    batches: list[SpoolRecord],
    method: CountingMethod,
    zero_below: float | None,
    listen: Listener,
) -> CountingStack | None:
    """Take up a stack with some batches of its spool file; delete a spool without any and return None."""
    if not left.records and not left.damage:
        left.path.unlink()
        return None
    header = left.header
    if header:
        about = StreamInfo.parse({field.name: header[field.name] for field in fields(StreamInfo)})
        if header != spool_header(about, header["first"], method, zero_below):
            raise OutputExistsError(
                f"{left.path}: electrons of stream {about.stream!r} that were counted in another way wait "
                "here; use the calibration, --detector and --zero-below of before, or another output "
                "folder (-o)"
            )
    firsts = accumulate((frame_count(batch) for batch in batches), initial=0)
    items = (
        ({**batch.header, "first": first, "safe": batch.header["numbers"][-1] + 1}, left.body(batch))
        for first, batch in zip(firsts, batches, strict=False)
    )
    try:
        spool = Spool.replacing(left, items)
    except DamagedError as error:
        listen(Warned(str(error)))
        return None
    stack = CountingStack(about, header["first"], spool, sent=sum(map(frame_count, batches)))
    if left.damage:
        listen(Warned(describe_damage(spool, stack.numbers(), stack.first)))
    if not batches:
        spool.remove()
        return None
    return stack


def write_task(stack: CountingStack, options: StreamOptions, method: CountingMethod) -> WriteTask:
    """Return the task in which a worker writes the outputs of a stack whose frames have all been counted."""
    about, numbers, batches = stack.about, stack.numbers(), ordered_batches(stack.spool)
    times = [time for batch in batches for time in batch.header["times"]]
    missing = numbers[-1] + 1 - stack.first - len(numbers)
    acquired = datetime.fromtimestamp(times[0], UTC).isoformat()
    live = {"stream": about.stream, "stack": about.stack, "numbers": ranges(numbers), "times": times}
    meta = {**batches[0].header["meta"], "acquisition_time": acquired, "live": live}
    caveats = []
    if missing:
        caveats.append(f"{missing} frames are missing between the first and the last")
    if options.zero_below is not None:
        caveats.append(
            f"pixels below {options.zero_below:g} read noises were taken as dark: lossy, electrons are "
            "missing, and the dose is too low"
        )
    name = stack.spool.path.name[1 : -len(SUFFIX)]
    return WriteTask(
        spool=str(stack.spool.path),
        origin=Origin(name, None, about.shape, about.pixel_size, acquired, "meta", meta),
        frames=stack.sent,
        method=method,
        find=options.find,
        fractions=options.fractions,
        target=str(options.folder / f"{name}.mrcz"),
        events=str(options.folder / f"{name}{EVENTS}") if options.events else None,
        more={"stream": {"first": numbers[0], "missing": missing}, "zero_below": options.zero_below},
        caveats=tuple(caveats),
    )
