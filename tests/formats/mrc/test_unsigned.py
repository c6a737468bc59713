"""Counts beyond what their mode can hold are told from negative pixels by their histogram."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mrcz_dask
from mrcz_dask.convert.filtering import filter_outliers
from mrcz_dask.formats.mrc.header import Header, Statistics
from mrcz_dask.formats.mrc.modes import unsigned_by_pixels
from mrcz_dask.formats.sources import open_source
from mrcz_dask.values.params import InputParams, Mode0, OutlierParams

SHAPE = (4, 64, 80)
Draw = Callable[[np.random.Generator], NDArray[Any]]


def hot(frames: NDArray[Any], values: Any) -> NDArray[Any]:
    frames[:, 5, 3 : 3 + len(values)] = values
    return frames


def rounded(mean: float, sd: float) -> Draw:
    return lambda rng: np.rint(rng.normal(mean, sd, SHAPE)).astype(np.int64)


UNSIGNED_BYTES: dict[str, Draw] = {
    "120 counts": lambda rng: rng.poisson(120, SHAPE),
    "120 counts, dead and saturated pixels": lambda rng: hot(rng.poisson(120, SHAPE), [0, 0, 255, 255]),
    "100 counts, their upper tail beyond": lambda rng: rng.poisson(100, SHAPE),
    "200 counts": lambda rng: np.minimum(rng.poisson(200, SHAPE), 255),
    "1 count, hot pixels of 180": lambda rng: hot(rng.poisson(1, SHAPE), [180, 175, 182]),
    "10 counts, hot pixels of 180": lambda rng: hot(rng.poisson(10, SHAPE), [180, 175, 182]),
    "1 count, saturated pixels": lambda rng: hot(rng.poisson(1, SHAPE), [255] * 9),
}
SIGNED_BYTES: dict[str, Draw] = {
    "around 0": rounded(0, 20),
    "around 30": rounded(30, 10),
    "few": rounded(0, 1),
    "any": lambda rng: rng.integers(-128, 128, SHAPE),
}
UNSIGNED_WORDS: dict[str, Draw] = {
    "around 32768": rounded(32768, 200),
    "40000": rounded(40000, 200),
    "50000": rounded(50000, 200),
    "60000, some saturated": lambda rng: np.minimum(np.rint(rng.normal(60000, 3500, SHAPE)), 65535),
    "20000 and a hot pixel": lambda rng: hot(rng.poisson(20000, SHAPE), [40000]),
    "1 count and hot pixels": lambda rng: hot(rng.poisson(1, SHAPE), [40000, 65535]),
}
SIGNED_WORDS: dict[str, Draw] = {
    "around 0": rounded(0, 300),
    "dark subtracted, a dead pixel": lambda rng: hot(rng.poisson(500, SHAPE), [-300]),
    "negative": rounded(-500, 20),
    "any": lambda rng: rng.integers(-32768, 32768, SHAPE),
}


def cases(found: dict[str, Draw], kind: str) -> list[Any]:
    return [pytest.param(draw, kind, id=f"{kind} {name}") for name, draw in found.items()]


ALL = [
    *cases(UNSIGNED_BYTES, "u1"), *cases(SIGNED_BYTES, "i1"),
    *cases(UNSIGNED_WORDS, "u2"), *cases(SIGNED_WORDS, "i2"),
]  # fmt: skip


def written(path: Path, frames: NDArray[Any], order: str = "<", **stats: float) -> Path:
    """Write frames as a program does that has no unsigned mode."""
    signed = frames.view(f"i{frames.itemsize}")
    header = Header(signed.shape, frames.itemsize - 1, byteorder=order, stats=Statistics(**stats), mz=1)  # type: ignore[arg-type]
    path.write_bytes(header.to_bytes() + signed.astype(signed.dtype.newbyteorder(order)).tobytes())
    return path


@pytest.mark.parametrize(("draw", "kind"), ALL)
def test_pixels_are_what_was_written(tmp_path: Path, draw: Draw, kind: str) -> None:
    frames = draw(np.random.default_rng(0)).astype(kind)
    assert unsigned_by_pixels(frames.view(f"i{frames.itemsize}"))[0] == (kind[0] == "u")
    for order in "<>":
        path = written(tmp_path / "a.mrc", frames, order)
        found = mrcz_dask.read(path)
        assert found.dtype == frames.dtype
        np.testing.assert_array_equal(found, frames)
        with open_source(path) as reader:
            told = " ".join(reader.notes)
        doubtful = kind != "i2" or bool(frames.max() < 0)
        assert ("taken as" in told and "--mode0" in told) == doubtful


@pytest.mark.parametrize("kind", ["1", "2"])
@pytest.mark.parametrize(("mode0", "sign"), [("signed", "i"), ("unsigned", "u")])
def test_the_user_decides(tmp_path: Path, kind: str, mode0: Mode0, sign: str) -> None:
    frames = UNSIGNED_BYTES["120 counts"](np.random.default_rng(0)).astype("u1").repeat(int(kind), 2)
    path = written(tmp_path / "a.mrc", frames.view(f"u{kind}"))
    with open_source(path, InputParams(mode0=mode0)) as reader:
        assert reader.dtype == sign + kind and not reader.notes


def test_the_maximum_in_the_header_decides_for_16_bits_too(tmp_path: Path) -> None:
    frames = SIGNED_WORDS["any"](np.random.default_rng(0)).astype("i2")
    path = written(tmp_path / "a.mrc", frames, minimum=0, maximum=65535)
    assert mrcz_dask.read(path).dtype == np.uint16


def test_what_was_taken_goes_with_the_output(tmp_path: Path, foreign_chunks: Any) -> None:
    frames = UNSIGNED_BYTES["120 counts"](np.random.default_rng(0)).astype("u1")
    (tmp_path / "a.mrcz").write_bytes(foreign_chunks(frames.view("i1")))
    made = filter_outliers(tmp_path / "a.mrcz", tmp_path / "out", OutlierParams(), "auto")
    assert any("taken as unsigned" in text for text in made.findings["notes"])
    assert mrcz_dask.read(made.output).mean() == pytest.approx(120, abs=1)


@pytest.fixture
def foreign_chunks() -> Callable[[NDArray[Any]], bytes]:
    """A function that makes MRCZ without a footer."""
    import io

    def make(frames: NDArray[Any]) -> bytes:
        stream = io.BytesIO()
        mrcz_dask.write(stream, frames, footer=False, kind="mrcz")
        blob = bytearray(stream.getvalue())
        blob[76:88] = Header(frames.shape, 0).to_bytes()[76:88]  # without statistics
        return bytes(blob)

    return make
