"""The public face: names, docstrings, and what an import costs."""

import inspect
import subprocess
import sys

import pytest

import mrcz_dask

FIXED = {
    "open_stack": "path, corrected",
    "read": "path, frames, scaled, permissive",
    "write": "path, array, codec, pixel_size, meta, durable",
    "read_header": "path",
    "read_footer": "path",
    "outlier_mask": "stack_or_sum, params",
    "koma_window": "i, n, radius, usable",
    "correlated_noise": "stack",
}
FUNCTIONS = [name for name in mrcz_dask.__all__ if inspect.isfunction(getattr(mrcz_dask, name))]
CLASSES = [name for name in mrcz_dask.__all__ if name.endswith(("Params", "Mask"))]


def test_import_loads_no_scheduler_store_or_array_library() -> None:
    code = "import sys, mrcz_dask; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"dask", "distributed", "zarr", "numpy", "scipy", "numba", "blosc2", "typer", "rich"}
    assert not heavy & set(loaded.stdout.split())


def test_work_on_arrays_loads_no_scheduler_either() -> None:
    code = (
        "import sys, numpy, mrcz_dask; mrcz_dask.outlier_mask(numpy.arange(64).reshape(8, 8) % 5);"
        "mrcz_dask.read, mrcz_dask.write; print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"dask", "distributed", "zarr", "typer"} & set(loaded.stdout.split())


def test_dir_and_all_name_the_same_things_and_all_are_there() -> None:
    assert set(dir(mrcz_dask)) == {*mrcz_dask.__all__, "__version__"}
    assert mrcz_dask.__all__ == sorted(mrcz_dask.__all__)
    for name in mrcz_dask.__all__:
        thing = getattr(mrcz_dask, name)
        assert thing.__name__ == name and thing.__module__.startswith("mrcz_dask.")


def test_the_names_that_other_programs_use_are_there_with_their_parameters() -> None:
    for name, parameters in FIXED.items():
        have = list(inspect.signature(getattr(mrcz_dask, name)).parameters)
        expected = parameters.split(", ")
        assert have[: len(expected)] == expected


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'komma'"):
        _ = mrcz_dask.komma


def test_star_import_gives_everything() -> None:
    names: dict[str, object] = {}
    exec("from mrcz_dask import *", names)
    assert set(mrcz_dask.__all__) <= set(names)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_numpydoc_docstrings_that_name_every_parameter(name: str) -> None:
    function = getattr(mrcz_dask, name)
    text = inspect.getdoc(function) or ""
    summary = text.splitlines()[0]
    assert summary[0].isupper() and len(text.split("\n\n")[0].splitlines()) <= 2
    assert "Raises\n------" in text
    assert inspect.signature(function).return_annotation == "None" or "Return" in text or "Find" in summary
    if "Parameters\n----------" in text:
        for parameter in inspect.signature(function).parameters:
            assert parameter in text, f"{name}: {parameter} is not described"


@pytest.mark.parametrize("name", CLASSES)
def test_classes_describe_every_attribute(name: str) -> None:
    described = inspect.getdoc(getattr(mrcz_dask, name)) or ""
    assert "Attributes\n----------" in described
    for field in getattr(mrcz_dask, name).__dataclass_fields__:
        assert field in described, f"{name}: {field} is not described"


@pytest.mark.parametrize("name", [n for n in CLASSES if n.endswith("Params")])
def test_parameters_are_frozen_and_say_what_is_wrong(name: str) -> None:
    params = getattr(mrcz_dask, name)()
    assert type(params).from_dict(params.to_dict()) == params
    with pytest.raises(AttributeError):
        setattr(params, next(iter(params.to_dict())), 1)
    with pytest.raises(mrcz_dask.MrczDaskError, match="unknown"):
        type(params).from_dict({"nonsense": 1})
