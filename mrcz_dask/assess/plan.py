"""Plans an assessment: finds its stacks, and estimates the memory of a worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mrcz_dask.correction.plan import STORE_SUMS, Plan, gained_plan, output_folder
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.formats.places import resolved
from mrcz_dask.gain.options import NO_GAIN, GainOptions
from mrcz_dask.numerics.noise.correlation import SCORED_PIXELS
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Discovery
from mrcz_dask.session.output_folder import check_space
from mrcz_dask.session.store import key_of
from mrcz_dask.values.errors import ParameterError, PlaceError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import Settings
from mrcz_dask.values.texts import some

# Bytes beyond those of KOMA, measured: per image pixel, for windows and images without masks; per scored
# pixel, for the sums and corrections of eight scores, or of four and the rows of frames that are kept.
UNMASKED_PIXEL = 40
SCORED_PIXEL = 120


def assess_plan(
    paths: Sequence[Path],
    folder: Path | None,
    settings: Settings,
    *,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    recursive: bool = False,
    gain: GainOptions = NO_GAIN,
    listen: Listener = silent,
) -> Plan:
    """Find the stacks to be measured, and return a plan that keeps their sums in the session store.

    Parameters
    ----------
    paths
        The folder of a session, or stacks.
    folder
        Output folder of `koma`; None = ``koma`` in the session's.
    settings
        Outlier filter, windows and reading.
    include, exclude, recursive
        Choose stacks from a folder, as `discover` does.
    gain
        Gain, dark and defects.
    listen
        Gets the messages.

    Raises
    ------
    ParameterError
        For a folder among several paths, or patterns together with stacks.
    SessionError
        When there are no stacks, or one of the paths is none.
    SpaceError
        When the output folder cannot be written or is too small.
    FormatError, ParameterError
        When a gain, dark or list of defects cannot be read, or does not fit the frames.
    """
    session, chosen = paths[0] if paths else Path(), [path.absolute() for path in paths]
    if len(paths) == 1 and not session.is_file():
        chosen = []
    elif not paths or any(path.is_dir() for path in paths):
        raise ParameterError(f"{some(paths)}: expected one folder with a session, or stacks")
    elif include or exclude or recursive:
        raise ParameterError("--include, --exclude and --recursive choose from a folder; stacks are chosen")
    else:
        session = Path(os.path.commonpath([path.parent for path in chosen]))
        include = [f"./{path.relative_to(session).as_posix()}" for path in chosen]  # in this folder alone
        recursive = any(path.parent != session for path in chosen)
    out = output_folder(session, folder)
    discovery = discover(
        session, output=out, include=include, exclude=exclude, recursive=recursive, inputs=settings.input
    )
    stacks, rejected = discovery.stacks, discovery.rejected
    found = {resolved(path) for path in (*(s.path for s in stacks), *(r.path for r in rejected))}
    missing = [path for path in chosen if resolved(path) not in found]
    if missing:
        why = {resolved(file.path): file.reason for file in discovery.skipped}
        reasons = [f"{path.name} ({why.get(resolved(path), 'not there')})" for path in missing]
        raise PlaceError(f"{len(missing)} of the given files are no stacks: {some(reasons)}; leave them out")
    return plan_with_room(discovery, out, settings, gain, listen)


def plan_with_room(
    discovery: Discovery, out: Path, settings: Settings, gain: GainOptions, listen: Listener = silent
) -> Plan:
    """Return the plan over stacks that were found; the output folder must have room for their sums.

    Raises
    ------
    SpaceError
        When the output folder cannot be written or is too small.
    FormatError, ParameterError
        When a gain, dark or list of defects cannot be read, or does not fit the frames.
    """
    plan = gained_plan(discovery, out, settings, gain, listen, overwrite=True)
    new = [stack for stack in plan.stacks if not (plan.store / "stacks" / key_of(stack.stem)).exists()]
    if new:  # else all may be known, also in a folder that nobody can write into
        check_space(out, round(STORE_SUMS * discovery.shape[1] * discovery.shape[2] * len(new)))
    return plan


def assess_memory(plan: Plan) -> MemoryEstimate:
    """Estimate the memory of a worker in bytes; it does not depend on the number of stacks."""
    estimate = plan.memory_estimate()
    image = plan.discovery.shape[1] * plan.discovery.shape[2]
    scored = min(image, SCORED_PIXELS)
    return MemoryEstimate(estimate.process, estimate.task + UNMASKED_PIXEL * image + SCORED_PIXEL * scored)
