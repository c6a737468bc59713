import secrets
import uuid
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.digest import digest_array
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer
from mrcz_dask.session.output_folder import without_temporary_files
from mrcz_dask.session.readback import read_back
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.params import OutputFormat

FRAMES = np.arange(96, dtype=np.int16).reshape(2, 6, 8)


def test_an_output_with_the_right_pixels_gets_its_name(tmp_path: Path) -> None:
    with read_back(tmp_path / "a.mrcz", digest_array(FRAMES)) as place:
        mrcz_dask.write(place, FRAMES)
        assert not (tmp_path / "a.mrcz").exists()
    assert np.array_equal(mrcz_dask.read(tmp_path / "a.mrcz"), FRAMES)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrcz"]


def test_an_output_with_wrong_pixels_never_does(tmp_path: Path) -> None:
    (tmp_path / "a.mrcz").write_bytes(b"old")
    with (
        pytest.raises(DamagedError, match="keep the input"),
        read_back(tmp_path / "a.mrcz", digest_array(FRAMES)) as place,
    ):
        mrcz_dask.write(place, FRAMES + 1)
    assert (tmp_path / "a.mrcz").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrcz"]


def put(place: Path, format: OutputFormat, frames: np.ndarray, *, reverse_rows: bool = False) -> None:
    pixels = {"scale": 0.5, "dtype": frames.dtype.str}
    with open_writer(
        place, format, frames.shape, frames.dtype, pixels=pixels, reverse_rows=reverse_rows
    ) as writer:
        for frame in frames:
            writer.append(frame)


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
@pytest.mark.parametrize("reverse_rows", [False, True])
def test_every_format_gets_its_name_with_what_belongs_to_it(
    tmp_path: Path, format: OutputFormat, reverse_rows: bool
) -> None:
    target = tmp_path / f"a{OUTPUT_SUFFIXES[format]}"
    for frames in (FRAMES, FRAMES[:1] + 3):
        with read_back(target, digest_array(frames), reverse_rows=reverse_rows) as place:
            put(place, format, frames, reverse_rows=reverse_rows)
        with open_source(target) as reader:
            assert reader.scale == 0.5
            assert np.array_equal(reader.frames(), frames[:, ::-1] if reverse_rows else frames)
        assert verify_file(target).status == "sound"
    beside = {sidecar_path(target).name} if format in ("mrcs", "mrcs.zst", "tiff") else set()
    assert {p.name for p in tmp_path.iterdir()} == {target.name} | beside


@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_what_was_there_stays_when_the_pixels_are_wrong(tmp_path: Path, format: OutputFormat) -> None:
    target = tmp_path / f"a{OUTPUT_SUFFIXES[format]}"
    put(target, format, FRAMES)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(DamagedError, match="keep the input"), read_back(target, "0") as place:
        put(place, format, FRAMES + 1)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("format", ["mrcs", "mrcs.zst", "tiff"])
def test_a_file_that_cannot_get_its_name_leaves_the_old_pair(
    tmp_path: Path, format: OutputFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"a{OUTPUT_SUFFIXES[format]}"
    put(target, format, FRAMES)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    inner = Path.replace

    def fail(self: Path, other: Path) -> Path:
        if other == target:
            raise OSError(5, "I/O error")
        return inner(self, other)

    with pytest.raises(OSError), read_back(target, digest_array(FRAMES + 1)) as place:
        put(place, format, FRAMES + 1)
        monkeypatch.setattr(Path, "replace", fail)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), read_back(tmp_path / "a.mrcz", "") as place:
        mrcz_dask.write(place, FRAMES)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_names_may_be_as_long_as_they_can_be(tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 125 + ".mrcz")
    with read_back(target, digest_array(FRAMES)) as place:
        mrcz_dask.write(place, FRAMES)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_leftovers_of_this_run_go_and_nothing_else(tmp_path: Path) -> None:
    mine = [
        f".a.mrcz.{secrets.token_hex(6)}.part",
        f".a_mask.mrc.{secrets.token_hex(6)}.part",
        f".a.mrcz.mdoc.{secrets.token_hex(6)}.part",
        f".a.{uuid.uuid4().hex}.part.mrcz",
        f"..a.{uuid.uuid4().hex}.part.mrcz.{secrets.token_hex(6)}.part",
        *(f".a.{uuid.uuid4().hex}.part{suffix}" for suffix in (*OUTPUT_SUFFIXES.values(), ".mrc")),
        f".a.{uuid.uuid4().hex}.part.tif.json",
        f".a.mrcs.zst.json.{secrets.token_hex(6)}.part",
    ]
    others = [
        "a.mrcz",
        ".hidden",
        f".z.mrcz.{secrets.token_hex(6)}.part",
        "session.zarr",
        ".a.part",
        "a.part",
    ]
    for name in (*mine, *others):
        (tmp_path / name).write_text("")
    folders = [
        f".a.{uuid.uuid4().hex}.part.zarr",
        f"..a.{uuid.uuid4().hex}.part.zarr.{secrets.token_hex(6)}.part",
    ]
    for name in folders:
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "zarr.json").touch()
    for name in (f".session.zarr-{uuid.uuid4().hex}", f".session.zarr-{uuid.uuid4().hex}-old"):
        (tmp_path / name).mkdir()
    with pytest.raises(KeyboardInterrupt), without_temporary_files(tmp_path, ["a", "b"]):
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_a_folder_that_was_never_made(tmp_path: Path) -> None:
    with without_temporary_files(tmp_path / "out", ["a"]):
        pass
    assert not (tmp_path / "out").exists()
