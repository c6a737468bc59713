"""The study of the outlier masks runs, and its best F1 is the best."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "study" / "outlier_table.py"


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    if not SCRIPT.is_file():
        pytest.skip("the studies are not beside these tests")
    return runpy.run_path(str(SCRIPT))


def test_best_f1_is_the_best_of_all_thresholds(study: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((30, 30)) < 0.1
    dark = rng.random((30, 30)) < 0.5
    total = np.where(truth, np.where(dark, rng.poisson(1, truth.shape), rng.poisson(22, truth.shape)), 0)
    total = np.where(truth, total, rng.poisson(10, truth.shape))
    tried = [
        study["scores"]((total < low) | (total >= high), truth)[2]
        for low in range(11)
        for high in range(low, 40)
    ]
    assert study["best_f1"](total, truth) == pytest.approx(max(tried))


def test_the_table_is_printed(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["outlier_table.py", "--seeds", "1", "--size", "96", "--threads", "1"])
    study["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 * len(study["PAGE"])
    assert sum("page" in line for line in lines) == len(study["PAGE"])


def test_the_table_of_cameras_is_printed(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(study["print_cameras"].__globals__, "CAMERA_DOSES", (30,))
    monkeypatch.setattr(sys, "argv", ["outlier_table.py", "--cameras", "--seeds", "1", "--size", "96"])
    study["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 4 * len(study["CAMERAS"])
    kinds = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in lines[1:]}
    assert kinds["counts x 32"] == "scaled counts" and kinds["blobs"] == "blobs"
