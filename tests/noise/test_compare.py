"""Methods beside each other: the figures of `koma`, nothing written, known results not made again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.correction.plan import Plan
from mrcz_dask.engine.client import Client, SerialClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.noise.compare import (
    CompareRun,
    Comparison,
    keep_comparison,
    rows,
    write_table,
)
from mrcz_dask.noise.compare_plots import write_figure
from mrcz_dask.noise.compare_tasks import CHOICES, CompareParams, with_method
from mrcz_dask.noise.plan import choose, noise_need, noise_plan
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Message, PhaseStarted, silent
from mrcz_dask.values.params import KomaParams, Settings

pytestmark = pytest.mark.slow

METHODS = ("plain", "fit", "session")


def plan_of(folder: Path, out: Path, **koma: Any) -> Plan:
    return noise_plan(choose([folder]), out, Settings(koma=KomaParams(radius=2, **koma)))


def compare(plan: Plan, executor: Client | None = None, listen: Any = silent, **params: Any) -> Comparison:
    return CompareRun(plan, CompareParams(**params), executor or SerialClient(), listen).execute()


@pytest.fixture
def found(night: Path, tmp_path: Path) -> Comparison:
    return compare(plan_of(night, tmp_path / "out"), stacks=3)


def test_it_says_what_koma_says_of_each_method(
    found: Comparison, night: Path, tmp_path: Path, koma: Any
) -> None:
    assert len(found.stacks) == 3
    for method in METHODS:
        results = {r.name: r.noise for r in koma(night, tmp_path / method, method=method).results}
        for one in found.stacks:
            noise = results[one.name]
            for name, theirs in ((method, "corrected"), ("outliers", "filtered"), ("raw", "raw")):
                assert one.scores[name][0] == pytest.approx(noise[theirs], abs=2e-7)


def test_differences_are_taken_stack_by_stack(found: Comparison) -> None:
    for name in CHOICES:
        values = [one.scores[name][0] - one.scores["outliers"][0] for one in found.stacks]
        assert found.means[name][2] == pytest.approx(np.mean(values), abs=1e-12)
    assert found.means["outliers"][2:] == [0, 0]


def test_no_stack_is_written(found: Comparison, tmp_path: Path) -> None:
    keep_comparison(found)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"session.zarr", "noise"}
    assert not list((tmp_path / "out" / "session.zarr" / "corrections").glob("*/"))


def test_what_is_known_is_not_scored_again(found: Comparison, night: Path, tmp_path: Path) -> None:
    begun: list[str] = []

    def listen(message: Message) -> None:
        if isinstance(message, PhaseStarted):
            begun.append(message.phase)

    again = compare(plan_of(night, tmp_path / "out"), listen=listen, stacks=3)
    assert "noise by method" not in begun and again.to_dict() == found.to_dict()
    compare(plan_of(night, tmp_path / "out"), listen=listen, stacks=3, methods=("raw", "fit"))
    assert "noise by method" in begun


def test_two_threads_find_the_same(found: Comparison, night: Path, tmp_path: Path) -> None:
    plan = plan_of(night, tmp_path / "other")
    with open_client(ClientOptions(1, 2, None), noise_need(plan), silent) as executor:
        other = compare(plan, executor, stacks=3)
    assert other.means == found.means


def test_methods_that_were_asked_for_alone_are_shown(night: Path, tmp_path: Path) -> None:
    one = compare(plan_of(night, tmp_path / "out"), methods=("session", "raw"), stacks=2)
    assert list(one.means) == ["session", "raw"]
    assert one.means["session"][2] is not None  # above the filter, which is scored all the same
    header, *table = rows(one)
    assert len(table) == 3 and table[-1][0] == "mean"
    assert len(header) == len(table[0]) == 2 + 2 * 4


def test_files(found: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (table,) = write_table(found, tmp_path / "t")
    assert len(table.read_text().splitlines()) == 5
    assert [p.suffix for p in write_figure(found, tmp_path / "p")] == [".png", ".svg"]
    again = {p.name: p.read_bytes() for p in write_figure(found, tmp_path / "q")}
    assert again == {p.name: p.read_bytes() for p in write_figure(found, tmp_path / "p")}


@pytest.mark.parametrize("methods", [(), ("fit", "fit"), ("fit", "best")])
def test_methods_that_there_are_not(methods: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match="expected some of raw"):
        CompareParams(methods=methods)


def test_no_stack_at_all_to_score() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        CompareParams(stacks=0)


def test_a_form_that_a_method_does_not_take(night: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="expected subtract"):
        with_method(plan_of(night, tmp_path / "out", form="divide"), "session")
