"""The output folder: its lock, its room, and inputs that are not overwritten."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.session.output_folder import check_space, forbid_overwriting, holder, locked
from mrcz_dask.values.errors import OutputExistsError, PlaceError, SessionError, SpaceError
from mrcz_dask.values.messages import Message, Noted, Warned
from mrcz_dask.values.texts import readable, some


def test_the_second_is_refused_while_the_first_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "koma"
    with locked(folder), pytest.raises(OutputExistsError, match="another run writes there"), locked(folder):
        pass
    with locked(folder):
        pass


def test_who_holds_it_is_said(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert f"process {os.getpid()} on " in (holder(tmp_path) or "")
        with pytest.raises(OutputExistsError, match=f"process {os.getpid()} on "), locked(tmp_path):
            pass
    assert holder(tmp_path) is None


def test_looking_who_holds_it_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path):
        pass
    looking = os.open(tmp_path / ".koma.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
    with locked(tmp_path):
        assert holder(tmp_path)
    os.close(looking)


def test_a_file_system_without_locks_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    heard: list[Message] = []
    with locked(tmp_path, heard.append):
        pass
    assert any(isinstance(e, Warned) and "no locks" in e.message for e in heard)


def test_state_that_is_a_link_is_not_written_into(tmp_path: Path) -> None:
    from mrcz_dask.formats.spool import Spool
    from mrcz_dask.session.log import Log

    mine, out, heard = tmp_path / "mine", tmp_path / "out", list[Message]()
    out.mkdir()
    for name in (".koma.lock", "events.jsonl", ".a.spool"):
        mine.write_bytes(b"mine")
        (out / name).symlink_to(mine)
    with pytest.raises(PlaceError, match="is a link"), locked(out):
        pass
    Log(out, heard.append)(Noted("a"))
    assert "is a link" in str(heard)
    with Spool.create(tmp_path / "spool", {}) as spool:
        spool.append([({}, b"a")])
    whole = (tmp_path / "spool").read_bytes()
    mine.write_bytes(whole)
    with pytest.raises(PlaceError, match="is a link"):
        Spool.resume(out / ".a.spool")
    assert mine.read_bytes() == whole


def test_enough_space(tmp_path: Path) -> None:
    check_space(tmp_path / "out", 1000)
    assert not (tmp_path / "out").exists()


def test_too_little_space_says_the_figures(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"has .* free; expected at least the 100 PB .*choose another"):
        check_space(tmp_path / "out", 10**17)
    with pytest.raises(OSError, match="free"):
        check_space(tmp_path, 10**17)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(PlaceError, match="is a file; expected a folder"):
        check_space(tmp_path / "out" / "deeper", 1)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SpaceError, match="cannot be written into"):
        check_space(tmp_path / "out", 1)


def test_outputs_apart_from_inputs(tmp_path: Path) -> None:
    one = tmp_path / "a.mrcz"
    one.touch()
    forbid_overwriting([one], [tmp_path / "koma" / "a.mrcz"])


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_output_that_is_an_input_through_a_link(tmp_path: Path, link: str) -> None:
    one, two = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    one.touch()
    getattr(two, link)(one)
    with pytest.raises(SessionError, match=r"1 outputs would overwrite inputs: .*b\.mrcz"):
        forbid_overwriting([one], [two])


def test_the_same_folder_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mrcz").touch()
    (tmp_path / "koma").symlink_to(tmp_path / "raw")
    with pytest.raises(SessionError, match="overwrite inputs"):
        forbid_overwriting([tmp_path / "raw" / "a.mrcz"], [tmp_path / "koma" / "a.mrcz"])


def test_sizes_that_can_be_read() -> None:
    assert [readable(n) for n in (0, 999, 1000, 1_234_567, 10**17)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "100 PB",
    ]


def test_some_names() -> None:
    assert some("ab") == "a, b"
    assert some(range(7), most=2) == "0, 1 and 5 more"
