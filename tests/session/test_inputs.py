"""Sessions of every kind of input, alone and mixed, through the main job: the same pixels come out."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.convert.filtering import filter_outliers
from mrcz_dask.convert.recompress import recompress
from mrcz_dask.correction.opening import open_stack
from mrcz_dask.formats.sources import open_source
from mrcz_dask.session.discovery import Skipped, discover
from mrcz_dask.values.params import OutlierParams
from tests.inputs import WRITERS, Counts
from tests.nights import Koma

STACKS = 5


def counts_of(stack: int) -> Counts:
    rng = np.random.default_rng(stack)
    gain = 1 + 0.1 * np.random.default_rng(99).standard_normal((48, 64))
    counts = rng.poisson(2 * gain, (4, 48, 64))
    counts[:, 7, 11] = 15
    return counts.clip(0, 15).astype(np.uint8)


def write_session(folder: Path, kinds: list[str]) -> list[Path]:
    folder.mkdir()
    return [
        WRITERS[kinds[k % len(kinds)]](folder, f"movie_20261014_19063{k}", counts_of(k))
        for k in range(STACKS)
    ]


def pixels(folder: Path) -> dict[str, list[np.ndarray]]:
    outputs = sorted(folder.glob("*.mrcz"))
    assert len(outputs) == STACKS
    found = {}
    for path in outputs:
        with open_source(path) as source:
            found[path.stem] = list(source)
    return found


@pytest.fixture(scope="module")
def from_mrcz(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[np.ndarray]]:
    from tests.nights import run_koma

    folder = tmp_path_factory.mktemp("inputs") / "mrcz"
    write_session(folder, ["mrcz"])
    run_koma(folder, folder / "koma")
    return pixels(folder / "koma")


@pytest.mark.parametrize("kinds", [*([kind] for kind in WRITERS if kind != "mrcz"), list(WRITERS)], ids=str)
def test_the_same_counts_give_the_same_pixels(
    kinds: list[str], tmp_path: Path, koma: Koma, from_mrcz: dict[str, list[np.ndarray]]
) -> None:
    paths = write_session(tmp_path / "night", kinds)
    outcome = koma(tmp_path / "night", tmp_path / "out")
    assert not outcome.failures
    found = pixels(tmp_path / "out")
    assert found.keys() == from_mrcz.keys()
    for stem, frames in found.items():
        np.testing.assert_array_equal(frames, from_mrcz[stem])
    output = tmp_path / "out" / f"{min(found)}.mrcz"
    with open_source(output) as made, open_source(paths[0]) as source:
        assert made.meta.get("input") == source.meta.get("input")
    assert reproduce(output, tmp_path / "night").same


@pytest.mark.parametrize("kind", WRITERS)
def test_one_stack_at_a_time(kind: str, tmp_path: Path) -> None:
    counts = counts_of(0)
    path = WRITERS[kind](tmp_path, "a", counts)
    np.testing.assert_array_equal(open_stack(path).compute(scheduler="threads"), counts)
    for done in (
        recompress(path, tmp_path / "re", "zstd:1"),
        recompress(path, tmp_path / "keep", "keep"),
        filter_outliers(path, tmp_path / "filtered", OutlierParams(), "auto"),
    ):
        assert Path(done.output).name == "a.mrcz"
        assert done.bytes_in > 0
        with open_source(done.output) as source:
            assert source.shape == counts.shape
            if "filtered" not in done.output:
                np.testing.assert_array_equal(source.frames(), counts)


def test_what_is_no_stack_is_said(tmp_path: Path) -> None:
    paths = write_session(tmp_path / "night", ["tiff", "hdf5", "zarr"])
    for name in ("bad.tif", "bad.eer", "bad.dm4", "bad.h5", "bad.mrc.gz", "bad.emd"):
        (tmp_path / "night" / name).write_bytes(struct.pack(">I", 4) + b"\x07" * 999)
    (tmp_path / "night" / "bad.zarr").mkdir()
    (tmp_path / "night" / "bad.zarr" / "x").touch()
    zarr.open_group(str(tmp_path / "night" / "other.zarr"), mode="w").create_array("a", data=counts_of(0)[0])
    zarr.open_group(str(tmp_path / "night" / "truth.zarr"), mode="w")
    WRITERS["tiff"](tmp_path / "night", "gain_reference", counts_of(0)[:1])
    found = discover(tmp_path / "night", recursive=True)
    assert [stack.path.name for stack in found.stacks] == [path.name for path in paths]
    assert {one.path.name for one in found.rejected} == {
        "bad.tif", "bad.eer", "bad.dm4", "bad.h5", "bad.mrc.gz", "bad.emd", "bad.zarr",
    }  # fmt: skip
    assert {one.path.name for one in found.skipped} == {"other.zarr", "gain_reference.tif"}
    assert all(isinstance(one, Skipped) for one in found.skipped)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["{name}.mdoc", "{stem}.mdoc", "{stem}.tif.mdoc"])
def test_the_mdoc_beside_any_of_them(kind: str, name: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, "a", counts_of(0))
    text = "PixelSpacing = 1.06\n[FrameSet = 0]\nDateTime = 14-Oct-2026  19:06:33\n"
    (tmp_path / name.format(name=path.name, stem="a")).write_text(text)
    (stack,) = discover(tmp_path).stacks
    pixel_size = 1.25 if kind == "dm4" else 1.06  # which says it itself
    assert (stack.stem, stack.pixel_size, stack.acquired.source) == ("a", pixel_size, "mdoc")


def test_the_time_of_the_header(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", counts_of(0), photometric="minisblack", datetime="2026:10:14 19:06:33"
    )
    (stack,) = discover(tmp_path).stacks
    assert str(stack.acquired) == "2026-10-14 19:06:33 (header)"
