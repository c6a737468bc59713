"""Serves the progress of a session as metrics for Prometheus, a monitoring program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from tornado.web import RequestHandler

from mrcz_dask.monitor.listener import SessionListener
from mrcz_dask.monitor.snapshot import Running, Snapshot
from mrcz_dask.monitor.state import STATES
from mrcz_dask.version import __version__

PREFIX = "mrcz_dask"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Collects the metrics of a session (stacks done, rates, failures) when Prometheus asks for them.

    Parameters
    ----------
    session
        Knows how the session stands.
    """

    def __init__(self, session: SessionListener) -> None:
        self._session = session

    def describe(self) -> list[Metric]:
        """Return nothing: Prometheus learns the names of the metrics when it collects their values."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment, without those that are not known yet."""
        snapshot = self._session.snapshot()
        yield InfoMetricFamily(PREFIX, "Version of the program.", {"version": __version__})
        phases, failures = self._session.totals()
        stacks = _counter("processed_stacks", "Stacks that went through a phase in this run.")
        size = _counter("processed_bytes", "Bytes of input that went through a phase in this run.")
        for name, (count, nbytes) in phases.items():
            stacks.add_metric([name], count)
            size.add_metric([name], nbytes)
        yield from (stacks, size)
        text = "Times that a stack could not go through a phase."
        yield CounterMetricFamily(f"{PREFIX}_failures", text, failures)
        yield from _numbers(snapshot)
        yield from _speeds(snapshot)


class MetricsHandler(RequestHandler):
    """Answers requests for ``/metrics`` on the page's server."""

    def initialize(self, session: SessionListener) -> None:
        """Set the listener that knows the state of the session."""
        self._session = session

    def get(self) -> None:
        """Answer a request with the metrics of this moment."""
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(exposition(self._session))


def exposition(session: SessionListener) -> bytes:
    """Return the metrics of this moment as bytes in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(Metrics(session))
    return generate_latest(registry)


def _numbers(snapshot: Snapshot) -> Iterator[Metric]:
    counts = snapshot.stacks
    yield _by("stacks", "Stacks of the session.", "state", {name: counts[name] for name in STATES})
    yield _gauge("kept_stacks", "Stacks whose output was there already, sound.", counts["kept"])
    yield _gauge("high_contrast_stacks", "Stacks that are no reference for others.", snapshot.high_contrast)
    skipped = {"skipped": snapshot.left_out - snapshot.rejected, "rejected": snapshot.rejected}
    yield _by("files_left_out", "Files that are no stacks; rejected ones should be some.", "kind", skipped)
    states = {name: int(name == snapshot.running) for name in get_args(Running)}
    yield _by("run_state", "1 for the state of the run.", "state", states)
    yield _gauge("workers", "Workers of the cluster at the beginning; 0 without one.", snapshot.workers)
    for name, moment in (("run_start", snapshot.began), ("last_event", snapshot.updated)):
        if moment is not None:
            yield _gauge(f"{name}_timestamp_seconds", "Seconds since 1970.", moment.timestamp())
    pixels = {"hot": snapshot.hot, "dead": snapshot.dead}
    yield _by("outlier_pixels", "Outlier pixels of the stacks that are done.", "kind", pixels)
    noise = {kind: value for kind, value in snapshot.noise.items() if value is not None}
    yield _by("correlated_noise_ratio", "Mean held-out correlated noise.", "stage", noise)
    yield _gauge("input_bytes", "Size of the inputs of stacks that are done.", snapshot.bytes_in)
    yield _gauge("output_bytes", "Size of the outputs.", snapshot.bytes_out)


def _speeds(snapshot: Snapshot) -> Iterator[Metric]:
    rates = {
        "stacks_per_second": (snapshot.stacks_per_minute, "Rate of the phase over the last stacks."),
        "bytes_per_second": (snapshot.bytes_per_minute, "Rate of the phase over the last stacks."),
        "acquired_stacks_per_second": (snapshot.acquired_per_minute, "Rate of the microscope."),
    }
    for name, (per_minute, text) in rates.items():
        if per_minute is not None:
            yield _gauge(name, text, per_minute / 60)
    if snapshot.seconds_left is not None:
        yield _gauge("time_left_seconds", "Until all known stacks are done.", snapshot.seconds_left)
    if snapshot.latency is not None:
        text = "Median time from finding a stack to its output, last ones."
        yield _gauge("latency_seconds", text, snapshot.latency)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["pass"])
