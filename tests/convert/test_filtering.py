from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.convert.filtering import filter_outliers
from mrcz_dask.formats import provenance
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import OutlierError, OutputExistsError, ParameterError
from mrcz_dask.values.params import InputParams, OutlierParams, OutputFormat

BEFORE = provenance.append(None, provenance.step("camera", parameters={"mode": "counting"}))


def poisson(dtype: Any = np.uint8, mean: float = 3) -> np.ndarray:
    return np.random.default_rng(7).poisson(mean, (5, 48, 56)).astype(dtype)


def stack(path: Path, frames: np.ndarray, **more: Any) -> Path:
    mrcz_dask.write(path, frames, provenance=BEFORE, meta={"voltage": 300}, pixel_size=1.5, **more)
    return path


@pytest.mark.parametrize("codec", ["nonsense", "zstd:99", "keep", ""])
def test_a_codec_that_is_none_is_refused_before_any_work(tmp_path: Path, codec: str) -> None:
    source = stack(tmp_path / "a.mrcz", poisson())
    with pytest.raises(ParameterError, match="codec"):
        filter_outliers(source, tmp_path / "out", OutlierParams(), codec)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_format_has_the_same_pixels(tmp_path: Path, format: OutputFormat, dtype: str) -> None:
    frames = poisson(dtype)
    frames[:, 20, 20] = 200
    source, params = stack(tmp_path / "a.mrcz", frames), OutlierParams()
    expected = mrcz_dask.read(filter_outliers(source, tmp_path / "mrcz", params, "auto").output)
    made = filter_outliers(source, tmp_path / "out", params, "auto", format)
    found = mrcz_dask.read(made.output)
    assert found.dtype == dtype and verify_file(made.output).status == "sound"
    assert np.array_equal(found[:, ::-1] if format == "tiff" else found, expected)
    step = (mrcz_dask.read_footer(made.output) or {})["provenance"][-1]
    assert step["results"]["rows_reversed"] == (format == "tiff")
    assert step["parameters"]["input"] == InputParams().to_dict()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("rule", get_args(Rule))
def test_outliers_are_replaced_and_counts_stay_counts(tmp_path: Path, dtype: str, rule: Any) -> None:
    frames = poisson(dtype)
    frames[:, 20, 20] = 100
    frames[:, 30, 31] = 90
    source = stack(tmp_path / "a.mrcz", frames)
    made = filter_outliers(source, tmp_path / "out", OutlierParams(rule=rule), "auto")
    found = mrcz_dask.read(made.output)
    assert found.dtype == dtype
    assert found[:, [20, 30], [20, 31]].max() < 20
    assert (found != frames).mean() < 0.05
    footer = mrcz_dask.read_footer(made.output) or {}
    assert [s["name"] for s in footer["provenance"]] == ["camera", "outliers"]
    assert footer["provenance"][-1]["parameters"]["rule"] == rule
    assert made.findings["n_hot"] >= 2


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    frames = poisson()
    frames[:, 20, 20] = 100
    source = stack(tmp_path / "a.mrcz", frames)
    one = filter_outliers(source, tmp_path / "one", OutlierParams(), "auto")
    two = filter_outliers(source, tmp_path / "two", OutlierParams(), "auto")
    assert Path(one.output).read_bytes() == Path(two.output).read_bytes()


def test_no_finite_pixel(tmp_path: Path) -> None:
    source = stack(tmp_path / "a.mrcz", np.full((3, 48, 56), np.nan, np.float32))
    with pytest.raises(OutlierError, match="finite"):
        filter_outliers(source, tmp_path / "out", OutlierParams(), "auto")


def test_pixels_that_are_not_finite_are_filled(tmp_path: Path) -> None:
    frames = poisson(np.float32)
    frames[2, 10, 10] = np.nan
    made = filter_outliers(stack(tmp_path / "a.mrcz", frames), tmp_path / "out", OutlierParams(), "auto")
    assert np.isfinite(mrcz_dask.read(made.output)).all()


def test_an_output_of_another_codec_is_not_kept(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "a.mrc", np.random.default_rng(3).poisson(2, (4, 32, 48)).astype(np.uint16))
    options: dict[str, Any] = {"outliers": OutlierParams(), "resume": True}
    filter_outliers(tmp_path / "a.mrc", tmp_path / "out", codec="zstd", **options)
    assert filter_outliers(tmp_path / "a.mrc", tmp_path / "out", codec="zstd", **options).kept
    with pytest.raises(OutputExistsError, match="--overwrite"):
        filter_outliers(tmp_path / "a.mrc", tmp_path / "out", codec="lz4", **options)
