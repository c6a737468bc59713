import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mrcz_dask
from mrcz_dask.formats.provenance import append
from mrcz_dask.report.gather import gather


def output(folder: Path, write: str) -> Path:
    return sorted(folder.glob("*_reference.mrc" if write == "references" else "*.mrcz"))[0]


@pytest.mark.parametrize("write", ["normalized", "recompressed", "references"])
def test_every_way_to_write(night: Path, mrcz: Any, write: str) -> None:
    assert mrcz("koma", night, "--radius", 1, "--write", write, "--workers", 0).code == 0
    shown = mrcz("reproduce", output(night / "koma", write))
    assert shown.code == 0
    assert "every byte the same" in shown.out
    said = json.loads(mrcz("reproduce", output(night / "koma", write), "--json").out)
    assert said["same"] is True
    assert said["version"] == mrcz_dask.__version__


@pytest.mark.parametrize("options", ["--dtype float32", "--dtype float16 --rule paper", "--form divide"])
def test_other_parameters(night: Path, mrcz: Any, options: str) -> None:
    assert mrcz("koma", night, "--radius", 2, "--workers", 0, *options.split()).code == 0
    assert mrcz("reproduce", output(night / "koma", "normalized")).code == 0


def test_another_folder(night: Path, tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "-o", tmp_path / "elsewhere", "--workers", 0).code == 0
    path = output(tmp_path / "elsewhere", "normalized")
    shown = mrcz("reproduce", path)
    assert shown.code == 1
    assert "--session" in shown.err
    assert mrcz("reproduce", path, "--session", night).code == 0


def test_a_changed_input_is_named(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    path = output(night / "koma", "normalized")
    frames = mrcz_dask.read(night / path.name)
    frames[1, 2, 3] += 1
    mrcz_dask.write(night / path.name, frames)
    shown = mrcz("reproduce", path)
    assert shown.code == 1
    assert path.name in shown.err and "digest" in shown.err


def test_a_missing_input_is_named(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    path = output(night / "koma", "normalized")
    missing = sorted(night.glob("*.mrcz"))[2]
    missing.unlink()
    shown = mrcz("reproduce", path)
    assert shown.code == 1
    assert missing.name in shown.err


def test_a_file_that_was_changed_differs(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    path = output(night / "koma", "normalized")
    footer = mrcz_dask.read_footer(path) or {}
    stored = mrcz_dask.read(path, scaled=False)
    stored[3] += 1
    mrcz_dask.write(path, stored, pixels=footer["pixels"], provenance=footer["provenance"])
    shown = mrcz("reproduce", path)
    assert shown.code == 3
    assert "not the same" in shown.out and "frames that differ: [3], by at most " in shown.out


def test_the_numbers_that_differ_are_named(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    path = output(night / "koma", "normalized")
    footer = mrcz_dask.read_footer(path) or {}
    steps = footer["provenance"]
    steps[0]["results"]["mask"]["mu"] *= 2
    steps[1]["version"] = "0.0.9"
    sealed: list[dict[str, Any]] = []
    for step in steps:
        step.pop("digest")
        sealed = append(sealed, step)
    mrcz_dask.write(
        path, mrcz_dask.read(path, scaled=False), pixels=footer["pixels"], provenance=sealed, codec="zstd:1"
    )
    shown = mrcz("reproduce", path)
    assert shown.code == 3
    assert "all pixels are the same" in shown.out and "made by version 0.0.9" in shown.out
    assert "outliers.results.mask.mu: " in shown.out and "(-5.0e-01 of it)" in shown.out


def test_verify_deep_makes_all_outputs_again_from_their_inputs(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    assert mrcz("verify", "--deep", night / "koma").code == 0
    stack = sorted(night.glob("*.mrcz"))[2]
    frames = mrcz_dask.read(stack)
    frames[0, 5, 6] += 1
    mrcz_dask.write(stack, frames)
    assert mrcz("verify", night / "koma").code == 0
    shown = mrcz("verify", "--deep", night / "koma")
    assert shown.code == 3
    assert f"{stack.name}: damaged" in shown.out and "its inputs give something else" in shown.out
    assert "outliers.inputs[0].digest: " in shown.out
    stack.unlink()
    shown = mrcz("verify", "--deep", night / "koma")
    assert shown.code == 1 and stack.name in shown.err and "--session" in shown.err


def test_verify_deep_makes_single_files_again(night: Path, tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    path, other = sorted((night / "koma").glob("*.mrcz"))[:2]
    shown = mrcz("verify", "--deep", path, other)
    assert shown.code == 0 and shown.out.count(": sound") == 2
    moved = Path(shutil.copy(path, tmp_path / path.name))
    shown = mrcz("verify", "--deep", moved)  # its inputs are not above it
    assert shown.code == 4 and f"{path.name}: partly-checked" in shown.out and "not made again" in shown.out
    assert mrcz("verify", "--deep", moved, "--session", night).code == 0
    footer = mrcz_dask.read_footer(other) or {}
    stored = mrcz_dask.read(other, scaled=False)
    stored[3] += 1
    mrcz_dask.write(other, stored, pixels=footer["pixels"], provenance=footer["provenance"])
    assert mrcz("verify", other).code == 0
    shown = mrcz("verify", "--deep", path, other)
    assert shown.code == 3 and f"{path}: sound" in shown.out and f"{other}: damaged" in shown.out
    assert "its inputs give something else" in shown.out and "frames that differ: [3]" in shown.out
    stack = night / path.name
    frames = mrcz_dask.read(stack)
    frames[0, 5, 6] += 1
    mrcz_dask.write(stack, frames)
    shown = mrcz("verify", "--deep", path)
    assert shown.code == 3 and f"{path}: damaged" in shown.out and "digest" in shown.out
    shown = mrcz("verify", "--deep", stack)
    assert shown.code == 4 and "not made again" in shown.out and "expected an output" in shown.out


@pytest.mark.parametrize("write", ["recompressed", "references"])
def test_verify_deep_knows_all_that_a_run_leaves(night: Path, mrcz: Any, write: str) -> None:
    assert mrcz("koma", night, "--radius", 1, "--write", write, "--workers", 0).code == 0
    shown = mrcz("verify", "--deep", night / "koma")
    assert shown.code == 0 and "damaged" not in shown.out
    masks = sorted((night / "koma").glob("*_mask.mrc"))
    assert all(mrcz("reproduce", path).code == 0 for path in masks[:1])
    for path in masks[:1]:
        footer = mrcz_dask.read_footer(path) or {}
        stored = 1 - mrcz_dask.read(path)
        mrcz_dask.write(path, stored, pixels=footer["pixels"], provenance=footer["provenance"])
        shown = mrcz("verify", "--deep", night / "koma")
        assert shown.code == 3 and f"{path}: damaged" in shown.out and "frames that differ: [0]" in shown.out


def test_what_is_no_output(night: Path, mrcz: Any) -> None:
    shown = mrcz("reproduce", sorted(night.glob("*.mrcz"))[0])
    assert shown.code == 2
    assert "expected an output" in shown.err
    assert mrcz("reproduce", night / "missing.mrcz").code == 2


def test_a_nested_session_of_equal_names_in_two_formats(night: Path, mrcz: Any) -> None:
    first, *others = sorted(night.glob("*.mrcz"))
    for folder, path in zip(("a", "a", "b"), (first, others[0], others[1]), strict=True):
        (night / folder).mkdir(exist_ok=True)
        path.rename(night / folder / (first.name if path != others[0] else f"{first.stem}.mrc"))
    command = ("koma", night, "--recursive", "--radius", 1, "--workers", 0)
    for write in ("normalized", "recompressed"):
        out = night / write
        shown = mrcz(*command, "--write", write, "-o", out)
        assert shown.code == 0
        found = {path.relative_to(out).as_posix() for path in out.rglob("*.mrcz")}
        ends = (f"a/{first.name}.mrcz", f"a/{first.stem}.mrc.mrcz", f"b/{first.name}")
        assert found == {*ends, others[2].name, others[3].name}
        assert all(name in shown.out for name in found)
        for name in ends:
            assert mrcz("reproduce", out / name).code == 0
        checked = mrcz("verify", out, "--recursive")
        assert checked.code == 0 and all(f"{out / name}: sound" in checked.out for name in found)
        assert "5 kept" in mrcz(*command, "--write", write, "-o", out).out
        assert mrcz("status", out).code == 0
        assert not gather(out).problems
        shutil.move(out, night.parent / write)  # the other run's input is what it was


def test_outputs_of_names_that_differ_only_in_case_differ_without_it(night: Path, mrcz: Any) -> None:
    for path, name in zip(sorted(night.glob("*.mrcz")), ("A.mrcz", "a.mrcz", "a.mrc"), strict=False):
        path.rename(night / name)
    assert mrcz("koma", night, "--radius", 1, "--workers", 0).code == 0
    outputs = sorted((night / "koma").glob("*.mrcz"))
    assert len({path.name.casefold() for path in outputs}) == 5
    for path in outputs:
        assert mrcz("reproduce", path).code == 0
    assert mrcz("verify", night / "koma").code == 0
    assert mrcz("export", night / "koma", "--to", "relion", "--pixel-size", 1).code == 0


def test_a_file_that_was_changed_after_koma_is_refused(night, mrcz):
    assert mrcz("koma", night, "--radius", 2, "--workers", 0).code == 0
    output = sorted((night / "koma").glob("*.mrcz"))[0]
    assert mrcz("recompress", output, "-o", night / "again", "--codec", "lz4:9").code == 0

    shown = mrcz("reproduce", night / "again" / output.name, "--session", night)

    assert shown.code == 1
    assert "'recompress' came after koma's" in shown.err
