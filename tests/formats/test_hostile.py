"""Damage of every kind of input: pixels, or an error of ours that names the file, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.sources import open_source
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError
from tests.formats.hostile import COUNTS, KINDS, SEALED, damage, damages, fresh, read_damaged
from tests.inputs import as_tiff


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, KINDS[request.param](tmp_path_factory.mktemp("whole"), "a", COUNTS)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=damages())
def test_every_kind_of_file(
    whole: tuple[str, Path], changes: list[tuple[int, int, bytes]], tmp_path: Path
) -> None:
    kind, file = whole
    path = fresh(file, tmp_path)
    damage(path, changes)
    read_damaged(path, kind in SEALED)


@settings(max_examples=100)
@given(
    content=st.binary(max_size=200),
    begin=st.sampled_from((b"II*\0", b"MM\0+", b"\x89HDF\r\n\x1a\n", b"\0\0\0\4")),
)
def test_files_that_only_begin_right(
    content: bytes, begin: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "begin.dm4"
    path.write_bytes(begin + content)
    with pytest.raises(FormatError, match=r"begin\.dm4"):
        open_source(path)


def test_tiff_within_whose_strips_an_image_says_how_large_it_is(tmp_path: Path) -> None:
    path = as_tiff(tmp_path, "a", np.zeros((2, 32, 32), np.uint8), compression="jpeg")
    with pytest.raises(HeaderError, match=r"page 0 has compression .*; expected none, lzw, .*save it"):
        open_source(path)


def test_ome_tiff_whose_frames_are_in_several_files(tmp_path: Path) -> None:
    files = "".join(
        f'<TiffData FirstT="{k}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{k}</UUID></TiffData>'
        for k, name in enumerate(("a.tif", "/etc/passwd"))
    )
    pixels = f'<Pixels ID="P" SizeX="12" SizeY="8" SizeZ="1" SizeC="1" SizeT="6">{files}</Pixels>'
    text = f'<?xml version="1.0"?><OME xmlns="o"><Image ID="I">{pixels}</Image></OME>'
    path = as_tiff(tmp_path, "a", COUNTS, description=text, metadata=None)
    with pytest.raises(TruncatedError, match=r"3 pages, and its OME .* are 6, in /etc/passwd, a\.tif"):
        open_source(path)
    path = as_tiff(tmp_path, "b", COUNTS, description=text.replace("6", "3"), metadata=None)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.frames(), COUNTS)
