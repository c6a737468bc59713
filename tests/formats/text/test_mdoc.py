from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.text.mdoc import find_mdoc, mdoc_index, parse_mdoc, read_mdoc

MOVIE = """[T = SerialEM: Digitized on a K3, 300 kV]
[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 0]

Voltage = 300
[FrameSet = 0]
TiltAngle = 0.0
PixelSpacing = 1.06
ExposureDose = 12.8283
NumSubFrames = 20
FrameDosesAndNumber = 0.64141 20
SubFramePath = X:\\frames\\one.tif
GainReference = X:\\frames\\CountRef_one.mrc
DefectFile = defects_one.txt
DateTime = 14-Oct-26  20:06:18
"""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_movie_of_serialem(end: str) -> None:
    mdoc = parse_mdoc(MOVIE.replace("\n", end))
    assert mdoc.time == datetime(2026, 10, 14, 20, 6, 18)
    assert (mdoc.pixel_size, mdoc.frames) == (1.06, 20)
    assert [(s.kind, s.name) for s in mdoc.sections] == [("FrameSet", "0")]
    assert mdoc.head.get("voltage") == mdoc.get("Voltage") == "300"
    assert mdoc.get("pixelspacing") == "1.06"
    assert mdoc.get("NoSuchKey") is None


def test_the_first_of_several_images_is_the_beginning() -> None:
    mdoc = parse_mdoc(
        "PixelSpacing = 0\nImageFile = a.st\n[ZValue = 0]\nDateTime = 14-Oct-2026  01:00:00\n"
        "[ZValue = 1]\nDateTime = 14-Oct-2026  02:00:00\n[Montage = x]\n"
    )
    assert mdoc.time == datetime(2026, 10, 14, 1)
    assert mdoc.pixel_size is None
    assert [s.name for s in mdoc.sections] == ["0", "1", "x"]


def test_the_numbers_of_the_frames_stand_in_for_a_missing_one() -> None:
    assert parse_mdoc("[FrameSet = 0]\nNumSubFrames = 0\nFrameDosesAndNumber = 0.5 10 1 5").frames == 15
    assert parse_mdoc("[FrameSet = 0]\nFrameDosesAndNumber = many").frames == 0


def test_comments_and_broken_lines_are_passed_over() -> None:
    mdoc = parse_mdoc(
        "\ufeff# DateTime = 1-Jan-26  00:00:00\n[FrameSet = 0\nVoltage = 200\nnonsense\n[broken\n=\n"
    )
    assert mdoc.get("Voltage") == "200"
    assert mdoc.time is None


def test_the_time_goes_on_to_one_that_can_be_read() -> None:
    assert parse_mdoc("[FrameSet = 0]\nDateTime = soon\n[FrameSet = 1]\nDateTime = 14-Oct-26  19:06:33").time


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    mdoc = parse_mdoc(text)
    assert mdoc.pixel_size is None or mdoc.pixel_size > 0


def test_latin_1_where_it_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.mdoc"
    path.write_bytes("[FrameSet = 0]\nNote = 1.06 Å\n".encode("latin-1"))
    assert read_mdoc(path).get("Note") == "1.06 Å"
    path.write_bytes("[FrameSet = 0]\nNote = 1.06 Å\n".encode())
    assert read_mdoc(path).get("Note") == "1.06 Å"


@pytest.mark.parametrize(
    ("stack", "likeliest"),
    [
        ("A.mrcz", ["a.mrcz.mdoc", "a.mdoc", "a.tif.mdoc"]),
        ("A.mrc.gz", ["a.mrc.gz.mdoc", "a.mdoc", "a.mrc.mdoc"]),
    ],
)
def test_names_from_the_likeliest(stack: str, likeliest: list[str]) -> None:
    for k, name in enumerate(likeliest):
        assert find_mdoc(Path(stack), mdoc_index(likeliest[k:])) == Path(name)


@pytest.mark.parametrize(
    "name", ["one.mrcz.mdoc", "one.MRCZ.MDOC", "one.mdoc", "One.mrc.mdoc", "one.tif.mdoc"]
)
def test_the_mdoc_of_a_stack_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "two.mrcz.mdoc").touch()
    assert find_mdoc(tmp_path / "one.mrcz") == tmp_path / name


def test_the_whole_name_comes_first_and_there_may_be_none(tmp_path: Path) -> None:
    index = mdoc_index(["one.mdoc", "one.mrcz.mdoc", "one.mrcz", "notes.txt"])
    assert find_mdoc(tmp_path / "one.mrcz", index) == tmp_path / "one.mrcz.mdoc"
    assert find_mdoc(tmp_path / "two.mrcz", index) is None
