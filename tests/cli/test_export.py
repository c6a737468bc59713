from pathlib import Path
from typing import Any

import numpy as np

import mrcz_dask

SERIAL = ("--radius", 2, "--workers", 0, "-q")


def test_a_run_is_handed_on(night: Path, tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, *SERIAL).code == 0
    shown = mrcz("export", night / "koma", "--to", "relion", "-o", tmp_path / "r", "--pixel-size", 1.2)
    assert shown.code == 0
    assert "5 movies for relion" in shown.out and "README.md" in shown.out
    assert (tmp_path / "r" / "movies.star").exists()
    again = mrcz("export", night / "koma", "--to", "relion", "-o", tmp_path / "r")
    assert again.code == 2 and "not empty" in again.err


def test_short_movies_are_left_out_and_named(tmp_path: Path, mrcz: Any) -> None:
    rng = np.random.default_rng(1)
    for k, frames in enumerate((2, 4, 4)):
        path = tmp_path / "night" / f"s_20261014_19060{k}.mrcz"
        path.parent.mkdir(exist_ok=True)
        mrcz_dask.write(path, rng.poisson(3, (frames, 64, 64)).astype(np.uint8))
    mrcz("koma", tmp_path / "night", *SERIAL)
    shown = mrcz("export", tmp_path / "night" / "koma", "--to", "warp", "--pixel-size", 1, "--json")
    assert shown.code == 3
    assert "s_20261014_190600: left out: 2 frames; 3 at least" in shown.err


def test_names_that_a_star_file_cannot_hold_are_left_out_for_relion_alone(tmp_path: Path, mrcz: Any) -> None:
    rng = np.random.default_rng(1)
    names = ("it's", 'a "b"', "new\nline", "a/s", "b/s", "with (1) [x]", "größe", "red[red]c")
    for name in names:
        path = tmp_path / "night" / f"{name}.mrcz"
        path.parent.mkdir(exist_ok=True, parents=True)
        mrcz_dask.write(path, rng.poisson(3, (4, 64, 64)).astype(np.uint8))
    out = tmp_path / "out"
    assert mrcz("koma", tmp_path / "night", "--recursive", "-o", out, *SERIAL).code == 0
    (out / "bad.mrcz").write_bytes(b"no stack" * 200)
    shown = mrcz("export", out, "--to", "relion", "--pixel-size", 1)
    assert shown.code == 3
    for name in names[:3]:
        visible = name.replace("\n", "\\n")
        assert f"{visible}: left out: a STAR file cannot hold" in shown.err
    assert "bad.mrcz: left out" in shown.err
    found = {path.relative_to(out / "relion" / "movies").as_posix() for path in out.glob("relion/**/*.mrcs")}
    assert found == {f"{name}.mrcs" for name in names[3:]}
    (out / "bad.mrcz").unlink()
    for program in ("motioncor", "cryosparc", "warp"):
        assert mrcz("export", out, "--to", program, "--pixel-size", 1).code == 0
        assert len([*(out / program / "movies").rglob("*.mrcs")]) == len(names)


def test_wrong_usage(tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("export", tmp_path, "--to", "imod").code == 2
    assert mrcz("export", tmp_path, "--to", "warp").code == 2
