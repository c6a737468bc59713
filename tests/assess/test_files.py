"""The noise of a session as tables and figures."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from mrcz_dask.assess.assessment import Assessment, OverRadius, StackLine, mean_score, over_dose
from mrcz_dask.assess.files import tables, write_csv, write_json
from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.plan import assess_plan
from mrcz_dask.assess.plots import write_plots
from mrcz_dask.assess.results import KINDS, VARIANTS, StackNoise, StackPairs
from mrcz_dask.numerics.noise.decay import fit_decay
from mrcz_dask.numerics.noise.radius import choose_radius
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.params import Settings

RADII = (1, 2, 4, 8)
DOSES = (20.0, 40.0, 80.0, 160.0, 320.0)


def curve(variant: str) -> list[list[float | None]]:
    below = -0.001 if variant.startswith("fit") else 0.0
    return [[0.002 + below + 0.02 / a, 0.0001, below + 0.02 / a, 0.0001] for a in RADII]


@pytest.fixture
def report(night: Path, tmp_path: Path) -> Assessment:
    """A report that is made up."""
    plan = assess_plan([night], tmp_path / "out", Settings())
    lines = [
        StackLine(
            StackNoise(
                f"stack {k}",
                12,
                {kind: [0.05 / (j + 1) ** 2 - 0.002 * j, 0.001] for j, kind in enumerate(KINDS)},
                {
                    kind: [None, None] if kind == "both" else [0.02 / (j + 1), None]
                    for j, kind in enumerate(KINDS)
                },
            ),
            20.0 * k + 10,
            k != 2,
        )
        for k in range(4)
    ]
    pairs = tuple(
        StackPairs(f"stack {k}", tuple("abcde"), DOSES, (None, *[d**-0.5 for d in DOSES[1:]]), (0.02,) * 5)
        for k in range(4)
    )
    curves = {variant: curve(variant) for variant in VARIANTS}
    radius = OverRadius(
        stacks=("stack 0", "stack 1", "stack 3"),
        radii=RADII,
        law=tuple(1 / (2 * a * 12) for a in RADII),
        alone={"raw": [0.05, 0.002], "filter": [0.003, 0.0002]},
        curves=curves,
        fits={v: fit_decay(RADII, [float(one[0] or 0) for one in curves[v]]) for v in VARIANTS},
        choice=choose_radius(RADII, [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]], [1.0, 1.1]),
    )
    means = {way: {kind: [0.1, 0.01] for kind in KINDS} for way in ("held_out", "in_sample")}
    words, dose = ("a word",), over_dose(pairs)
    return Assessment(plan, AssessParams(), None, tuple(lines), means, dose, radius, None, words, (), {})


def test_tables_hold_what_the_figures_show(report: Assessment, tmp_path: Path) -> None:
    paths = write_csv(report, tmp_path / "csv")

    assert [p.name for p in paths] == [
        "assess_stacks.csv", "assess_dose.csv", "assess_radius.csv", "assess_fits.csv",
    ]  # fmt: skip
    stacks, dose, radius, fits = (list(csv.DictReader(io.StringIO(p.read_text()))) for p in paths)
    assert [row["usable"] for row in stacks] == ["1", "1", "0", "1"]
    assert float(stacks[1]["filter_held_out"]) == report.stacks[1].noise.held_out["filter"][0]
    assert stacks[1]["both_in_sample"] == "" and stacks[1]["raw_held_out_error"] == "0.001"
    assert len(dose) == 20 and dose[0]["raw"] == "" and float(dose[1]["raw"]) == 40**-0.5
    assert [float(row["law"]) for row in radius] == [1 / (24 * a) for a in RADII]
    assert [float(row["plain+filter_above"]) for row in radius] == [0.02 / a for a in RADII]
    assert {(row["equation"], row["of"]) for row in fits} == {
        ("12", "raw"), ("12", "filtered"), *(("13", v) for v in VARIANTS),
    }  # fmt: skip
    by_name = {row["of"]: row for row in fits}
    assert float(by_name["raw"]["b"]) == pytest.approx(-0.5, abs=1e-6)
    assert by_name["filtered"]["a"] == "" and "no decay" in by_name["filtered"]["cannot_say"]


def test_figures_are_drawn_the_same_again(report: Assessment, tmp_path: Path) -> None:
    paths = write_plots(report, tmp_path / "one")
    write_plots(report, tmp_path / "two")

    assert [p.name for p in paths] == [
        f"assess_{name}.{kind}" for name in ("stacks", "dose", "radius") for kind in ("png", "svg")
    ]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_parts_that_are_not_there_have_no_files(report: Assessment, tmp_path: Path) -> None:
    nothing = replace(report, over_dose=None, over_radius=None)

    assert [name for name, _ in tables(nothing)] == ["assess_stacks"]
    assert {p.stem for p in write_plots(nothing, tmp_path)} == {"assess_stacks"}


def test_files_that_differ_are_not_replaced_unasked(report: Assessment, tmp_path: Path) -> None:
    write_csv(report, tmp_path)
    write_csv(report, tmp_path)  # the same bytes
    other = replace(report, stacks=report.stacks[:3])

    with pytest.raises(OutputExistsError, match=r"assess_stacks\.csv is there already and differs"):
        write_csv(other, tmp_path)
    before = (tmp_path / "assess_dose.csv").stat().st_mtime_ns
    write_csv(other, tmp_path, overwrite=True)
    assert len((tmp_path / "assess_stacks.csv").read_text().splitlines()) == 4
    assert (tmp_path / "assess_dose.csv").stat().st_mtime_ns >= before


def test_the_report_is_kept_as_json(report: Assessment) -> None:
    told = json.loads(write_json(report).read_text())

    assert told["over_radius"]["choice"]["radius"] == report.over_radius.choice.radius  # type: ignore[union-attr]
    assert told["words"] == ["a word"] and len(told["stacks"]) == 4
    assert str(report.plan.discovery.folder) not in json.dumps(told)


def test_means_are_of_what_is_known() -> None:
    assert mean_score([None, None]) == [None, None]
    assert mean_score([2.0, None]) == [2.0, None]
    mean, error = mean_score([1.0, 2.0, None, 3.0])
    assert mean == 2 and error == pytest.approx(1 / math.sqrt(3))
