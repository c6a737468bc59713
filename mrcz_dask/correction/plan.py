"""Plans a KOMA run: stacks, windows, outputs, disk space and memory, before anything is written."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mrcz_dask.correction.footer import forbidding, last_steps
from mrcz_dask.correction.tasks import STORE_NAME, output_name
from mrcz_dask.engine.memory import MemoryEstimate, estimate_memory
from mrcz_dask.formats.metadata import reading
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.gain.options import NO_GAIN, GainOptions, parse_gamma, stated_exposure
from mrcz_dask.gain.prepared import PreparedGain, prepare_gain
from mrcz_dask.numerics.reference.structure import grid
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Discovery, StackEntry, relative_name
from mrcz_dask.session.groups import Group, Grouping
from mrcz_dask.session.output_folder import check_space, forbid_overwriting
from mrcz_dask.values.checks import in_runs
from mrcz_dask.values.errors import MrczDaskError, OutputExistsError, ParameterError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import OutputFormat, Settings, WriteMode, WriteParams
from mrcz_dask.values.texts import readable, some, visible
from mrcz_dask.values.windows import koma_window

# Bytes per pixel that normalized output needs beyond the compressed counts, measured at 0.5-4 e-/pixel; then,
# per image pixel, what the store holds of a stack and what the images of `references` take.
BEYOND_COUNTS = {"counts": 0.02, "int16": 0.28, "float16": 1.2, "float32": 1.5}
WHOLE_COUNTS = "whole counts (--format tiff --dtype counts --form divide)"
COUNTS, COUNTS_IN_MRC = 0.4, 1.0
# Of the bytes of normalized pixels, what formats of other programs need.
FIXED = {"mrcs": 1.0, "mrcs.zst": 0.9, "tiff": 0.9}
STORE_SUMS, STORE_CORRECTION = 1.6, 1.4
COARSE = 6.0  # bytes of a block of the three coarse images
REFERENCES = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Record of what a KOMA run will do: its stacks, output folder, settings and gain; printing it shows
    them.

    Attributes
    ----------
    discovery
        The stacks in order of acquisition, and what was left out.
    folder
        Output folder.
    settings
        Settings of the run.
    overwrite
        Whether outputs that differ may be replaced.
    gain
        Gain, dark and defects that are applied to the frames first; None = nothing.
    """

    discovery: Discovery
    folder: Path
    settings: Settings
    overwrite: bool = False
    gain: PreparedGain | None = None

    @property
    def stacks(self) -> tuple[StackEntry, ...]:
        """The stacks that will be corrected, in order of acquisition."""
        return self.discovery.stacks

    @property
    def store(self) -> Path:
        """Path of the session store in the output folder."""
        return self.folder / STORE_NAME

    def output(self, stack: StackEntry) -> Path:
        """Return the path of a stack's output."""
        return self.folder / output_name(stack.stem, self.settings.write)

    def groups(self) -> dict[Group, list[int]]:
        """Return the groups of stacks that show the same specimen, with the indices of the stacks."""
        grouping = Grouping(self.settings.koma.groups)
        groups: defaultdict[Group, list[int]] = defaultdict(list)
        for k, stack in enumerate(self.stacks):
            for group in grouping.find(stack):
                groups[group].append(k)
        return {group: members for group, members in groups.items() if len(members) > 1}

    def windows(self) -> list[list[int]]:
        """Return for each stack the indices of the neighbors that would correct it if all were usable."""
        number = len(self.stacks)
        others = [{k} for k in range(number)]
        for members in self.groups().values():
            for k in members:
                others[k].update(members)
        return [
            koma_window(k, number, self.settings.koma.reach, [j not in left_out for j in range(number)])
            for k, left_out in enumerate(others)
        ]

    def bytes_out(self) -> int:
        """Estimate the bytes that the run will write, session store included, to check the disk space."""
        write, shape = self.settings.write, self.discovery.shape[1:]
        pixel = STORE_SUMS + STORE_CORRECTION * (write.write != "normalized")
        stored = COARSE * math.prod(grid(shape)) + pixel * math.prod(shape)
        return round(sum(_bytes_of(stack, write) + stored for stack in self.stacks))

    def size_lines(self, written: float | None = None) -> Iterator[str]:
        """Yield a table of what a movie, and the session, take on disk: as they are, here, and in other ways.

        The session store is left out. `written` are the bytes of the run's outputs if they are known.
        """
        counts = WriteParams("normalized", dtype="counts", format="tiff")
        if written is None:
            written = sum(_bytes_of(stack, self.settings.write) for stack in self.stacks)
        sizes = {
            "input": self.discovery.size,
            "this run": written,
            WHOLE_COUNTS: sum(_bytes_of(stack, counts) for stack in self.stacks),
            "float32 in MRC (export)": 4 * sum(math.prod(stack.shape) for stack in self.stacks),
        }
        if self.settings.write.dtype == "counts" or any(stack.dtype.kind == "f" for stack in self.stacks):
            del sizes[WHOLE_COUNTS]
        yield "on disk: a movie, the session"
        for name, size in sizes.items():
            yield f"  {name}: {readable(size / max(1, len(self.stacks)))}, {readable(size)}"
        refined = readable(REFERENCES * math.prod(self.discovery.shape[1:]))
        yield f"  a refined gain (export --refined-gain): no movie is written, {refined} an epoch"

    def memory_estimate(self) -> MemoryEstimate:
        """Estimate the memory of a worker in bytes; it does not depend on the number of stacks."""
        dtypes = {stack.dtype for stack in self.stacks}
        return estimate_memory(
            self.discovery.shape[1:], dtypes, self.settings.write.dtype, gained=self.gain is not None
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a dict for JSON: stacks, windows, settings, and sizes in bytes."""
        discovery = self.discovery
        return {
            "session": str(discovery.folder),
            "output": str(self.folder),
            "settings": self.settings.to_dict(),
            "gain": self.gain and self.gain.about,
            "stacks": [
                {
                    "name": stack.name,
                    "output": output_name(stack.stem, self.settings.write),
                    "shape": list(stack.shape),
                    "dtype": stack.dtype.name,
                    "time": stack.acquired.time.isoformat(sep=" "),
                    "time_from": stack.acquired.source,
                    "window": window,
                }
                for stack, window in zip(self.stacks, self.windows(), strict=True)
            ],
            "groups": [
                {**asdict(group), "stacks": [self.stacks[k].name for k in members]}
                for group, members in self.groups().items()
            ],
            **discovery.left_out(),
            "bytes_in": discovery.size,
            "bytes_out": self.bytes_out(),
            "memory_of_worker": self.memory_estimate().process,
            "memory_per_task": self.memory_estimate().task,
        }

    def __str__(self) -> str:
        return "\n".join(map(visible, self._lines()))

    def _lines(self) -> Iterator[str]:
        koma, needed = self.settings.koma, self.memory_estimate()
        reach = "the whole session" if koma.method == "session" else f"radius {koma.radius}"
        yield from self.discovery.lines()
        yield f"windows, if all stacks are usable ({reach}):"
        yield from (f"  {k}: {in_runs(window) or 'none'}" for k, window in enumerate(self.windows()))
        if groups := self.groups():
            yield "groups of stacks that show the same specimen, and do not correct each other (--groups):"
        for group, members in groups.items():
            yield f"  {group.name}, {group.reason}: {in_runs(members)}"
        if self.gain is not None:
            yield from self.gain.lines()
            yield from (f"warning: {text}" for text in self.gain.caveats)
        yield f"output: {self.folder}, about {readable(self.bytes_out())}"
        yield from self.size_lines()
        if self.settings.write.write == "references" and any(stack.format == "EER" for stack in self.stacks):
            yield (
                "EER stays as it is: a movie would lose the times and sub-pixels of its events. Pattern and "
                "mask are written; --write normalized writes movies"
            )
        yield (
            f"memory: about {readable(needed.of(1))} for a worker, and {readable(needed.task)} more for each "
            "further stack at a time"
        )


def _bytes_of(stack: StackEntry, params: WriteParams) -> float:
    """Estimate the bytes of a stack's output."""
    image = float(stack.shape[1] * stack.shape[2])
    pixels = image * stack.shape[0]
    packed = stack.size / pixels if stack.codec else COUNTS * stack.dtype.itemsize
    if params.write == "references":
        return image * REFERENCES
    if params.write == "recompressed":
        return pixels * packed
    if params.dtype == "counts":
        return pixels * (COUNTS_IN_MRC if params.format == "mrcs" else packed + BEYOND_COUNTS["counts"])
    if params.format in FIXED:
        return pixels * np.dtype(params.dtype).itemsize * FIXED[params.format]
    return pixels * (packed + BEYOND_COUNTS[params.dtype])


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
    """Find the stacks of a session and plan a run over them; nothing is written.

    Raises
    ------
    SessionError
        If there are no stacks, or an output would overwrite an input.
    SpaceError
        If the output folder cannot be written or is too small.
    OutputExistsError
        If there are outputs that were made with other parameters, and `overwrite` is not set.
    FormatError, ParameterError
        If a gain, dark or list of defects cannot be read, or does not fit the frames.
    """
    out = output_folder(session, folder)
    discovery = discover(
        session, output=out, include=include, exclude=exclude, recursive=recursive, inputs=settings.input
    )
    return plan_over(discovery, out, settings, overwrite=overwrite, gain=gain, listen=listen, mixing=mixing)


def output_folder(session: Path, folder: Path | None) -> Path:
    """Return the absolute path of the output folder; ``koma`` in the session's folder by default."""
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
    """Plan a run over stacks that were found, after checking disk space and existing outputs; see
    `make_plan`.

    With `mixing`, outputs that were made with other parameters are not looked for.
    """
    stacks = discovery.stacks
    if settings.write.write == "auto":
        mode: WriteMode = "references" if {stack.format for stack in stacks} == {"EER"} else "normalized"
        settings = replace(settings, write=replace(settings.write, write=mode))
    plan = gained_plan(discovery, out, settings, gain, listen, overwrite=overwrite)
    existing = _existing_outputs(plan, [settings.write])
    if len(existing) < len(stacks):  # else all may be kept, also in a folder that nobody can write into
        check_space(out, plan.bytes_out() - sum(measure(path).size for path in existing))
    forbid_overwriting((stack.path for stack in stacks), map(plan.output, stacks))
    if not (overwrite or mixing):
        forbid_mixing(plan)
    return plan


def gained_plan(
    discovery: Discovery,
    out: Path,
    settings: Settings,
    gain: GainOptions,
    listen: Listener,
    *,
    overwrite: bool,
) -> Plan:
    """Plan a run with gain, dark and defects read and turned to fit the frames; see `make_plan`."""
    stacks = discovery.stacks
    by_rate = gain.any_file and parse_gamma(gain.gamma).curve is not None
    if by_rate and gain.frame_time is None and not any(stated_exposure(stack.mdoc) for stack in stacks):
        raise ParameterError(
            "gamma by dose rate needs the time of a frame, and no stack has an .mdoc with ExposureTime; "
            "give --frame-time SECONDS, or --gain-gamma a number"
        )
    prepared = prepare_gain(
        gain,
        discovery.shape[1:],
        stacks[0].first_row,
        [stack.path for stack in stacks],
        frames_format=stacks[0].format,
        inputs=settings.input,
        listen=listen,
    )
    if prepared is not None:
        settings = replace(settings, gain=prepared.params)
    return Plan(discovery, out, settings, overwrite, prepared)


def _existing_outputs(plan: Plan, ways: Sequence[WriteParams]) -> list[Path]:
    """Return the files that have names of outputs, for each way to write them."""
    paths = [plan.folder / output_name(stack.stem, way) for stack in plan.stacks for way in ways]
    folders = {path.parent for path in paths}
    existing = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return [path for path in paths if path in existing and path.exists()]


def forbid_mixing(plan: Plan) -> None:
    """Raise an error if the output folder holds outputs made with other parameters, before any work.

    Raises
    ------
    OutputExistsError
        If there are such outputs; names some of them, and the differences.
    """
    ways = [
        WriteParams(write="references"),
        *(WriteParams(format=format) for format in get_args(OutputFormat)),
    ]
    differing = {}
    for path in _existing_outputs(plan, ways):
        why = None
        # without a footer it is damaged or not ours: named on its own, when the stack's turn comes
        with suppress(MrczDaskError, OSError), reading(str(path), "an output of a run"):
            footer = read_footer(path)
            why = None if footer is None else forbidding(last_steps(footer), plan.settings)
        if why:
            differing[relative_name(path, plan.folder)] = why
    if differing:
        whys = list(dict.fromkeys(differing.values()))
        raise OutputExistsError(
            f"{plan.folder} holds {len(differing)} outputs that this command would not make like that: "
            f"{some(whys, 2)} ({some(differing, 2)}); use --overwrite to replace them, or another output "
            "folder (-o)"
        )
