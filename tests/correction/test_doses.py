"""Stacks whose mean is no dose: corrected as far as that goes, and nobody's reference unless in counts."""

from pathlib import Path

import numpy as np
import pytest

import mrcz_dask


@pytest.fixture
def around_zero(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for k, mean in enumerate([-5, 0, 5, 5, -5]):
        stack = draw.poisson(4, (6, 96, 96)) - 4 + draw.normal(0, 0.3, (6, 96, 96)) + mean
        mrcz_dask.write(tmp_path / f"s{k}.mrcz", stack.astype("f4"))
    return tmp_path


def test_no_dose_no_reference_and_no_pattern(around_zero: Path, koma) -> None:
    outcome = koma(around_zero, around_zero / "koma", dtype="float32")

    assert not outcome.failures
    without = [r for r in outcome.results if not r.usable]
    assert {r.output for r in without} >= {"s0.mrcz", "s4.mrcz"}
    said = {r.output: " ".join(r.caveats) for r in outcome.results}
    assert "too little to scale by" in said["s0.mrcz"]
    assert "too little to scale by" not in said["s2.mrcz"]


def test_in_counts_every_stack_is_a_reference(around_zero: Path, koma) -> None:
    outcome = koma(around_zero, around_zero / "koma", form="subtract-raw", dtype="float32")

    assert not outcome.failures
    assert {r.output for r in outcome.results if r.usable} >= {"s0.mrcz", "s2.mrcz", "s3.mrcz", "s4.mrcz"}
    assert not any("too little" in text for r in outcome.results for text in r.caveats)
