"""The page, `status`, the metrics and the table at the end of a run say the same."""

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mrcz_dask.cli.summary import show_outcome
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.monitor.snapshot import facts, headline, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.session.log import read_messages
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.texts import readable

pytestmark = pytest.mark.slow


def metrics(address: str) -> dict[tuple[str, ...], float]:
    with urlopen(address.replace("/session", "/metrics")) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.mark.parametrize(
    "where", [ClientOptions(workers=2), ClientOptions(workers=0)], ids=["dashboard", "alone"]
)
def test_all_four_agree(
    where: ClientOptions, night: Path, tmp_path: Path, tab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[messages.Message] = []
    plan = make_plan(night, tmp_path / "out", Settings(koma=KomaParams(radius=2)))
    page = PageParams() if where.workers else PageParams.of("0")
    with (
        open_client(where, MemoryEstimate(10**8, 10**8), told.append) as executor,
        watched(executor, page, told.append) as listen,
    ):
        address = next(one.address for one in told if isinstance(one, messages.PageReady))
        tab.open(address)
        outcome = carry_out(plan, executor, listen)
        said = tab.until(lambda said: said.get("headline") == "finished")
        scraped = metrics(address)
    state = SessionState.of(read_messages(plan.folder))
    assert state.updated is not None
    found = snapshot(state, state.updated)
    written = {fact.key: fact.text for fact in facts(found)}
    assert said["headline"] == headline(found)
    for key in ("done", "waiting", "failed", "data", "outliers", "noise", "contrast", "left_out"):
        assert said[key] == written[key], key
    check_metrics(scraped, json.loads(json.dumps(found.to_dict())))
    capsys.readouterr()
    show_outcome(outcome)
    check_table(capsys.readouterr().out, outcome, written)


def check_metrics(scraped: dict[tuple[str, ...], float], values: dict[str, Any]) -> None:
    for state in ("found", "summed", "provisional", "done", "failed"):
        assert scraped["mrcz_dask_stacks", state] == values["stacks"][state]
    for kind in ("hot", "dead"):
        assert scraped["mrcz_dask_outlier_pixels", kind] == values[kind]
    for kind, noise in values["noise"].items():
        assert scraped["mrcz_dask_correlated_noise_ratio", kind] == noise
    assert scraped["mrcz_dask_input_bytes",] == values["bytes_in"]
    assert scraped["mrcz_dask_output_bytes",] == values["bytes_out"]
    assert scraped["mrcz_dask_files_left_out", "rejected"] == values["rejected"] == 1


def check_table(table: str, outcome: Outcome, written: dict[str, str]) -> None:
    """The last lines of the table hold what the others say."""
    results = outcome.results
    assert written["done"] == f"{len(results)} of {len(results)}"
    assert f"{len(results)} stacks done, {outcome.not_done} not done; " in table
    hot, dead = sum(r.hot for r in results), sum(r.dead for r in results)
    assert f"{hot} hot and {dead} dead pixels" in table
    assert written["outliers"] == f"{hot} hot, {dead} dead"
    assert f"mean over stacks without high contrast: {written['noise']}" in table
    sizes = [readable(sum(getattr(r, name) for r in results)) for name in ("bytes_in", "bytes_out")]
    assert written["data"] == f"{sizes[0]} in, {sizes[1]} out" and f"{written['data']}, in " in table
