"""What is written of ordinary and of odd stacks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from tests.correction.conftest import SHAPE, WRITES, poisson
from tests.nights import run_koma


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("write", ["normalized", "recompressed"])
def test_all_input_types(tmp_path: Path, koma: Any, dtype: str, write: str) -> None:
    for k in range(3):
        poisson(tmp_path / "s", f"{k}.mrcz", dtype=dtype)
    outcome = koma(tmp_path / "s", write=write)
    assert outcome.complete
    for result in outcome.results:
        path = tmp_path / "s" / "koma" / result.output
        assert verify_file(path).status == "sound"
        if write == "recompressed":
            assert np.array_equal(mrcz_dask.read(path), mrcz_dask.read(tmp_path / "s" / result.name))
            assert mrcz_dask.read(path).dtype == dtype


@pytest.mark.parametrize("form", ["subtract", "subtract-raw", "divide"])
@pytest.mark.parametrize("method", ["fit", "plain"])
@pytest.mark.parametrize("rule", get_args(Rule))
def test_forms_methods_and_rules_keep_the_dose(
    night: Path, koma: Any, form: str, method: str, rule: str
) -> None:
    outcome = koma(night, form=form, method=method, rule=rule, dtype="float32")
    assert outcome.complete
    for result in outcome.results:
        footer = mrcz_dask.read_footer(night / "koma" / result.output)
        assert footer is not None
        mean = float(mrcz_dask.read(night / "koma" / result.output).mean(dtype=np.float64))
        # dividing by a noisy pattern raises the mean by its variance
        close = 3e-2 if form == "divide" else 5e-3
        assert mean == pytest.approx(footer["pixels"]["dose_per_frame"], rel=close)


@pytest.fixture(scope="module")
def exact(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """exact(form): the folder of a run that rounds nothing."""

    @cache
    def run(form: str) -> Path:
        out = tmp_path_factory.mktemp("exact")
        assert run_koma(simulated_night, out, form=form, write="recompressed").complete
        return out

    return run


@pytest.mark.parametrize("dtype", ["int16", "float16"])
def test_rounding_is_unbiased_and_within_a_step(
    night: Path, tmp_path: Path, koma: Any, exact: Callable[[str], Path], dtype: str
) -> None:
    outcome = koma(night, tmp_path / "rounded", dtype=dtype)
    for result in outcome.results:
        unrounded = mrcz_dask.open_stack(exact("subtract") / result.output, corrected=True).compute()
        found = mrcz_dask.read(tmp_path / "rounded" / result.output).astype(np.float64)
        step = 1 / 16 if dtype == "int16" else 2.0**-10 * np.maximum(np.abs(unrounded), 2.0**-14)
        assert (np.abs(found - unrounded) <= step).all()
        assert abs((found - unrounded).mean()) < 5e-3 / 16


@pytest.mark.parametrize("format", ["mrcz", "mrcs", "tiff", "zarr"])
def test_whole_counts(
    night: Path, tmp_path: Path, koma: Any, exact: Callable[[str], Path], format: str
) -> None:
    outcome = koma(night, tmp_path / "whole", form="divide", dtype="counts", format=format)
    assert outcome.complete
    for result in outcome.results:
        path = tmp_path / "whole" / result.output
        folder = exact("divide")
        recompressed = folder / Path(result.output).with_suffix(".mrcz")
        rows = slice(None, None, -1 if format == "tiff" else 1)
        unrounded = mrcz_dask.open_stack(recompressed, corrected=True).compute().astype(np.float64)[:, rows]
        found = mrcz_dask.read(path)
        weight = SessionStore(folder / "session.zarr").correction(recompressed.stem).weight[rows]
        good, outlier = weight == 255, weight == 0
        assert verify_file(path).status == "sound" and found.dtype.itemsize == 1
        assert found.min() >= 0 and (np.abs(found - unrounded)[:, good] < 1).all()
        # a rounded value v has variance f (1 - f), f its fraction
        error, fraction = (found - unrounded)[:, good], unrounded[:, good] % 1
        assert abs(error.mean()) <= 4 * np.sqrt(np.mean(fraction * (1 - fraction)) / error.size)
        drawn, mean = found[:, outlier], unrounded[:, outlier]
        assert drawn.size and abs(((drawn - mean) ** 2 / mean).mean() - 1) < 6 / np.sqrt(drawn.size)
        assert mrcz_dask.read_footer(path)["pixels"]["rounding"] == "stochastic"  # type: ignore[index]


def test_whole_counts_of_counts_alone(tmp_path: Path, koma: Any) -> None:
    for k in range(3):
        poisson(tmp_path / "s", f"{k}.mrcz", dtype="float32")
    with pytest.raises(ParameterError, match="add --form divide"):
        koma(tmp_path / "s", dtype="counts")
    outcome = koma(tmp_path / "s", dtype="counts", form="divide")
    assert len(outcome.failed) == 3 and "expects whole counts of 0 and more" in str(outcome.failed)


class TestOddStacks:
    """Stacks that are odd, each among four ordinary ones."""

    def run(self, folder: Path, koma: Any, frames: np.ndarray, **more: Any) -> Any:
        mrcz_dask.write(folder / "stack_2026-01-02_03.04.59.mrcz", frames)
        return koma(folder, **more)

    @pytest.mark.parametrize("value", [0, 7, 255])
    @pytest.mark.parametrize("write", WRITES)
    def test_a_constant_stack_is_written_unchanged(
        self, plain_session: Path, koma: Any, value: int, write: str
    ) -> None:
        outcome = self.run(plain_session, koma, np.full(SHAPE, value, np.uint8), write=write)
        assert outcome.complete
        odd = outcome.results[-1]
        assert not odd.usable
        assert any("degenerate" in text for text in odd.caveats)
        if write != "references":
            found = mrcz_dask.read(plain_session / "koma" / odd.output)
            assert np.array_equal(found, np.full(SHAPE, value))
        for result in outcome.results:
            footer = mrcz_dask.read_footer(plain_session / "koma" / result.output) or {}
            koma_step = next(s for s in footer["provenance"] if s["name"] == "koma")
            assert all(odd.name not in window["names"] for window in koma_step["inputs"])

    def test_an_all_nan_stack_is_its_own_failure(self, tmp_path: Path, koma: Any) -> None:
        for k in range(3):
            poisson(tmp_path / "s", f"{k}.mrcz", dtype=np.float32)
        mrcz_dask.write(tmp_path / "s" / "nan.mrcz", np.full(SHAPE, np.nan, np.float32))
        outcome = koma(tmp_path / "s")
        assert len(outcome.results) == 3
        (failure,) = outcome.failures
        assert failure.name == "nan.mrcz"
        assert "finite" in failure.reason
        assert not (tmp_path / "s" / "koma" / "nan.mrcz").exists()

    @pytest.mark.parametrize("dtype", ["int16", "float32"])
    @pytest.mark.parametrize("constant", [False, True])
    def test_pixels_that_are_not_finite_are_filled(
        self, tmp_path: Path, koma: Any, dtype: str, constant: bool
    ) -> None:
        for k in range(3):
            poisson(tmp_path / "s", f"{k}.mrcz", dtype=np.float32)
        frames = np.random.default_rng(1).poisson(3, SHAPE).astype(np.float32)
        if constant:
            frames[:] = 3
        frames[1, 10, 12] = np.nan
        frames[2, 30, 40] = np.inf
        frames[3, 30, 41] = -np.inf
        mrcz_dask.write(tmp_path / "s" / "odd.mrcz", frames)
        outcome = koma(tmp_path / "s", dtype=dtype)
        assert outcome.complete
        found = mrcz_dask.read(tmp_path / "s" / "koma" / "odd.mrcz")
        assert np.isfinite(found).all()
        assert found[1, 10, 12] == pytest.approx(3, abs=1)

    def test_floats_that_hold_no_counts(self, tmp_path: Path, koma: Any) -> None:
        rng = np.random.default_rng(2)
        (tmp_path / "s").mkdir()
        for k in range(4):
            frames = rng.normal(0.7, 0.3, SHAPE).astype(np.float32)
            mrcz_dask.write(tmp_path / "s" / f"{k}.mrcz", frames)
        outcome = koma(tmp_path / "s", step=2.0**-12)
        assert outcome.complete
        found = mrcz_dask.read(tmp_path / "s" / "koma" / "3.mrcz")
        assert found.mean() == pytest.approx(0.7, abs=0.01)

    def test_the_step_is_coarsened_rather_than_clipped(self, tmp_path: Path, koma: Any) -> None:
        for k in range(4):
            poisson(tmp_path / "s", f"{k}.mrcz", mean=20_000, dtype=np.uint16)
        for result in koma(tmp_path / "s").results:
            path = tmp_path / "s" / "koma" / result.output
            footer = mrcz_dask.read_footer(path) or {}
            assert footer["pixels"]["scale"] == 1.0
            original = mrcz_dask.read(tmp_path / "s" / result.name).astype(np.float64)
            assert np.abs(mrcz_dask.read(path) - original).max() < 600

    def test_one_hot_pixel_does_not_coarsen_the_step(self, tmp_path: Path, koma: Any) -> None:
        for k in range(4):
            path = poisson(tmp_path / "s", f"{k}.mrcz", dtype=np.uint16)
            frames = mrcz_dask.read(path)
            frames[:, 20, 20] = 65535
            mrcz_dask.write(path, frames)
        for result in koma(tmp_path / "s").results:
            path = tmp_path / "s" / "koma" / result.output
            footer = mrcz_dask.read_footer(path) or {}
            assert footer["pixels"]["scale"] == 1 / 16
            assert np.abs(mrcz_dask.read(path)).max() < 100
