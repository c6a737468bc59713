import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from mrcz_dask.formats.mrc.zstd_writer import ROOM, ZstdWriter, parse_level
from mrcz_dask.formats.sidecar import read_sidecar, sidecar_path, write_sidecar
from mrcz_dask.formats.sources import open_source
from mrcz_dask.values.errors import DamagedError, FooterError, ParameterError, TruncatedError

FRAMES = np.random.default_rng(0).poisson(3, (5, 20, 30)).astype(np.int16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ZstdWriter(tmp_path / "a.mrcs.zst", FRAMES.shape, FRAMES.dtype) as writer:
        for frame in FRAMES:
            writer.append(frame)
    return tmp_path / "a.mrcs.zst"


def payload_of(path: Path) -> dict[str, Any]:
    return read_sidecar(path) or {}


def test_each_frame_is_a_zstd_frame_of_its_own(path: Path) -> None:
    data, places = path.read_bytes(), payload_of(path)["packed"]
    assert places["offset"][0] == ROOM
    assert zstandard.frame_content_size(data) == 1024
    for offset, nbytes, frame in zip(places["offset"], places["nbytes"], FRAMES, strict=True):
        part = data[offset : offset + nbytes]
        assert zstandard.frame_content_size(part) == frame.nbytes
        assert zstandard.get_frame_parameters(part).has_checksum
        assert zstandard.ZstdDecompressor().decompress(part) == frame.tobytes()


def test_any_frame_is_read_by_itself_with_the_sidecar_and_without(path: Path) -> None:
    for beside in (True, False):
        with open_source(path) as reader:
            assert reader.format == "MRC in zstd" and reader.sequential is not beside
            for k in (4, 0, 3, 1, 2):
                np.testing.assert_array_equal(reader.frame(k), FRAMES[k])
            np.testing.assert_array_equal(reader.frames(nthreads=3), FRAMES)
        sidecar_path(path).unlink(missing_ok=True)


def test_one_damaged_frame_leaves_the_others(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[payload_of(path)["packed"]["offset"][2] + 20] ^= 1
    path.write_bytes(data)
    with open_source(path) as reader:
        for k in (0, 1, 3, 4):
            np.testing.assert_array_equal(reader.frame(k), FRAMES[k])
        with pytest.raises(DamagedError, match="frame 2"):
            reader.frame(2)
    sidecar_path(path).unlink()
    with pytest.raises(DamagedError, match="zstd stream is damaged"), open_source(path) as reader:
        reader.frames()


def test_behind_damage_in_a_stream_nothing_is_believed(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 9999, (8, 200, 300)).astype(np.int16)
    with ZstdWriter(tmp_path / "a.mrcs.zst", frames.shape, frames.dtype) as writer:
        for frame in frames:
            writer.append(frame)
    path = tmp_path / "a.mrcs.zst"
    data = bytearray(path.read_bytes())
    data[payload_of(path)["packed"]["offset"][5] + 2000] ^= 1
    path.write_bytes(data)
    sidecar_path(path).unlink()
    with open_source(path) as reader:
        np.testing.assert_array_equal(reader.frame(1), frames[1])
        for k in (5, 6, 7, 5):
            with pytest.raises(DamagedError, match="zstd stream is damaged"):
                reader.frame(k)


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        ({"offset": [ROOM] * 5, "nbytes": [1 << 40] * 5}, TruncatedError),
        ({"offset": [0] * 5, "nbytes": [ROOM] * 5}, DamagedError),
        ({"offset": [ROOM] * 4, "nbytes": [1] * 4}, FooterError),
        ({"offset": 1, "nbytes": 1}, FooterError),
    ],
)
def test_a_sidecar_that_leads_elsewhere(path: Path, packed: dict[str, Any], error: type[Exception]) -> None:
    write_sidecar(path, payload_of(path) | {"packed": packed})
    with pytest.raises(error), open_source(path) as reader:
        reader.frame(0)


def test_no_more_is_unpacked_than_a_frame(path: Path) -> None:
    """A zstd frame that says that it holds 4 GiB is not believed."""
    places, data = payload_of(path)["packed"], path.read_bytes()
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 24))
    path.write_bytes(data[: places["offset"][4]] + bomb)
    places["nbytes"][4] = len(bomb)
    write_sidecar(path, payload_of(path) | {"packed": places})
    with open_source(path) as reader, pytest.raises(DamagedError, match="says 16777216 bytes"):
        reader.frame(4)


def test_sidecars_are_plain_json(path: Path) -> None:
    said = json.loads(sidecar_path(path).read_text())
    assert said["payload"]["header"]["shape"] == [5, 20, 30]


def test_levels() -> None:
    assert parse_level("auto") == parse_level("auto:small") == parse_level("zstd") == 1
    assert parse_level("zstd:19") == 19
    for wrong in ("zstd:0", "zstd:20", "zstd:x", "lz4", "none", "zstd:1:bit"):
        with pytest.raises(ParameterError, match=r"\.mrcs\.zst"):
            parse_level(wrong)
