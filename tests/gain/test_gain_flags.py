from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from mrcz_dask.formats.gains import Reference
from mrcz_dask.gain.check import program_flags
from mrcz_dask.numerics.gain.orientation import ALL, ROWS, Orientation


def reference(kind: str = "MRC", name: str = "gain.mrc") -> Reference:
    return Reference(name, np.ones((2, 3), np.float32), kind, "top" if kind == "TIFF" else "bottom", 0, "")


def test_plain_files() -> None:
    found = program_flags(Orientation(1, True), "multiply", reference(), "MRCZ")
    assert found.relion == "--gain_rot 1 --gain_flip 1"
    assert found.motioncor == "-RotGain 1 -FlipGain 1"
    assert found.warp == "--gain_flip_x --gain_flip_y --gain_transpose"
    assert not found.notes
    assert program_flags(Orientation(), "multiply", reference(), "MRC").warp == "(none)"


def test_the_inverse_is_motioncors_alone() -> None:
    found = program_flags(Orientation(), "divide", reference(), "MRC")
    assert found.motioncor.endswith("-InvGain 1")
    assert [note.split()[0] for note in found.notes] == ["RELION", "Warp"]


@pytest.mark.parametrize("orientation", ALL, ids=str)
def test_rows_of_tiff_are_reversed_by_all_three(orientation: Orientation) -> None:
    plain = program_flags(ROWS.then(orientation), "multiply", reference(), "MRC")
    assert program_flags(orientation, "multiply", reference("TIFF", "g.tif"), "MRC") == plain
    both = program_flags(ROWS.then(orientation).then(ROWS), "multiply", reference(), "MRC")
    assert program_flags(orientation, "multiply", reference("TIFF", "g.tif"), "TIFF") == both


def test_eer_in_relion() -> None:
    native = program_flags(Orientation(), "multiply", reference("TIFF", "x.gain"), "EER")
    assert native.relion == "--gain_rot 0 --gain_flip 0"
    assert native.motioncor == "-RotGain 0 -FlipGain 1"
    assert not native.notes
    mrc = program_flags(Orientation(), "multiply", reference(), "EER")
    assert any("divides EER frames" in note for note in mrc.notes)
    assert any("wrong way" in note for note in mrc.notes)
    flat = program_flags(Orientation(), "divide", reference(), "EER")
    assert not any("wrong way" in note for note in flat.notes)


@pytest.mark.downstream
@pytest.mark.parametrize("orientation", [o for o in ALL if o != Orientation()], ids=str)
def test_relion_turns_a_gain_as_it_is_told(orientation: Orientation, tmp_path: Path) -> None:
    if not shutil.which("relion_run_motioncorr"):
        pytest.skip("RELION is not installed")
    rng = np.random.default_rng(0)
    turned = rng.uniform(0.9, 1.1, (64, 96)).astype(np.float32)
    mrcfile.write(tmp_path / "m.mrcs", rng.poisson(5, (4, 64, 96)).astype(np.float32), voxel_size=1.0)
    mrcfile.write(tmp_path / "g.mrc", orientation.inverse.apply(turned), voxel_size=1.0)
    flags = program_flags(orientation, "multiply", reference(), "MRC").relion.split()
    command = ["relion_run_motioncorr", "--use_own", "--i", "m.mrcs", "--o", "out/"]
    command += ["--angpix", "1", "--voltage", "300"]
    subprocess.run([*command, "--gainref", "g.mrc", *flags], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(np.squeeze(mrcfile.read(tmp_path / "out" / "gain.mrc")), turned)
