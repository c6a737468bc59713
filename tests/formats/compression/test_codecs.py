import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

from mrcz_dask.formats.compression.chunks import ChunkHeader, decompress_into
from mrcz_dask.formats.compression.codecs import AIMS, Codec, choose, resolve
from mrcz_dask.values.errors import ParameterError

NAMES = ["noise", "zstd", "lz4", "lz4hc", "zlib", "blosclz"]
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
    version = 2 if name == "noise" else version
    codec = Codec(name, 3, shuffle, block, version)  # type: ignore[arg-type]
    chunk = codec.compress(frame)
    out = np.empty_like(frame)
    decompress_into(chunk, out)
    np.testing.assert_array_equal(out, frame)
    header = ChunkHeader.parse(chunk)
    assert header.version == version and header.codec in (codec.format.removesuffix("hc"), None)


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


def test_noise_is_zstd_to_others_and_of_version_2_alone() -> None:
    codec = Codec.parse("noise:3:bit")
    assert (codec.format, Codec("lz4").format) == ("zstd", "lz4")
    assert ChunkHeader.parse(codec.compress(counts(1, (70, 80)))).codec == "zstd"
    for text, version in (("noise:4", 2), ("noise", 5)):
        with pytest.raises(ParameterError, match="expected"):
            Codec.parse(text, version=version)


def test_what_it_was_chosen_for_does_not_make_another_codec() -> None:
    chosen = replace(Codec(), aim="auto")
    assert chosen == Codec() and chosen.to_dict()["aim"] == "auto" and Codec(**chosen.to_dict()) == chosen


MIB = 1 << 20


@pytest.mark.parametrize(
    ("dose", "dtype", "aim", "expected"),
    [
        (0.25, "u1", "auto", "noise:1:bit"),
        (2, "u1", "auto", "noise:1:bit"),
        (10, "u1", "auto", "noise:1:none"),
        (2, "u1", "auto:small", "noise:1:none"),
        (0.25, "i1", "auto:small", "noise:3:bit"),
        (1, "u1", "auto:fast", "lz4:9:bit"),
        (1, "u2", "auto", "noise:1:bit"),
    ],
)
def test_the_choice_follows_data_and_aim(dose: float, dtype: str, aim: str, expected: str) -> None:
    found = choose(counts(dose, (2100, 1000), dtype), aim)
    assert (str(found), found.aim) == (expected, aim)
    assert found.blocksize == MIB * np.dtype(dtype).itemsize


def test_wide_counts_go_by_their_bytes() -> None:
    assert choose(counts(30, (1100, 1000), "u2")).filter == "byte"


def test_repeats_are_left_to_zstd() -> None:
    rows = np.random.default_rng(0).integers(0, 200, (1, 1000)).astype("u1")
    assert choose(np.repeat(rows, 2100, axis=0), "auto:small").name == "zstd"


def test_smaller_blocks_are_taken_where_they_are_worth_it() -> None:
    # planes that repeat the sign must lie within the window of lz4
    signed = np.random.default_rng(0).normal(0, 16, (1100, 1000)).astype("i2")
    found = choose(signed, "auto:fast")
    larger = replace(found, blocksize=2 * MIB)
    assert found.blocksize < 2 * MIB
    assert len(found.compress(signed)) < 0.995 * len(larger.compress(signed))


def test_chunks_of_blosc2_have_codecs_of_their_own() -> None:
    assert choose(counts(1, (1100, 1000)), version=5) == Codec("zstd", 1, "bit", MIB, 5)


def test_another_aim_is_refused() -> None:
    with pytest.raises(ParameterError, match="auto:slow"):
        choose(counts(1, (9, 9)), "auto:slow")


@pytest.mark.parametrize("dose", [0.1, 1, 4])
def test_the_small_aim_is_never_larger_and_the_fast_one_never_smaller(dose: float) -> None:
    frame = counts(dose, (1100, 1000))
    sizes = {aim: len(choose(frame, aim).compress(frame)) for aim in AIMS}
    assert sizes["auto:small"] <= sizes["auto"] <= sizes["auto:fast"]


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(["i1", "u2", "i4", "f2", "f4", "c8"]),
    st.sampled_from(sorted(AIMS)), st.sampled_from([2, 5]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_frame_has_a_choice_and_always_the_same(
    ny: int, nx: int, dtype: str, aim: str, version: int
) -> None:
    frame = counts(1, (ny, nx), dtype)
    found = choose(frame, aim, version=version)
    assert found == choose(frame.copy(), aim, version=version) and found.version == version


def test_resolving() -> None:
    frame = counts(1, (64, 64))
    assert resolve(None, frame) is None and resolve("none", frame) is None
    assert resolve("zlib:2", frame, version=5) == Codec("zlib", 2, version=5)
    assert resolve(Codec("lz4"), frame, version=5) == replace(Codec("lz4"), version=5)
    assert resolve("auto", frame) == choose(frame)
