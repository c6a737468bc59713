"""One run at a time in an output folder."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.session.output_folder import holder, locked
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.messages import Message, Warned


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
