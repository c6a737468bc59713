"""Taking the times of a run, and writing where they went beside its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.profile import PROFILE, REPORT, Pass, Profile, StackTime
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.values import messages


@dataclass(slots=True)
class Collector:
    """A listener that collects the times of a run, whose passes go on side by side.

    Parameters
    ----------
    now
        A clock in seconds.

    Attributes
    ----------
    passes
        Those that are over.
    """

    now: Callable[[], float] = perf_counter
    passes: list[Pass] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _stacks: dict[str, list[StackTime]] = field(default_factory=dict)

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        match message:
            case messages.PhaseStarted():
                self._begun[message.phase] = self.now()
            case messages.StackDone() | messages.StackFailed():
                done = isinstance(message, messages.StackDone)
                stacks = self._stacks.setdefault(message.phase, [])
                stacks.append(StackTime(message.name, done, message.timing))
            case messages.PhaseFinished():
                wall = self.now() - self._begun[message.phase]
                self.passes.append(Pass(message.phase, wall, tuple(self._stacks.get(message.phase, ()))))
            case _:
                pass


def run_profiled(
    plan: Plan, client: Client, listen: messages.Listener = messages.silent
) -> tuple[Outcome, Profile]:
    """Carry a plan out as `carry_out` does, take the times, and write them beside the outputs.

    ``profile.json`` says where the time went; on a cluster ``dask-report.html`` is Dask's own report. The
    outputs and the session store are the same as without. A run that ends with an error leaves neither.

    Raises
    ------
    MrczDaskError, OSError
        As `carry_out`.
    """
    collector = Collector()
    for name in (PROFILE, REPORT):
        with suppress(OSError):  # of an earlier run; whether there can be new ones shows at the end
            (plan.folder / name).unlink()

    def both(message: messages.Message) -> None:
        collector(message)
        listen(message)

    began = perf_counter()
    with _reported(client, plan.folder / REPORT, listen):
        outcome = carry_out(plan, client, both, take_times=True)
        wall = perf_counter() - began
    profile = Profile(plan.folder, wall, client.slots, client.describe(), tuple(collector.passes))
    _write(profile, listen)
    return outcome, profile


def _write(profile: Profile, listen: messages.Listener) -> None:
    path = profile.folder / PROFILE
    try:
        write_atomic(path, json.dumps(profile.to_dict(), indent=2).encode() + b"\n")
    except OSError as error:  # the stacks are done
        listen(messages.Warned(str(error)))


@contextmanager
def _reported(client: Client, path: Path, listen: messages.Listener) -> Iterator[None]:
    """Write Dask's report on what runs in the block, where there is a cluster; without it the run goes on.

    It is written with all that it needs to be looked at without a network.
    """
    if not isinstance(client, DaskClient):
        yield
        return
    from distributed import performance_report

    report = performance_report(filename=str(path), mode="inline")
    with client.client.as_current():
        begun = _went_well(report.__enter__, path, listen)
        yield
        if begun:
            _went_well(lambda: report.__exit__(None, None, None), path, listen)


def _went_well(step: Callable[[], None], path: Path, listen: messages.Listener) -> bool:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - a scheduler without bokeh, a full disk
        listen(messages.Warned(f"{path}: cannot be written ({error or type(error).__name__})"))
        return False
    return True
