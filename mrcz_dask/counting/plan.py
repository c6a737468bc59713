"""What a run will count: frozen, printable; making it reads headers and references, and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.counting.calibration import NAME
from mrcz_dask.counting.detectors import DetectorScript
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.recording import Origin
from mrcz_dask.counting.survey import Given
from mrcz_dask.counting.tasks import batch_frames, estimate_memory, events_path
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.text.mdoc import mdoc_index
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Rejected, Skipped, StackEntry
from mrcz_dask.session.output_folder import check_space, forbid_overwriting
from mrcz_dask.session.probe import probe
from mrcz_dask.values.errors import MrczDaskError, ParameterError, PlaceError, SessionError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.sizes import readable

NO_GAIN = GainOptions()
FEWEST_DARK = 8


@dataclass(frozen=True)
class CountPlan:
    """What a run will do.

    Attributes
    ----------
    stacks
        In order of acquisition.
    bad
        What should have been a stack and is none.
    folder
        Of the outputs, absolute.
    find, fractions
        How electrons are found, and made into frames.
    inputs
        How stacks are read.
    events
        Whether event lists are written.
    given
        What is known of the detector.
    calibration
        Path of one to be used, or None: that in the folder, or a new one.
    script
        A user's detector function.
    overwrite
        Replace outputs that are there.
    """

    stacks: tuple[StackEntry, ...]
    bad: tuple[Rejected, ...]
    folder: Path
    find: FindParams
    fractions: FractionParams
    inputs: InputParams
    events: bool
    given: Given
    calibration: Path | None = None
    script: DetectorScript | None = None
    overwrite: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of most stacks' frames."""
        return usual_shape(self.stacks)

    @property
    def own_calibration(self) -> Path:
        """Where this run's calibration is kept."""
        return self.folder / NAME

    def target(self, stack: StackEntry) -> Path:
        """Return the path of a stack's counted frames."""
        return self.folder / f"{stack.stem}.mrcz"

    def events_target(self, stack: StackEntry) -> Path | None:
        """Return the path of a stack's event list."""
        return events_path(self.folder, stack.stem) if self.events else None

    def memory_estimate(self) -> MemoryEstimate:
        """Return the memory that a worker needs."""
        return estimate_memory(self.shape, self.fractions.upsampling)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "output": str(self.folder),
            "find": self.find.to_dict(),
            "fractions": self.fractions.to_dict(),
            "detector": None if self.script is None else self.script.about(),
            "calibration": self._calibration(),
            "references": self.given.about,
            "events": self.events,
            "frames_per_task": batch_frames(self.shape),
            "stacks": [
                {
                    "name": one.name,
                    "shape": list(one.shape),
                    "dtype": str(one.dtype),
                    "output": self.target(one).name,
                }
                for one in self.stacks
            ],
            "rejected": [{"name": one.path.name, "reason": one.reason} for one in self.bad],
            "memory_of_worker": self.memory_estimate().process,
            "memory_per_task": self.memory_estimate().task,
        }

    def _calibration(self) -> str:
        if self.calibration is not None:
            return str(self.calibration)
        if self.own_calibration.exists() and not self.overwrite:
            return f"{self.own_calibration}, kept"
        kind = self.given.dark_stack or f"{self.find.sample} raw frames"
        return f"from {kind}, into {self.own_calibration}"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        frames, size = sum(one.shape[0] for one in self.stacks), sum(one.size for one in self.stacks)
        ny, nx = self.shape
        yield f"{len(self.stacks)} stacks, {frames} raw frames of {ny} x {nx}, {readable(size)}"
        yield from (f"  {one.acquired}  {one.name}  {one.shape[0]} frames" for one in self.stacks)
        yield from (f"rejected: {one.reason}" for one in self.bad)
        how = (
            f"{self.find.method}, {self.find.clusters}"
            if self.script is None
            else self.script.about()["name"]
        )
        yield f"method: {how}; threshold {self.find.sigma:g} read noises"
        yield f"detector: {self._calibration()}"
        yield from (f"{key}: {value['name']}" for key, value in self.given.about.items())
        yield from (f"warning: {text}" for text in self.given.caveats)
        up, each = self.fractions.upsampling, self.fractions.fraction
        yield f"counted frames of {ny * up} x {nx * up}, each of {each} raw frames, into {self.folder}"
        yield f"tasks of {batch_frames(self.shape)} frames; event lists: {'yes' if self.events else 'no'}"
        needed = self.memory_estimate()
        yield (
            f"memory: about {readable(needed.of(1))} for a worker, and {readable(needed.task)} more for each "
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
    """Return what counting some stacks would do.

    Parameters
    ----------
    paths
        Stacks of raw frames, or folders with stacks.
    folder
        For the outputs.
    find, fractions
        How electrons are found, and made into frames.
    inputs
        How stacks are read where they do not say it.
    exclude
        Names or patterns of stacks in the folders that are left out, as `discover` takes them.
    events
        Write event lists, too.
    gain
        Gain, dark and defects. The dark may be a stack of at least 8 frames: then noise is from there, too.
    calibration
        Of an earlier run, or its folder; None = that in `folder`, else a new one.
    detector
        ``FILE.py:NAME`` of a user's function.
    overwrite
        Replace outputs that are there.

    Raises
    ------
    SessionError
        There is no stack, or two outputs would have one name.
    ParameterError
        Options that do not go together.
    """
    read, out = inputs or InputParams(), Path(folder).absolute()
    stacks, bad = _stacks([Path(one) for one in paths], out, read, exclude)
    made = CountPlan(
        stacks=tuple(stacks),
        bad=tuple(bad),
        folder=out,
        find=find or FindParams(),
        fractions=fractions or FractionParams(),
        inputs=read,
        events=events,
        given=Given(),
        calibration=None if calibration is None else calibration_path(Path(calibration)),
        script=None if detector is None else DetectorScript.parse(detector),
        overwrite=overwrite,
    )
    if made.calibration is not None and gain.asked:
        raise ParameterError(
            "--calibration holds dark, gain and defects; give it, or --dark, --gain and --defects"
        )
    forbid_overwriting([one.path for one in stacks], [made.target(one) for one in stacks])
    check_space(out, 0)
    return replace(made, given=given_of(gain, stacks, made.shape, read))


def usual_shape(stacks: Sequence[StackEntry]) -> tuple[int, int]:
    """Return the most frequent size of a frame, the earliest's of several."""
    counts = Counter((one.shape[1], one.shape[2]) for one in stacks)
    return max(counts, key=counts.__getitem__)


def _stacks(
    paths: list[Path], out: Path, inputs: InputParams, exclude: Sequence[str] | None
) -> tuple[list[StackEntry], list[Rejected]]:
    stacks: list[StackEntry] = []
    bad: list[Rejected] = []
    for path in paths:
        if path.is_dir() and path.suffix != ".zarr":
            found = discover(path, exclude=exclude, output=out, inputs=inputs)
            stacks += found.stacks
            bad += found.rejected
            continue
        one = _look(path.absolute(), inputs)
        stacks += [one] if isinstance(one, StackEntry) else []
        bad += [one] if isinstance(one, Rejected) else []
    if not stacks:
        kind = SessionError if any(path.exists() for path in paths) else PlaceError
        raise kind("; ".join(one.reason for one in bad) or "no stacks; expected stacks of raw frames")
    _forbid_doubles(stacks)
    return sorted(stacks, key=lambda one: (one.acquired.time, one.name)), bad


def _look(path: Path, inputs: InputParams) -> StackEntry | Rejected:
    if not path.exists():
        return Rejected(path, f"{path}: is not there; expected a stack of raw frames; check the path")
    mdocs = {path.parent: mdoc_index(one.name for one in path.parent.iterdir())}
    found = probe(path.parent, mdocs, path, inputs).found
    if isinstance(found, Skipped):
        return Rejected(path, f"{path}: {found.reason}; expected a stack of raw frames")
    if isinstance(found, Rejected):  # which is not in a folder that it may be left out of
        return replace(found, reason=found.reason.replace(" (--exclude)", ""))
    return found


def _forbid_doubles(stacks: Sequence[StackEntry]) -> None:
    counts = Counter(one.stem for one in stacks)
    doubles = sorted(stem for stem, n in counts.items() if n > 1)
    if doubles:
        raise SessionError(
            f"several stacks are called {doubles[0]}; outputs have the stems of stacks; count them apart"
        )


def calibration_path(path: Path) -> Path:
    """Return the absolute path of a calibration, which may be named by the folder that it is in."""
    return (path / NAME if (path / NAME).exists() else path).absolute()


def given_of(
    gain: GainOptions, stacks: Sequence[StackEntry], shape: tuple[int, int], inputs: InputParams
) -> Given:
    """Return what options say of the detector, turned and fitted as `koma` does it.

    Raises
    ------
    ParameterError, FormatError
        A reference cannot be read or does not fit.
    """
    if gain.auto or gain.gamma is not None:
        raise ParameterError(
            "--gain-orient auto and --gain-gamma are of counted stacks; say --gain-rotate and --gain-flip"
        )
    dark = None if gain.dark is None else Path(gain.dark)
    is_stack = dark is not None and _is_stack(dark, inputs)
    asked = replace(gain, dark=None) if is_stack else gain
    made = prepare_gain(asked, shape, stacks[0].first_row, [], inputs=inputs)
    about = {key: value for key, value in (made.about if made else {}).items() if isinstance(value, dict)}
    if is_stack and dark is not None:
        _check_dark(dark, shape, inputs)
        about["dark"] = {"name": dark.name, "digest": file_digest(dark)}
    found = None if made is None else made.gain
    return Given(
        dark=None if found is None else found.dark,
        gain=None if found is None or gain.gain is None else (1 / found.image).astype(np.float32),
        bad=None if found is None else found.bad,
        dark_stack=dark.absolute() if is_stack and dark is not None else None,
        about=about,
        prepared=made,
        force=gain.force,
    )


def _is_stack(dark: Path, inputs: InputParams) -> bool:
    try:
        with open_source(dark, inputs) as source:
            return len(source) > 1
    except (MrczDaskError, OSError):  # which is told where it is read as an image
        return False


def _check_dark(path: Path, shape: tuple[int, int], inputs: InputParams) -> None:
    with open_source(path, inputs) as source:
        if source.shape[0] < FEWEST_DARK or source.shape[1:] != shape:
            raise ParameterError(
                f"--dark {path}: has shape {source.shape}; expected one image, or at least {FEWEST_DARK} "
                f"frames of {shape}"
            )


def origin_of(stack: StackEntry, inputs: InputParams) -> Origin:
    """Return what the outputs say of a stack."""
    with open_source(stack.path, inputs) as source:
        steps = source.provenance
    return Origin(
        name=stack.path.name,
        size=stack.size,
        shape=(stack.shape[1], stack.shape[2]),
        pixel_size=stack.pixel_size,
        acquired=stack.acquired.time.isoformat(),
        acquired_from=stack.acquired.source,
        meta=stack.meta,
        provenance=tuple(steps),
    )
