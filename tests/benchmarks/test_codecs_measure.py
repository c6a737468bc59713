import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from benchmarks.codecs import peers
from benchmarks.codecs.measure import run_bench
from benchmarks.codecs.params import BenchParams
from mrcz_dask.values.errors import FormatError, SpaceError

TINY = BenchParams(
    threads=(1, 2),
    doses=(0.5, 1.0),
    codecs=("lz4:9", "auto"),
    shape=(3, 24, 40),
    repeats=1,
    metadata_bytes=4000,
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_all_parts(temporary: Path) -> None:
    report = run_bench(TINY)
    assert [row.compressor for row in report.table1][:4] == ["uncompressed", "uint4", "lz4:9:bit", "auto"]
    measured = {row.compressor.split()[0] for row in report.table1} | {one.name for one in report.left_out}
    assert {one.name for one in peers.PROGRAMS} < measured
    # lz4 with two block sizes and auto with its own, each with two numbers of threads, at two doses
    assert len(report.dose) == (2 + 1) * 2 * 2
    assert [row.compressor for row in report.level] == [f"lz4:{level}:bit" for level in range(1, 10)]
    assert {row.dose for row in report.level} == {1.0} and {row.threads for row in report.level} == {2}
    orjson = find_spec("orjson") is not None
    assert len(report.metadata) == (9 if orjson else 6)
    assert any(one.name == "orjson" for one in report.left_out) != orjson
    assert list(temporary.iterdir()) == []


def test_the_same_seed_gives_the_same_sizes() -> None:
    only = replace(TINY, only="dose")
    sizes = [[row.size for row in run_bench(only).dose] for _ in range(2)]
    assert sizes[0] == sizes[1]


def test_threads_do_not_change_sizes() -> None:
    rows = run_bench(replace(TINY, only="dose")).dose
    sizes: dict[Any, set[int]] = {}
    for row in rows:
        sizes.setdefault((row.compressor, row.dose, row.block_size), set()).add(row.size)
    assert all(len(found) == 1 for found in sizes.values())


@pytest.mark.parametrize("part", ["table1", "dose", "level", "metadata"])
def test_one_part_alone(part: Any) -> None:
    report = run_bench(replace(TINY, only=part))
    assert [name for name in ("table1", "dose", "level", "metadata") if getattr(report, name)] == [part]


def test_a_users_stack_is_left_as_it_is_and_has_one_dose(tmp_path: Path) -> None:
    path = tmp_path / "mine.mrcz"
    stack = np.random.default_rng(0).poisson(30, (3, 24, 40)).astype(np.int16)
    mrcz_dask.write(path, stack)
    before = path.read_bytes()
    report = run_bench(replace(TINY, stack=path))
    assert path.read_bytes() == before
    assert [row.dose for row in report.dose] == pytest.approx([stack.mean()] * len(report.dose))
    assert {row.poisson_limit for row in report.dose} == {None}
    assert [one.name for one in report.left_out if "four bits" in one.reason] == ["uint4"]
    assert any("neighbors are alike" in note for note in report.notes)


def test_floats_have_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "mine.mrcz"
    mrcz_dask.write(path, np.random.default_rng(0).random((2, 24, 40), np.float32))
    report = run_bench(replace(TINY, stack=path))
    assert {row.limit for row in (*report.table1, *report.dose)} == {None}
    assert any("no Shannon limit: the pixels are float32" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": (9,)}, "of 9 threads at most 3 work"),
        ({"threads": (2,)}, "bit for bit"),
    ],
)
def test_notes(change: dict[str, Any], said: str) -> None:
    notes = run_bench(replace(TINY, only="dose", **change)).notes
    assert any(said in note for note in notes)


def test_a_stack_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.mrcz").write_bytes(b"bad")
    with pytest.raises(FormatError):
        run_bench(replace(TINY, stack=tmp_path / "bad.mrcz"))


def test_too_little_room_is_said_before_anything_is_measured() -> None:
    with pytest.raises(SpaceError):
        run_bench(replace(TINY, only="table1", shape=(1 << 20, 1 << 20, 1 << 10)))


def test_temporary_files_are_gone_after_an_error(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Callable[[object], None]:
        raise ChildProcessError("xz -6 ended with 1")

    monkeypatch.setattr(peers, "mrcz", fail)
    with pytest.raises(ChildProcessError):
        run_bench(replace(TINY, only="dose"))
    assert list(temporary.iterdir()) == []
