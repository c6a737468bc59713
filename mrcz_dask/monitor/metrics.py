"""The numbers of a session as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from mrcz_dask.monitor.live import Live
from mrcz_dask.monitor.snapshot import Running, Snapshot
from mrcz_dask.monitor.state import STATES
from mrcz_dask.version import __version__

PREFIX = "mrcz_dask"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Collects the metrics of a session when they are asked for.

    Parameters
    ----------
    live
        What knows how the session stands.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def describe(self) -> list[Metric]:
        """Return nothing: names are known when they are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment; what is not known is left out."""
        numbers = self._live.snapshot()
        yield InfoMetricFamily(PREFIX, "Version of the program.", {"version": __version__})
        yield from _counters(self._live)
        yield from _stacks(numbers)
        yield from _qualities(numbers)
        yield from _speeds(numbers)


def register(live: Live) -> Callable[[], None]:
    """Add the metrics to those that Dask's dashboard serves; return what takes them away."""
    metrics = Metrics(live)
    REGISTRY.register(metrics)
    return partial(REGISTRY.unregister, metrics)


def exposition(live: Live) -> bytes:
    """Return the metrics as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(Metrics(live))
    return generate_latest(registry)


def _counters(live: Live) -> Iterator[Metric]:
    passes, failed = live.totals()
    stacks = _counter("processed_stacks", "Stacks that went through a pass in this run.", "pass")
    size = _counter("processed_bytes", "Bytes of input that went through a pass in this run.", "pass")
    for name, (count, nbytes) in passes.items():
        stacks.add_metric([name], count)
        size.add_metric([name], nbytes)
    yield from (stacks, size)
    yield CounterMetricFamily(f"{PREFIX}_failures", "Times that a stack could not go through a pass.", failed)


def _stacks(numbers: Snapshot) -> Iterator[Metric]:
    counts = numbers.stacks
    yield _by("stacks", "Stacks of the session.", "state", {name: counts[name] for name in STATES})
    yield _gauge("kept_stacks", "Stacks whose output was there already, sound.", counts["kept"])
    yield _gauge("high_contrast_stacks", "Stacks that are no reference for others.", numbers.high_contrast)
    skipped = {"skipped": numbers.left_out - numbers.rejected, "rejected": numbers.rejected}
    yield _by("files_left_out", "Files that are no stacks; rejected ones should be some.", "kind", skipped)
    states = {name: int(name == numbers.running) for name in get_args(Running)}
    yield _by("run_state", "1 for what the run is.", "state", states)
    yield _gauge("workers", "Workers of the cluster at the beginning; 0 without one.", numbers.workers)
    times = {"run_start": numbers.began, "last_event": numbers.updated}
    for name, moment in times.items():
        yield from _moment(f"{name}_timestamp_seconds", moment)


def _qualities(numbers: Snapshot) -> Iterator[Metric]:
    pixels = {"hot": numbers.hot, "dead": numbers.dead}
    yield _by("outlier_pixels", "Outlier pixels of the stacks that are done.", "kind", pixels)
    noise = {kind: value for kind, value in numbers.noise.items() if value is not None}
    yield _by("correlated_noise_ratio", "Mean held-out correlated noise.", "stage", noise)
    yield _gauge("input_bytes", "Size of the inputs of stacks that are done.", numbers.bytes_in)
    yield _gauge("output_bytes", "Size of the outputs.", numbers.bytes_out)


def _speeds(numbers: Snapshot) -> Iterator[Metric]:
    known = {
        "stacks_per_second": (_second(numbers.stacks_per_minute), "Rate of the pass over the last stacks."),
        "bytes_per_second": (_second(numbers.bytes_per_minute), "Rate of the pass over the last stacks."),
        "acquired_stacks_per_second": (_second(numbers.acquired_per_minute), "Rate of the microscope."),
        "time_left_seconds": (numbers.seconds_left, "Until all known stacks are done."),
        "latency_seconds": (numbers.latency, "Median time from finding a stack to its output, last ones."),
    }
    for name, (value, text) in known.items():
        if value is not None:
            yield _gauge(name, text, value)


def _second(minute: float | None) -> float | None:
    return None if minute is None else minute / 60


def _moment(name: str, moment: datetime | None) -> Iterator[Metric]:
    if moment is not None:
        yield _gauge(name, "Seconds since 1970.", moment.timestamp())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, text: str, label: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
