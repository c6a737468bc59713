"""Lines of tasks over workers that come and go, without any process: every task once, in its place."""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mrcz_dask.runs.flow import Flow, halves

from mrcz_dask.runs import flow
from mrcz_dask.values.errors import SessionError


class Crowd:
    """Workers of one machine, whose tasks finish in any order."""

    def __init__(self, room: dict[str, int], order: Iterator[int], retries: int = 3) -> None:
        self.client = self
        self.loop = self
        self.retries = retries
        self._room = room
        self._order = order
        self.pending: deque[Task] = deque()
        self.most: defaultdict[str, int] = defaultdict(int)
        self.lost: set[str] = set()

    def room(self) -> dict[str, int]:
        return {worker: most for worker, most in self._room.items() if worker not in self.lost}

    def submit(self, function: Any, packed: bytes, workers: Sequence[str], pure: bool) -> "Task":
        (worker,) = workers
        task = Task(function, packed, worker)
        self.pending.append(task)
        self.most[worker] = max(self.most[worker], sum(one.worker == worker for one in self.pending))
        return task

    def give_up(self, worker: str) -> None:
        self.lost.add(worker)

    def wait_for_workers(self, count: int, timeout: float) -> None:
        raise TimeoutError

    def finish_one(self) -> "Task":
        ready = [one for one in self.pending if one.worker not in self.lost]
        if not ready:
            raise TimeoutError
        chosen = ready[next(self._order) % len(ready)]
        self.pending.remove(chosen)
        return chosen


class Task:
    status = "finished"

    def __init__(self, function: Any, packed: bytes, worker: str) -> None:
        self.function, self.packed, self.worker = function, packed, worker


class Completed:
    """In the place of `distributed.as_completed`."""

    def __init__(self, crowd: Crowd, futures: Sequence[Task]) -> None:
        self._crowd = crowd
        self._left = len(futures)

    def add(self, future: Task) -> None:
        self._left += 1

    def __iter__(self) -> Iterator[tuple[Task, Any]]:
        while self._left:
            one = self._crowd.finish_one()
            self._left -= 1
            yield one, one.function(one.packed)


@pytest.fixture(autouse=True, scope="module")
def no_cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distributed.as_completed", lambda futures, loop, **_: Completed(loop, futures))
        patch.setattr(flow, "keep_memory", lambda: None)
        patch.setattr(flow, "LONGEST_WAIT", 0)
        patch.setattr(flow.time, "sleep", lambda seconds: None)
        yield


def run(crowd: Crowd, segments: Sequence[Sequence[int]]) -> Flow[int, str]:
    return Flow(crowd, str, segments, halves)  # type: ignore[arg-type]


rooms = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1).filter(
    lambda room: any(room.values())
)


@given(room=rooms, lengths=st.lists(st.integers(0, 12), max_size=8), seed=st.randoms())
def test_every_task_once_and_never_too_many_at_a_time(room: Any, lengths: list[int], seed: Any) -> None:
    cuts = [0, *itertools.accumulate(lengths)]
    segments = [range(a, b) for a, b in itertools.pairwise(cuts)]
    crowd = Crowd(room, iter(lambda: seed.randrange(100), None))
    found = list(run(crowd, segments).results())
    assert sorted(found) == [(k, str(k)) for k in range(cuts[-1])]
    assert all(crowd.most[worker] <= most for worker, most in room.items())


@given(seed=st.randoms(), after=st.integers(0, 15))
def test_the_tasks_of_a_lost_worker_go_on_in_others(seed: Any, after: int) -> None:
    crowd = Crowd({"a": 2, "b": 1, "c": 1}, iter(lambda: seed.randrange(100), None))
    found = []
    for one in run(crowd, [range(10), range(10, 20)]).results():
        found.append(one)
        if len(found) == after:
            crowd.lost.add("a")
    assert sorted(found) == [(k, str(k)) for k in range(20)]


def test_a_worker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 1.0)
    monkeypatch.setattr(flow.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(flow, "HANGING", 30.0)
    crowd = Crowd({"a": 1, "b": 1}, itertools.count())
    finish = crowd.finish_one

    def all_but_those_of_a() -> Task:
        for task in [one for one in crowd.pending if one.worker == "a"]:
            crowd.pending.remove(task)
        return finish()

    monkeypatch.setattr(crowd, "finish_one", all_but_those_of_a)
    found = list(run(crowd, [range(10), range(10, 20)]).results())
    assert crowd.lost == {"a"}
    assert sorted(found) == [(k, str(k)) for k in range(20)]


def test_a_slot_keeps_its_line() -> None:
    crowd = Crowd({"a": 1, "b": 1}, itertools.count())
    places: defaultdict[str, list[int]] = defaultdict(list)
    submit = crowd.submit

    def noted(function: Any, packed: bytes, workers: Sequence[str], pure: bool) -> Task:
        task = submit(function, packed, workers, pure)
        places[task.worker].append(int(task.function(packed)))
        return task

    crowd.submit = noted  # type: ignore[method-assign]
    assert len(list(run(crowd, [range(5), range(5, 10)]).results())) == 10
    assert places == {"a": [0, 1, 2, 3, 4], "b": [5, 6, 7, 8, 9]}


def test_a_task_that_loses_every_worker_fails_and_the_others_go_on() -> None:
    crowd = Crowd(dict.fromkeys("abcdefgh", 1), itertools.count(), retries=2)
    finish_one = crowd.finish_one

    def deadly() -> Task:
        for one in list(crowd.pending):
            if one.worker not in crowd.lost and one.function(one.packed) == "3":
                crowd.pending.remove(one)
                crowd.lost.add(one.worker)
        return finish_one()

    crowd.finish_one = deadly  # type: ignore[method-assign]
    found = dict(run(crowd, [range(6)]).results())
    assert isinstance(found.pop(3), SessionError)
    assert len(crowd.lost) == 3
    assert found == {k: str(k) for k in range(6) if k != 3}


def test_no_worker_is_left() -> None:
    crowd = Crowd({"a": 1}, itertools.count())
    results = run(crowd, [range(4)]).results()
    next(results)
    crowd.lost.add("a")
    with pytest.raises(SessionError, match="all workers were lost"):
        list(results)


@given(st.lists(st.integers()))
def test_halves_hold_everything_in_order(tasks: list[int]) -> None:
    front, back = halves(tasks)
    assert [*front, *back] == tasks
    assert 0 <= len(back) - len(front) <= 1
