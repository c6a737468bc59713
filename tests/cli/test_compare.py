import json
from pathlib import Path
from typing import Any


def test_a_table_of_methods(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz(
        "compare", night, "--radius", 2, "--stacks", 2, "--workers", 0, "--csv", tmp_path / "c", "--plot",
        tmp_path / "p",
    )  # fmt: skip

    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["stack", "raw", "outliers", "plain", "fit", "session"]
    assert sum(line[0].startswith("FoilHole") for line in lines if line) == 2
    assert any(line[:2] == ["above", "outliers"] for line in lines)
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"compare.png", "compare.svg"}
    assert not list((night / "koma").glob("*.mrcz"))


def test_json_of_some_methods(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz(
        "compare", night, "-o", tmp_path / "out", "--workers", 0, "--methods", "outliers, fit", "--json"
    )
    told = json.loads(shown.out)

    assert shown.code == 0 and list(told["means"]) == ["outliers", "fit"]
    assert told == json.loads((tmp_path / "out" / "noise" / "compare.json").read_text())


def test_an_unknown_method_is_wrong_usage(night: Path, mrcz: Any) -> None:
    shown = mrcz("compare", night, "--methods", "fit,magic")

    assert shown.code == 2 and "expected some of raw" in shown.err
