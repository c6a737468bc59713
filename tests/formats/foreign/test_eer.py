"""EER: our encoder's files against imagecodecs, sums, sub-pixels, and what is wrong with files."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, TruncatedError
from mrcz_dask.values.params import InputParams
from tests.inputs import eer_page, split, write_eer

XML = (
    '<metadata><item name="sensorPixelSize.width" unit="m">7.06e-11</item>'
    '<item name="timestamp">2026-10-14T19:06:33+00:00</item><item name="totalDose" unit="e/px">12.5</item>'
    "</metadata>"
)


def raw_frames(seed: int, shape: tuple[int, int, int], density: float) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density, rng.integers(0, 4, (*shape, 2))


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(
        st.just(1), st.integers(1, 12).map(lambda k: 4 * k), st.integers(1, 12).map(lambda k: 4 * k)
    ),
    density=st.sampled_from([0, 0.004, 0.05, 0.9, 1]),
    sizes=st.sampled_from([(8, 2, 2), (7, 2, 2), (5, 2, 2), (6, 1, 3)]),
)
def test_the_encoder_is_what_imagecodecs_decodes(
    seed: int, shape: tuple[int, int, int], density: float, sizes: tuple[int, int, int]
) -> None:
    events, sub = raw_frames(seed, shape, density)
    sub = sub % (1 << np.array(sizes[:0:-1]))  # along y, along x
    found = imagecodecs.eer_decode(eer_page(events[0], sub[0], *sizes), shape[1:], *sizes)
    np.testing.assert_array_equal(found, events[0])


@pytest.mark.parametrize(
    ("compression", "sizes"), [(65000, (8, 2, 2)), (65001, (7, 2, 2)), (65002, (6, 2, 2))]
)
@pytest.mark.parametrize("upsampling", [1, 2, 4])
def test_sums_and_sub_pixels(
    tmp_path: Path, compression: int, sizes: tuple[int, int, int], upsampling: int
) -> None:
    events, sub = raw_frames(1, (12, 20, 24), 0.1)
    path = write_eer(tmp_path / "a.eer", events, sub, compression, sizes)
    expected = np.zeros((3, 20 * upsampling, 24 * upsampling), np.uint8)
    k, y, x = np.nonzero(events)
    fine = sub[k, y, x] * upsampling // 4
    np.add.at(expected, (k // 4, y * upsampling + fine[:, 0], x * upsampling + fine[:, 1]), 1)
    with open_source(path, InputParams(eer_frames=4, eer_upsampling=upsampling)) as source:  # type: ignore[arg-type]
        assert (source.format, source.shape, source.dtype) == ("EER", expected.shape, np.uint8)
        np.testing.assert_array_equal(source.frames(nthreads=2), expected)


@pytest.mark.parametrize(("raw", "each", "sizes"), [(12, 4, [4]), (13, 4, [4, 5]), (7, 4, [7]), (4, 1, [1])])
def test_no_raw_frame_is_lost(tmp_path: Path, raw: int, each: int, sizes: list[int]) -> None:
    events, _ = raw_frames(2, (raw, 16, 16), 0.3)
    path = write_eer(tmp_path / "a.eer", events)
    with open_source(path, InputParams(eer_frames=each)) as source:
        assert len(source) == raw // each
        assert source.frames().sum() == events.sum()
        assert source.meta["input"]["raw_frames"] == raw
        assert source.meta["input"]["raw_frames_per_frame"] == sizes


def test_many_raw_frames_do_not_overflow(tmp_path: Path) -> None:
    path = write_eer(tmp_path / "a.eer", np.ones((300, 8, 8), bool))
    assert read(path, params=InputParams(eer_frames=255), nthreads=1).max() == 300
    with open_source(path, InputParams(eer_frames=150)) as source:
        assert source.dtype == np.uint8
        assert (source.frame(1) == 150).all()


def test_what_the_camera_says(tmp_path: Path) -> None:
    events, _ = raw_frames(3, (8, 16, 16), 0.3)
    path = write_eer(tmp_path / "a.eer", events, metadata=XML, image=events.sum(0).astype(np.uint8), strips=2)
    with open_source(path, InputParams(eer_frames=4, eer_upsampling=2)) as source:
        assert len(source) == 2  # the image of all events is none
        assert source.frames().sum() == events.sum()
        assert source.pixel_size == (0.353, 0.353, 0.353)
        assert source.codec == "eer-65001"
        assert source.first_row == source.meta["input"]["first_row"] == "top"
        assert source.meta["eer"]["totalDose"] == 12.5
        assert source.meta["eer"]["timestamp"].startswith("2026-10-14 19:06:33")


def test_too_few_raw_frames_are_named(tmp_path: Path) -> None:
    path = write_eer(tmp_path / "a.eer", np.zeros((8, 8, 8), bool))
    with pytest.raises(
        FormatError, match=r"a\.eer: has 8 raw frames, fewer than one frame of 40; .*--eer-frames 4 or fewer"
    ):
        open_source(path)


def test_damaged_and_cut_off(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(1, (2, 32, 32)).clip(0, 4).astype(np.uint8)
    path = write_eer(tmp_path / "a.eer", split(counts, 4))
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "cut.eer").write_bytes(whole[:end])
        with pytest.raises((TruncatedError, FormatError), match=r"cut\.eer"):
            read(tmp_path / "cut.eer", params=InputParams(eer_frames=4), nthreads=1)
    path.write_bytes(whole[:16] + b"\xff" * 40 + whole[56:])
    with pytest.raises(DamagedError, match=r"a\.eer: frame 0 cannot be decoded"):
        read(path, params=InputParams(eer_frames=4), nthreads=1)
    rng = np.random.default_rng(1)
    for _ in range(100):  # a flipped bit may be a wrong event; it is never another error
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            read(path, params=InputParams(eer_frames=4), nthreads=1)
        except (MrczDaskError, OSError) as error:
            assert "a.eer" in str(error)


def test_strips_of_which_only_the_places_are_known(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(1, (2, 32, 32)).clip(0, 4).astype(np.uint8)
    path = write_eer(tmp_path / "a.eer", split(counts, 4), strips=2)
    blob = bytearray(path.read_bytes())
    entry = struct.pack("<HHQ", 279, 16, 2)  # lengths of two strips
    at = blob.rindex(entry)
    blob[at : at + len(entry)] = struct.pack("<HHQ", 279, 16, 1)
    path.write_bytes(blob)
    with pytest.raises(DamagedError, match=r"where 2 strips are, and how long 1 are.*copy the file again"):
        open_source(path, InputParams(eer_frames=4))


@pytest.mark.parametrize("said", [8, 12])
def test_raw_frames_that_the_metadata_say(tmp_path: Path, said: int) -> None:
    counts = np.ones((2, 32, 32), np.uint8)
    text = f'<metadata><item name="numberOfFrames">{said}</item></metadata>'
    path = write_eer(tmp_path / "a.eer", split(counts, 4), metadata=text)
    with open_source(path, InputParams(eer_frames=4)) as source:
        assert [str(said) in note and "8 raw" in note for note in source.notes] == (
            [True] if said == 12 else []
        )
