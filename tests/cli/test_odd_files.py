"""Pipes, devices, links in a circle and names that are no UTF-8, beside sound stacks and among outputs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mrcz_dask.assess.files import write_files
from mrcz_dask.values.errors import SpaceError
from tests.nights import Koma

ODD = ("pipe.mrcz", "loop.mrcz", "nowhere.mrcz", "zero.mrcz")
NO_UTF8 = b"m_\xff\xfe.mrcz"


def make_odd(folder: Path, names: tuple[str, ...] = ODD) -> None:
    os.mkfifo(folder / names[0])
    (folder / names[1]).symlink_to(names[1])
    (folder / names[2]).symlink_to("gone.mrcz")
    (folder / names[3]).symlink_to("/dev/zero")


COMMANDS = {
    "koma": ["--workers", "0", "--radius", "2", "--no-report"],
    "recompress": [],
    "decompress": [],
    "outliers": [],
    "verify": None,
    "info": None,
    "provenance": None,
    "zarr-view": None,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_is_named_and_the_rest_is_done(name: str, night: Path, tmp_path: Path, command: Path) -> None:
    count = len([*night.glob("*.mrcz")])
    shutil.copy(os.fsencode(next(night.glob("*.mrcz"))), os.fsencode(night) + b"/" + NO_UTF8)
    make_odd(night)
    own, out = COMMANDS[name], tmp_path / "out"
    arguments = ["-o", str(out if own is not None else tmp_path / "view.json")]
    arguments = [] if name in ("verify", "info", "provenance") else [*arguments, *(own or [])]
    done = subprocess.run(
        [command, name, str(night), *arguments], capture_output=True, timeout=300, stdin=subprocess.DEVNULL
    )
    text = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
    assert done.returncode == 3 and "Traceback" not in text, text
    assert all(one in text for one in (*ODD, "m_\\")), text
    if own is not None:
        assert len([path for path in out.iterdir() if path.suffix in (".mrcz", ".mrcs")]) == count


ARGUMENTS = [
    ("koma", ".", "--settings", "pipe"),
    ("koma", ".", "--queue-file", "pipe"),
    ("koma", ".", "--defects", "pipe"),
    ("koma", ".", "--gain", "pipe"),
    ("koma", ".", "--dark", "pipe"),
    ("koma", ".", "--exclude", "pipe.txt"),
    ("koma", "pipe"),
    ("count", ".", "--calibration", "pipe"),
    ("assess", "pipe"),
    ("live", "--replay", "pipe", "-p", "sound.py"),
    ("live", "--replay", ".", "-p", "pipe"),
    ("reproduce", "pipe.mrcz"),
    ("report", "pipe"),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_a_pipe_as_an_argument_is_named_and_not_waited_for(
    arguments: tuple[str, ...], night: Path, command: Path
) -> None:
    for name in ("pipe", "pipe.txt", "pipe.mrcz"):
        os.mkfifo(night / name)
    (night / "sound.py").write_text("from mrcz_dask.live import processor\n")
    done = subprocess.run(
        [command, *arguments], cwd=night, capture_output=True, timeout=120, stdin=subprocess.DEVNULL
    )
    text = (done.stdout + done.stderr).decode()
    assert done.returncode in (1, 2, 3) and "pipe" in text and "Traceback" not in text, text


def test_names_of_outputs_that_no_file_can_have(night: Path, tmp_path: Path, koma: Koma) -> None:
    out = tmp_path / "out"
    whole = koma(night, out)
    names = sorted(path.name for path in out.glob("*.mrcz"))
    for name in names[:4]:
        (out / name).unlink()
    make_odd(out, tuple(names[:4]))  # type: ignore[arg-type]
    again = koma(night, out)
    assert whole.complete and len(again.failures) == 4 and len(again.results) == len(names) - 4
    for failure in again.failures:
        assert str(out) in failure.reason
        assert "cannot write" in failure.reason or "expected a regular file" in failure.reason
    assert (out / names[2]).is_symlink() and (out / names[0]).is_fifo()


def test_a_pipe_with_the_name_of_the_manifest_is_not_waited_for(
    night: Path, tmp_path: Path, koma: Koma
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "MANIFEST")
    assert koma(night, out).complete
    assert (out / "MANIFEST").is_fifo()


def test_a_pipe_with_the_name_of_a_table_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(SpaceError, match="pipe"):
        write_files([("table.csv", b"1")], tmp_path, overwrite=True)
