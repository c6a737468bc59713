"""The main job on a local cluster; the client's cost for a long session; many workers that sleep."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.harness import Amounts, Bench, at_least, at_most, counts, row
from benchmarks.koma import floor, make_session
from mrcz_dask.correction.judged_stacks import judge_stacks
from mrcz_dask.correction.plan import Plan, make_plan
from mrcz_dask.correction.run import CHAINS, SHORTEST, carry_out
from mrcz_dask.correction.sum_stack import sum_and_mask
from mrcz_dask.correction.tasks import CorrectionTask, SumTask
from mrcz_dask.correction.window_sums import CHAIN
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine import loop
from mrcz_dask.engine.client import Client, DaskClient, SerialClient
from mrcz_dask.engine.clusters import ClientOptions, cores, open_client
from mrcz_dask.engine.loop import Step, Task
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.messages import silent
from mrcz_dask.values.params import KomaParams, Settings

WORKERS = 64
BUDGET_SECONDS = 5.0
BUDGET_BYTES = 500e6
WORKER_BYTES = 1.5e9
REPEATS = 3
BEGIN = datetime(2026, 10, 14, 19, 0)


def _koma(session: Path, names: list[str], client: Client, out: Path) -> float:
    """Run over some stacks of a session; return the processor seconds of this process."""
    shutil.rmtree(out, ignore_errors=True)
    plan = make_plan(session, out, Settings(koma=KomaParams(radius=2)), include=names)
    before = time.process_time()
    assert carry_out(plan, client).complete
    return time.process_time() - before


def _serial(arguments: tuple[Path, list[str], Path]) -> float:
    session, names, out = arguments
    return _koma(session, names, SerialClient(), out)


Seconds = tuple[float, float]  # by the clock, of processors


@dataclass(frozen=True)
class Measured:
    """Seconds for the stacks beyond the shorter session; the workers' peak, bytes."""

    serial: Seconds
    cluster: Seconds
    floor: float
    peak: int


@cache
def _measured(folder: Path, quick: bool) -> Measured:
    number = cores()
    lengths = (2 * number, 4 * number)
    repeats = 1 if quick else REPEATS
    session = make_session(folder / "cluster", lengths[1], (10, 960, 928) if quick else (30, 3838, 3710))
    names = [path.name for path in sorted(session.glob("*.mrcz"))]

    with _cluster(number) as client:

        def on_the_cluster(stacks: int) -> float:
            before = _processor(client)
            _koma(session, names[:stacks], client, folder / "out")
            return _processor(client) - before

        cluster = _beyond(on_the_cluster, lengths, repeats)
        peak = max(client.client.run(_peak).values())
    with ProcessPoolExecutor(number, get_context("spawn")) as pool:

        def side_by_side(stacks: int) -> float:
            shares = [(session, names[k:stacks:number], folder / f"out-{k}") for k in range(number)]
            return sum(pool.map(_serial, shares))

        serial = _beyond(side_by_side, lengths, repeats)
        work = [(session / name, folder / "out" / name) for name in names[lengths[0] :]]
        list(pool.map(_floor, work))
        least = statistics.median(_timed(lambda: list(pool.map(_floor, work))) for _ in range(repeats))
    return Measured(serial, cluster, least, peak)


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _beyond(run: Callable[[int], float], lengths: tuple[int, int], repeats: int) -> Seconds:
    """Return what a longer session takes more than a shorter one, medians; what compiles runs before."""
    run(lengths[0])
    times: dict[int, list[Seconds]] = {stacks: [] for stacks in lengths}
    for _ in range(repeats):
        for stacks in lengths:
            start = time.perf_counter()
            processor = run(stacks)
            times[stacks].append((time.perf_counter() - start, processor))
    short, long = ([statistics.median(kind) for kind in zip(*times[n], strict=True)] for n in lengths)
    return long[0] - short[0], long[1] - short[1]


def _processor(client: DaskClient) -> float:
    return float(sum(client.client.run(time.process_time).values()))


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[DaskClient]:
    with open_client(ClientOptions(workers), MemoryEstimate(1, 1), silent) as client:
        assert isinstance(client, DaskClient)
        yield client


def _floor(paths: tuple[Path, Path]) -> None:
    floor(*paths)


def _peak() -> int:
    """Return the peak of this process, bytes; `ru_maxrss` may be that of the process which started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


# The rival shares caches and memory with as many others: what is compared is Dask, not the machine.
SIDE_BY_SIDE = "serial clients in as many processes, side by side"


@row("koma on a worker for each core, beyond start-up", rival=SIDE_BY_SIDE, goal=at_least(0.9))
def throughput(bench: Bench) -> Amounts:
    found = _measured(bench.folder, bench.quick)
    return Amounts(found.cluster[0], found.serial[0])


@row("the same, processor seconds of the workers", rival=SIDE_BY_SIDE, goal=at_least(0.9))
def processor(bench: Bench) -> Amounts:
    found = _measured(bench.folder, bench.quick)
    return Amounts(found.cluster[1], found.serial[1])


@row(
    "koma on a worker for each core, beyond start-up",
    rival="decode, decode, encode, disk in as many processes",
    goal=at_most(1.4),
)
def over_the_floor(bench: Bench) -> Amounts:
    found = _measured(bench.folder, bench.quick)
    return Amounts(found.cluster[0], found.floor)


@row("koma, peak of a worker, bytes, K2 frames", rival="the budget", goal=at_most(1.0))
def peak(bench: Bench) -> Amounts:
    return Amounts(_measured(bench.folder, bench.quick).peak, WORKER_BYTES)


@row("koma, estimate of a worker's memory, bytes, K2 frames", rival="its peak", goal=at_most(1.6))
def estimate(bench: Bench) -> Amounts:
    found = _measured(bench.folder, bench.quick)
    plan = make_plan(bench.folder / "cluster", bench.folder / "nothing", Settings())
    return Amounts(plan.memory_estimate().of(1), found.peak)


@cache
def _peak_with(folder: Path, longest: int, stacks: int) -> int:
    """Return the peak of one new worker over so many stacks of a session."""
    session = make_session(folder / "many", longest, (3, 480, 464))
    names = [path.name for path in sorted(session.glob("*.mrcz"))]
    with _cluster(1) as client:
        _koma(session, names[:stacks], client, folder / "out-many")
        return int(max(client.client.run(_peak).values()))


def _peak_ratio(stacks: int, bench: Bench) -> Amounts:
    longest = 40 if bench.quick else 160
    return Amounts(*(_peak_with(bench.folder, longest, min(n, longest)) for n in (stacks, 10)))


for _stacks in (40, 160):
    row(f"koma, peak of a worker, {_stacks} stacks", rival="10 stacks", goal=at_most(1.1))(
        partial(_peak_ratio, _stacks)
    )


def nap(seconds: float, task: CorrectionTask, *state: int) -> str:
    time.sleep(seconds)
    return task.name


def step_on(before: int | None, number: int) -> int:
    return number


def nap_on(before: float | None, seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@contextlib.contextmanager
def _sleepers(workers: int, threads: int) -> Iterator[DaskClient]:
    """Give workers in threads of this process, on the real scheduler."""
    import dask
    from distributed import Client, LocalCluster

    # Each of the workers would watch all the others, too.
    quiet = {"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "10s"}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield DaskClient(client, MemoryEstimate(1, 1))


def _tiny(folder: Path, stacks: int) -> Path:
    """Write a session of small stacks with the names and times of a real one."""
    if not folder.exists():
        folder.mkdir()
        write(folder / "one.mrcz", np.stack([counts(2.0, (64, 64), k) for k in range(40)]), durable=False)
        content = (folder / "one.mrcz").read_bytes()
        (folder / "one.mrcz").unlink()
        for k in range(stacks):
            when = BEGIN + timedelta(seconds=11 * k)
            name = f"FoilHole_{10_000 + k}_Data_{k % 7}_{when:%Y%m%d_%H%M%S}_fractions.mrcz"
            (folder / name).write_bytes(content)
            mdoc = f"PixelSpacing = 1.05\n[ZValue = 0]\nTiltAngle = 0\nDateTime = {when:%d-%b-%y  %H:%M:%S}\n"
            (folder / f"{name}.mdoc").write_text(mdoc)
    return folder


def _tasks(plan: Plan, store: Path) -> Callable[[], list[CorrectionTask]]:
    """Return what judges and makes the tasks, from records like that of the first stack."""
    SessionStore(store).create()
    one, settings = plan.stacks[0], plan.settings
    task = SumTask(str(one.path), one.name, one.stem, str(store), settings)
    record = sum_and_mask(task)
    rng = np.random.default_rng(1)
    pixels = tuple(map(tuple, np.full((16, 16), 56_000).tolist()))
    records = [
        replace(
            record,
            name=entry.name,
            stem=entry.stem,
            digest=f"{k:032x}",
            grid_means=tuple(map(tuple, rng.normal(40, 0.03, (16, 16)).tolist())),
            grid_pixels=pixels,
        )
        for k, entry in enumerate(plan.stacks)
    ]
    return lambda: list(correction_tasks(plan, judge_stacks(plan.stacks, records, settings)))


def _naps(seconds: float, tasks: list[CorrectionTask]) -> list[Task]:
    work = partial(nap, seconds)
    return [Task("nap", "napping", work, task, priority=k) for k, task in enumerate(tasks)]


@row(
    f"{WORKERS} workers in one process, sums, masks, windows, corrections of .1 to 1 s: slot-seconds",
    rival="seconds asleep",
    goal=at_least(0.9),
)
def busy(bench: Bench) -> Amounts:
    """Stacks in order of time; windows in chains as long as the main job makes them."""
    stacks = WORKERS * (3 if bench.quick else 32)
    plan = make_plan(_tiny(bench.folder / "asleep", stacks), None, Settings())
    arguments = _tasks(plan, bench.folder / "asleep.zarr")()
    durations = np.random.default_rng(1).uniform(0.1, 1, (stacks, 4))
    tasks, chain, end = [], 0, 0
    for k, (argument, (first, second, third, fourth)) in enumerate(
        zip(arguments, durations.tolist(), strict=True)
    ):
        if k == end:
            chain, end = k, k + min(CHAIN, max(SHORTEST, (stacks - k) // (CHAINS * WORKERS)))
        step = Step("window", nap_on, third, chain)
        own = 2 * k  # a correction comes before the sums of stacks that are recorded much later
        tasks += [
            Task("sum-stack", "napping", partial(nap, first), argument, priority=own + 200),
            Task("mask-stack", "napping", partial(nap, second), argument, priority=own + 201),
            Task("correct-stack", "napping", partial(nap, fourth), argument, priority=own + 300, step=step),
        ]
    with _sleepers(WORKERS, 1) as client:
        wall = _timed(lambda: _through(client, tasks))
    return Amounts(wall * WORKERS, float(durations.sum()))


def _through(client: Client, tasks: list[Task]) -> None:
    assert sorted(found for _, found in loop.carry_out(client, tasks)) == sorted(
        task.argument.name for task in tasks
    )


@row("scheduling overhead per stack, 10 ms tasks, seconds", rival="one of the tasks")
def overhead(bench: Bench) -> Amounts:
    """A stack is a task for its sum, its window, and a task for its correction, as in the main job."""
    stacks, seconds = 200 if bench.quick else 1000, 0.01
    plan = make_plan(_tiny(bench.folder / "overhead", stacks), None, Settings())
    sums = _naps(seconds, _tasks(plan, bench.folder / "overhead.zarr")())
    corrections = [
        replace(task, name="correct", step=Step("window", step_on, k, k // CHAIN))
        for k, task in enumerate(sums)
    ]
    tasks = [task for pair in zip(sums, corrections, strict=True) for task in pair]
    with _cluster(cores()) as client:
        _through(client, tasks[:64])
        wall = statistics.median(_timed(lambda: _through(client, tasks)) for _ in range(bench.repeats))
        asleep = 2 * seconds * stacks / client.slots
    return Amounts((wall - asleep) / stacks, seconds)


@cache
def _planned(folder: Path) -> tuple[float, float]:
    """Return seconds and peak bytes of a process that plans a session of 5 000 stacks."""
    session = _tiny(folder / "tiny", 5000)
    command = [sys.executable, "-c", "from benchmarks.cluster import plan_alone; plan_alone()", str(session)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, cwd=root)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def plan_alone() -> None:
    """Print seconds and peak bytes, until the first results of 64 slots are there."""
    session = Path(sys.argv[1])
    start = time.perf_counter()
    plan = make_plan(session, None, Settings())
    seconds = time.perf_counter() - start
    make = _tasks(plan, session.with_suffix(".zarr"))  # the first pass is no part of planning
    with _sleepers(1, WORKERS) as client:
        start = time.perf_counter()
        tasks = make()
        next(loop.carry_out(client, _naps(0.0, tasks)))
        seconds += time.perf_counter() - start
    print(seconds, _peak())


@row("5 000 stacks planned and submitted, seconds", rival="the budget", goal=at_most(1.0))
def planning(bench: Bench) -> Amounts:
    return Amounts(_planned(bench.folder)[0], BUDGET_SECONDS)


@row("5 000 stacks planned and submitted, bytes of the client", rival="the budget", goal=at_most(1.0))
def planning_memory(bench: Bench) -> Amounts:
    return Amounts(_planned(bench.folder)[1], BUDGET_BYTES)
