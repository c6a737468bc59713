"""The tasks that scoring a session's noise takes: which stacks, which windows, which pairs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from mrcz_dask.correction.assess import AssessedStack, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, digest_of, member_ref
from mrcz_dask.correction.windows import long_members
from mrcz_dask.noise.pairs import PairTask, pairs, spread_evenly
from mrcz_dask.noise.results import RADII, NoiseParams
from mrcz_dask.noise.tasks import CurveTask
from mrcz_dask.values.windows import centred
from mrcz_dask.version import __version__

Window = tuple[int, tuple[MemberRef, ...], tuple[MemberRef, ...]]


def pair_tasks(plan: Plan, params: NoiseParams, ready: Sequence[AssessedStack]) -> list[PairTask]:
    """Return the tasks of the stacks whose sums are compared with others, high-contrast ones left out."""
    places = [k for k, one in enumerate(ready) if one.usable]
    middles = middles_of([one.record.mean for one in ready])
    refs = [member_ref(ready[k].record) for k in places]
    made = []
    for i, others in pairs(len(places), params.anchors):
        if not others:
            continue
        doses = tuple(abs(middles[places[j]] - middles[places[i]]) for j in others)
        members = tuple(refs[j] for j in others)
        key = digest_of({"version": __version__, "of": _told([refs[i], *members], ready), "doses": doses})
        made.append(PairTask(str(plan.store), refs[i], members, doses, key))
    return made


def middles_of(means: Sequence[float]) -> list[float]:
    """Return the dose that the detector had seen at the middle of each stack, counts per pixel.

    Parameters
    ----------
    means
        Of the sums of the stacks, counts per pixel, in order of time.
    """
    return [after - own / 2 for after, own in zip(accumulate(means), means, strict=True)]


def curve_tasks(
    plan: Plan, params: NoiseParams, ready: Sequence[AssessedStack], stacks: Sequence[CorrectionTask]
) -> list[CurveTask]:
    """Return the tasks of the stacks that are scored against the radius, evenly spread over the session."""
    usable = [one.usable for one in ready]
    places = [k for k, good in enumerate(usable) if good]
    radii = radii_for(len(places), params.radii or (*RADII, plan.settings.koma.radius))
    if not radii:
        return []
    refs = [member_ref(one.record) for one in ready]
    segments = find_epochs(ready, plan.settings.koma)
    made = []
    for place in spread_evenly(len(places), params.sample):
        i = places[place]
        start, stop = segments.around(i)
        copies = ready[i].copies
        inside = [good and start <= k < stop and k not in copies for k, good in enumerate(usable)]
        candidates = [k for k in places if start <= k < stop and k not in copies]
        if len(candidates) < 2:
            continue  # alone between two breaks
        windows = tuple(_windows(i, candidates, inside, refs, radii, plan))
        made.append(CurveTask(stacks[i], windows, _curve_key(stacks[i], windows, ready)))
    return made


def radii_for(usable: int, asked: Iterable[int]) -> list[int]:
    """Return the radii, in order, whose windows a session of so many usable stacks fills."""
    return sorted(a for a in set(asked) if 2 * a <= usable - 1)


def _windows(
    i: int,
    candidates: Sequence[int],
    usable: Sequence[bool],
    refs: Sequence[MemberRef],
    radii: Sequence[int],
    plan: Plan,
) -> Iterator[Window]:
    others = [k for k in candidates if k != i]
    place = bisect_left(others, i)
    for radius in radii:
        short = centred(others, place, radius)
        koma = replace(plan.settings.koma, radius=radius, method="fit")
        long = long_members(i, others, short, usable, koma)
        apart = long if long != short else []
        yield radius, tuple(refs[k] for k in short), tuple(refs[k] for k in apart)


def _curve_key(task: CorrectionTask, windows: Sequence[Window], ready: Sequence[AssessedStack]) -> str:
    settings = task.settings.to_dict()
    koma = {k: v for k, v in settings["koma"].items() if k not in ("radius", "method")}
    members = [[radius, _told(short, ready), _told(long, ready)] for radius, short, long in windows]
    depends = {
        "version": __version__,
        "settings": {"koma": koma, "input": settings["input"], "gain": settings["gain"]},
        "stack": [task.record.digest, task.record.gamma, task.record.made_with, task.record.mean_even],
        "windows": members,
    }
    return digest_of(depends)


def _told(members: Sequence[MemberRef], ready: Sequence[AssessedStack]) -> str:
    """Return a digest of members, and of how their sums and masks were made."""
    made = ready[0].record.made_with if ready else ""
    return digest_of([made, *([m.name, m.digest, m.mean.hex()] for m in members)])
