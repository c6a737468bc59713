import pytest

from mrcz_dask.cli.input_options import input_params
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import InputParams


def test_defaults_are_those_of_the_parameters() -> None:
    assert input_params() == InputParams()


def test_values_are_taken_and_checked() -> None:
    assert input_params("unsigned", "packed", 8, "4") == InputParams("unsigned", "packed", 8, 4)
    with pytest.raises(ParameterError, match="eer_frames"):
        input_params(eer_frames=0)
