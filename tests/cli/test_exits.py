"""The same kind of mistake ends every command with the same code, and in words that help."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.footer import settings_changes
from mrcz_dask.engine.loop import attempt
from mrcz_dask.formats import libraries
from mrcz_dask.session.discovery import discover
from mrcz_dask.values.errors import MissingLibraryError, MrczDaskError, SessionError, error_text
from mrcz_dask.values.records import Failure

NOT_THERE = [
    "koma no -o out --workers 0",
    "koma {night} --gain no.mrc -o out --workers 0",
    "koma {night} --dark no.mrc -o out --workers 0",
    "koma {night} --defects no.txt -o out --workers 0",
    "koma {night} --exclude no.txt -o out --dry-run",
    "assess no -o out",
    "assess {night} --gain no.mrc -o out",
    "export no --to relion -o out",
    "status no",
    "report no",
    "verify no",
    "verify no.mrcz",
    "info no.mrcz",
    "provenance no.mrcz",
    "recompress no.mrcz -o out",
    "decompress no.mrcz -o out",
    "outliers no.mrcz -o out",
    "count no.mrc -o out",
    "events to-stack no.events.zarr -o out",
    "reproduce no.mrcz",
    "zarr-view no",
    "live no",
    "gain estimate no -o out.mrc",
    "gain orient no.mrc no.mrcz",
    "gain fit-gamma no",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    (tmp_path / "s").mkdir()
    for k in range(3):
        mrcz_dask.write(tmp_path / "s" / f"s{k}.mrcz", random.poisson(2, (4, 16, 24)).astype(np.int16))
    return tmp_path


@pytest.mark.parametrize("command", NOT_THERE)
def test_what_is_not_there_was_asked_for_wrongly(here: Path, mrcz: Any, command: str) -> None:
    shown = mrcz(*command.format(night=here / "s").split())
    assert shown.code == 2, shown
    assert "Errno" not in shown.out + shown.err and "copy it again" not in shown.err


@pytest.mark.parametrize("command", NOT_THERE)
def test_a_link_to_itself_was_asked_for_wrongly(here: Path, mrcz: Any, command: str) -> None:
    (here / "no").symlink_to("no")
    shown = mrcz(*command.format(night=here / "s").split())
    assert shown.code == 2, shown
    assert "Errno" not in shown.out + shown.err and "copy it again" not in shown.err


TOO_LONG = [one for one in NOT_THERE if not one.startswith(("report", "gain orient", "gain fit"))]


@pytest.mark.parametrize("command", [*TOO_LONG, "koma {night} -o no", "assess {night} -o no"])
def test_a_name_that_is_too_long_was_asked_for_wrongly(here: Path, mrcz: Any, command: str) -> None:
    shown = mrcz(*re.sub(r"\bno\b", "n" * 300, command).format(night=here / "s").split())
    assert shown.code == 2, shown
    assert "too long; give it a shorter name" in shown.err and "Errno" not in shown.err
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        "koma s -o out --dry-run",
        "assess s -o out",
        "assess s -o out --only methods --workers 0",
        "count s -o out --workers 0",
        "live s --correct --page none --until-idle 1 --record rec",
    ],
)
@pytest.mark.parametrize(
    "option",
    [
        "--defects {wrong.txt}",
        "--defects {outside.txt}",
        "--defects {serialem.txt}",
        "--defects {bad.mrc}",
        "--defects {two.mrc}",
        "--gain {bad.mrc}",
        "--gain {two.mrc}",
        "--gain {small.mrc}",
        "--gain {zero.mrc}",
        "--dark {bad.mrc}",
        "--dark {small.mrc}",
        "--gain {folder}",
    ],
)
def test_a_reference_that_cannot_be_used_was_asked_for_wrongly(
    here: Path, mrcz: Any, command: str, option: str
) -> None:
    flag, name = option.split()
    if command.startswith("live") and name in ("{small.mrc}", "{outside.txt}"):
        pytest.skip("sizes are known with the first frame")
    images = {"two": np.ones((2, 16, 24)), "small": np.ones((7, 9)), "zero": np.zeros((16, 24))}
    for stem, image in images.items():
        mrcz_dask.write(here / f"{stem}.mrc", image.astype(np.float32), codec="none")
    (here / "bad.mrc").write_bytes(b"\0 no image" * 200)
    (here / "wrong.txt").write_text("1 2 3 4\n1 2 x 4\n")
    (here / "outside.txt").write_text("1 2 300 4\n")
    (here / "serialem.txt").write_text("CameraSizeX 24\nCameraSizeY 16\nPartialBadColumn 1 2 3\n")
    (here / "folder").mkdir()
    shown = mrcz(*command.split(), flag, name.strip("{}"))
    assert shown.code == 2, shown
    assert name.strip("{}") in shown.err and "copy it again" not in shown.err
    assert not (here / "out").exists() or not list((here / "out").iterdir())


@pytest.mark.parametrize("command", ["verify", "info", "provenance", "koma", "assess", "report", "status"])
def test_a_folder_with_nothing_in_it(here: Path, mrcz: Any, command: str) -> None:
    (here / "empty").mkdir()
    assert mrcz(command, here / "empty").code == 2


@pytest.mark.parametrize("command", ["recompress", "decompress", "outliers"])
def test_outputs_in_the_way_and_files_that_are_missing_among_others(
    here: Path, mrcz: Any, command: str
) -> None:
    assert mrcz(command, here / "s" / "s0.mrcz", here / "no.mrcz", "-o", "out").code == 3
    again = mrcz(command, here / "s" / "s0.mrcz", "-o", "out")
    assert again.code == 2 and "--overwrite" in again.err
    (here / "bad.mrcz").write_bytes(b"bad")
    assert mrcz(command, here / "bad.mrcz", "-o", "out").code == 1


def test_refused_parameters_are_those_that_differ(here: Path, mrcz: Any) -> None:
    assert mrcz("koma", "s", "--workers", 0, "--radius", 1).code == 0
    refused = mrcz("koma", "s", "--workers", 0, "--radius", 2, "--rule", "paper")
    assert refused.code == 2 and refused.err.count("radius 1 -> 2, rule fdr -> paper") == 1
    assert len(refused.err) < 400 + len(str(here)) and "--overwrite" in refused.err


def test_long_and_new_parameters_stay_short() -> None:
    before = {"koma": {"radius": 3}, "gain": {"gamma": [0.123456] * 40}}
    now = {"koma": {"radius": 3}, "gain": {"gamma": [0.2] * 40}, "new": {"one": 1, "two": "x" * 500}}
    found = settings_changes(before, now)
    assert [text.split()[0] for text in found] == ["gamma", "one", "two"]
    assert max(map(len, found)) < 110 and "one none -> 1" in found


def test_a_file_that_went_away_meanwhile(tmp_path: Path) -> None:
    class Task:
        name, places = "a.mrc", (str(tmp_path),)

    def work(task: Any) -> bytes:
        return (tmp_path / "a.mrc").read_bytes()

    found = attempt(work, "sums and masks", Task())
    assert isinstance(found, Failure) and "Errno" not in found.reason
    assert found.reason == f"{tmp_path / 'a.mrc'}: it is gone since the run began; put it back and run again"


def test_what_the_system_says_names_the_file_first() -> None:
    assert error_text(PermissionError(13, "Permission denied", "a.mrc")) == (
        "a.mrc: Permission denied; change its permissions"
    )
    assert error_text(SessionError("as it is")) == "as it is" and error_text(OSError()) == "OSError"


def test_a_missing_package_is_no_fault_of_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*asked: str) -> Any:
        raise MissingLibraryError(f"HDF5 files need the package h5py; {libraries.install('hdf5')}")

    (here / "s" / "t.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    monkeypatch.setattr("mrcz_dask.formats.foreign.arrays.library", missing)
    (rejected,) = discover(here / "s").rejected
    assert "pip install" in rejected.reason and "copy it again" not in rejected.reason


def test_the_command_that_installs_an_extra_works_where_the_package_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MrczDaskError, match=r"pip install -e \S+\[dm\]"):  # this is a checkout
        libraries.library("no_such_package", "dm", "DM files")
    monkeypatch.setattr("mrcz_dask.__file__", str(tmp_path / "site-packages" / "mrcz_dask" / "__init__.py"))
    assert libraries.install("dm") == "pip install 'mrcz-dask[dm]'"
    root = tmp_path / "my checkout"
    (root / "mrcz_dask").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    monkeypatch.setattr("mrcz_dask.__file__", str(root / "mrcz_dask" / "__init__.py"))
    assert libraries.install("dm") == f"pip install -e '{root}[dm]'"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("koma s --gain empty --workers 0", "empty: is a folder; expected a file"),
        ("koma s --dark empty --workers 0", "empty: is a folder; expected a file"),
        ("koma s -o text", "text is a file; expected a folder for the outputs"),
        ("gain fit-gamma empty --gain s/s0.mrcz", "empty: is a folder; expected a file"),
        ("gain estimate s -o none/x.mrc", "folder is not there; make it first"),
        ("reproduce empty", "empty: is a folder"),
        ("reproduce s/s0.mrcz", "expected an output of `mrcz-dask koma`"),
        ("events to-stack empty -o x", "no event list; expected a folder .events.zarr"),
        ("recompress s -o text", "text is a file; expected a folder for the outputs"),
        ("count no.mrc -o x", "no.mrc: is not there; expected a stack of raw frames; check the path"),
    ],
)
def test_places_that_cannot_be_what_they_were_named_for(
    here: Path, mrcz: Any, command: str, says: str
) -> None:
    (here / "empty").mkdir()
    (here / "text").write_text("hello")
    shown = mrcz(*command.split())
    assert shown.code == 2 and says in shown.err, shown
    assert "--exclude" not in shown.err and "Zarr store" not in shown.err


def test_a_path_is_said_once(here: Path, mrcz: Any) -> None:
    (here / "cut.mrc").write_bytes(b"short")
    (here / "empty").mkdir()
    for command in ("recompress no.mrc -o x", "outliers cut.mrc -o x", "decompress empty -o x"):
        shown = mrcz(*command.split())
        assert shown.err.count(command.split()[1]) == 1, shown


def test_a_link_that_leads_nowhere_is_to_be_mended(here: Path, mrcz: Any) -> None:
    (here / "s" / "loop.mrc").symlink_to("loop.mrc")
    (here / "s" / "gone.tif").symlink_to("none.tif")
    for command in ("koma s -o x --workers 0 --radius 1", "recompress s -o y", "outliers s -o z"):
        shown = mrcz(*command.split())
        said = [line for line in (shown.out + shown.err).splitlines() if "leads nowhere" in line]
        assert shown.code == 3 and len(said) == 2, shown
        assert all("mend the link" in line and "copy it" not in line for line in said)
    assert "mend the link" in mrcz("info", "s/loop.mrc").err


def test_a_file_that_ends_early_is_named_by_every_command(here: Path, mrcz: Any) -> None:
    mrcz_dask.write(here / "gain.mrc", np.ones((16, 24), np.float32))
    (here / "cut.mrc").write_bytes(b"short")
    shown = mrcz("gain", "fit-gamma", "cut.mrc", "--gain", "gain.mrc")
    assert shown.code == 1 and "cut.mrc: 5 bytes" in shown.err and "Aborted" not in shown.err
