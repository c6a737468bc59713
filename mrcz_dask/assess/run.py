"""Runs an assessment on a client: sums the stacks and measures their R; no movie is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mrcz_dask.assess.assessment import Assessment, OverRadius, by_method, over_dose, over_radius, stack_lines
from mrcz_dask.assess.files import FOLDER, json_bytes
from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.results import (
    CommonPattern,
    StackCurve,
    StackMethods,
    StackNoise,
    StackPairs,
    StackPattern,
)
from mrcz_dask.assess.scoring import (
    score_common,
    score_curve,
    score_methods,
    score_pairs,
    score_pattern,
    score_stack,
)
from mrcz_dask.assess.tasks import ScoreTask, common_tasks, curve_tasks, method_tasks, pair_tasks
from mrcz_dask.assess.verdict import verdict
from mrcz_dask.correction.plan import Plan, forbid_mixing
from mrcz_dask.correction.summing import SumJob, sum_session
from mrcz_dask.correction.tasks import CorrectionTask
from mrcz_dask.correction.window_sums import CHAIN, advance_windows, window_task
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Step, Task, carry_out
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.metadata import read_json, reading, sealed_values, unsealed_values
from mrcz_dask.formats.provenance import plain
from mrcz_dask.session.log import read_messages
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.session.store import key_of
from mrcz_dask.values import messages
from mrcz_dask.values.errors import FormatError
from mrcz_dask.values.records import DamagedSum, Failure, Record

CANDIDATES = (3, 6, 12, 24)  # radii among which a run chooses: eleven take three times as long

R = TypeVar("R", bound=Record)


def assess(
    plan: Plan, params: AssessParams, client: Client, listen: messages.Listener = messages.silent
) -> Assessment:
    """Measure a session's pattern, and R by stack, dose, radius and method; no movie is written.

    Results are kept in ``OUT/assess`` and in the session store; what is known there is not computed again.

    Parameters
    ----------
    plan
        Session, settings, and the output folder.
    params
        Parts of the assessment.
    client
        Where tasks run.
    listen
        Gets the messages.

    Returns
    -------
    Assessment
        A stack that cannot be scored is one of its failures.

    Raises
    ------
    SessionError
        When methods are to be compared, and no stack can be scored.
    ParameterError
        A method does not go with the form of the settings.
    MrczDaskError, OSError
        When nothing can be done at all: no output folder, no store.
    """
    if params.stacks and len(plan.stacks) > params.stacks:
        start = (len(plan.stacks) - params.stacks) // 2
        chosen = plan.stacks[start : start + params.stacks]
        plan = replace(plan, discovery=replace(plan.discovery, stacks=chosen))
    ready, sums = sum_session(plan, client, listen)
    failures = sums.failures
    tasks = [*correction_tasks(plan, ready)]
    scored = partial(_score, sums, client, listen, failures)
    lines, means = stack_lines(ready, [])
    dose = radius = methods = found = None
    words = []
    if "methods" in params.parts:
        compared = method_tasks(plan, params, ready)
    if "stacks" in params.parts:
        noise = scored("stacks", "noise of stacks", score_stack, StackNoise, tasks, _window_step)
        lines, means = stack_lines(ready, noise)
    if "dose" in params.parts:
        pairs = pair_tasks(plan, params, ready)
        dose = over_dose(scored("dose", "noise over dose", score_pairs, StackPairs, pairs))
        if dose is None:
            words.append("sums over dose: fewer than two stacks that may be compared")
    if "radius" in params.parts:
        curves = curve_tasks(plan, params, ready, tasks)
        scores = scored("radius", "noise over radius", score_curve, StackCurve, curves)
        radius = over_radius(scores, f"{plan.settings.koma.method}+filter")
        words += _radii_left_out(params, sum(stack.usable for stack in ready), radius)
    if "methods" in params.parts:
        stacks = scored("methods", "noise by method", score_methods, StackMethods, compared)
        methods = by_method(stacks, params.methods)
    if "pattern" in params.parts:
        usable_tasks = [task for task in tasks if task.usable]
        patterns = scored(
            "pattern", "pattern of stacks", score_pattern, StackPattern, usable_tasks, _masked_window_step
        )
        common = scored("common", "common pattern", score_common, CommonPattern, common_tasks(plan, ready))
        choice = None if radius is None else radius.choice
        found = verdict(plan, ready, patterns, common, choice)
    failures.sort(key=lambda failure: (failure.name, failure.phase))
    names = [stack.entry.name for stack in ready]
    copies = {one.entry.name: [names[k] for k in one.copies] for one in ready if one.copies}
    return Assessment(
        plan, params, found, lines, means, dose, radius, methods, tuple(words), tuple(failures), copies
    )


def _radii_left_out(params: AssessParams, usable: int, found: OverRadius | None) -> Iterator[str]:
    """Yield why some radii, or all, were not compared."""
    too_wide = sorted({a for a in params.radii if 2 * a >= usable})
    if too_wide:
        radii = ", ".join(map(str, too_wide))
        yield f"radius {radii} left out: radius a needs 2a + 1 usable stacks, here are {usable}"
    elif found is None:
        yield "against the radius: three usable stacks with a sound mask are needed, of two frames"


def _score(
    sums: SumJob,
    client: Client,
    listen: messages.Listener,
    failures: list[Failure],
    part: str,
    phase: str,
    function: Callable[..., R],
    kind: type[R],
    tasks: Sequence[CorrectionTask | ScoreTask],
    step: Callable[[int, Any], Step] | None = None,
) -> list[R]:
    """Score stacks in one part of an assessment, in order; results kept from before are not made again.

    Parameters
    ----------
    sums
        The job that summed the session; it sums a stack again whose sum is damaged.
    client, listen
        See `assess`.
    failures
        Gets the stacks that cannot be scored.
    part, phase
        Name of the folder of the results, and what messages call them.
    function, kind, tasks
        What is done with each task, and what that gives.
    step
        Gives the windows that the function gets beside its task.
    """
    folder = sums.plan.folder / FOLDER / part
    entries = {entry.name: entry for entry in sums.plan.stacks}
    paths = {task.name: folder / f"{key_of(entries[task.name].stem)}.json" for task in tasks}
    found: dict[str, R] = {}
    for task in tasks:
        try:
            with reading(str(paths[task.name]), "a result"):
                kept = unsealed_values(read_json(paths[task.name]), str(paths[task.name]))
                if kept.get("key") == task.key:
                    found[task.name] = kind.from_dict(kept["result"])
        except (OSError, FormatError):
            pass  # not there, or damaged: made again
    due = [(k, task) for k, task in enumerate(tasks) if task.name not in found]
    if due:
        make_folder(folder)
        listen(messages.PhaseStarted(phase, len(due), sum(entries[task.name].size for _, task in due)))
        to_do = [Task(f"score-{part}", phase, function, t, k, step and step(k, t)) for k, t in due]
        for task, result in _carry_out(client, to_do, sums):
            size = entries[task.name].size
            if isinstance(result, Failure):
                failures.append(result)
                listen(messages.StackFailed(phase, task.name, result.reason, size))
            else:
                kept = {"key": task.key, "result": result.to_dict()}
                write_atomic(paths[task.name], json_bytes(sealed_values(plain(kept))), durable=False)
                found[task.name] = result
                listen(messages.StackDone(phase, task.name, size))
        listen(messages.PhaseFinished(phase))
    return [found[task.name] for task in tasks if task.name in found]


def _carry_out(client: Client, tasks: Sequence[Task], sums: SumJob) -> Iterator[tuple[Any, Any]]:
    """Yield argument and result of each task; one that meets a damaged sum runs again after it is remade."""
    while tasks:
        again = set()
        for argument, result in carry_out(client, tasks):
            if isinstance(result, DamagedSum) and sums.sum_again(result):
                again.add(argument.name)
            else:
                yield argument, result
        tasks = [task for task in tasks if task.argument.name in again]
        if tasks:
            Loop(client).run(sums)


def _masked_window_step(index: int, task: CorrectionTask) -> Step:
    """Return the task that makes a stack's windows from those of the stack before."""
    return Step("window", advance_windows, window_task(task), index // CHAIN)


def _window_step(index: int, task: CorrectionTask) -> Step:
    """Return the task that makes a stack's windows, masked and not, from those of the stack before."""
    masked, unmasked = (window_task(task, masked=masked) for masked in (True, False))
    both = replace(masked, windows=masked.windows | unmasked.windows)
    return Step("window", advance_windows, both, index // CHAIN)


def with_found_radius(plan: Plan, client: Client, listen: messages.Listener) -> Plan:
    """Return the plan with the radius that suits its data best, for ``--radius auto``.

    The sums that this takes are kept, and the run takes them over. Some of the stacks are scored, held out,
    with windows of several radii; where too few stacks can tell, the radius stays as it is. A folder with
    outputs keeps the radius that they have, unless they are replaced.

    Parameters
    ----------
    plan
        The session, with the usual radius.
    client
        Where tasks run.
    listen
        Gets the radius and the reason, as a message.

    Raises
    ------
    OutputExistsError
        When outputs are there that were made with other parameters, and the plan does not replace them.
    """
    runs = (m.settings for _, m in read_messages(plan.folder) if isinstance(m, messages.RunStarted))
    params = AssessParams(parts=("radius",), stacks=0, radii=CANDIDATES)
    before = [settings["koma"]["radius"] for settings in runs if "koma" in settings]
    if before and not plan.overwrite:
        radius, reason = before[-1], "as in the run before; --overwrite chooses one again"
    elif found := assess(plan, params, client, listen).over_radius:
        radius, reason = found.choice.radius, found.choice.reason
    else:
        radius, reason = plan.settings.koma.radius, "too few stacks to choose one by their noise"
    listen(messages.Noted(f"radius {radius}: {reason}"))
    koma = replace(plan.settings.koma, radius=radius)
    chosen = replace(plan, settings=replace(plan.settings, koma=koma))
    if not chosen.overwrite:
        forbid_mixing(chosen)
    return chosen
