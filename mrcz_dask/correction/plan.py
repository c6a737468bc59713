"""What a run would do, to be looked at before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.correction.footer import forbidding, last_steps
from mrcz_dask.correction.tasks import STORE_NAME, output_name
from mrcz_dask.engine.memory import MemoryEstimate, estimate_memory
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.gain.options import GainOptions, parse_gamma, stated_exposure
from mrcz_dask.gain.prepared import PreparedGain, prepare_gain
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Discovery, StackEntry, relative_name
from mrcz_dask.session.output_folder import check_space, forbid_overwriting
from mrcz_dask.values.errors import FormatError, OutputExistsError, ParameterError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import FORMATS, Settings, WriteParams
from mrcz_dask.values.sizes import readable, some
from mrcz_dask.values.windows import koma_window

# Bytes per pixel that normalised output needs beyond the compressed counts, measured at 0.5-4 e-/pixel; then,
# per image pixel, what the store holds of a stack and what the images of `references` take.
BEYOND_COUNTS = {"int16": 0.28, "float16": 1.2, "float32": 1.5}
COUNTS = 0.4
# Of the bytes of normalised pixels, what formats of other programs need.
FIXED = {"mrcs": 1.0, "mrcs.zst": 0.9, "tiff": 0.9}
STORE_SUMS, STORE_CORRECTION = 1.6, 1.4
REFERENCES = 5.0
NO_GAIN = GainOptions()


@dataclass(frozen=True, slots=True)
class Plan:
    """A run over a session.

    Attributes
    ----------
    discovery
        The stacks in order of acquisition, and what was left out.
    folder
        Where outputs go.
    settings
        Of the run.
    overwrite
        Whether outputs that differ may be replaced.
    gain
        What is applied to the frames before all else; None = nothing.
    """

    discovery: Discovery
    folder: Path
    settings: Settings
    overwrite: bool = False
    gain: PreparedGain | None = None

    @property
    def stacks(self) -> tuple[StackEntry, ...]:
        """The stacks in order of acquisition."""
        return self.discovery.stacks

    @property
    def store(self) -> Path:
        """Where the session store goes."""
        return self.folder / STORE_NAME

    def output(self, stack: StackEntry) -> Path:
        """Return the path of a stack's output."""
        return self.folder / output_name(stack.stem, self.settings.write)

    def window(self, index: int) -> list[int]:
        """Return the window of a stack if all stacks are usable."""
        return koma_window(index, len(self.stacks), self.settings.koma.reach)

    def _reach(self) -> str:
        koma = self.settings.koma
        return "the whole session" if koma.method == "session" else f"radius {koma.radius}"

    def bytes_out(self) -> int:
        """Return an estimate of what the run writes, session store included."""
        return round(sum(self._stack_bytes(stack) for stack in self.stacks))

    def memory_estimate(self) -> MemoryEstimate:
        """Return the memory that a worker needs; it does not depend on the number of stacks."""
        dtypes = {stack.dtype for stack in self.stacks}
        return estimate_memory(
            self.discovery.shape[1:], dtypes, self.settings.write.dtype, gained=self.gain is not None
        )

    def _stack_bytes(self, stack: StackEntry) -> float:
        image = float(stack.shape[1] * stack.shape[2])
        pixels = image * stack.shape[0]
        if self.settings.write.format in FIXED and self.settings.write.write == "normalized":
            size = np.dtype(self.settings.write.dtype).itemsize
            return pixels * size * FIXED[self.settings.write.format] + image * STORE_SUMS
        packed = stack.size / pixels if stack.codec else COUNTS * stack.dtype.itemsize
        write = self.settings.write
        if write.write == "references":
            return image * (REFERENCES + STORE_SUMS + STORE_CORRECTION)
        if write.write == "recompressed":
            return pixels * packed + image * (STORE_SUMS + STORE_CORRECTION)
        return pixels * (packed + BEYOND_COUNTS[write.dtype]) + image * STORE_SUMS

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "session": str(self.discovery.folder),
            "output": str(self.folder),
            "settings": self.settings.to_dict(),
            "gain": self.gain and self.gain.about,
            "stacks": [self._stack_dict(k) for k in range(len(self.stacks))],
            "skipped": [
                {"name": self.discovery.name_of(s.path), "reason": s.reason} for s in self.discovery.skipped
            ],
            "rejected": [
                {"name": self.discovery.name_of(r.path), "reason": r.reason} for r in self.discovery.rejected
            ],
            "warnings": list(self.discovery.warnings),
            "bytes_in": self.discovery.size,
            "bytes_out": self.bytes_out(),
            "memory_of_worker": self.memory_estimate().process,
            "memory_per_task": self.memory_estimate().task,
        }

    def _stack_dict(self, k: int) -> dict[str, Any]:
        stack = self.stacks[k]
        return {
            "name": stack.name,
            "output": output_name(stack.stem, self.settings.write),
            "shape": list(stack.shape),
            "dtype": stack.dtype.name,
            "time": stack.acquired.time.isoformat(sep=" "),
            "time_from": stack.acquired.source,
            "window": self.window(k),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield str(self.discovery)
        yield f"windows, if all stacks are usable ({self._reach()}):"
        yield from (f"  {k}: {ranges(self.window(k))}" for k in range(len(self.stacks)))
        if self.gain is not None:
            yield from self.gain.lines()
            yield from (f"warning: {text}" for text in self.gain.caveats)
        yield f"output: {self.folder}, about {readable(self.bytes_out())}"
        needed = self.memory_estimate()
        yield (
            f"memory: about {readable(needed.of(1))} for a worker, and {readable(needed.task)} more for each "
            "further stack at a time"
        )


def make_plan(
    session: Path,
    folder: Path | None,
    settings: Settings,
    *,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    recursive: bool = False,
    overwrite: bool = False,
    gain: GainOptions = NO_GAIN,
    listen: Listener = silent,
    mixing: bool = False,
) -> Plan:
    """Find the stacks of a session and return what a run over them would do; nothing is written.

    Raises
    ------
    SessionError
        When there are no stacks, or an output would overwrite an input.
    SpaceError
        When the output folder cannot be written or is too small.
    OutputExistsError
        When outputs are there that were made with other parameters, and `overwrite` is not set.
    FormatError, ParameterError
        When a gain, dark or list of defects cannot be read, or does not fit the frames.
    """
    out = output_folder(session, folder)
    found = discover(
        session, output=out, include=include, exclude=exclude, recursive=recursive, inputs=settings.input
    )
    return plan_over(found, out, settings, overwrite=overwrite, gain=gain, listen=listen, mixing=mixing)


def _prepared(
    discovery: Discovery, settings: Settings, gain: GainOptions, listen: Listener
) -> PreparedGain | None:
    """Return what is applied to the frames, turned and fitted; nothing is read where nothing is asked for."""
    stacks = discovery.stacks
    timed = gain.frame_time is not None or any(stated_exposure(stack.mdoc) for stack in stacks)
    if parse_gamma(gain.gamma).curve is not None and not timed:
        raise ParameterError(
            "gamma by dose rate needs the time of a frame, and no stack has an .mdoc with ExposureTime; give "
            "--frame-time SECONDS, or --gain-gamma a number"
        )
    paths = [stack.path for stack in stacks]
    return prepare_gain(
        gain,
        discovery.shape[1:],
        stacks[0].first_row,
        paths,
        frames_format=stacks[0].format,
        inputs=settings.input,
        listen=listen,
    )


def output_folder(session: Path, folder: Path | None) -> Path:
    """Return the absolute path of the output folder; ``koma`` in the session's, if none is given."""
    return (folder or session / "koma").absolute()


def plan_over(
    discovery: Discovery,
    out: Path,
    settings: Settings,
    *,
    overwrite: bool,
    gain: GainOptions = NO_GAIN,
    listen: Listener = silent,
    mixing: bool = False,
) -> Plan:
    """Return what a run over the stacks that were found would do; see `make_plan`.

    With `mixing`, whether outputs are there that were made with other parameters is left to be seen later.
    """
    prepared = _prepared(discovery, settings, gain, listen)
    if prepared is not None:
        settings = replace(settings, gain=prepared.params)
    plan = Plan(discovery, out, settings, overwrite, prepared)
    check_space(out, plan.bytes_out() - _bytes_there(plan))
    forbid_overwriting((s.path for s in plan.stacks), (plan.output(s) for s in plan.stacks))
    if not (overwrite or mixing):
        forbid_mixing(plan)
    return plan


def _bytes_there(plan: Plan) -> int:
    """Return the size of outputs that are there: they will be kept, or make room."""
    return sum(measure(path).size for path in _there(plan, (plan.settings.write,)))


def _there(plan: Plan, ways: Sequence[WriteParams]) -> list[Path]:
    """Return the files that have names of outputs."""
    paths = [plan.folder / output_name(stack.stem, way) for stack in plan.stacks for way in ways]
    folders = {path.parent for path in paths}
    found = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return [path for path in paths if path in found]


def forbid_mixing(plan: Plan) -> None:
    """Refuse a folder that holds outputs of other parameters, before any work is done.

    Raises
    ------
    OutputExistsError
        Names some of them, and what differs.
    """
    there = _there(plan, (WriteParams(write="references"), *(WriteParams(format=one) for one in FORMATS)))
    differing = {
        relative_name(path, plan.folder): why
        for path in there
        if (why := _made_otherwise(path, plan.settings))
    }
    if differing:
        whys = list(dict.fromkeys(differing.values()))
        raise OutputExistsError(
            f"{plan.folder} holds {len(differing)} outputs that this command would not make like that: "
            f"{some(whys, 2)} ({some(differing, 2)}); use --overwrite to replace them, or another output "
            "folder (-o)"
        )


def _made_otherwise(path: Path, settings: Settings) -> str | None:
    try:
        footer = read_footer(path)
    except FormatError:
        footer = None
    # without one it is damaged or not ours: named on its own, when the stack's turn comes
    return None if footer is None else forbidding(last_steps(footer), settings)


def ranges(indices: list[int]) -> str:
    """Return 0, 1, 2, 4 as '0-2, 4'."""
    if not indices:
        return "none"
    cuts = np.flatnonzero(np.diff(indices) > 1) + 1
    runs = np.split(np.array(indices), cuts)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
