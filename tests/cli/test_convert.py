import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from tests.inputs import as_eer


@pytest.fixture
def stacks(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.mrcz", tmp_path / "b.mrcz"]
    for k, path in enumerate(paths):
        frames = np.random.default_rng(k).poisson(3, (4, 48, 56)).astype(np.uint8)
        frames[:, 9, 9] = 99
        mrcz_dask.write(path, frames)
    return paths


@pytest.mark.parametrize(
    ("command", "suffix"), [("recompress", ".mrcz"), ("decompress", ".mrcs"), ("outliers", ".mrcz")]
)
class TestEach:
    def test_all_done(self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str) -> None:
        shown = mrcz(command, *stacks, "-o", tmp_path / "out")
        assert shown.code == 0
        assert "a.mrcz" in shown.out and "b.mrcz" in shown.out
        for path in stacks:
            found = mrcz_dask.read(tmp_path / "out" / f"{path.stem}{suffix}")
            same = np.array_equal(found, mrcz_dask.read(path))
            assert same == (command != "outliers")

    def test_json(self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str) -> None:
        said = json.loads(mrcz(command, *stacks, tmp_path / "no.mrcz", "-o", tmp_path / "out", "--json").out)
        assert [one["name"] for one in said["done"]] == ["a.mrcz", "b.mrcz"]
        assert all(one["bytes_out"] > 0 for one in said["done"])
        assert list(said["failed"]) == [str(tmp_path / "no.mrcz")]

    def test_exit_codes(
        self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str
    ) -> None:
        (tmp_path / "bad.mrcz").write_bytes(b"bad")
        shown = mrcz(command, tmp_path / "bad.mrcz", *stacks, "-o", tmp_path / "out")
        assert shown.code == 3
        assert "bad.mrcz" in shown.err
        again = mrcz(command, *stacks, "-o", tmp_path / "out")
        assert again.code == 2
        assert "--overwrite" in again.err
        assert mrcz(command, *stacks, "-o", tmp_path / "out", "--overwrite").code == 0
        assert mrcz(command, *stacks).code == 2


@pytest.mark.parametrize("command", ["recompress", "outliers"])
def test_a_codec_that_is_none_is_wrong_usage(
    stacks: list[Path], tmp_path: Path, mrcz: Any, command: str
) -> None:
    shown = mrcz(command, *stacks, "-o", tmp_path / "out", "--codec", "nonsense")
    assert shown.code == 2
    assert "nonsense" in shown.err
    assert not (tmp_path / "out").exists()


def test_outliers_says_what_it_found(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("outliers", *stacks, "-o", tmp_path / "out")
    assert all(text in shown.out for text in ("hot", "dead", "t dark", "t hot"))


def test_decompress_places_of_provenance(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    for options, count in (([], 2), (["--footer"], 1), (["--no-sidecar"], 1)):
        out = tmp_path / f"out{'-'.join(options)}"
        assert mrcz("decompress", stacks[0], "-o", out, *options).code == 0
        assert len(list(out.iterdir())) == count + 1  # and MANIFEST


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
@pytest.mark.parametrize("command", ["recompress", "outliers"])
def test_formats(stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, format: str) -> None:
    assert mrcz(command, *stacks, "-o", tmp_path / "out", "--format", format).code == 0
    for path in stacks:
        found = mrcz_dask.read(tmp_path / "out" / f"{path.stem}{OUTPUT_SUFFIXES[format]}")  # type: ignore[index]
        rows = found[:, ::-1] if format == "tiff" else found
        assert np.array_equal(rows, mrcz_dask.read(path)) == (command == "recompress")


def test_eer_is_summed_as_asked_for(tmp_path: Path, mrcz: Any) -> None:
    counts = np.random.default_rng(0).poisson(3, (2, 16, 32)).astype(np.uint8)
    path = as_eer(tmp_path, "a", counts)
    options = ("--eer-frames", 20, "--eer-upsampling", 2)
    assert mrcz("recompress", path, "-o", tmp_path / "out", *options).code == 0
    found = mrcz_dask.read(tmp_path / "out" / "a.mrcz")
    assert found.shape == (4, 32, 64)
    assert found.sum() == counts.sum()
    step = (mrcz_dask.read_footer(tmp_path / "out" / "a.mrcz") or {})["provenance"][-1]
    assert step["parameters"]["input"]["eer_frames"] == 20
    assert mrcz("recompress", path, "-o", tmp_path / "out", "--eer-frames", 0).code == 2


@pytest.mark.parametrize(("dtype", "columns"), [("u1", 40), ("i2", 40), ("u2", 41)])
def test_four_bits(tmp_path: Path, mrcz: Any, dtype: str, columns: int) -> None:
    counts = np.random.default_rng(0).integers(0, 16, (3, 8, columns)).astype(dtype)
    mrcz_dask.write(tmp_path / "a.mrcz", counts, meta={"grid": 7})
    shown = mrcz("recompress", tmp_path / "a.mrcz", "-o", tmp_path, "--format", "mrcs", "--codec", "uint4")
    assert shown.code == 0
    made = tmp_path / "a.mrcs"
    data, row = made.read_bytes(), (columns + 1) // 2
    assert len(data) == 1024 + 3 * 8 * row and data[12:16] == (101).to_bytes(4, "little")
    assert data[1024] == counts[0, 0, 0] | counts[0, 0, 1] << 4  # the first pixel is in the low nibble
    found = mrcz_dask.read(made)
    assert found.dtype == counts.dtype and np.array_equal(found, counts)
    assert np.array_equal(mrcz_dask.open_stack(made)[2].compute(), counts[2])
    footer = mrcz_dask.read_footer(made)
    assert footer["meta"]["grid"] == 7 and footer["provenance"][-1]["parameters"]["codec"] == "uint4"
    assert mrcz("verify", made).code == 0
    assert ("half a byte" in shown.err) == (columns % 2 == 1) == bool(footer["provenance"][-1]["caveats"])


@pytest.mark.parametrize(
    ("counts", "found"),
    [(np.uint16([[[0, 16]]]), "0..16"), (np.int8([[[-1, 3]]]), "-1..3"), (np.float32([[[0, 1]]]), "float32")],
)
def test_what_does_not_fit_into_four_bits(tmp_path: Path, mrcz: Any, counts: np.ndarray, found: str) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", counts)
    command = ["recompress", tmp_path / "a.mrcz", "-o", tmp_path / "out", "--codec", "uint4"]
    shown = mrcz(*command, "--format", "mrcs")
    assert shown.code == 1 and f"counts of 0..15, these are {found}; use --codec auto" in shown.err
    assert list((tmp_path / "out").iterdir()) == []
    for format in ("mrcz", "tiff", "zarr", "mrcs.zst"):
        other = mrcz(*command, "--format", format)
        assert other.code == 2 and "--format mrcs" in other.err


def test_four_bits_are_for_counts_as_they_are(tmp_path: Path, mrcz: Any) -> None:
    for command in (["koma", tmp_path], ["outliers", tmp_path / "a.mrcz", "-o", tmp_path / "out"]):
        shown = mrcz(*command, "--format", "mrcs", "--codec", "uint4")
        assert shown.code == 2 and "goes with recompression only" in shown.err


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with stacks of one stem in two formats and two folders, a gain, and what is none."""
    folder = tmp_path / "arch"
    for k, name in enumerate(("s0.mrc", "s0.mrcz", "a/s0.mrc", "b/s0.mrc", "b/it's [red]\n(1).mrc")):
        frames = np.random.default_rng(k).poisson(3, (4, 48, 56)).astype(np.uint8)
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        mrcz_dask.write(folder / name, frames, codec="none" if name.endswith(".mrc") else "auto")
    mrcz_dask.write(folder / "b" / "gain.mrc", np.ones((48, 56), np.float32))
    (folder / "loop.mrc").symlink_to("loop.mrc")
    return folder


@pytest.mark.parametrize(
    ("command", "suffix"), [("recompress", ".mrcz"), ("decompress", ".mrcs"), ("outliers", ".mrcz")]
)
def test_folders_are_taken_as_koma_takes_them(archive: Path, mrcz: Any, command: str, suffix: str) -> None:
    out = archive / "out"
    stems = ["s0.mrc", "s0.mrcz", "a/s0", "b/s0", "b/it's [red]\n(1)"]
    shown = mrcz(command, archive, "-o", out, "--recursive")
    assert shown.code == 3
    assert "loop.mrc" in shown.err and "Traceback" not in shown.err
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.suffix == suffix}
    gain = set() if command != "recompress" else {"b/gain.mrcz"}
    assert found == {f"{stem}{suffix}" for stem in stems} | gain
    assert ("gain.mrc: a single image" in shown.out) == (command == "outliers")
    (archive / "loop.mrc").unlink()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = json.loads(mrcz(command, archive, "-o", out, "--recursive", "--json").out)
    assert [one["kept"] for one in again["done"]] == [True] * len(again["done"])
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    changed = mrcz_dask.read(archive / "a" / "s0.mrc") + np.uint8(1)
    mrcz_dask.write(archive / "a" / "s0.mrc", changed, codec="none")
    (out / f"s0.mrc{suffix}").unlink()
    refused = mrcz(command, archive, "-o", out, "--recursive")
    assert refused.code == 3 and "made from other pixels than" in refused.err
    once_more = json.loads(mrcz(command, archive, "-o", out, "--recursive", "--overwrite", "--json").out)
    assert {"a/s0.mrc", "s0.mrc"} <= {one["name"] for one in once_more["done"] if not one["kept"]}
    assert not once_more["failed"]
    if command != "outliers":
        assert np.array_equal(mrcz_dask.read(out / f"a/s0{suffix}"), changed)


def test_a_folder_done_in_another_way_is_left_alone(archive: Path, mrcz: Any) -> None:
    (archive / "loop.mrc").unlink()
    assert mrcz("recompress", archive, "-o", archive / "out", "--codec", "zlib:1").code == 0
    shown = mrcz("recompress", archive, "-o", archive / "out", "--codec", "lz4:9")
    assert shown.code == 2 and "use --overwrite" in shown.err
    assert mrcz("recompress", archive, "-o", archive).code == 2


def test_stacks_of_one_name_that_are_given_one_by_one(archive: Path, mrcz: Any) -> None:
    paths = (archive / "a" / "s0.mrc", archive / "b" / "s0.mrc", archive / "s0.mrc")
    assert mrcz("recompress", *paths, "-o", archive / "out").code == 0
    for path in paths:
        made = archive / "out" / path.relative_to(archive).with_suffix(".mrcz")
        assert np.array_equal(mrcz_dask.read(made), mrcz_dask.read(path))


def test_workers_write_the_same_bytes(archive: Path, mrcz: Any) -> None:
    (archive / "loop.mrc").unlink()
    for workers in (0, 2):
        assert mrcz("outliers", archive, "-o", archive / f"out{workers}", "--workers", workers).code == 0
    for path in (archive / "out0").iterdir():
        assert path.read_bytes() == (archive / "out2" / path.name).read_bytes()


@pytest.mark.parametrize("format", ["mrcz", "tiff", "zarr"])
@pytest.mark.parametrize("command", ["recompress", "outliers", "decompress"])
def test_outputs_are_listed_and_lost_ones_are_noticed(
    archive: Path, tmp_path: Path, mrcz: Any, command: str, format: str
) -> None:
    out, options = tmp_path / "out", () if command == "decompress" else ("--format", format)
    odd = archive / "new\nline \u2028.mrcz"
    mrcz_dask.write(odd, mrcz_dask.read(archive / "s0.mrcz")[::-1])
    (archive / "loop.mrc").unlink()
    done = mrcz(command, archive, "--recursive", "-o", out, *options)
    assert done.code == 0 and "kept" not in done.out
    before = (out / "MANIFEST").read_bytes()
    if shutil.which("sha256sum"):
        assert (
            subprocess.run(["sha256sum", "--quiet", "-c", "MANIFEST"], cwd=out, check=False).returncode == 0
        )
    assert mrcz("verify", out, "--recursive").code == 0
    lost = next(one for one in (out / "a").iterdir() if one.suffix != ".json")
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    shown = mrcz("verify", out)
    assert shown.code == 3 and f"{lost}: gone" in shown.out
    again = mrcz(command, archive, "--recursive", "-o", out, *options)
    assert (again.code, again.out.count("kept")) == (0, done.out.count(f"{out}/") - 1)
    assert (out / "MANIFEST").read_bytes() == before
    (out / "MANIFEST").unlink()
    shown = mrcz("verify", out, "--recursive")
    assert shown.code == 4 and "MANIFEST: partly-checked" in shown.out and "is not there" in shown.out
    deep = mrcz("verify", out, "--recursive", "--deep")
    assert deep.out.count("MANIFEST") == shown.out.count("MANIFEST")


def test_outputs_that_an_older_list_does_not_name(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    out = tmp_path / "out"
    mrcz("recompress", stacks[0], "-o", out)
    before = (out / "MANIFEST").read_bytes()
    mrcz("recompress", stacks[1], "-o", out)
    assert mrcz("verify", out).code == 0
    (out / "MANIFEST").write_bytes(before)
    shown = mrcz("verify", out)
    assert shown.code == 4 and f"does not list {stacks[1].stem}" in shown.out


def test_a_manifest_of_another_kind_is_left_alone(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    (tmp_path / "MANIFEST").write_text("include README\n")
    shown = mrcz("decompress", *stacks, "-o", tmp_path)
    assert shown.code == 0 and "is no list of sha256sum" in shown.err
    assert (tmp_path / "MANIFEST").read_text() == "include README\n"


def test_frames_of_a_master_file_are_not_written_twice(tmp_path: Path, mrcz: Any) -> None:
    frames = np.arange(120, dtype=np.uint16).reshape(6, 4, 5)
    with h5py.File(tmp_path / "d_master.h5", "w") as master:
        for k in (1, 2):
            name = f"d_data_00000{k}.h5"
            with h5py.File(tmp_path / name, "w") as file:
                file["entry/data/data"] = frames[3 * k - 3 : 3 * k]
            master[f"entry/data/data_00000{k}"] = h5py.ExternalLink(name, "/entry/data/data")
    shown = mrcz("recompress", tmp_path, "-o", tmp_path / "out")
    assert shown.code == 0 and "d_data_000001.h5: frames of d_master.h5" in shown.out
    assert [one.name for one in (tmp_path / "out").glob("*.mrcz")] == ["d_master.mrcz"]
    assert np.array_equal(mrcz_dask.read(tmp_path / "out" / "d_master.mrcz"), frames)


@pytest.mark.parametrize("command", ["recompress", "decompress", "outliers"])
def test_an_output_of_another_session_is_neither_kept_nor_replaced(
    tmp_path: Path, mrcz: Any, command: str
) -> None:
    for k, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        frames = np.random.default_rng(k).poisson(3, (4, 32, 32)).astype(np.uint8)
        mrcz_dask.write(tmp_path / name / "a.mrc", frames, codec="none")
        os.utime(tmp_path / name / "a.mrc", (1.7e9, 1.7e9))
    assert mrcz(command, tmp_path / "first", "-o", tmp_path / "out").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shown = mrcz(command, tmp_path / "second", "-o", tmp_path / "out")
    assert shown.code == 2 and "made from other pixels" in shown.err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert mrcz(command, tmp_path / "first", "-o", tmp_path / "out").code == 0
    assert mrcz(command, tmp_path / "second", "-o", tmp_path / "out", "--overwrite").code == 0
