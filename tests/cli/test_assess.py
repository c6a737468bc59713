import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask


def test_tables_and_words(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz(
        "assess", night, "--radius", 2, "--workers", 0, "--csv", tmp_path / "c", "--plot", tmp_path / "p",
        "--only", "stacks,dose,radius",
    )  # fmt: skip

    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["stack", "dose", *["raw", "filter", "KOMA", "both"] * 2]
    assert sum(line.startswith("FoilHole") for line in lines) == 5
    assert any(line.startswith("mean, and error over stacks") for line in lines)
    assert any(line.startswith("use --radius ") for line in lines)
    assert "r between sums" in shown.out and "Eq. 13" in shown.out
    assert {p.name for p in (tmp_path / "p").iterdir()} == {
        f"assess_{name}.{kind}" for name in ("stacks", "dose", "radius") for kind in ("png", "svg")
    }
    assert (tmp_path / "c" / "assess_fits.csv").exists()
    assert (night / "koma" / "assess" / "assess.json").exists()


def test_json_of_one_part(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("assess", night, "-o", tmp_path / "out", "--workers", 0, "--only", "dose", "--json")
    told = json.loads(shown.out)

    assert shown.code == 0 and told["stacks"] == [] and told["over_radius"] is None
    assert set(told["over_dose"]["eq12"]) == {"raw", "filtered"}
    assert told == json.loads((tmp_path / "out" / "assess" / "assess.json").read_text())


def test_stacks_one_by_one(night: Path, tmp_path: Path, mrcz: Any) -> None:
    stacks = sorted(night.glob("*.mrcz"))[:2]
    shown = mrcz("assess", *stacks, "-o", tmp_path / "out", "--workers", 0, "--only", "stacks", "--json")

    assert shown.code == 0
    assert sorted(one["name"] for one in json.loads(shown.out)["stacks"]) == [p.name for p in stacks]


def test_radii_are_chosen(night: Path, tmp_path: Path, mrcz: Any) -> None:
    command = ["assess", night, "-o", tmp_path / "out", "--workers", 0, "--only", "radius"]
    shown = mrcz(*command, "--radii", "2,1", "--radii", 40, "--json")
    told = json.loads(shown.out)

    assert shown.code == 0 and told["params"]["radii"] == [2, 1, 40]
    assert told["over_radius"]["radii"] == [1, 2] and told["over_radius"]["choice"]["radius"] in (1, 2)
    assert "radius 40 left out: radius a needs 2a + 1 usable stacks, here are 5" in told["words"]

    none = mrcz(*command, "--radii", 40)
    assert none.code == 0 and "radius 40 left out" in none.out and "three usable" not in none.out


@pytest.mark.parametrize("radii", ["0", "-3", "2,x", "1.5", ""])
def test_radii_that_are_none(night: Path, mrcz: Any, radii: str) -> None:
    shown = mrcz("assess", night, "--radii", radii)
    assert shown.code == 2 and "radi" in shown.err and not (night / "koma").exists()


def test_a_damaged_stack_is_said(night: Path, tmp_path: Path, mrcz: Any) -> None:
    victim = sorted(night.glob("*.mrcz"))[0]
    data = bytearray(victim.read_bytes())
    data[2000:2400] = bytes(400)
    victim.write_bytes(data)

    shown = mrcz("assess", night, "-o", tmp_path / "out", "--workers", 0, "--only", "stacks")

    assert shown.code == 3 and f"not done: {victim.name}" in shown.out


def test_nothing_that_could_be_done(tmp_path: Path, mrcz: Any) -> None:
    frames = np.random.default_rng(0).poisson(2, (4, 64, 64)).astype(np.uint8)
    mrcz_dask.write(tmp_path / "s.mrcz", frames)
    data = bytearray((tmp_path / "s.mrcz").read_bytes())
    data[2000:2400] = bytes(400)
    (tmp_path / "s.mrcz").write_bytes(data)

    assert mrcz("assess", tmp_path, "-o", tmp_path / "out", "--workers", 0).code == 1


def test_wrong_usage(night: Path, mrcz: Any) -> None:
    assert mrcz("assess", night, "--only", "sums").code == 2
    assert mrcz("assess", night, night).code == 2
    assert mrcz("assess", night, "--sample", 0).code == 2
    assert mrcz("assess").code == 2


def test_a_table_of_methods(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz(
        "assess", night, "--only", "methods", "--radius", 2, "--sample", 2, "--workers", 0, "--csv",
        tmp_path / "c", "--plot", tmp_path / "p",
    )  # fmt: skip

    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["stack", "raw", "outliers", "plain", "fit", "session"]
    assert sum(line[0].startswith("FoilHole") for line in lines if line) == 2
    assert any(line[:2] == ["above", "outliers"] for line in lines)
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"assess_methods.png", "assess_methods.svg"}
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"assess_methods.csv"}
    assert not list((night / "koma").glob("*.mrcz"))


def test_some_methods_beside_the_other_parts(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz(
        "assess", night, "-o", tmp_path / "out", "--workers", 0, "--methods", "outliers, fit", "--json"
    )
    told = json.loads(shown.out)

    assert shown.code == 0 and list(told["by_method"]["means"]) == ["outliers", "fit"]
    assert told["verdict"] and told["over_radius"] and not told["stacks"] and not told["over_dose"]
    assert told == json.loads((tmp_path / "out" / "assess" / "assess.json").read_text())


def test_an_unknown_method_is_wrong_usage(night: Path, mrcz: Any) -> None:
    shown = mrcz("assess", night, "--methods", "fit,magic")

    assert shown.code == 2 and "expected some of raw" in shown.err


def test_options_of_the_method_reach_the_plan(night: Path, tmp_path: Path, mrcz: Any) -> None:
    (tmp_path / "groups.txt").write_text("* one\n")
    options = ["-o", tmp_path / "out", "--workers", 0, "--groups", tmp_path / "groups.txt", "--radius", 2]
    shown = mrcz("assess", night, *options, "--trust-reference", "--pool", 0, "--only", "pattern", "--json")
    told = json.loads(shown.out)

    assert shown.code == 0
    assert set(told["verdict"]["groups"].values()) == {5}
    assert told["verdict"]["advice"].endswith("Give it the options that were given here.")
