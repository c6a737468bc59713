"""Blosc chunks of Zarr arrays that were damaged: the decoder must not read what is not there."""

import struct
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from mrcz_dask.formats.metadata import open_node
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.zarr_blosc import CheckedBlosc, CheckedBloscCodec
from mrcz_dask.values.errors import DamagedError, MrczDaskError
from tests.formats.hostile import NUMBERS, bounded

COUNTS = np.random.default_rng(1).poisson(2, (2, 64, 96)).astype(np.uint16)
KINDS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "compressors": numcodecs.Blosc(blocksize=2048)},
    "v3": {"compressors": BloscCodec(blocksize=2048)},
    "sharded": {"shards": COUNTS.shape, "compressors": BloscCodec(blocksize=2048)},
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=COUNTS, chunks=(1, 64, 96), **KINDS[request.param])
    return path


def _chunk_file(store: Path) -> Path:
    return min(p for p in store.rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr")))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 31),
    number=st.sampled_from(NUMBERS),
    size=st.sampled_from("BHI"),
    cut=st.integers(0, 5000),
)
@example(12, 1 << 24, "I", 5000)
@example(12, (1 << 31) - 1, "I", 5000)
@example(0, 2, "B", 17)
def test_damaged_headers_of_chunks(store: Path, place: int, number: int, size: str, cut: int) -> None:
    file = _chunk_file(store)
    sound = file.read_bytes()
    chunk = bytearray(sound)
    struct.pack_into(f"<{size}", chunk, place, min(number, (1 << 8 * struct.calcsize(size)) - 1))
    file.write_bytes(chunk[: max(1, cut)])
    try:
        with bounded(), open_source(store) as source:
            source.frames()
    except MrczDaskError as error:
        assert "a.zarr" in str(error)
    finally:
        file.write_bytes(sound)


def test_a_length_beyond_the_chunk_is_named(store: Path) -> None:
    file = _chunk_file(store)
    chunk = bytearray(file.read_bytes())
    struct.pack_into("<I", chunk, 12, 1 << 24)
    file.write_bytes(chunk)
    with open_source(store) as source, pytest.raises(DamagedError, match=r"frame 0: the chunk says it has"):
        source.frames()


def test_what_is_written_stays_the_same() -> None:
    plain, checked = numcodecs.Blosc("lz4", 3, 2, 2048), CheckedBlosc("lz4", 3, 2, 2048)
    assert checked.get_config() == plain.get_config()
    assert checked.encode(COUNTS) == plain.encode(COUNTS)
    assert (
        CheckedBloscCodec(cname="lz4", typesize=2).to_dict() == BloscCodec(cname="lz4", typesize=2).to_dict()
    )
    out = np.empty_like(COUNTS)
    checked.decode(plain.encode(COUNTS), out)
    np.testing.assert_array_equal(out, COUNTS)


def test_members_of_groups_are_checked(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("x", data=COUNTS, compressors=BloscCodec())
    group.create_array("y", data=COUNTS, compressors=BloscCodec(), shards=COUNTS.shape, chunks=(1, 64, 96))
    codecs = open_node(tmp_path / "a.zarr")
    assert isinstance(codecs["x"].compressors[0], CheckedBloscCodec)
    assert isinstance(codecs["y"].compressors[0], CheckedBloscCodec)
