import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

from mrcz_dask.formats.chunks import ChunkHeader, decompress_into
from mrcz_dask.formats.codecs import AIMS, Codec, choose, resolve
from mrcz_dask.values.errors import ParameterError

NAMES = ["zstd", "lz4", "lz4hc", "zlib", "blosclz"]
DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8"]


def counts(dose: float, shape: tuple[int, int], dtype: str = "u1") -> np.ndarray:
    return np.random.default_rng(1).poisson(dose, shape).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(["none", "byte", "bit"]),
    st.sampled_from([2, 5]),
    st.sampled_from(DTYPES),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from([0, 64, 4096]),
)
def test_there_and_back(
    name: str, shuffle: str, version: int, dtype: str, shape: tuple[int, int], block: int
) -> None:
    frame = counts(2, shape, dtype)
    chunk = Codec(name, 3, shuffle, block, version).compress(frame)  # type: ignore[arg-type]
    out = np.empty_like(frame)
    decompress_into(chunk, out)
    np.testing.assert_array_equal(out, frame)
    header = ChunkHeader.parse(chunk)
    assert header.version == version and header.codec in (name.removesuffix("hc"), None)


@pytest.mark.parametrize("version", [2, 5])
def test_bytes_are_the_same_in_any_thread_whatever_others_set(version: int) -> None:
    codec = Codec("lz4", 9, blocksize=4096, version=version)
    frame = counts(1, (700, 600))
    expected, found = codec.compress(frame), []
    before = blosc.set_nthreads(4)
    blosc.use_threads = True
    try:
        found.append(codec.compress(frame))
        threads = [threading.Thread(target=lambda: found.append(codec.compress(frame))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        blosc.set_nthreads(before)
    assert len(found) == 9 and set(found) == {expected}


def test_parsing() -> None:
    assert Codec.parse("zstd:1") == Codec()
    assert Codec.parse("LZ4") == Codec("lz4", 9)
    assert Codec.parse("zlib:5:none", version=5) == Codec("zlib", 5, "none", version=5)
    assert str(Codec.parse("lz4hc:2:byte")) == "lz4hc:2:byte"
    assert Codec(**Codec.parse("zlib:5").to_dict()) == Codec.parse("zlib:5")


@pytest.mark.parametrize(
    "text", ["", "gzip", "zstd:", "zstd:x", "zstd:10", "zstd:0", "zstd:1:none:2", "zstd:1:lots"]
)
def test_what_is_no_codec_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="expected"):
        Codec.parse(text)


def test_the_choice_follows_the_data() -> None:
    assert choose([counts(0.5, (1100, 1000))]) == Codec("zstd", 1, "bit")
    assert choose([counts(10, (1100, 1000))]) == Codec("zstd", 1, "none")
    assert choose([counts(10, (1100, 1000), "u2")], version=5) == Codec("zstd", 1, "byte", version=5)
    assert choose([counts(1, (1100, 1000))], "auto:fast").name == "lz4"
    with pytest.raises(ParameterError, match="auto:slow"):
        choose([counts(1, (9, 9))], "auto:slow")


def test_the_small_aim_is_never_larger_and_the_fast_one_never_smaller() -> None:
    frame = counts(1, (1100, 1000))
    sizes = {aim: len(choose([frame], aim).compress(frame)) for aim in AIMS}
    assert sizes["auto:small"] <= sizes["auto"] <= sizes["auto:fast"]


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_any_frame_has_a_choice(ny: int, nx: int) -> None:
    assert choose([counts(1, (ny, nx))]).name in NAMES


def test_resolving() -> None:
    frame = counts(1, (64, 64))
    assert resolve(None, frame) is None and resolve("none", frame) is None
    assert resolve("zlib:2", frame, version=5) == Codec("zlib", 2, version=5)
    assert resolve(Codec("lz4"), frame, version=5) == replace(Codec("lz4"), version=5)
    assert resolve("auto", frame) == choose([frame]) == choose(frame)
