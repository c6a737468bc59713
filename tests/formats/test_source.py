import io
import threading
from pathlib import Path

import pytest

from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import TruncatedError

DATA = bytes(range(256)) * 40


@pytest.fixture(params=["bytes", "path", "stream"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ByteSource:
    if request.param == "bytes":
        return ByteSource(DATA)
    if request.param == "stream":
        return ByteSource(io.BytesIO(DATA))
    (tmp_path / "x").write_bytes(DATA)
    return ByteSource(tmp_path / "x")


def test_reads_what_is_there_and_no_more(source: ByteSource) -> None:
    assert source.size == len(DATA)
    assert bytes(source.read_at(300, 20)) == DATA[300:320]
    assert bytes(source.read_at(len(DATA), 0)) == b""
    with pytest.raises(TruncatedError, match="ends at"):
        source.read_at(len(DATA) - 1, 2)
    with pytest.raises(TruncatedError):
        source.read_at(0, 1 << 60)
    source.close()
    source.close()


def test_threads_do_not_disturb_each_other(source: ByteSource) -> None:
    wrong: list[int] = []

    def work(start: int) -> None:
        places = range(start, 10000, 7)
        wrong.extend(at for at in places if bytes(source.read_at(at, 16)) != DATA[at : at + 16])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert wrong == []


def test_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        ByteSource(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ByteSource(tmp_path / "nowhere")


def test_a_file_that_shrinks_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    source = ByteSource(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(TruncatedError, match="shorter while it was read"):
        source.read_at(0, 100)
    source.close()
