"""Plan a run of counting: which stacks, how, and into which folder; it reads headers and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrcz_dask.counting.calibrate import CountingReferences
from mrcz_dask.counting.calibration import NAME, calibration_path
from mrcz_dask.counting.counter import DetectorScript
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.store import SUFFIX
from mrcz_dask.counting.tasks import batch_frames, estimate_memory
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.text.mdoc import mdoc_index
from mrcz_dask.gain.options import NO_GAIN, GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Rejected, Skipped, StackEntry
from mrcz_dask.session.output_folder import check_space, forbid_overwriting
from mrcz_dask.session.probe import probe
from mrcz_dask.values.errors import MrczDaskError, ParameterError, PlaceError, SessionError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.texts import readable, visible

FEWEST_DARK = 8


@dataclass(frozen=True)
class CountPlan:
    """A plan to count the electrons of some stacks: inputs, parameters and outputs; nothing is computed yet.

    Attributes
    ----------
    stacks
        Stacks in order of acquisition.
    bad
        Files that should be stacks and are broken, with the reasons.
    folder
        Folder for the outputs, absolute.
    find, fractions
        Parameters by which electrons are found and made into frames.
    inputs
        How files are read whose headers leave something open.
    events
        Whether event lists are written.
    references
        Gain, dark and defects.
    calibration
        Path of the calibration; None = the one in the folder, or a new one.
    script
        A user's detector function.
    overwrite
        Whether outputs that are there are replaced.
    """

    stacks: tuple[StackEntry, ...]
    bad: tuple[Rejected, ...]
    folder: Path
    find: FindParams
    fractions: FractionParams
    inputs: InputParams
    events: bool
    references: CountingReferences
    calibration: Path | None = None
    script: DetectorScript | None = None
    overwrite: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the frames of most stacks."""
        return _usual_shape(self.stacks)

    @property
    def own_calibration(self) -> Path:
        """Path of the calibration that this run keeps in its output folder."""
        return self.folder / NAME

    def target(self, stack: StackEntry) -> Path:
        """Return the path of the counted stack that is made from a raw stack."""
        return self.folder / f"{stack.stem}.mrcz"

    def events_target(self, stack: StackEntry) -> Path | None:
        """Return the path of the event list that is made from a raw stack; None if none is to be written."""
        return self.folder / f"{stack.stem}{SUFFIX}" if self.events else None

    def memory_estimate(self) -> MemoryEstimate:
        """Estimate the memory that a worker needs, bytes."""
        return estimate_memory(self.shape, self.fractions.upsampling)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, for JSON."""
        memory = self.memory_estimate()
        return {
            "output": str(self.folder),
            "find": self.find.to_dict(),
            "fractions": self.fractions.to_dict(),
            "detector": None if self.script is None else self.script.about(),
            "calibration": self._calibration(),
            "references": self.references.about,
            "events": self.events,
            "frames_per_task": batch_frames(self.shape),
            "stacks": [
                {
                    "name": stack.name,
                    "shape": list(stack.shape),
                    "dtype": str(stack.dtype),
                    "output": self.target(stack).name,
                }
                for stack in self.stacks
            ],
            "rejected": [{"name": file.path.name, "reason": file.reason} for file in self.bad],
            "memory_of_worker": memory.process,
            "memory_per_task": memory.task,
        }

    def _calibration(self) -> str:
        if self.calibration is not None:
            return str(self.calibration)
        if self.own_calibration.exists() and not self.overwrite:
            return f"{self.own_calibration}, kept"
        kind = self.references.dark_stack or f"{self.find.sample} raw frames"
        return f"from {kind}, into {self.own_calibration}"

    def __str__(self) -> str:
        return "\n".join(map(visible, self._lines()))

    def _lines(self) -> Iterator[str]:
        frames, size = sum(stack.shape[0] for stack in self.stacks), sum(stack.size for stack in self.stacks)
        ny, nx = self.shape
        yield f"{len(self.stacks)} stacks, {frames} raw frames of {ny} x {nx}, {readable(size)}"
        yield from (f"  {stack.acquired}  {stack.name}  {stack.shape[0]} frames" for stack in self.stacks)
        yield from (f"rejected: {file.reason}" for file in self.bad)
        method = f"{self.find.method}, {self.find.clusters}"
        if self.script is not None:
            method = self.script.name
        yield f"method: {method}; threshold {self.find.sigma:g} read noises"
        yield f"detector: {self._calibration()}"
        yield from (f"{key}: {value['name']}" for key, value in self.references.about.items())
        yield from (f"warning: {text}" for text in self.references.caveats)
        up, each = self.fractions.upsampling, self.fractions.fraction
        yield f"counted frames of {ny * up} x {nx * up}, each of {each} raw frames, into {self.folder}"
        yield f"tasks of {batch_frames(self.shape)} frames; event lists: {'yes' if self.events else 'no'}"
        memory = self.memory_estimate()
        yield (
            f"memory: about {readable(memory.of(1))} for a worker, and {readable(memory.task)} more for each "
            "further task at a time"
        )


def count_plan(
    paths: Sequence[Path | str],
    folder: Path | str,
    find: FindParams | None = None,
    fractions: FractionParams | None = None,
    *,
    inputs: InputParams | None = None,
    exclude: Sequence[str] | None = None,
    events: bool = False,
    gain: GainOptions = NO_GAIN,
    calibration: Path | str | None = None,
    detector: str | None = None,
    overwrite: bool = False,
) -> CountPlan:
    """Make a plan to count electrons: find the stacks, read their headers, choose output paths; write
    nothing.

    Parameters
    ----------
    paths
        Stacks of raw frames, or folders with stacks.
    folder
        Folder for the outputs.
    find, fractions
        Parameters by which electrons are found and made into frames.
    inputs
        How files are read whose headers leave something open.
    exclude
        Names or patterns of stacks in the folders that are left out, as `discover` takes them.
    events
        Whether event lists are written, too.
    gain
        Gain, dark and defects. The dark may be a stack of at least 8 frames: then noise is found in it, too.
    calibration
        Calibration of an earlier run, or its folder; None = the one in `folder`, else a new one.
    detector
        ``FILE.py:NAME`` of a user's function.
    overwrite
        Whether outputs that are there are replaced.

    Raises
    ------
    SessionError
        If there is no stack, or two outputs would have one name.
    ParameterError
        If options do not go together.
    """
    inputs, out = inputs or InputParams(), Path(folder).absolute()
    stacks, bad = _find_stacks([Path(path) for path in paths], out, inputs, exclude)
    path = None if calibration is None else calibration_path(Path(calibration))
    script = None if detector is None else DetectorScript.parse(detector)
    if path is not None and gain.any_file:
        raise ParameterError(
            "--calibration holds dark, gain and defects; give it, or --dark, --gain and --defects"
        )
    outputs = [out / f"{stack.stem}.mrcz" for stack in stacks]
    forbid_overwriting([stack.path for stack in stacks], outputs)
    if overwrite or not all(output.exists() for output in outputs):  # else all may be kept, as in `koma`
        check_space(out, 0)
    return CountPlan(
        stacks=tuple(stacks),
        bad=tuple(bad),
        folder=out,
        find=find or FindParams(),
        fractions=fractions or FractionParams(),
        inputs=inputs,
        events=events,
        references=_references(gain, stacks, inputs),
        calibration=path,
        script=script,
        overwrite=overwrite,
    )


def _usual_shape(stacks: Sequence[StackEntry]) -> tuple[int, int]:
    """Return the most frequent size of a frame, the earliest of equally frequent ones."""
    return Counter((stack.shape[1], stack.shape[2]) for stack in stacks).most_common(1)[0][0]


def _find_stacks(
    paths: Sequence[Path], out: Path, inputs: InputParams, exclude: Sequence[str] | None
) -> tuple[list[StackEntry], list[Rejected]]:
    stacks: list[StackEntry] = []
    bad: list[Rejected] = []
    for path in paths:
        if path.is_dir() and path.suffix != ".zarr":
            session = discover(path, exclude=exclude, output=out, inputs=inputs)
            stacks += session.stacks
            bad += session.rejected
            continue
        file = _probe(path.absolute(), inputs)
        if isinstance(file, StackEntry):
            stacks.append(file)
        else:
            bad.append(file)
    if not stacks:
        kind = SessionError if any(path.exists() for path in paths) else PlaceError
        raise kind("; ".join(file.reason for file in bad) or "no stacks; expected stacks of raw frames")
    doubles = sorted(stem for stem, n in Counter(stack.stem for stack in stacks).items() if n > 1)
    if doubles:
        raise SessionError(
            f"several stacks are called {doubles[0]}; outputs have the stems of stacks; count them apart"
        )
    return sorted(stacks, key=lambda stack: (stack.acquired.time, stack.name)), bad


def _probe(path: Path, inputs: InputParams) -> StackEntry | Rejected:
    if not path.exists():
        return Rejected(path, f"{path}: is not there; expected a stack of raw frames; check the path")
    mdocs = {path.parent: mdoc_index(file.name for file in path.parent.iterdir())}
    file = probe(path.parent, mdocs, path, inputs).found
    if isinstance(file, Skipped):
        return Rejected(path, f"{path}: {file.reason}; expected a stack of raw frames")
    if isinstance(file, Rejected):  # --exclude is for files in folders
        return replace(file, reason=file.reason.replace(" (--exclude)", ""))
    return file


def _references(gain: GainOptions, stacks: Sequence[StackEntry], inputs: InputParams) -> CountingReferences:
    """Read gain, dark and defects, turned and fitted as `koma` does it; a dark may be a stack."""
    if gain.auto or gain.gamma is not None:
        raise ParameterError(
            "--gain-orient auto and --gain-gamma are for counted stacks; give --gain-rotate and --gain-flip"
        )
    shape = _usual_shape(stacks)
    dark_stack = None
    if gain.dark is not None:  # why a file cannot be opened is told when it is read as an image
        with suppress(MrczDaskError, OSError), open_source(gain.dark, inputs) as source:
            dark_stack = Path(gain.dark).absolute() if len(source) > 1 else None
    images = gain if dark_stack is None else replace(gain, dark=None)
    prepared = prepare_gain(images, shape, stacks[0].first_row, [], inputs=inputs)
    about = {} if prepared is None else {k: v for k, v in prepared.about.items() if isinstance(v, dict)}
    if dark_stack is not None:
        with open_source(dark_stack, inputs) as source:
            if source.shape[0] < FEWEST_DARK or source.shape[1:] != shape:
                raise ParameterError(
                    f"--dark {gain.dark}: has shape {source.shape}; expected one image, or at least "
                    f"{FEWEST_DARK} frames of {shape}"
                )
        about["dark"] = {"name": dark_stack.name, "digest": file_digest(dark_stack)}
    return CountingReferences(about, prepared, dark_stack, gain.force)
