import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc import footer
from mrcz_dask.formats.mrc.header import HEADER_SIZE
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import open_source, read, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer
from mrcz_dask.values.errors import DamagedError, FooterError
from mrcz_dask.values.params import OutputFormat
from tests.inputs import WRITERS

STEPS = provenance.append(provenance.append(None, provenance.step("one")), provenance.step("two"))


@pytest.fixture
def path(stack: NDArray[np.int16], tmp_path: Path) -> Path:
    write(tmp_path / "a.mrcz", stack, provenance=STEPS, meta={"a": 1})
    return tmp_path / "a.mrcz"


def rewrite_footer(path: Path, change: Any, *, version: int = 1, header: bytes | None = None) -> None:
    """Replace the footer by one that is sealed anew, so that only its content can give it away."""
    payload = read_footer(path)
    assert payload is not None
    with StackReader(path) as reader:
        end = reader.frame_index.end
    data = bytearray(path.read_bytes()[:end])
    if header is not None:
        data[: len(header)] = header
        payload["header"]["xxh3"] = checksum(bytes(data[: payload["frames"]["offset"][0]]))
    change(payload)
    path.write_bytes(bytes(data) + footer.encode(payload, end, version=version))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f2", "c8", "u4"])
def test_sound_files(tmp_path: Path, dtype: str, threads: int) -> None:
    stack = np.random.default_rng(0).poisson(90, (5, 40, 30)).astype(dtype)
    for name, options in (("a.mrcz", {}), ("a.mrcs", {}), ("b.mrcs", {"footer": "sidecar"})):
        write(tmp_path / name, stack, provenance=STEPS, **options)  # type: ignore[arg-type]
        report = verify_file(tmp_path / name, nthreads=threads)
        assert (report.status, report.problems, report.frames, report.notes) == ("sound", (), 5, ())
        assert report.nbytes == (tmp_path / name).stat().st_size
        json.dumps(report.to_dict())


def test_each_damaged_frame_is_named(path: Path) -> None:
    with StackReader(path) as reader:
        offsets = reader.frame_index.offsets
    data = bytearray(path.read_bytes())
    for i in (1, 4):
        data[offsets[i] + 30] ^= 2
    path.write_bytes(data)
    report = verify_file(path, nthreads=2)
    assert report.status == "damaged" and report.damaged_frames == (1, 4)
    assert report.problems == ("frame 1: its checksum does not match", "frame 4: its checksum does not match")
    assert (report.frames, report.expected_frames) == (4, 6)


def test_any_flipped_bit_is_found(path: Path) -> None:
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for bit in [*range(0, 8 * HEADER_SIZE, 37), *rng.integers(0, 8 * len(data), 200)]:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        report = verify_file(path)
        assert report.status == "damaged" and report.problems, f"bit {bit}"


def test_a_cut_off_file(path: Path) -> None:
    data = path.read_bytes()
    for size in (10, 1024, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        report = verify_file(path)
        assert report.status == "damaged" and report.problems


def test_header_statistics_that_are_not_those_of_the_frames(path: Path) -> None:
    header = bytearray(path.read_bytes()[:HEADER_SIZE])
    struct.pack_into("<f", header, 84, 1e6)
    rewrite_footer(path, lambda payload: None, header=bytes(header))
    report = verify_file(path)
    assert report.status == "damaged" and "the header's mean is 1e+06" in report.problems[0]


def test_a_broken_chain_of_digests(path: Path) -> None:
    rewrite_footer(path, lambda payload: payload["provenance"][0]["results"].update(R=0.0))
    report = verify_file(path)
    assert report.status == "damaged"
    assert report.problems == ("provenance: step 0 (one) was changed after it was written",)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("header", None, "says nothing about the header"),
        ("header", {"xxh3": 0, "shape": [6, 50, 40], "dtype": "<i2"}, "not the one that was written"),
        ("frames", None, "no offset for each of 6 frames"),
        ("frames", {"offset": [0] * 6, "nbytes": [0] * 6, "xxh3": [0] * 6}, "has a frame at 0"),
        ("frames", {"offset": ["x"] * 6, "nbytes": [0] * 6, "xxh3": [0] * 6}, "something else than numbers"),
    ],
)
def test_a_footer_that_does_not_fit_the_file(path: Path, key: str, value: Any, text: str) -> None:
    rewrite_footer(path, lambda payload: payload.update({key: value}))
    report = verify_file(path)
    assert report.status == "damaged" and any(text in problem for problem in report.problems)


def test_a_newer_footer_is_sound_and_reported(path: Path) -> None:
    rewrite_footer(path, lambda payload: payload.update(novelty=1), version=2)
    report = verify_file(path)
    assert report.status == "sound" and "version 2" in report.notes[0]
    assert (read_footer(path) or {})["novelty"] == 1


def test_a_changed_or_foreign_sidecar(stack: NDArray[np.int16], tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    write(path, stack, footer="sidecar")
    beside = sidecar_path(path)
    text = beside.read_text()
    beside.write_text(text.replace("<i2", "<i4"))
    assert verify_file(path).status == "damaged"
    for foreign, status in (("{}", "no-footer"), ("[1]", "no-footer"), ("no json", "damaged")):
        beside.write_text(foreign)
        assert verify_file(path).status == status
    beside.write_text("[" * 100000)
    with pytest.raises(FooterError, match=r"a\.mrcs\.json: expected JSON"):
        read(path)


def test_without_footer_everything_is_decoded(stack: NDArray[np.int16], tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    write(path, stack, footer=False)
    report = verify_file(path)
    assert (report.status, report.frames, report.problems) == ("no-footer", 6, ())
    data = path.read_bytes()
    path.write_bytes(data + b"12345")
    assert verify_file(path).notes == (
        "5 bytes behind the last frame are no footer; copy the file again if it had one",
    )
    with StackReader(path) as reader:
        at, size = reader.frame_index.offsets[2], reader.frame_index.nbytes[2]
    path.write_bytes(data[: at + 16] + b"\xff" * (size - 16) + data[at + size :])
    report = verify_file(path)
    assert report.status == "damaged" and report.damaged_frames == (2,) and report.frames == 5


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
@pytest.mark.parametrize("threads", [1, 3])
def test_a_damaged_frame_of_any_format_is_named(tmp_path: Path, format: OutputFormat, threads: int) -> None:
    path = put(tmp_path, format)
    report = verify_file(path, nthreads=threads)
    assert (report.status, report.problems, report.frames, report.expected_frames) == ("sound", (), 6, 6)
    where = path / "c/3/0/0" if format == "zarr" else path
    data = bytearray(where.read_bytes())
    data[-5 if format == "zarr" else frame_at(path, format, 3) + 900] ^= 4
    where.write_bytes(data)
    report = verify_file(path, nthreads=threads)
    assert (report.status, report.damaged_frames, report.frames) == ("damaged", (3,), 5)
    assert report.nbytes == measure(path).size
    with open_source(path) as reader, pytest.raises(DamagedError):
        reader.frame(3)


def put(folder: Path, format: OutputFormat) -> Path:
    """Six frames of uint16 without compression, or in zstd."""
    path = folder / f"a{OUTPUT_SUFFIXES[format]}"
    stack = np.random.default_rng(0).integers(0, 60_000, (6, 50, 40)).astype(np.uint16)
    codec = "zstd" if format == "mrcs.zst" else "none"
    with open_writer(path, format, stack.shape, stack.dtype, codec=codec, provenance=STEPS) as writer:
        for frame in stack:
            writer.append(frame)
    return path


def frame_at(path: Path, format: OutputFormat, i: int) -> int:
    if format == "tiff":
        with tifffile.TiffFile(path) as file:
            return int(file.pages[i].dataoffsets[0])
    payload = read_footer(path) or {}
    return int((payload["packed"] if format == "mrcs.zst" else payload["frames"])["offset"][i])


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_no_flipped_bit_of_any_format_gives_other_pixels(tmp_path: Path, format: OutputFormat) -> None:
    """Damage is found, or does no harm: some bits of TIFF and of Zarr's texts say nothing of the pixels."""
    path = put(tmp_path, format)
    expected, rng = read(path), np.random.default_rng(1)
    for where in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        whole = where.read_bytes()
        for at in rng.integers(0, len(whole), 12):
            broken = bytearray(whole)
            broken[at] ^= 1 << int(rng.integers(8))
            where.write_bytes(broken)
            if verify_file(path).status == "sound":
                np.testing.assert_array_equal(read(path), expected)
        where.write_bytes(whole)


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_a_cut_off_file_of_any_format(tmp_path: Path, format: OutputFormat) -> None:
    path = put(tmp_path, format)
    where = path / "c/3/0/0" if format == "zarr" else path
    data = where.read_bytes()
    where.write_bytes(data[: len(data) // 2])
    report = verify_file(path)
    assert report.status == "damaged" and report.problems
    where.unlink()
    if format == "zarr":
        assert verify_file(path).damaged_frames == (3,)


@pytest.mark.parametrize("format", ["mrcs", "mrcs.zst", "tiff"])
def test_without_its_sidecar_there_is_nothing_to_check_against(tmp_path: Path, format: OutputFormat) -> None:
    path = put(tmp_path, format)
    sidecar_path(path).unlink()
    report = verify_file(path, nthreads=2)
    assert (report.status, report.frames, len(report.notes)) == ("no-footer", 6, 1)
    assert f"{path.name}.json nothing can be checked" in report.notes[0]
    with open_source(path) as reader:
        assert reader.notes == report.notes


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_inputs_of_every_kind_are_decoded(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, "a", np.ones((3, 16, 32), np.uint8))
    report = verify_file(path)
    assert report.status == ("sound" if kind == "mrcz" else "no-footer") and report.frames == 3


def test_what_is_no_mrc_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(5000))
    report = verify_file(tmp_path / "x")
    assert report.status == "damaged" and "no MRC file" in report.problems[0] and report.frames == 0
    with pytest.raises(FileNotFoundError):
        verify_file(tmp_path / "nowhere")


def test_the_example_session(session_folder: Path) -> None:
    found = {path.name: verify_file(path) for path in session_folder.glob("*.mrc?")}
    damaged = {name: report for name, report in found.items() if report.status == "damaged"}
    assert set(damaged) == {"FoilHole_777777_Data_7777.mrcz", "FoilHole_888888_Data_8888.mrcz"}
    assert damaged["FoilHole_777777_Data_7777.mrcz"].frames == 12
    assert {report.status for name, report in found.items() if name not in damaged} == {"no-footer"}
