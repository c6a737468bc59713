"""What the noise of a session is scored on, and the memory that it takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mrcz_dask.correction.plan import NO_GAIN, STORE_SUMS, Plan, output_folder
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.numerics.noise.correlation import SCORED_PIXELS
from mrcz_dask.session.discovery import Discovery, discover
from mrcz_dask.session.output_folder import check_space
from mrcz_dask.session.store import key_of
from mrcz_dask.values.errors import ParameterError, PlaceError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import Settings
from mrcz_dask.values.sizes import some

# Bytes beyond those of KOMA, measured: per image pixel, for windows and images without masks; per scored
# pixel, for the sums and corrections of eight scores, or of four and the rows of frames that are kept.
UNMASKED_PIXEL = 40
SCORED_PIXEL = 120


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which stacks are looked at.

    Attributes
    ----------
    session
        Folder that names are relative to.
    include, exclude, recursive
        As `discover` takes them.
    stacks
        Given one by one; empty = whatever the folder has.
    """

    session: Path
    include: list[str] | None = None
    exclude: list[str] | None = None
    recursive: bool = False
    stacks: tuple[Path, ...] = ()


def choose(
    paths: Sequence[Path],
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    *,
    recursive: bool = False,
) -> Chosen:
    """Return which stacks a session's folder, or paths of stacks, stand for.

    Raises
    ------
    ParameterError
        For a folder among several paths, or patterns together with stacks.
    """
    if len(paths) == 1 and not paths[0].is_file():
        return Chosen(paths[0], include, exclude, recursive)
    if not paths or any(path.is_dir() for path in paths):
        raise ParameterError(f"{some(paths)}: expected one folder with a session, or stacks")
    if include or exclude or recursive:
        raise ParameterError("--include, --exclude and --recursive choose from a folder; stacks are chosen")
    absolute = tuple(path.absolute() for path in paths)
    session = Path(os.path.commonpath([path.parent for path in absolute]))
    names = [f"./{path.relative_to(session).as_posix()}" for path in absolute]  # in this folder alone
    return Chosen(session, names, None, any(path.parent != session for path in absolute), absolute)


def noise_plan(
    chosen: Chosen,
    folder: Path | None,
    settings: Settings,
    *,
    gain: GainOptions = NO_GAIN,
    listen: Listener = silent,
) -> Plan:
    """Find the stacks and return a plan, whose sums go into the session store of the output folder.

    Raises
    ------
    SessionError
        When there are no stacks, or one that was given is none.
    SpaceError
        When the output folder cannot be written or is too small.
    FormatError, ParameterError
        When a gain, dark or list of defects cannot be read, or does not fit the frames.
    """
    out = output_folder(chosen.session, folder)
    found = discover(
        chosen.session,
        output=out,
        include=chosen.include,
        exclude=chosen.exclude,
        recursive=chosen.recursive,
        inputs=settings.input,
    )
    _check_given(chosen, found)
    paths = [stack.path for stack in found.stacks]
    shape, first_row = found.shape[1:], found.stacks[0].first_row
    prepared = prepare_gain(gain, shape, first_row, paths, inputs=settings.input, listen=listen)
    if prepared is not None:
        settings = replace(settings, gain=prepared.params)
    plan = Plan(found, out, settings, overwrite=True, gain=prepared)
    check_space(out, _bytes_missing(plan))
    return plan


def _check_given(chosen: Chosen, found: Discovery) -> None:
    there = {stack.path for stack in found.stacks} | {one.path for one in found.rejected}
    gone = [path for path in chosen.stacks if path.resolve() not in {p.resolve() for p in there}]
    if gone:
        why = {one.path.resolve(): one.reason for one in found.skipped}
        reasons = [f"{path.name} ({why.get(path.resolve(), 'not there')})" for path in gone]
        raise PlaceError(f"{len(gone)} of the given files are no stacks: {some(reasons)}; leave them out")


def _bytes_missing(plan: Plan) -> int:
    """Return an estimate of what sums take that the store does not have yet."""
    image = plan.discovery.shape[1] * plan.discovery.shape[2]
    missing = [one for one in plan.stacks if not (plan.store / "stacks" / key_of(one.stem)).exists()]
    return round(STORE_SUMS * image * len(missing))


def noise_need(plan: Plan) -> MemoryEstimate:
    """Return the memory that a worker needs; it does not depend on the number of stacks."""
    of_koma = plan.memory_estimate()
    image = plan.discovery.shape[1] * plan.discovery.shape[2]
    scored = min(image, SCORED_PIXELS)
    more = UNMASKED_PIXEL * image + SCORED_PIXEL * scored
    return MemoryEstimate(of_koma.process, of_koma.task + more)
