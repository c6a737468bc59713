"""Chooses the stacks that an assessment measures, with their windows and partners, and builds the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mrcz_dask.assess.params import RADII, AssessParams
from mrcz_dask.correction.judged_stacks import JudgedStack, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, digest_of, member_ref
from mrcz_dask.correction.windows import correction_tasks, groups_of, mates_of, windows_of
from mrcz_dask.numerics.doses import middle_doses
from mrcz_dask.values.errors import SessionError
from mrcz_dask.version import __version__

PARTS_IN_TIME = 8  # of an epoch, which are searched for a common pattern
FILTERS = ("raw", "outliers")  # methods that use no window


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Base of the arguments of a measuring task: name of the stack, and a digest that identifies the result.

    Attributes
    ----------
    name
        Name of the stack, relative to the session.
    places
        Files and folders that must be there.
    key
        Digest of all that the result depends on.
    """

    name: str
    places: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class PairTask(ScoreTask):
    """Arguments of the task that correlates a stack's sum with the sums of other stacks.

    Attributes
    ----------
    store
        Path of the session store.
    anchor
        The stack.
    others, doses
        The stacks that it is compared with, and the dose between, counts per pixel.
    """

    store: str
    anchor: MemberRef
    others: tuple[MemberRef, ...]
    doses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CommonTask(ScoreTask):
    """Arguments of the task that measures the pattern which parts of the session share.

    Attributes
    ----------
    store
        Path of the session store.
    parts
        Members of each part, in order of time.
    pairs
        Places of two parts each that are not adjacent, and have no specimen in common.
    """

    store: str
    parts: tuple[tuple[MemberRef, ...], ...]
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class CurveTask(ScoreTask):
    """Arguments of the task that measures a stack's R at several radii.

    Attributes
    ----------
    finish
        The stack, with the settings of the session.
    windows
        Radius, short and long window (empty where it is the same), in ascending order of the radius.
    """

    finish: CorrectionTask
    windows: tuple[tuple[int, tuple[MemberRef, ...], tuple[MemberRef, ...]], ...]


@dataclass(frozen=True, slots=True)
class MethodsTask(ScoreTask):
    """Arguments of the task that measures a stack's R after several methods.

    Attributes
    ----------
    methods
        The stack by method, with the settings that `koma --method` would have.
    filtered
        The stack with the filter alone.
    names
        Methods in the order of the table.
    """

    methods: dict[str, CorrectionTask]
    filtered: CorrectionTask
    names: tuple[str, ...]


def pair_tasks(plan: Plan, params: AssessParams, ready: Sequence[JudgedStack]) -> list[PairTask]:
    """Choose usable stacks, and partners at growing distance; return the tasks that correlate their sums."""
    places = [k for k, stack in enumerate(ready) if stack.usable]
    middles = middle_doses([stack.record.mean for stack in ready])
    refs = [member_ref(ready[k].record) for k in places]
    tasks = []
    for i, partners in pairs(len(places), params.anchors):
        if not partners:
            continue
        doses = tuple(abs(middles[places[j]] - middles[places[i]]) for j in partners)
        others = tuple(refs[j] for j in partners)
        key = digest_of({"version": __version__, "of": _digest_of([refs[i], *others], ready), "doses": doses})
        needed = (f"{plan.store}/zarr.json",)
        tasks.append(PairTask(refs[i].name, needed, key, str(plan.store), refs[i], others, doses))
    return tasks


def common_tasks(plan: Plan, ready: Sequence[JudgedStack]) -> list[CommonTask]:
    """Return the task that measures the common pattern of the longest epoch; none for fewer than 3 stacks."""
    starts = find_epochs(ready, plan.settings.koma).starts
    epochs = [
        [stack for stack in ready[start:stop] if stack.usable]
        for start, stop in pairwise((0, *starts, len(ready)))
    ]
    usable = max(epochs, key=len)
    number = min(PARTS_IN_TIME, len(usable))
    parts = [usable[k * len(usable) // number : (k + 1) * len(usable) // number] for k in range(number)]
    groups = [{group for stack in part for group in stack.groups} for part in parts]
    pairs = tuple(
        (k, other)
        for k in range(number)
        for other in range(k + 2, number)
        if groups[k].isdisjoint(groups[other])
    )
    if not pairs:
        return []
    refs = tuple(tuple(member_ref(stack.record) for stack in part) for part in parts)
    members = [ref for part in refs for ref in part]
    key = digest_of({"version": __version__, "of": _digest_of(members, ready), "pairs": pairs})
    needed = (f"{plan.store}/zarr.json",)
    return [CommonTask(members[0].name, needed, key, str(plan.store), refs, pairs)]


def curve_tasks(
    plan: Plan, params: AssessParams, ready: Sequence[JudgedStack], stacks: Sequence[CorrectionTask]
) -> list[CurveTask]:
    """Choose stacks evenly spread over the session; return tasks that measure R at several radii.

    Only radii are taken whose windows the session's usable stacks fill.
    """
    usable = [stack.usable for stack in ready]
    places = [k for k, good in enumerate(usable) if good]
    koma = plan.settings.koma
    radii = sorted(a for a in {*(params.radii or (*RADII, koma.radius))} if 2 * a < len(places))
    if not radii:
        return []
    refs = [member_ref(stack.record) for stack in ready]
    epochs, groups = find_epochs(ready, koma), groups_of(ready)
    tasks = []
    for i in (places[k] for k in spread_evenly(len(places), params.sample)):
        windows, mates = [], mates_of(ready, i, groups)
        for a in radii:
            fit = replace(koma, radius=a, method="fit")
            window = windows_of(i, usable, epochs, fit, mates)
            windows.append((a, tuple(refs[k] for k in window.short), tuple(refs[k] for k in window.long)))
        if not windows[0][1]:
            continue  # alone between two breaks
        task = stacks[i]
        settings = task.settings.to_dict()
        depends = {
            "version": __version__,
            "settings": {
                "koma": {k: v for k, v in settings["koma"].items() if k not in ("radius", "method")},
                "input": settings["input"],
                "gain": settings["gain"],
            },
            "stack": [task.record.digest, task.record.gamma, task.record.made_with, task.record.mean_even],
            "pool": task.pool and task.pool.digest,
            "windows": [[a, _digest_of(short, ready), _digest_of(long, ready)] for a, short, long in windows],
        }
        tasks.append(CurveTask(task.name, task.places, digest_of(depends), task, tuple(windows)))
    return tasks


def method_tasks(plan: Plan, params: AssessParams, ready: Sequence[JudgedStack]) -> list[MethodsTask]:
    """Choose usable stacks evenly spread over the session; return tasks that compare methods on them.

    Raises
    ------
    SessionError
        There is none.
    ParameterError
        A method does not go with the form of the settings.
    """
    places = [k for k, stack in enumerate(ready) if stack.usable and stack.record.mean_even is not None]
    if not places:
        raise SessionError(
            f"{plan.discovery.folder}: no stack can be compared by method; expected usable ones, "
            "of two frames or more, with a sound mask"
        )
    koma = plan.settings.koma
    by_method: dict[str, list[CorrectionTask]] = {}
    for method in ("plain", "fit", "session"):
        if method == "plain" or method in params.methods:  # the filter alone is scored in any case
            settings = replace(plan.settings, koma=replace(koma, method=method))
            by_method[method] = [*correction_tasks(replace(plan, settings=settings), ready)]
    tasks = []
    for i in (places[k] for k in spread_evenly(len(places), params.sample)):
        methods = {name: by_method[name][i] for name in params.methods if name not in FILTERS}
        filtered = by_method["plain"][i]
        record = filtered.record
        depends = {
            "version": __version__,
            "names": list(params.methods),
            "stack": [record.digest, record.made_with, record.mean_even],
            "methods": {name: task.key for name, task in methods.items()},
            "filter": filtered.settings.to_dict()["outliers"],
            "pool": filtered.pool and filtered.pool.digest,
        }
        key = digest_of(depends)
        tasks.append(MethodsTask(filtered.name, filtered.places, key, methods, filtered, params.methods))
    return tasks


def spread_evenly(count: int, sample: int) -> list[int]:
    """Return at most `sample` of the indices 0 .. count - 1, evenly spread."""
    taken = min(count, sample)
    return [(2 * k + 1) * count // (2 * taken) for k in range(taken)]


def pairs(count: int, anchors: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the index of a stack and of its partners, which are 1, 2, 3, 4, 6, 8, 12, ... stacks away.

    At each distance that is the later stack, or the earlier where there is no later one. No pair comes twice.
    """
    lags = sorted(lag for k in range(count.bit_length()) for lag in {1 << k, 3 << k >> 1} if lag < count)
    seen: set[frozenset[int]] = set()
    for i in spread_evenly(count, anchors):
        partners = [j for lag in lags if (j := i + lag if i + lag < count else i - lag) >= 0]
        new = tuple(j for j in partners if frozenset((i, j)) not in seen)
        seen |= {frozenset((i, j)) for j in new}
        yield i, new


def _digest_of(members: Sequence[MemberRef], ready: Sequence[JudgedStack]) -> str:
    """Return a digest of members, and of how their sums and masks were made."""
    values: list[Any] = [ready[0].record.made_with if ready else ""]
    return digest_of([*values, *([m.name, m.digest, m.mean.hex()] for m in members)])
