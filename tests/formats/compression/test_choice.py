from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.compression.choice import choose, resolve
from mrcz_dask.formats.compression.codecs import AIMS, Codec
from mrcz_dask.values.errors import ParameterError

MIB = 1 << 20


def counts(dose: float, shape: tuple[int, int], dtype: str = "u1") -> NDArray[np.integer]:
    return np.random.default_rng(1).poisson(dose, shape).astype(dtype)


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
