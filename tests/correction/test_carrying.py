"""What a file says beside its pixels goes along when it is recompressed, and back; the rest is named."""

import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import mrcz_dask
from mrcz_dask.cli.app import app
from mrcz_dask.convert.recompress import recompress
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES

LABELS = ["SerialEM: K3 counting, 2026-01-02 03:04:05", "second", "grid 7, 0.83 \xc5"]
FRAMES = np.random.default_rng(3).poisson(3, (5, 12, 14)).astype(np.uint16)


def foreign(path: Path, labels: list[str] = LABELS, order: str = "<", **header: Any) -> Path:
    """A stack as microscopes write it: labels, an odd MZ, a volume, angles, an origin, words of IMOD's."""
    raw = bytearray(1024)
    struct.pack_into(order + "10i", raw, 0, 14, 12, 5, 6, 1, 2, 3, 14, 12, header.get("mz", 5))
    struct.pack_into(order + "6f3i", raw, 40, 14 * 0.83, 12 * 0.83, 5 * 0.9, 90, 89, 88, 1, 2, 3)
    extended = header.get("extended", b"")
    struct.pack_into(order + "3f2i", raw, 76, 0, 9, 3, header.get("ispg", 401), len(extended))
    raw[104:108] = b"FEI1" if extended else bytes(4)
    struct.pack_into(order + "i", raw, 128, 0x00050020)
    struct.pack_into(order + "3f", raw, 196, 7.5, 8.5, 9.5)
    raw[208:216] = b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    struct.pack_into(order + "fi", raw, 216, 1, len(labels))
    for k, text in enumerate(labels):
        raw[224 + 80 * k : 304 + 80 * k] = text.encode("latin-1").ljust(80)
    path.write_bytes(bytes(raw) + extended + FRAMES.astype(order + "u2").tobytes())
    return path


def about(path: str | Path) -> dict[str, Any]:
    """What another program finds in a header."""
    with mrcfile.open(path, permissive=True) as file:
        head = file.header
        return {
            "labels": [bytes(one).decode("latin-1").rstrip() for one in head.label[: int(head.nlabl)]],
            **{key: int(head[key]) for key in ("mz", "ispg", "nxstart", "nystart", "nzstart")},
            "cell": [float(head.cella[key]) for key in "xyz"],
            "angles": [float(head.cellb[key]) for key in ("alpha", "beta", "gamma")],
            "origin": [float(head.origin[key]) for key in "xyz"],
            "extended": bytes(np.asarray(file.extended_header).tobytes()),
        }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_headers_and_labels_go_there_and_back(tmp_path: Path, format: Any, order: str) -> None:
    source = foreign(tmp_path / "a.mrc", order=order, extended=bytes(range(256)) * 3)
    there = recompress(source, tmp_path / "there", "auto", format)
    assert verify_file(there.output).status == "sound" and there.findings["skipped"] == []
    back = recompress(Path(there.output), tmp_path / "back", format="plain")
    before, after = about(source), about(back.output)
    assert after.pop("labels")[1:] == before.pop("labels")
    assert after == before
    assert verify_file(back.output).status == "sound"
    if format in ("mrcz", "mrcs"):
        with open_source(there.output) as reader:
            assert set(LABELS) <= set(reader.labels)


@pytest.mark.parametrize(("mz", "ispg"), [(1, 0), (5, 1), (0, 401)])
def test_what_mz_and_ispg_say_stays(tmp_path: Path, mz: int, ispg: int) -> None:
    source = foreign(tmp_path / "a.mrc", mz=mz, ispg=ispg)
    found = mrcz_dask.read_header(recompress(source, tmp_path / "out", "auto").output)
    before = mrcz_dask.read_header(source)
    assert {key: found[key] for key in ("mz", "ispg", "pixel_size", "labels")} == {
        **{key: before[key] for key in ("mz", "ispg", "pixel_size")},
        "labels": [*found["labels"][:2], *LABELS],
    }


def test_ten_labels_are_kept_beside_those_of_ours(tmp_path: Path) -> None:
    ten = [f"label {k}" for k in range(10)]
    there = recompress(foreign(tmp_path / "a.mrc", ten), tmp_path / "there", "auto")
    back = recompress(Path(there.output), tmp_path / "back", format="plain")
    assert about(back.output)["labels"][1:] == ten[:9]
    with open_source(back.output) as reader:
        assert [text in reader.mrc_header.decode("latin-1") for text in ten] == [True] * 10
    bare = recompress(Path(there.output), tmp_path / "bare", keep="none", format="plain")
    assert any("'label 9'" in text for text in bare.findings["skipped"])


@pytest.mark.parametrize("command", ["koma", "outliers"])
@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_labels_go_along_with_corrected_frames(tmp_path: Path, format: str, command: str) -> None:
    ten = [*LABELS, *(f"label {k}" for k in range(7))]
    for k in range(3):
        path = foreign(tmp_path / f"a{k}.mrc", ten if k else LABELS)
        others = np.random.default_rng(k).poisson(3, FRAMES.shape).astype("<u2")
        path.write_bytes(path.read_bytes()[:1024] + others.tobytes())
    options = ["--radius", "2", "--workers", "0", "--no-report"] if command == "koma" else []
    done = [command, str(tmp_path), "-o", str(tmp_path / "out"), "--format", format, *options]
    assert CliRunner().invoke(app, done).exit_code == 0
    for k, kept in ((0, LABELS), (1, ten[: 9 if format != "mrcz" else 8])):
        path = tmp_path / "out" / f"a{k}{OUTPUT_SUFFIXES[format]}"  # type: ignore[index]
        with open_source(path) as reader:
            assert all(text in reader.mrc_header.decode("latin-1") for text in kept)
            if format in ("mrcz", "mrcs", "mrcs.zst"):
                assert [text for text in reader.labels if text in ten] == kept
                assert 1 <= len(reader.labels) - len(kept) <= 2 and len(reader.labels) <= 10
        assert verify_file(path).status == "sound"


def test_imods_flags_are_those_of_what_is_written(tmp_path: Path) -> None:
    data = bytearray(foreign(tmp_path / "a.mrc").read_bytes())
    struct.pack_into("<i", data, 12, 0)
    struct.pack_into("<2i", data, 152, 1146047817, 0)  # unsigned bytes
    (tmp_path / "a.mrc").write_bytes(bytes(data[:1024]) + FRAMES.astype(np.uint8).tobytes())
    there = recompress(tmp_path / "a.mrc", tmp_path / "there", "auto")
    back = recompress(Path(there.output), tmp_path / "back", keep="none", format="plain")
    assert np.array_equal(mrcz_dask.read(back.output), FRAMES)


def test_a_file_of_ours_gets_no_second_header(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", FRAMES, pixel_size=1.5)
    footer = mrcz_dask.read_footer(recompress(tmp_path / "a.mrcz", tmp_path / "out", "auto").output) or {}
    assert "mrc_header" not in footer


def test_tags_of_tiff_are_kept_in_the_metadata(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    with tifffile.TiffWriter(source) as file:
        for k, frame in enumerate(FRAMES):
            more = [(65100, 2, 0, f"frame {k}", True), (65101, 1, 3, b"\1\2\3", True)]
            more += [(315, 2, 0, "the microscope", True)] if k == 0 else []
            file.write(frame, description="x" * 5000, extratags=more, metadata=None, software="DM 3.5")
    there = recompress(source, tmp_path / "there", "auto")
    assert there.findings["skipped"] == []
    tags = (mrcz_dask.read_footer(there.output) or {})["meta"]["tags"]
    assert tags["ImageDescription"] == "x" * 5000 and tags["Artist"] == "the microscope"
    assert tags["65100"] == "frame 0" and tags["pages"]["4"] == {"65100": "frame 4"}
    assert "65101" in tags and "StripOffsets" not in tags
    back = recompress(Path(there.output), tmp_path / "back", format="plain")
    assert (mrcz_dask.read_footer(back.output) or {})["meta"]["tags"] == tags


def test_tags_that_are_not_kept_are_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(FRAMES[0], subifds=1, metadata=None, extratags=[(65102, 2, 0, "y" * (1 << 21), True)])
        file.write(FRAMES[0, ::2, ::2], subfiletype=1, metadata=None)
    made = recompress(tmp_path / "a.tif", tmp_path / "out", "auto")
    assert made.findings["skipped"] == ["TIFF tag 65102", "TIFF tag SubIFDs"]
    step = (mrcz_dask.read_footer(made.output) or {})["provenance"][-1]
    assert step["skipped"] == ["not kept: TIFF tag 65102", "not kept: TIFF tag SubIFDs"]


def test_koma_that_keeps_counts_keeps_the_rest_too(tmp_path: Path) -> None:
    from mrcz_dask.correction.plan import make_plan
    from mrcz_dask.correction.run import carry_out
    from mrcz_dask.engine.client import SerialClient
    from mrcz_dask.values.params import KomaParams, Settings, WriteParams

    rng = np.random.default_rng(5)
    for k in range(3):
        tag, frames = (315, 2, 0, f"camera {k}", True), rng.poisson(3, (4, 32, 40)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"s{k}.tif", frames, photometric="minisblack", extratags=[tag])
    settings = Settings(koma=KomaParams(radius=1), write=WriteParams(write="recompressed"))
    done = carry_out(make_plan(tmp_path, tmp_path / "out", settings), SerialClient()).results
    tags = [
        (mrcz_dask.read_footer(tmp_path / "out" / r.output) or {})["meta"]["tags"]["Artist"] for r in done
    ]
    assert sorted(tags) == ["camera 0", "camera 1", "camera 2"]
