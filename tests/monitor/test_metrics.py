"""Prometheus reads the numbers of the snapshot."""

from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from mrcz_dask.monitor.listener import SessionListener
from mrcz_dask.monitor.metrics import exposition
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages

from .conftest import Made


def read(live: SessionListener) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(exposition(live).decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_the_metrics_are_the_numbers(moments: list[Moment]) -> None:
    live = SessionListener()
    for _, one in moments:
        live(one)
    found, numbers = read(live), live.snapshot()
    for state in ("found", "summed", "provisional", "done", "failed"):
        assert found["mrcz_dask_stacks", state] == numbers.stacks[state]
    assert found["mrcz_dask_outlier_pixels", "hot"] == numbers.hot
    assert found["mrcz_dask_correlated_noise_ratio", "corrected"] == numbers.noise["corrected"]
    assert found["mrcz_dask_output_bytes",] == numbers.bytes_out
    assert found["mrcz_dask_files_left_out", "rejected"] == numbers.rejected == 1
    assert found["mrcz_dask_run_state", "finished"] == 1
    assert found["mrcz_dask_processed_stacks_total", messages.CORRECTION] == 6
    assert numbers.bytes_per_minute is not None
    assert found["mrcz_dask_bytes_per_second",] == numbers.bytes_per_minute / 60
    assert ("mrcz_dask_time_left_seconds",) not in found


def test_names_keep_to_the_rules(moments: list[Moment]) -> None:
    live = SessionListener()
    for _, one in moments:
        live(one)
    for family in text_string_to_metric_families(exposition(live).decode()):
        assert family.name.startswith("mrcz_dask") and family.documentation and family.type != "unknown"
        assert all(s.name.endswith("_total") == (family.type == "counter") for s in family.samples)


def test_nothing_is_known_before_a_run() -> None:
    found = read(SessionListener())
    assert found["mrcz_dask_run_state", "nothing yet"] == 1
    assert ("mrcz_dask_run_start_timestamp_seconds",) not in found


def test_counters_only_grow(made: Made) -> None:
    live = SessionListener()
    told = [made.started(), made.found(0), made.failed(0), made.summed(0), made.done(0), made.done(0)]
    counts = []
    for one in told:
        live(one)
        found = read(live)
        counts.append([v for k, v in found.items() if k[0].endswith("_total")])
    assert all(sum(a) <= sum(b) for a, b in pairwise(counts))
    assert found["mrcz_dask_failures_total",] == 1
