"""Names of stacks and their outputs, paths inside of files, sizes of files and stores."""

import os
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.places import (
    FORMATS,
    INPUT_SUFFIXES,
    MRC,
    WRAPPERS,
    Place,
    expected_kind,
    measure,
    stem_of,
    stems_of,
    suffix_of,
)


@given(stem=st.from_regex(r"[A-Za-z][\w.]{0,20}\w", fullmatch=True), suffix=st.sampled_from(INPUT_SUFFIXES))
def test_stem_and_suffix_make_the_name(stem: str, suffix: str) -> None:
    for name in (stem + suffix, stem + suffix.upper()):
        assert stem_of(name) + name[len(stem) :] == name
        assert stem_of(name) == stem
        assert suffix_of(name) == suffix


def test_kinds() -> None:
    assert {expected_kind(f"a{end}{wrapper}") for end in MRC for wrapper in ("", *WRAPPERS)} == {"MRC"}
    assert [expected_kind(f"a.{end}") for end in ("TIF", "eer", "dm4", "h5", "zarr", "txt")] == [
        "TIFF", "EER", "DM", "HDF5", "Zarr", None,
    ]  # fmt: skip
    assert stem_of("no_suffix") == "no_suffix"


def test_names_that_a_file_system_may_take_for_one_give_different_outputs() -> None:
    assert stems_of(["A.mrc", "a.tif", "b.mrc"]) == ["A.mrc", "a.tif", "b"]
    assert stems_of(["x/A.mrc", "y/a.mrc", "X/b.mrc"]) == ["x/A", "y/a", "X/b"]
    assert stems_of(["a.mrc", "a.mrc"]) == ["a", "a"]
    same = [
        "a.mrc",
        "A.mrc",
        "a.MRC",
        "n/\u00e9.mrc",
        "n/e\u0301.mrc",
        "n/E\u0301.tif",
        "STRASSE.eer",
        "straße.eer",
    ]
    stems = stems_of(same)
    for form in ("NFC", "NFD"):
        assert len({normalize(form, stem.casefold()) for stem in stems}) == len(same)
    assert dict(zip(reversed(same), stems_of(same[::-1]), strict=True)) == dict(zip(same, stems, strict=True))


@given(st.lists(st.text("aAbB.-", min_size=1, max_size=3).map(lambda stem: f"{stem}.mrc"), unique=True))
def test_outputs_of_any_names_differ_without_case(names: list[str]) -> None:
    assert len({stem.casefold() for stem in stems_of(names)}) == len(names)


def test_a_place_in_a_file(tmp_path: Path) -> None:
    assert Place.of(tmp_path / "a.h5") == Place(tmp_path / "a.h5")
    assert Place.of(f"{tmp_path}/a.h5::/entry/data") == Place(tmp_path / "a.h5", "entry/data")
    assert Place.of(Path(f"{tmp_path}/a.h5::/entry/data")) == Place(tmp_path / "a.h5", "entry/data")
    odd = tmp_path / "a::b.mrc"
    odd.touch()
    assert Place.of(odd) == Place(odd)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, size, time in (("x", 10, 5), ("b/y", 20, 9)):
        (tmp_path / "a" / name).write_bytes(bytes(size))
        os.utime(tmp_path / "a" / name, ns=(time, time))
    assert measure(tmp_path / "a" / "x") == (10, 5)
    assert measure(tmp_path / "a") == (30, 9)
    assert measure(f"{tmp_path / 'a'}::/b") == (30, 9)
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "c")


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_an_opener_of_its_own_files(name: str) -> None:
    opener = resolve_name(f"mrcz_dask.formats.foreign.{FORMATS[name].opener}")
    assert list(signature(opener).parameters)[1:] == ["inside", "params", "complain"]
    same = [other for other in FORMATS.values() if other.opener == FORMATS[name].opener and other.magic]
    assert same or name == "Zarr"  # a folder
