import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).poisson(1, (3, 32, 40)).astype(np.uint8)
    mrcz_dask.write(tmp_path / "a.mrcz", frames, meta={"voltage": 300}, pixel_size=1.25)
    return tmp_path / "a.mrcz"


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A stack without footer."""
    mrcz_dask.write(tmp_path / "b.mrcz", np.ones((2, 8, 8), np.uint8), footer=False)
    return tmp_path / "b.mrcz"


class TestVerify:
    def test_sound(self, stack: Path, mrcz: Any) -> None:
        shown = mrcz("verify", stack)
        assert (shown.code, shown.err) == (0, "")
        assert f"{stack}: sound, 3 frames" in shown.out

    def test_damaged(self, stack: Path, mrcz: Any) -> None:
        data = bytearray(stack.read_bytes())
        data[1500] ^= 1
        stack.write_bytes(data)
        shown = mrcz("verify", stack)
        assert shown.code == 3
        assert "damaged" in shown.out and "frame" in shown.out

    def test_a_flipped_bit_is_found_wherever_it_is(self, stack: Path, mrcz: Any) -> None:
        whole = stack.read_bytes()
        for position in sorted(
            {*range(0, len(whole), 97), *range(len(whole) - 48, len(whole)), 0, 3, 8, 1023}
        ):
            data = bytearray(whole)
            data[position] ^= 1 << position % 8
            stack.write_bytes(data)
            assert mrcz("verify", stack).code == 3, f"byte {position} of {len(whole)}"

    def test_cut_off(self, stack: Path, mrcz: Any) -> None:
        stack.write_bytes(stack.read_bytes()[:2000])
        assert mrcz("verify", stack).code == 3

    def test_no_footer(self, unknown: Path, mrcz: Any) -> None:
        shown = mrcz("verify", unknown)
        assert shown.code == 4
        assert "no-footer" in shown.out

    def test_the_worst_decides(self, stack: Path, unknown: Path, mrcz: Any) -> None:
        assert mrcz("verify", stack, unknown).code == 4
        stack.write_bytes(stack.read_bytes()[:2000])
        assert mrcz("verify", stack, unknown).code == 3
        assert mrcz("verify", stack.parent).code == 3

    def test_a_missing_file(self, stack: Path, mrcz: Any) -> None:
        assert mrcz("verify", stack.with_name("missing.mrcz")).code == 2
        shown = mrcz("verify", stack.with_name("missing.mrcz"), stack)
        assert shown.code == 3
        assert "missing.mrcz" in shown.out and f"{stack}: sound" in shown.out

    def test_an_empty_folder(self, tmp_path: Path, mrcz: Any) -> None:
        shown = mrcz("verify", tmp_path)
        assert shown.code == 2
        assert "no stack there; looked for .mrcz" in shown.err

    def test_json(self, stack: Path, unknown: Path, mrcz: Any) -> None:
        said = json.loads(mrcz("verify", stack, unknown, stack.with_name("missing.mrcz"), "--json").out)
        assert [one["status"] for one in said] == ["sound", "no-footer", "unreadable"]
        assert said[0]["path"] == str(stack)
        assert said[0]["frames"] == 3


class TestInfo:
    def test_all_of_it(self, stack: Path, mrcz: Any) -> None:
        shown = mrcz("info", stack)
        assert shown.code == 0
        for text in (str(stack), "[3, 32, 40]", "uint8", "zstd", "1.25", "voltage"):
            assert text in shown.out

    def test_json(self, stack: Path, mrcz: Any) -> None:
        (said,) = json.loads(mrcz("info", stack, "--json").out)
        assert said["path"] == str(stack)
        assert said["shape"] == [3, 32, 40]
        assert said["footer"] is True
        assert said["meta"] == {"voltage": 300}

    def test_one_bad_file_stops_no_other(self, stack: Path, tmp_path: Path, mrcz: Any) -> None:
        (tmp_path / "bad.mrcz").write_bytes(b"nothing")
        shown = mrcz("info", tmp_path / "bad.mrcz", stack)
        assert shown.code == 3
        assert "bad.mrcz" in shown.err and str(stack) in shown.out
        assert mrcz("info", tmp_path / "bad.mrcz").code == 1
        assert mrcz("info", tmp_path / "missing.mrcz").code == 2


@pytest.fixture
def of_every_format(stack: Path, mrcz: Any) -> list[Path]:
    folder = stack.parent / "out"
    for format in OUTPUT_SUFFIXES:
        assert mrcz("recompress", stack, "-o", folder, "--format", format).code == 0
    return [folder / f"a{suffix}" for suffix in OUTPUT_SUFFIXES.values()]


class TestFormats:
    def test_verify(self, of_every_format: list[Path], mrcz: Any) -> None:
        folder = of_every_format[0].parent
        said = json.loads(mrcz("verify", folder, "--json").out)
        assert {one["path"] for one in said} == {str(path) for path in of_every_format}
        assert {one["status"] for one in said} == {"sound"}
        assert mrcz("verify", *of_every_format).code == 0

    def test_info_and_provenance(self, of_every_format: list[Path], mrcz: Any) -> None:
        said = json.loads(mrcz("info", of_every_format[0].parent, "--json").out)
        assert {one["path"] for one in said} == {str(path) for path in of_every_format}
        for one in said:
            assert (one["shape"], one["dtype"], one["meta"]) == ([3, 32, 40], "uint8", {"voltage": 300})
            assert one["pixel_size"][0] == 1.25 and one["footer"] is True
        steps = json.loads(mrcz("provenance", *of_every_format, "--json").out)
        assert [[one["name"] for one in steps[str(path)]] for path in of_every_format] == [["recompress"]] * 5

    def test_inputs_are_read_as_they_are_said_to_be(self, tmp_path: Path, mrcz: Any) -> None:
        mrcz_dask.write(tmp_path / "a.mrcs", np.ones((2, 8, 8), np.int8), footer=False)
        for mode0, dtype in (("auto", "int8"), ("unsigned", "uint8")):
            (said,) = json.loads(mrcz("info", tmp_path / "a.mrcs", "--mode0", mode0, "--json").out)
            assert said["dtype"] == dtype

    def test_bad_pixels_of_an_output(self, night: Path, mrcz: Any) -> None:
        (night / "bad.txt").write_text("3 4 2 1\n")
        options = ("--radius", 1, "--workers", 0, "--defects", night / "bad.txt")
        done = mrcz("koma", night, *options)
        assert done.code == 0 and "values, as the outlier filter takes them: counts" in done.out
        (said,) = json.loads(mrcz("info", sorted((night / "koma").glob("*.mrcz"))[0], "--json").out)
        assert said["defects"] == "2 of bad.txt (boxes)" and said["values"].startswith("counts, variance")
        assert said["outliers"].endswith("more from the stacks around")


class TestProvenance:
    def test_step_by_step(self, night: Path, mrcz: Any) -> None:
        assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
        path = sorted((night / "koma").glob("*.mrcz"))[0]
        shown = mrcz("provenance", path)
        assert shown.code == 0
        for text in ("0. outliers", "1. koma", "2. write", "radius: 1", "correlated_noise", "Philox"):
            assert text in shown.out
        said = json.loads(mrcz("provenance", path, "--json").out)
        assert [s["name"] for s in said[str(path)]] == ["outliers", "koma", "write"]

    def test_nothing_is_recorded(self, unknown: Path, mrcz: Any) -> None:
        shown = mrcz("provenance", unknown)
        assert shown.code == 0
        assert "nothing is recorded" in shown.out

    def test_one_bad_file_stops_no_other(self, stack: Path, tmp_path: Path, mrcz: Any) -> None:
        shown = mrcz("provenance", tmp_path / "missing.mrcz", stack)
        assert shown.code == 3
        assert "missing.mrcz" in shown.err and str(stack) in shown.out


def test_verify_looks_at_what_a_recipe_asks_for(night, mrcz):
    options = ("--radius", 2, "--workers", 0, "--write", "recompressed", "--method", "plain")
    assert mrcz("koma", night, *options).code == 0
    output = sorted((night / "koma").glob("*.mrcz"))[0]
    assert mrcz("verify", output).code == 0
    pattern = night / "koma" / "session.zarr" / "corrections" / output.stem / "pattern"
    next(p for p in sorted(pattern.rglob("*")) if p.is_file() and p.name != "zarr.json").unlink()

    shown = mrcz("verify", output)
    assert shown.code == 3
    assert "recipe: the correction in session.zarr is damaged" in shown.out
    again = mrcz("koma", night, *options)
    assert again.code == 0
    assert "4 kept from before" in again.out
    assert mrcz("verify", output).code == 0
