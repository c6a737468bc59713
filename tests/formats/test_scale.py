"""A scale that no counts can have is damage, in every format, and is never written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats import frame_writer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer
from mrcz_dask.session.output_folder import remove
from mrcz_dask.values.errors import FooterError, ParameterError

FRAMES = np.arange(2 * 16 * 16, dtype=np.int16).reshape(2, 16, 16)
ABSURD = [0, 0.0, -1.5, float("nan"), float("inf"), 1e30, 1e-40, "1", None, True]


def write(path: Path, pixels: dict[str, Any], kind: Any) -> None:
    with open_writer(path, kind, FRAMES.shape, FRAMES.dtype, pixels=pixels, durable=False) as writer:
        for frame in FRAMES:
            writer.append(frame)


@pytest.mark.parametrize("kind", OUTPUT_SUFFIXES)
@pytest.mark.parametrize("scale", ABSURD, ids=repr)
def test_an_absurd_scale(kind: Any, scale: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x{OUTPUT_SUFFIXES[kind]}"
    for pixels in ({"scale": scale}, {"scale": 1.0, "offset": scale}):
        if "offset" in pixels and scale in (0, -1.5, 1e-40):
            continue
        with pytest.raises(ParameterError, match="of its pixels is"):
            write(path, pixels, kind)
        assert not path.exists()
        with monkeypatch.context() as context:
            context.setattr(frame_writer, "scale_problem", lambda pixels: None)  # as others might write it
            write(path, pixels, kind)
        with pytest.raises(FooterError, match=r"x\..*of its pixels is .*; expected .*; make the file again"):
            mrcz_dask.read(path)
        assert verify_file(path).status == "damaged"
        write(path, {"scale": 0.5, "offset": -3.0}, kind)
        np.testing.assert_array_equal(mrcz_dask.read(path), FRAMES * 0.5 - 3)
        for file in tmp_path.iterdir():
            remove(file)


ARGUMENTS = {
    "pixels": [3, "x", [1]],
    "meta": [3, "x", [1]],
    "recipe": [3, "x", [1]],
    "provenance": [3, "x", {"a": 1}],
    "extended": [3, "x", [1]],
    "mrc_header": [3, "x", [1]],
    "codec": [3, [1], {"a": 1}],
    "pixel_size": ["x", {"a": 1}, -1],
}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, some in ARGUMENTS.items() for one in some])
def test_an_argument_of_the_wrong_type_is_named(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        mrcz_dask.write(tmp_path / "x.mrcz", FRAMES, durable=False, **{name: value})
    assert not any(tmp_path.iterdir())


def test_other_functions_name_wrong_arguments_too(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "x.mrcz", FRAMES, durable=False)
    wrong: Any = 3
    for function in (mrcz_dask.read, mrcz_dask.read_header, mrcz_dask.read_footer):
        with pytest.raises(ParameterError, match="path is 3, a int; expected a path"):
            function(wrong)
    with pytest.raises(ParameterError, match="path is 3"):
        mrcz_dask.write(wrong, FRAMES)
    with pytest.raises(ParameterError, match="params is 3"):
        mrcz_dask.read(tmp_path / "x.mrcz", params=wrong)
    with pytest.raises(ParameterError, match="params is 3"):
        mrcz_dask.outlier_mask(FRAMES, wrong)
    with pytest.raises(ParameterError, match="inputs is 3"):
        mrcz_dask.open_session(tmp_path, inputs=wrong)
    with pytest.raises(ParameterError, match="expected"):
        mrcz_dask.koma(["x", "y"])  # type: ignore[list-item]
