"""Methods side by side: the figures of `koma`, nothing written, known results not made again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.assess.assessment import Assessment
from mrcz_dask.assess.files import tables, write_csv, write_json
from mrcz_dask.assess.params import METHODS, AssessParams
from mrcz_dask.assess.plan import assess_memory, assess_plan
from mrcz_dask.assess.plots import write_plots
from mrcz_dask.assess.run import assess
from mrcz_dask.assess.tasks import method_tasks
from mrcz_dask.correction.plan import Plan
from mrcz_dask.engine.client import Client, SerialClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Message, PhaseStarted, silent
from mrcz_dask.values.params import KomaParams, Settings

pytestmark = pytest.mark.slow


def plan_of(folder: Path, out: Path, **koma: Any) -> Plan:
    return assess_plan([folder], out, Settings(koma=KomaParams(radius=2, **koma)))


def compare(plan: Plan, client: Client | None = None, listen: Any = silent, **params: Any) -> Assessment:
    return assess(plan, AssessParams(parts=("methods",), **params), client or SerialClient(), listen)


@pytest.fixture
def found(night: Path, tmp_path: Path) -> Assessment:
    return compare(plan_of(night, tmp_path / "out"), sample=3)


def test_it_says_what_koma_says_of_each_method(
    found: Assessment, night: Path, tmp_path: Path, koma: Any
) -> None:
    assert len(found.by_method.stacks) == 3
    for method in METHODS[2:]:
        results = {r.name: r.noise for r in koma(night, tmp_path / method, method=method).results}
        for one in found.by_method.stacks:
            noise = results[one.name]
            for name, theirs in ((method, "corrected"), ("outliers", "filtered"), ("raw", "raw")):
                assert one.scores[name][0] == pytest.approx(noise[theirs], abs=2e-7)


def test_differences_are_taken_stack_by_stack(found: Assessment) -> None:
    for name in METHODS:
        values = [one.scores[name][0] - one.scores["outliers"][0] for one in found.by_method.stacks]
        assert found.by_method.means[name][2] == pytest.approx(np.mean(values), abs=1e-12)
    assert found.by_method.means["outliers"][2:] == [0, 0]


def test_no_stack_is_written(found: Assessment, tmp_path: Path) -> None:
    write_json(found)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"session.zarr", "assess"}
    assert not list((tmp_path / "out" / "session.zarr" / "corrections").glob("*/"))


def test_what_is_known_is_not_scored_again(found: Assessment, night: Path, tmp_path: Path) -> None:
    begun: list[str] = []

    def listen(event: Message) -> None:
        if isinstance(event, PhaseStarted):
            begun.append(event.phase)

    again = compare(plan_of(night, tmp_path / "out"), listen=listen, sample=3)
    assert "noise by method" not in begun and again.to_dict() == found.to_dict()
    compare(plan_of(night, tmp_path / "out"), listen=listen, sample=3, methods=("raw", "fit"))
    assert "noise by method" in begun


def test_two_threads_find_the_same(found: Assessment, night: Path, tmp_path: Path) -> None:
    plan = plan_of(night, tmp_path / "other")
    with open_client(ClientOptions(1, 2, None), assess_memory(plan), silent) as client:
        other = compare(plan, client, sample=3)
    assert other.by_method.means == found.by_method.means


def test_methods_that_were_asked_for_alone_are_shown(night: Path, tmp_path: Path) -> None:
    one = compare(plan_of(night, tmp_path / "out"), methods=("session", "raw"), sample=2)
    assert list(one.by_method.means) == ["session", "raw"]
    assert one.by_method.means["session"][2] is not None  # above the filter, which is scored all the same
    ((_, (header, *table)),) = tables(one)
    assert len(table) == 3 and table[-1][0] == "mean"
    assert len(header) == len(table[0]) == 2 + 2 * 4


def test_files(found: Assessment, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (table,) = write_csv(found, tmp_path / "t")
    assert len(table.read_text().splitlines()) == 5
    assert [p.suffix for p in write_plots(found, tmp_path / "p")] == [".png", ".svg"]
    again = {p.name: p.read_bytes() for p in write_plots(found, tmp_path / "q")}
    assert again == {p.name: p.read_bytes() for p in write_plots(found, tmp_path / "p")}


def test_a_form_that_a_method_does_not_take(night: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="expected subtract"):
        compare(plan_of(night, tmp_path / "out", form="divide"))


def test_a_session_without_a_stack_that_can_be_compared(night: Path, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no stack can be compared by method"):
        method_tasks(plan_of(night, tmp_path / "out"), AssessParams(), [])
