"""Corrects a folder into which the microscope still records, to the same bytes as when it is finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.run import KomaJob, Outcome, carry_out
from mrcz_dask.correction.summing import announce
from mrcz_dask.correction.windows import stacks_until_final
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Task
from mrcz_dask.session.entries import Discovery, Rejected, StackEntry
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values import messages
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.stopping import check_stop


@dataclass(frozen=True, slots=True)
class FollowParams:
    """Options for following a folder that grows: waiting times in seconds, and whether to write provisional
    outputs.

    Attributes
    ----------
    settle
        Seconds without a change after which a stack is taken.
    poll
        Seconds between looks at the folder.
    until_idle
        Seconds without anything new after which the session is taken as finished; None = until it is stopped.
    provisional
        Write a first result of each stack as soon as it is there, from the stacks before it.
    """

    settle: float = 60.0
    poll: float = 5.0
    until_idle: float | None = None
    provisional: bool = False

    def __post_init__(self) -> None:
        for name in ("settle", "poll", "until_idle"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ParameterError(f"{name} is {value}; expected seconds, not negative")


def first_stacks(
    watcher: Watcher, params: FollowParams, stop: threading.Event, listen: messages.Listener, fewest: int = 1
) -> Discovery:
    """Wait until a folder holds `fewest` stacks that no longer grow; return all files found, or fewer if no
    more come.

    Raises
    ------
    SessionError
        If none has come when `stop` is set, or for `until_idle`.
    """
    since, warned = monotonic(), False
    while not stop.is_set():
        state = watcher.scan()
        stacks = len(state.discovery.stacks)
        if stacks >= fewest:
            return state.discovery
        if not warned:
            stacks_text = f"{stacks} of {fewest} stacks" if fewest > 1 else "no stack"
            listen(messages.Warned(f"{watcher.folder}: {stacks_text} that has settled yet; waiting"))
            warned = True
        if state.unsettled:
            since = monotonic()
        if params.until_idle is not None and monotonic() - since >= params.until_idle:
            break
        stop.wait(params.poll)
    check_stop()
    discovery = watcher.scan().discovery
    if discovery.stacks:
        return discovery
    raise SessionError(f"{watcher.folder}: no stack has come; check the folder, or use --recursive")


def follow(
    watcher: Watcher,
    plan: Plan,
    client: Client,
    listen: messages.Listener,
    params: FollowParams,
    stop: threading.Event,
    clock: Callable[[], float] = monotonic,
) -> Outcome:
    """Correct the stacks of a folder as they appear, until stopped or idle; then finish those that are there.

    Parameters
    ----------
    watcher
        Scans the folder.
    plan
        Plan over the stacks that were there first.
    client
        Client on which tasks run.
    listen
        Gets the messages.
    params
        Parameters for following.
    stop
        Set to end: what is there is finished.
    clock
        Clock in seconds that never goes back.

    Raises
    ------
    MrczDaskError, OSError
        If nothing can be done at all.
    """
    make_job = partial(FollowJob, watcher=watcher, params=params, stop=stop, clock=clock)
    return carry_out(plan, client, listen, make_job=make_job)


class FollowJob(KomaJob):
    """Sums and corrects stacks like `KomaJob`, and scans the folder for new ones while it runs."""

    def __init__(
        self,
        *of_koma: Any,
        watcher: Watcher,
        params: FollowParams,
        stop: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(*of_koma)
        self._watcher, self._params, self._stop, self._clock = watcher, params, stop, clock
        self._announced: dict[str, StackEntry] = {e.name: e for e in self.plan.stacks}
        self._left_out: set[Rejected] = set(self.plan.discovery.rejected)
        self._scanned, self._quiet_since, self._ending = -params.poll, clock(), False
        self._told_waiting: messages.Waiting | None = None

    def ready(self) -> Iterable[Task]:
        """Scan the folder when the next scan is due; return the tasks that can run now."""
        if not self._ending and self._clock() - self._scanned >= self._params.poll:
            self._scan()
        yield from self._sums()
        if self._news:
            self._news = False
            complete = self._ending and self.all_known()
            yield from self._corrections(complete=complete, provisional=self._params.provisional)
            self._tell_waiting()

    def over(self) -> bool:
        """Wait until the next scan; at the end, retry failed stacks and treat the session as complete."""
        if self._ending:
            return super().over()
        limit = self._params.until_idle
        idle = limit is not None and self._clock() - self._quiet_since >= limit
        if self._stop.is_set() or idle:
            self._scan()
            self._failed.clear()
            self._refused.clear()
            self._ending = self._news = True
            self._next = 0
        else:
            self._stop.wait(max(0.0, self._scanned + self._params.poll - self._clock()))
        return False

    def _tell_waiting(self) -> None:
        """Say which stack is final after how many more, once all stacks that are there are summed."""
        if self._waiting is None or not self.all_known():
            return
        i, name = self._waiting
        judged, koma = self._judged, self.plan.settings.koma
        more = stacks_until_final(i, judged.stacks, judged.epochs, koma)
        waiting = messages.Waiting(name, i + 1, more)
        if waiting != self._told_waiting:
            self._listen(waiting)
        self._told_waiting = waiting

    def _scan(self) -> None:
        """Take what is in the folder now; nothing while it cannot be read."""
        self._scanned = self._clock()
        try:
            state = self._watcher.scan()
        except (OSError, SessionError) as error:
            self._listen(messages.Warned(f"the session cannot be looked at ({error}); trying again"))
            self._quiet_since = self._scanned
            return
        if self._take_discovery(state.discovery) or state.unsettled:
            self._quiet_since = self._scanned

    def _take_discovery(self, discovery: Discovery) -> bool:
        """Go on with what is there now; announce what is new; return whether anything has changed."""
        present = {e.name for e in discovery.stacks}
        gone = [e for e in self.plan.stacks if e.name not in present and self._stays(e, discovery)]
        stacks = sorted([*discovery.stacks, *gone], key=lambda entry: (entry.acquired.time, entry.name))
        now = replace(discovery, stacks=tuple(stacks))
        new = tuple(e for e in stacks if self._announced.get(e.name) != e)
        left_out = tuple(r for r in now.rejected if r not in self._left_out)
        news = replace(now, stacks=new, rejected=left_out, skipped=())
        announce(replace(self.plan, discovery=news), self._listen)
        changed = bool(new or left_out) or len(stacks) != len(self._announced)
        self._announced = {e.name: e for e in stacks}
        self._left_out |= set(left_out)
        self.plan = replace(self.plan, discovery=now)
        self._news |= changed
        return changed

    def _stays(self, entry: StackEntry, discovery: Discovery) -> bool:
        """Whether a stack whose file is gone stays in windows: its sum is there, and it was not renamed."""
        _, record = self._records.get(entry.name, (entry, None))
        if record is None or entry.path in {r.path for r in discovery.rejected}:
            return False
        others = (r for name, (_, r) in self._records.items() if name != entry.name)
        return all(other.digest != record.digest for other in others)
