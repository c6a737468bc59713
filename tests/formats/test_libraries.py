"""Libraries that are not there, and what they raise."""

import struct

import pytest

from mrcz_dask.formats.libraries import decoding, library, opening
from mrcz_dask.values.errors import DamagedError, FormatError, MissingLibraryError, TruncatedError


def test_a_missing_one_names_the_extra() -> None:
    assert library("json", "x", "texts").loads("1") == 1
    with pytest.raises(MissingLibraryError, match=r"EER files need the package no_such, .*\[eer\]"):
        library("no_such.thing", "eer", "EER files")
    assert issubclass(MissingLibraryError, ImportError)


@pytest.mark.parametrize("error", [struct.error("x"), ValueError("x"), KeyError("x"), OSError("x")])
def test_errors_become_ours(error: Exception) -> None:
    with (
        pytest.raises(FormatError, match="a: expected a file, found what cannot be read"),
        opening("a", "a file"),
    ):
        raise error
    with pytest.raises(DamagedError, match="a: frame 3 cannot be decoded"), decoding("a", 3):
        raise error


def test_ours_and_those_of_the_disk_stay() -> None:
    with pytest.raises(PermissionError), opening("a", "a file"):
        raise PermissionError(13, "Permission denied", "a")
    with pytest.raises(OSError, match="Input/output"), decoding("a", 0):
        raise OSError(5, "Input/output error", "a")
    with pytest.raises(MissingLibraryError, match=r"^gone"), opening("a", "a file"):
        raise MissingLibraryError("gone")
    with pytest.raises(TruncatedError, match=r"^a: frame 2: short"), decoding("a", 2):
        raise TruncatedError("short")
    with pytest.raises(TruncatedError, match=r"^a: short"), decoding("a", 2):
        raise TruncatedError("a: short")
