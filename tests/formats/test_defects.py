from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrcz_dask.formats.defects import boxes_of, read_defects, serialem_text, write_defects
from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.gains import read_reference
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import prepare_gain
from mrcz_dask.numerics.gain.orientation import rotated_flipped
from mrcz_dask.values.errors import FormatError

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
ROWS = st.sampled_from(["top", "bottom"])
SHAPE = (10, 14)


def text(folder: Path, content: str) -> Path:
    path = folder / "defects.txt"
    path.write_text(content)
    return path


def marked(mask: np.ndarray) -> set[tuple[int, int]]:
    """Row and column of every defect."""
    return {(y, x) for y, x in np.argwhere(mask).tolist()}


@given(MASKS)
def test_boxes_cover_a_mask_exactly_once(mask: np.ndarray) -> None:
    counts = np.zeros(mask.shape, int)
    for x, y, w, h in boxes_of(mask):
        counts[y : y + h, x : x + w] += 1
    assert np.array_equal(counts, mask)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(MASKS, ROWS, st.sampled_from(["serialem", "boxes"]))
def test_texts_read_back_as_they_were(tmp_path: Path, mask: np.ndarray, rows: FirstRow, kind: str) -> None:
    path = tmp_path / "defects.txt"
    write_defects(path, mask, kind, rows)  # type: ignore[arg-type]
    found = read_defects(path, mask.shape)
    assert np.array_equal(found.as_frames(rows), mask)
    assert found.kind == kind or (kind == "boxes" and not mask.any())


@pytest.mark.parametrize("rows", ["top", "bottom"])
@pytest.mark.parametrize("suffix", ["mrc", "tif"])
def test_maps_read_back_as_they_were(tmp_path: Path, suffix: str, rows: FirstRow) -> None:
    mask = np.random.default_rng(0).random(SHAPE) < 0.1
    path = tmp_path / f"map.{suffix}"
    write_defects(path, mask, "map", rows)
    found = read_defects(path, SHAPE)
    assert np.array_equal(found.as_frames(rows), mask)
    assert (found.kind, found.first_row) == ("map", {"mrc": "bottom", "tif": "top"}[suffix])
    if suffix == "mrc":
        with mrcfile.open(path) as mrc:
            assert mrc.data.dtype == np.int8
            assert set(np.unique(mrc.data)) == {0, 1}


def test_every_key_of_serialem(tmp_path: Path) -> None:
    path = text(
        tmp_path,
        "CameraSizeX 14\nCameraSizeY 10\nRotationAndFlip 3\nWasScaled 0\nK2Type 1\nFalconType 0\n"
        "NumToAvgSuperRes 0\nUsableArea 1 2 8 12\n# a comment\n\nPartialBadColumn 5 2 3 4\n"
        "PartialBadRow 6 1 7 9\nBadPixels 4 2 11 7\nBadColumns 10\nBadRows 3\n",
    )
    found = read_defects(path, SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[0], expected[9], expected[:, :2], expected[:, 13] = True, True, True, True
    expected[3:5, 5:7] = expected[6, 7:10] = expected[2, 4] = expected[7, 11] = True
    expected[:, 10], expected[3] = True, True
    assert marked(found.mask) == marked(expected)
    assert (found.kind, found.first_row) == ("serialem", "top")
    assert np.array_equal(found.as_frames("bottom"), expected[::-1])


def test_pixels_of_scaled_coordinates_are_blocks(tmp_path: Path) -> None:
    for scaled, edge in ((1, 2), (2, 4)):
        path = text(tmp_path, f"CameraSizeX 14\nCameraSizeY 10\nWasScaled {scaled}\nBadPixels 4 2\n")
        y, x = np.argwhere(read_defects(path, SHAPE).mask).T
        assert (y.min(), y.max(), x.min(), x.max()) == (2, 1 + edge, 4, 3 + edge)


def test_the_example_session(session_folder: Path) -> None:
    found = read_defects(session_folder / "defects_K2.txt", (480, 464))
    assert (found.kind, found.mask.shape, found.mask.sum()) == ("serialem", (480, 464), 28)
    assert found.mask[5, 92]
    again = serialem_text(found.mask, "top")
    assert "BadPixels 92 5 261 36" in again


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1 2 3\n", "line 1.*x y width height"),
        ("1 2 3 x\n", "line 1"),
        ("1 2 3 -4\n", "line 1"),
        ("0 0 1 1\n\n# fine\n13 0 2 1\n", "line 4: the box x 13"),
        ("0 0 0 1\n", "is empty"),
        ("CameraSizeX 14\nBadPixels 1 1\n", "CameraSizeY"),
        ("CameraSizeX 14\nCameraSizeY 10\nBadPixels 1 1 2\n", "line 3 has 3 numbers"),
        ("CameraSizeX 14\nCameraSizeY 10\nBadPixels 1 10\n", "line 3: the box"),
        ("CameraSizeX 14\nCameraSizeY 10\nBad 1 1\n", "line 3 begins with 'Bad', .*BadPixels or BadColumns"),
        ("CameraSizeX 14\nCameraSizeY 10\n1 1\n", "line 3 begins with '1'"),
        ("BadPixels 1 1\n", "expected CameraSizeX and CameraSizeY"),
        ("CameraSizeX 14\nCameraSizeY 10\nPartialBadRow 1 1 2\n", "line 3.*4 whole .*: row, height, first"),
        ("CameraSizeX 14\nCameraSizeY 10\nPartialBadColumn 1 1 2\n", "4 .*: column, width, first row, last"),
        ("CameraSizeX 14\nCameraSizeY 10\nPartialBadCol 1 1 2 3 4\n", "line 3.*4 whole numbers"),
    ],
)
def test_what_is_not_understood_names_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        read_defects(text(tmp_path, content), SHAPE)


def test_an_inverted_map_or_a_stack_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "map.mrc", np.ones(SHAPE, np.int8))
    with pytest.raises(FormatError, match="invert"):
        read_defects(tmp_path / "map.mrc", SHAPE)
    write(tmp_path / "stack.mrc", np.zeros((2, *SHAPE), np.int8))
    with pytest.raises(FormatError, match="2 frames"):
        read_defects(tmp_path / "stack.mrc", SHAPE)
    with pytest.raises(FileNotFoundError, match=r"^defects .*missing\.txt: there is no such file"):
        read_defects(tmp_path / "missing.txt", SHAPE)


def test_keys_may_be_shortened_bare_or_unknown_as_imod_reads_them(tmp_path: Path) -> None:
    head = "CameraSizeX 14\nCameraSizeY 10\n"
    full = read_defects(
        text(tmp_path, f"{head}BadPixels 4 2\nBadColumns 10\nPartialBadColumn 5 2 3 4\n"), SHAPE
    )
    short = read_defects(
        text(tmp_path, f"{head}BadP 4 2\nBadCol 10\nPartialBadC 5 2 3 4\nBadRows\nBadPixels\n"), SHAPE
    )
    assert np.array_equal(short.mask, full.mask) and not short.notes and not full.notes
    other = read_defects(text(tmp_path, f"Detector: K3\n{head}BadPixels 4 2\nBadThings 1 1\n"), SHAPE)
    assert other.mask.sum() == 1
    assert ["line 1 begins with 'Detector:'" in other.notes[0], "line 5 begins" in other.notes[1]] == [
        True
    ] * 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("content", ["CameraSizeX 14\nCameraSizeY 10\nBadPixels 3 9\n", "3 0 1 1\n"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, encoding: str, content: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "d.txt").write_bytes((mark + content).encode(encoding))
    assert marked(read_defects(tmp_path / "d.txt", SHAPE).as_frames("bottom")) == {(0, 3)}


FALCON = """<?xml version="1.0"?>
<defects><row>3</row><col>5-6,9</col><point>1,0</point><area>10,4,12,7</area><nonmaskingpoint>0,9</nonmaskingpoint>
</defects>"""


def falcon_gain(path: Path, xml: str = FALCON) -> Path:
    tifffile.imwrite(path, np.ones(SHAPE, np.float32), extratags=[(65100, "s", 0, xml, True)])
    return path


def test_a_gain_reference_lists_a_falcons_defects(tmp_path: Path) -> None:
    path = falcon_gain(tmp_path / "Falcon.gain")
    bad = np.zeros(SHAPE, bool)
    bad[3] = bad[:, [5, 6, 9]] = bad[0, 1] = bad[4:8, 10:13] = bad[9, 0] = True
    reference = read_reference(path)
    assert reference.defects is not None and np.array_equal(reference.defects, bad)
    found = read_defects(path, SHAPE)
    assert found.kind == "falcon" and found.first_row == "top" and np.array_equal(found.mask, bad)


@pytest.mark.parametrize(
    "xml",
    [
        "<defects><row>3</defects>",
        "<defects><row>10</row></defects>",
        "<defects><area>1,2,3</area></defects>",
        "<defects><area>5,2,3,4</area></defects>",
        "<defects><point>1,x</point></defects>",
        "<defects><col>7-3</col></defects>",
        "<defects><spot>1,2</spot></defects>",
    ],
)
def test_a_falcons_list_that_is_not_understood_is_refused(tmp_path: Path, xml: str) -> None:
    path = falcon_gain(tmp_path / "Falcon.gain", xml)
    with pytest.raises(FormatError, match="its list of defects"):
        read_reference(path)
    with pytest.raises(FormatError, match="its list of defects"):
        read_defects(path, SHAPE)


@pytest.mark.parametrize("turns", [0, 1])
def test_a_gains_own_defects_are_turned_and_masked_like_it(tmp_path: Path, turns: int) -> None:
    path = falcon_gain(tmp_path / "Falcon.gain", "<defects><point>1,0</point></defects>")
    shape = SHAPE[::-1] if turns else SHAPE
    options = GainOptions(gain=str(path), rotate=turns, flip=0)
    prepared = prepare_gain(options, shape, "top", [])
    mask = np.zeros(SHAPE, bool)
    mask[0, 1] = True
    assert prepared is not None and np.array_equal(prepared.gain.bad, rotated_flipped(turns, 0).apply(mask))
    assert any("1 defects in its header" in line for line in prepared.lines())


def test_lines_are_written_as_lines_and_blocks_as_blocks(tmp_path: Path) -> None:
    mask = np.zeros((90, 80), bool)
    mask[:, 20], mask[50], mask[10:60, 70:72], mask[60:84, 30:64] = True, True, True, True
    mask[[5, 40], 21] = mask[49, 3] = True
    boxes = boxes_of(mask)
    assert sum(w * h for _, _, w, h in boxes) == mask.sum()
    assert {(20, 0, 1, 90), (21, 50, 49, 1), (0, 50, 20, 1), (30, 60, 34, 24)} < set(boxes)
    assert {(70, 10, 1, 50), (71, 10, 1, 50)} < set(boxes)
    listed = serialem_text(mask, "top")
    assert "BadColumns 20\n" in listed and "PartialBadColumn 30 34 60 83\n" in listed
    assert np.array_equal(read_defects(text(tmp_path, listed), mask.shape).mask, mask)


STAR = (
    "data_general\n\n_rlnImageSizeX 14\n\ndata_hot_pixels\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"
)


def test_relions_table_of_hot_pixels(tmp_path: Path) -> None:
    path = text(tmp_path, STAR + "3.000000 2.000000\n11 9\n")
    found = read_defects(path, SHAPE)
    assert (found.kind, found.first_row) == ("relion", "bottom")
    assert marked(found.mask) == {(2, 3), (9, 11)}
    assert read_defects(path, None).mask.size == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (STAR + "3 2\n14 0\n", "row 2: the box x 14"),
        (STAR + "3 2.5\n", r"row 1 has '3 2\.5'.*rlnCoordinateX"),
        (STAR + "3\n", "line 10"),
        ("data_general\n\n_rlnImageSizeX 14\n", "no table data_hot_pixels"),
    ],
)
def test_a_damaged_table_of_relion_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        read_defects(text(tmp_path, content), SHAPE)
