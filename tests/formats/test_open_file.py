"""Names that stand for no regular file: pipes, sockets, devices, and links in a circle."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.mrc.reader import read_header
from mrcz_dask.formats.source import open_file, read_file
from mrcz_dask.formats.sources import open_source, read_footer
from mrcz_dask.formats.spool import SpoolReader
from mrcz_dask.formats.text.mdoc import read_mdoc
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import FormatError, MrczDaskError, PlaceError, SpaceError


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD = [pipe, unix_socket, endless_device, linked_pipe, broken_link, link_to_itself]
READERS = [open_source, read_footer, read_header, SpoolReader.open, read_mdoc, file_digest, open_file]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    yield Path()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("make", ODD)
def test_no_reader_waits_for_what_is_no_file(
    folder: Path, make: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    make(folder / "a.mrc")
    with pytest.raises((PlaceError, OSError), match=r"a\.mrc"):
        read(folder / "a.mrc")
    with suppress(OSError):
        assert verify_file(folder / "a.mrc").status == "damaged"


@pytest.mark.parametrize("make", ODD)
def test_no_output_replaces_what_is_no_file(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "a.mrc")
    before = (folder / "a.mrc").lstat()
    with pytest.raises(SpaceError, match=r"cannot write a\.mrc: it is a (link that leads nowhere|pipe)"):
        write_atomic(folder / "a.mrc", b"new")
    assert (folder / "a.mrc").lstat().st_ino == before.st_ino


def test_a_link_to_a_file_is_read_and_replaced(folder: Path) -> None:
    (folder / "b").write_bytes(b"content")
    (folder / "a").symlink_to("b")
    assert read_file("a", 7) == b"content"
    with pytest.raises(FormatError, match="a: has 7 bytes; expected at most 6"):
        read_file("a", 6)
    write_atomic("a", b"new")
    assert ((folder / "a").read_bytes(), (folder / "b").read_bytes()) == (b"new", b"content")


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_bytes(b"x")
    os.mkfifo(folder / "a")
    regular, stat = os.stat("file"), Path.stat  # noqa: PTH116
    monkeypatch.setattr(Path, "stat", lambda path, **how: regular if path.name == "a" else stat(path, **how))
    with pytest.raises(MrczDaskError, match="expected a regular file"):
        open_file("a")
