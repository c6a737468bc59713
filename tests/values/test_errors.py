"""Each error is also the built-in one that a caller would expect."""

import inspect

import pytest

from mrcz_dask.values import errors

EXPECTED = {
    "ParameterError": ValueError,
    "ParameterTypeError": TypeError,
    "MissingFileError": FileNotFoundError,
    "DtypeError": TypeError,
    "FormatError": ValueError,
    "HeaderError": ValueError,
    "UnfitReferenceError": ValueError,
    "TruncatedError": EOFError,
    "DamagedError": ValueError,
    "DamagedSumError": ValueError,
    "NoStackError": ValueError,
    "MissingLibraryError": ImportError,
    "FooterError": ValueError,
    "OutlierError": ValueError,
    "SessionError": ValueError,
    "PlaceError": ValueError,
    "NoStacksError": ValueError,
    "OutputExistsError": FileExistsError,
    "SpaceError": OSError,
    "ReferenceNotFoundError": FileNotFoundError,
    "ProcessorError": RuntimeError,
}


def test_every_error_is_listed():
    found = {n for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__}

    assert found == {*EXPECTED, "MrczDaskError"}


@pytest.mark.parametrize(("name", "builtin"), EXPECTED.items())
def test_errors_are_ours_and_built_in(name, builtin):
    error = getattr(errors, name)("what was found; what was expected")

    assert isinstance(error, errors.MrczDaskError)
    assert isinstance(error, builtin)
    assert str(error) == "what was found; what was expected"
