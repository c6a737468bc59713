"""Scoring some stacks of a session by several methods, held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mrcz_dask.correction.assess import AssessedStack as Stack
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.tasks import CorrectionTask, digest_of
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.noise.pairs import spread_evenly
from mrcz_dask.noise.results import Score, against
from mrcz_dask.noise.tasks import EVEN, Ready, Scores, Side, opened
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.reference.koma import Finder
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Method, Parameters
from mrcz_dask.values.records import Record
from mrcz_dask.version import __version__

ALONE = ("raw", "outliers")
CHOICES = (*ALONE, "plain", "fit", "session")


@dataclass(frozen=True, slots=True)
class CompareParams(Parameters):
    """What is compared.

    Attributes
    ----------
    methods
        Some of ``raw``, ``outliers`` (the filter alone), and with the filter ``plain``, ``fit``, ``session``.
    stacks
        Number of stacks that are scored, evenly spread over the session.
    """

    methods: tuple[str, ...] = CHOICES
    stacks: int = 12

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in CHOICES]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            raise ParameterError(
                f"methods are {', '.join(self.methods) or 'none'}; expected some of {', '.join(CHOICES)}, "
                "each once"
            )
        if self.stacks < 1:
            raise ParameterError(f"stacks is {self.stacks}; expected at least one")


@dataclass(frozen=True, slots=True)
class CompareTask:
    """What scoring a stack by several methods needs.

    Attributes
    ----------
    methods
        Tasks of the stack by method, as `koma --method` would have them.
    filtered
        The task of the filter alone.
    names
        Of all that is scored, in the order of the table.
    key
        What the result depends on, as a digest.
    """

    methods: dict[str, CorrectionTask]
    filtered: CorrectionTask
    names: tuple[str, ...]
    key: str

    @property
    def name(self) -> str:
        """Of the stack, relative to the session."""
        return self.filtered.name

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there."""
        return self.filtered.places


@dataclass(frozen=True, slots=True)
class StackComparison(Record):
    """Held-out correlated noise of a stack by method.

    Attributes
    ----------
    name
        Relative to the session.
    frames
        Of the stack.
    scores
        By method: R, its standard error, R above that of the filter alone, and the error of this. Masks and
        coefficients are from frames 0, 2, 4, ..., R is over frames 1, 3, 5, ...
    """

    name: str
    frames: int
    scores: dict[str, Score]


def compare_tasks(plan: Plan, params: CompareParams, ready: Sequence[Stack]) -> list[CompareTask]:
    """Return the tasks of the stacks that are compared: usable ones with a sound mask, evenly spread."""
    places = [k for k, one in enumerate(ready) if one.usable and one.record.mean_even is not None]
    chosen = [places[k] for k in spread_evenly(len(places), params.stacks)]
    asked = [name for name in params.methods if name not in ALONE]
    by_method = {name: [*correction_tasks(with_method(plan, name), ready)] for name in asked}
    plain = [*correction_tasks(with_method(plan, "plain"), ready)]
    return [
        _task({name: tasks[i] for name, tasks in by_method.items()}, plain[i], params.methods) for i in chosen
    ]


def with_method(plan: Plan, method: str) -> Plan:
    """Return the plan with another method.

    Raises
    ------
    ParameterError
        For a method that does not go with the form.
    """
    chosen: Method = "session" if method == "session" else "plain" if method == "plain" else "fit"
    settings = replace(plan.settings, koma=replace(plan.settings.koma, method=chosen))
    return replace(plan, settings=settings)


def _task(
    methods: Mapping[str, CorrectionTask], filtered: CorrectionTask, names: tuple[str, ...]
) -> CompareTask:
    record = filtered.record
    depends = {
        "version": __version__,
        "names": list(names),
        "stack": [record.digest, record.made_with, record.mean_even],
        "methods": {name: task.key for name, task in methods.items()},
        "filter": filtered.settings.to_dict()["outliers"],
    }
    return CompareTask(dict(methods), filtered, names, digest_of(depends))


def score_comparison(task: CompareTask) -> StackComparison:
    """Return held-out R of a stack by method.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    shape = task.filtered.record.shape
    rows = noise_rows(shape[1:])
    scores = Scores(_corrections(task), (rows.size, shape[2]))
    with opened(task.filtered) as frames:
        for k in range(1, shape[0], 2):
            scores.add(*frames.rows(k, rows))
    found = scores.results()
    base = found.get("outliers")
    return StackComparison(task.name, shape[0], {name: against(found.get(name), base) for name in task.names})


def _corrections(task: CompareTask) -> dict[str, Ready]:
    """Return what is done to the frames by each method; the filter alone is always among them."""
    made: dict[str, Ready] = {"raw": None}
    side = Side(task.filtered, True)
    whole, even = side.sums(""), side.sums(EVEN)
    if whole is None or even is None:
        return made
    made["outliers"] = side.filtered(even)
    for name, one in task.methods.items():
        images = Side(one, True).references(one, whole)
        if images:
            finder = Finder(images, one.settings.koma)
            side.corrected(whole, "", finder)  # as `koma` does it: references are seen with this mask
            made[name] = side.corrected(even, EVEN, finder)
    return made
