"""The loop of every job: chains of states, shared tasks, order, and failures."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.engine.client import SerialClient
from mrcz_dask.engine.loop import Loop, Step, Task, Timed, carry_out
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import phase


@dataclass(frozen=True)
class Item:
    name: str
    places: tuple[str, ...] = ()


class Recorder(SerialClient):
    """A serial client that keeps the names of what it was handed."""

    def __init__(self, ahead: int = 1) -> None:
        super().__init__()
        self.names: list[str] = []
        self._ahead = ahead

    @property
    def ahead(self) -> int:  # type: ignore[override]
        return self._ahead

    def submit(self, name: str, *arguments: Any, **more: Any) -> Any:
        self.names.append(name)
        return super().submit(name, *arguments, **more)


def longer(before: tuple[str, ...] | None, name: str, *shared: str) -> tuple[str, ...]:
    return (*(before or ()), *shared, name)


def with_state(item: Item, state: tuple[str, ...] = ()) -> str:
    return f"{item.name}:{''.join(state)}"


def chained(names: str, chains: Iterable[int], needs: tuple[Task, ...] = ()) -> list[Task]:
    steps = [Step("state", longer, name, chain, needs) for name, chain in zip(names, chains, strict=True)]
    return [
        Task("use", "using", with_state, Item(name), k, step)
        for k, (name, step) in enumerate(zip(names, steps, strict=True))
    ]


def results(client: Any, tasks: list[Task]) -> dict[str, Any]:
    return {item.name: found for item, found in carry_out(client, tasks)}


def test_a_state_is_made_from_the_one_before_it_in_its_chain() -> None:
    found = results(SerialClient(), chained("abcde", [0, 0, 0, 1, 1]))
    assert list(found.values()) == ["a:a", "b:ab", "c:abc", "d:d", "e:de"]


def test_shared_tasks_are_carried_out_once() -> None:
    shared = Task("shared", "sharing", lambda item: item.name.upper(), Item("x"))
    client = Recorder()
    found = results(client, chained("ab", [0, 1], (shared,)))
    assert list(found.values()) == ["a:Xa", "b:Xb"]
    assert client.names.count("shared") == 1


def test_a_chain_that_was_left_begins_anew() -> None:
    found = results(SerialClient(), chained("abcd", [0, 1, 2, 0]))
    assert found["d"] == "d:d"


def test_a_failure_is_one_tasks_own() -> None:
    def fail(item: Item) -> str:
        if item.name == "b":
            raise ValueError("no")
        return item.name

    found = results(SerialClient(), [Task("try", "trying", fail, Item(name)) for name in "abc"])
    assert (found["a"], found["c"]) == ("a", "c")
    assert found["b"] == Failure("b", "trying", "ValueError: no")


@given(priorities=st.lists(st.integers(0, 5), max_size=20), ahead=st.integers(1, 30))
def test_tasks_go_by_priority_then_by_their_order(priorities: list[int], ahead: int) -> None:
    tasks = [
        Task(f"{p}", "trying", lambda item: item.name, Item(str(k)), p) for k, p in enumerate(priorities)
    ]
    order = [int(item.name) for item, _ in carry_out(Recorder(ahead), tasks)]
    assert order == sorted(range(len(priorities)), key=lambda k: (priorities[k], k))


@dataclass
class Countdown:
    """A job whose every result makes another task possible."""

    left: int
    seen: list[str] = field(default_factory=list)
    waited: int = 0

    def ready(self) -> Iterable[Task]:
        if self.left > len(self.seen):
            return [Task("count", "counting", lambda item: item.name, Item(str(len(self.seen))))]
        return []

    def take(self, task: Task, made: Timed[Any]) -> None:
        self.seen.append(made.result)

    def over(self) -> bool:
        self.waited += 1
        return self.waited == 3


def test_a_job_goes_on_until_it_says_that_it_is_over() -> None:
    job = Countdown(4)
    Loop(SerialClient()).run(job)
    assert job.seen == ["0", "1", "2", "3"]
    assert job.waited == 3


def longer_in_time(before: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
    with phase("window", 7):
        return longer(before, name)


def test_the_time_of_a_state_counts_to_the_task_that_it_is_made_for() -> None:
    made: list[Timed[Any]] = []

    @dataclass
    class Chained(Countdown):
        def take(self, task: Task, result: Timed[Any]) -> None:
            made.append(result)
            self.seen.append("x")

        def ready(self) -> Iterable[Task]:
            for task in Countdown.ready(self):
                yield replace(task, function=with_state, step=Step("state", longer_in_time, "a", 0))

    Loop(SerialClient(), take_times=True).run(Chained(2))
    assert [one.result for one in made] == ["0:a", "1:aa"]
    for one in made:
        assert one.timing is not None
        windows = {spent.bytes for spent in one.timing.spent if spent.phase == "window"}
        assert windows == {7}  # its own, not that of the state before
        assert sum(s.wall for s in one.timing.spent) == pytest.approx(one.timing.wall)


@pytest.mark.parametrize("take_times", [False, True])
def test_times_are_taken_if_asked_for(take_times: bool) -> None:
    made: list[Timed[Any]] = []

    @dataclass
    class One(Countdown):
        def take(self, task: Task, result: Timed[Any]) -> None:
            made.append(result)
            self.seen.append("x")

    Loop(SerialClient(), take_times).run(One(1))
    assert (made[0].timing is not None) == take_times
