import stat
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.codecs import peers
from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.peers import PROGRAMS, Contender
from benchmarks.codecs.results import LeftOut
from mrcz_dask.values.errors import DamagedError

STACK = np.random.default_rng(0).poisson(1.0, (3, 33, 41)).astype(np.int8)
# What each program is replaced by where it is not installed: gzip takes no threads.
GZIP = """#!/bin/sh
case "$1" in --version) echo "stand-in 1.2.3"; exit 0 ;; esac
for last; do :; done
case "$1" in -d) exec gzip -dc < "$last" ;; *) exec gzip -1c < "$last" ;; esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def go(one: Contender | LeftOut) -> Contender:
    """Write, read and check."""
    assert isinstance(one, Contender), one
    one.write()
    one.check(one.read())
    return one


@settings(max_examples=20)
@given(
    hnp.arrays(st.sampled_from([np.int8, np.uint16, np.float32]), (2, 3, 5), elements=st.integers(0, 9)),
    st.sampled_from(["zstd:1", "lz4:9:none", "zlib:5:byte", "auto"]),
)
def test_mrcz_is_lossless(tmp_path_factory: pytest.TempPathFactory, stack: np.ndarray, codec: str) -> None:
    one = go(peers.mrcz(stack, tmp_path_factory.mktemp("mrcz"), codec, 1, 0))
    assert one.settled().count(":") == 2
    assert "?" not in one.settled()


def test_block_sizes_reach_the_file(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).poisson(1.0, (1, 512, 512)).astype(np.int8)
    sizes = set()
    for block in (0, 1 << 12):
        sizes.add(go(peers.mrcz(stack, tmp_path, "zstd:1", 1, block)).path.stat().st_size)
    assert len(sizes) == 2


def test_not_a_number_is_itself(tmp_path: Path) -> None:
    stack = np.full((1, 4, 4), np.nan, np.float32)
    go(peers.mrcz(stack, tmp_path, "zstd:1", 1, 0))


@pytest.mark.parametrize("name", ["plain", "four_bit"])
def test_uncompressed_files(tmp_path: Path, name: str) -> None:
    one = go(getattr(peers, name)(STACK, tmp_path, 2))
    packed = 33 * 21 if name == "four_bit" else 33 * 41
    assert one.path.stat().st_size == 1024 + 3 * packed
    assert one.settled() == ""


@pytest.mark.parametrize(
    ("stack", "reason"),
    [(STACK + 20, "0 to 15"), (STACK - 5, "-5"), (STACK.astype(np.float32), "float32")],
)
def test_four_bits_that_do_not_suffice(tmp_path: Path, stack: np.ndarray, reason: str) -> None:
    found = peers.four_bit(stack, tmp_path, 1)
    assert isinstance(found, LeftOut)
    assert reason in found.reason


@pytest.mark.parametrize("name", peers.IMAGE_CODECS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2"])
def test_codecs_of_imagecodecs(tmp_path: Path, name: str, dtype: str) -> None:
    stack = np.random.default_rng(0).poisson(1, (3, 64, 72)).astype(dtype)
    one = go(peers.image_codec(name, stack, tmp_path, 2))
    assert one.path.stat().st_size < stack.nbytes and one.threads == 2
    other = stack.copy()
    other[1, 2, 3] += 1
    with pytest.raises(DamagedError):
        one.check(other)


def test_a_codec_that_cannot_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = peers.image_codec("JPEG2000", STACK.astype(np.int32), tmp_path, 1)
    assert str(wide) == "for 8 and 16 bits, not int32: JPEG2000"
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    absent = peers.image_codec("JPEG2000", STACK, tmp_path, 1)
    assert str(absent) == "not installed, imagecodecs has it: JPEG2000"


@pytest.mark.parametrize("of", PROGRAMS, ids=[one.name for one in PROGRAMS])
def test_programs(tmp_path: Path, of: peers.Program) -> None:
    found = peers.program(of, STACK, tmp_path, 2)
    if of.find() is None:
        assert str(found) == f"not installed: {of.name}"
        pytest.skip(f"{of.name} is not installed")
    one = go(found)
    assert one.path.stat().st_size < STACK.nbytes
    assert one.threads == (1 if of.name == "gzip" else 2)
    assert peers.versions()[of.name][0].isdigit()


@pytest.mark.parametrize("of", PROGRAMS[1:], ids=[one.name for one in PROGRAMS[1:]])
def test_programs_get_threads_and_a_level(tmp_path: Path, programs: Path, of: peers.Program) -> None:
    put(programs, of.name, GZIP.replace("for last", f'echo "$*" >> {tmp_path}/log\nfor last'))
    go(peers.program(of, STACK, tmp_path, 7))
    pack, unpack = (tmp_path / "log").read_text().splitlines()
    assert pack.startswith(f"{of.level} {of.threads_option} 7 -c ")
    assert unpack.startswith(f"-d {of.threads_option} 7 -c ")
    assert peers.versions()[of.name] == "1.2.3"


def test_the_environment_smuggles_no_options_in(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XZ_OPT", "-9e")
    put(programs, "xz", "#!/bin/sh\nenv\n")
    peers.run_program(["xz"], tmp_path / "env")
    said = (tmp_path / "env").read_text()
    assert "XZ_OPT" not in said
    assert "LC_ALL=C" in said


def test_a_program_that_fails_is_an_error_that_names_it(tmp_path: Path, programs: Path) -> None:
    put(programs, "xz", "#!/bin/sh\necho broken disk >&2\nexit 4\n")
    with pytest.raises(ChildProcessError, match=r"xz.*ended with 4.*broken disk"):
        go(peers.program(PROGRAMS[3], STACK, tmp_path, 1))


@pytest.mark.parametrize("unpacked", ["printf short", "head -c $(($(stat -c %s source.mrcs))) /dev/zero"])
def test_a_program_that_loses_something_is_an_error(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, unpacked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(programs, "xz", GZIP.replace('exec gzip -dc < "$last"', unpacked))
    with pytest.raises(DamagedError, match=r"xz -6: decoded to .* bit for bit"):
        go(peers.program(PROGRAMS[3], STACK, tmp_path, 1))


def test_pixels_that_differ_are_an_error(tmp_path: Path) -> None:
    one = peers.mrcz(STACK, tmp_path, "zstd:1", 1, 0)
    one.write()
    changed = STACK.copy()
    changed[1, 2, 3] += 1
    with pytest.raises(DamagedError, match=r"bench.mrcz: decoded to .* bit for bit"):
        one.check(changed)
    with pytest.raises(DamagedError):
        one.check(STACK[:2])


def test_table_1_has_every_compressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    params = BenchParams(threads=(1, 3), codecs=("lz4:9", "auto"), block_sizes=(4096, 0))
    contenders, left_out = peers.table_contenders(STACK, tmp_path, params)
    names = ["uncompressed", "uint4", "lz4:9:bit", "auto"]
    found = names + [name for name in peers.IMAGE_CODECS if find_spec("imagecodecs")]
    assert [one.name for one in contenders] == found
    assert [one.block_size for one in contenders][:4] == [0, 0, 4096, 0]
    assert {one.threads for one in contenders} == {3}
    assert [str(one) for one in left_out][:4] == [f"not installed: {one.name}" for one in PROGRAMS]
    assert peers.versions() == {}


def test_figure_2_has_every_combination(tmp_path: Path) -> None:
    params = BenchParams(threads=(1, 2), codecs=("lz4:9", "auto"), block_sizes=(4096, 0))
    found = [(c.name, c.block_size, c.threads) for c in peers.dose_contenders(STACK, tmp_path, params)]
    assert len(found) == len(set(found)) == 2 * 2 + 2


def test_a_program_without_version_is_no_error(programs: Path) -> None:
    put(programs, "xz", "#!/bin/sh\nexit 1\n")
    assert peers.versions()["xz"] == "unknown"
    assert replace(PROGRAMS[3], name="surely-not-there").find() is None


def test_gzip_reads_what_we_give_it(tmp_path: Path) -> None:
    found = peers.program(PROGRAMS[0], STACK, tmp_path, 1)
    if isinstance(found, LeftOut):
        pytest.skip("gzip is not installed")
    go(found)
    subprocess.run(["gzip", "-t", found.path], check=True)
