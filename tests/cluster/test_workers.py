"""Somebody's own scheduler: the names on its dashboard, and the bytes of the serial run whoever is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest

import mrcz_dask
from mrcz_dask.values.messages import Message, StackDone

pytestmark = pytest.mark.cluster

RADIUS, STACKS = 3, 16


@contextmanager
def scheduler(workers: int) -> Iterator[Any]:
    """A cluster of so many processes of one thread, which the program has not made."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def after(phase: str, client: Any, number: signal.Signals) -> tuple[Callable[[Message], None], list[int]]:
    """A listener that sends a signal to one worker when the first stack has gone through a phase."""
    sent: list[int] = []

    def listen(message: Message) -> None:
        if isinstance(message, StackDone) and message.phase == phase and not sent:
            sent.append(min(client.run(os.getpid).values()))
            os.kill(sent[0], number)

    return listen, sent


def koma(night: Path, out: Path, client: Any, listen: Callable[[Message], None]) -> None:
    plan = mrcz_dask.open_session(night).koma(RADIUS)
    assert plan.run(out, client, report=False, listen=listen).complete


def test_every_stack_has_its_tasks_by_name(
    night: Path, serial: dict[str, bytes], home: Path, mrcz: Any, outputs: Any
) -> None:
    """Windows may be shared, at the ends of a session, and blocks share the outliers that last."""
    with scheduler(3) as client:
        prefixes, address = client.cluster.scheduler.task_prefixes, client.cluster.scheduler_address
        done = mrcz(
            "koma", night, "-o", home / "out", "--radius", RADIUS, "--no-report", "--scheduler", address
        )
        made = {name: prefix.state_counts["memory"] for name, prefix in prefixes.items()}
    assert done.code == 0, done
    assert outputs(home / "out") == serial
    assert STACKS - 2 * RADIUS <= made.pop("window") <= STACKS
    assert made.pop("pool-outliers") == -(-STACKS // (RADIUS + 4))  # one for each block
    assert made == dict.fromkeys(("sum-stack", "mask-stack", "correct-stack"), STACKS)


@pytest.mark.parametrize("workers", [3, 1])
@pytest.mark.parametrize("phase", ["sums and masks", "correction"])
def test_a_killed_worker_changes_nothing(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, mrcz: Any, workers: int, phase: str
) -> None:
    with scheduler(workers) as client:
        listen, killed = after(phase, client, signal.SIGKILL)
        koma(night, home / "out", client, listen)
    assert killed and outputs(home / "out") == serial
    last = sorted((home / "out").glob("*.mrcz"))[-1]
    assert mrcz("reproduce", last, "--session", night).code == 0


def test_the_only_worker_of_the_own_cluster_is_killed(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any
) -> None:
    from distributed import Client

    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.values.messages import ClusterReady

    killed: list[int] = []
    address = ""

    def listen(message: Message) -> None:
        nonlocal address
        if isinstance(message, ClusterReady):
            address = message.scheduler
        if isinstance(message, StackDone) and not killed:
            with Client(address, set_as_default=False) as client:
                killed.extend(client.run(os.getpid).values())
            os.kill(killed[0], signal.SIGKILL)

    koma(night, home / "out", ClientOptions(1), listen)
    assert killed and outputs(home / "out") == serial


def test_a_worker_that_says_nothing_is_given_up(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any
) -> None:
    """Stopped, not killed: nothing but Dask's `worker-ttl` can know of it."""
    with dask.config.set({"distributed.scheduler.worker-ttl": "4s"}), scheduler(2) as client:
        listen, stopped = after("sums and masks", client, signal.SIGSTOP)
        koma(night, home / "out", client, listen)
    assert stopped and outputs(home / "out") == serial
