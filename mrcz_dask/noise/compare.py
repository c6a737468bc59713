"""A session by several methods: held-out noise of some stacks, on any client; no stack is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcz_dask.correction.assess import copies_in
from mrcz_dask.correction.plan import Plan
from mrcz_dask.engine.client import Client
from mrcz_dask.noise.compare_tasks import (
    CompareParams,
    CompareTask,
    StackComparison,
    compare_tasks,
    score_comparison,
)
from mrcz_dask.noise.files import Row, as_csv, keep_json, write_files
from mrcz_dask.noise.kept import FOLDER
from mrcz_dask.noise.report import mean_score
from mrcz_dask.noise.results import Score
from mrcz_dask.noise.run import Part, Scoring
from mrcz_dask.values import messages
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.records import Failure

FIGURE = "compare"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Held-out noise of a session by method.

    Attributes
    ----------
    plan, params
        Of the run.
    stacks
        That were scored, in order of time.
    means
        By method: mean of R over the stacks and its error, mean of R above that of the filter alone and its
        error. Differences are taken stack by stack, so that what the methods share drops out.
    failures
        Stacks that could not be scored.
    copies
        By name of a stack, the others that hold the same data.
    """

    plan: Plan
    params: CompareParams
    stacks: tuple[StackComparison, ...]
    means: dict[str, Score]
    failures: tuple[Failure, ...]
    copies: dict[str, list[str]]

    @property
    def not_done(self) -> int:
        """How many files that should have been stacks were not scored."""
        return len({one.name for one in self.failures}) + len(self.plan.discovery.rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        rejected = [{"name": r.path.name, "reason": r.reason} for r in self.plan.discovery.rejected]
        return {
            "settings": self.plan.settings.to_dict(),
            "params": self.params.to_dict(),
            "stacks": [one.to_dict() for one in self.stacks],
            "means": self.means,
            "failures": [one.to_dict() for one in self.failures],
            "copies": self.copies,
            "rejected": rejected,
        }


class CompareRun(Scoring):
    """Scores some stacks of a session by several methods.

    Parameters
    ----------
    plan, client, listen
        See `Scoring`; the method of the plan's settings is not used.
    params
        What is compared.
    """

    def __init__(
        self, plan: Plan, params: CompareParams, client: Client, listen: messages.Listener = messages.silent
    ) -> None:
        super().__init__(plan, client, listen)
        self._params = params

    def execute(self) -> Comparison:
        """Score what is not known yet; a stack that cannot be scored is a failure of its own.

        Raises
        ------
        SessionError
            When no stack can be compared.
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no store.
        """
        ready = self._summed()
        tasks = compare_tasks(self._plan, self._params, ready)
        if not tasks:
            raise SessionError(
                f"{self._plan.discovery.folder}: no stack can be compared; expected usable ones, "
                "of two frames or more, with a sound mask"
            )
        part: Part[CompareTask, StackComparison] = Part("compare", score_comparison, StackComparison)
        found = self._carry_out(part, tasks)
        failures = sorted(self._failures, key=lambda one: (one.name, one.phase))
        means = means_of(found, self._params.methods)
        return Comparison(self._plan, self._params, tuple(found), means, tuple(failures), copies_in(ready))


def means_of(stacks: Sequence[StackComparison], methods: Sequence[str]) -> dict[str, Score]:
    """Return the means over stacks; see `Comparison.means`."""
    scores = {name: [one.scores[name] for one in stacks] for name in methods}
    return {
        name: [*mean_score([one[0] for one in found]), *mean_score([one[2] for one in found])]
        for name, found in scores.items()
    }


def keep_comparison(found: Comparison) -> Path:
    """Write ``OUT/noise/compare.json`` and return its path.

    Raises
    ------
    SpaceError
        The folder is full or cannot be written.
    """
    return keep_json(found.to_dict(), found.plan.folder / FOLDER / "compare.json")


def write_table(found: Comparison, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table behind the figure; see `noise_files.write_csv`."""
    return write_files([(f"{FIGURE}.csv", as_csv(rows(found)))], folder, overwrite)


def rows(found: Comparison) -> Iterator[Row]:
    """Yield the rows of the table, a header first and the means last."""
    endings = ("", "_error", "_above_outliers", "_above_outliers_error")
    names = found.params.methods
    yield ["stack", "frames", *(f"{name}{ending}" for name in names for ending in endings)]
    for one in found.stacks:
        yield [one.name, one.frames, *(value for name in names for value in one.scores[name])]
    yield ["mean", "", *(value for name in names for value in found.means[name])]
