import hashlib
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.convert.recompress import recompress
from mrcz_dask.formats import provenance
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.provenance import verify_chain
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.values.errors import (
    DamagedError,
    DtypeError,
    OutputExistsError,
    ParameterError,
    SessionError,
)
from mrcz_dask.values.params import InputParams, OutputFormat
from tests.inputs import as_tiff

decompress = partial(recompress, format="plain")
BEFORE = provenance.append(None, provenance.step("camera", parameters={"mode": "counting"}))


def poisson(dtype: Any = np.uint8, mean: float = 3) -> np.ndarray:
    return np.random.default_rng(7).poisson(mean, (5, 48, 56)).astype(dtype)


def stack(path: Path, frames: np.ndarray, **more: Any) -> Path:
    mrcz_dask.write(path, frames, provenance=BEFORE, meta={"voltage": 300}, pixel_size=1.5, **more)
    return path


def chunks(path: Path) -> list[bytes]:
    with StackReader(path) as reader:
        return [bytes(reader.stored_chunk(k)) for k in range(len(reader))]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


class TestRecompress:
    @pytest.mark.parametrize("codec", ["auto", "zstd:1", "lz4:9", "zlib:5", "none", "keep"])
    def test_pixels_stay(self, tmp_path: Path, codec: str) -> None:
        source = stack(tmp_path / "a.mrcz", poisson(), codec="lz4:1")
        made = recompress(source, tmp_path / "out", codec)
        found = mrcz_dask.read(made.output)
        assert found.dtype == np.uint8
        assert np.array_equal(found, poisson())
        assert verify_file(made.output).status == "sound"
        assert (made.bytes_in, made.bytes_out) == (source.stat().st_size, Path(made.output).stat().st_size)

    def test_keep_copies_the_chunks(self, tmp_path: Path) -> None:
        source = stack(tmp_path / "a.mrcz", poisson(), codec="lz4:1")
        made = recompress(source, tmp_path / "out", "keep")
        assert chunks(Path(made.output)) == chunks(source)

    def test_keep_writes_blosc2_chunks_anew(self, tmp_path: Path) -> None:
        source = stack(tmp_path / "a.mrcz", poisson(), chunk_version=5)
        with StackReader(recompress(source, tmp_path / "out", "keep").output) as reader:
            assert reader.chunk_version == 2

    def test_what_is_known_of_a_stack_goes_along(self, tmp_path: Path) -> None:
        source = stack(tmp_path / "a.mrcz", poisson(np.int16), pixels={"scale": 0.25, "offset": 0.0})
        made = recompress(source, tmp_path / "out", "zstd:1")
        footer = mrcz_dask.read_footer(made.output) or {}
        assert footer["meta"] == {"voltage": 300}
        assert footer["pixels"]["scale"] == 0.25
        assert [s["name"] for s in footer["provenance"]] == ["camera", "recompress"]
        assert verify_chain(footer["provenance"]) == []
        assert str(tmp_path) not in repr(footer)
        assert np.array_equal(mrcz_dask.read(made.output), poisson() / np.float32(4))

    def test_an_extended_header_is_carried_over(self, tmp_path: Path) -> None:
        extended = bytes(range(256)) * 3
        with StackWriter(
            tmp_path / "a.mrcz", (5, 48, 56), np.uint8, extended=extended, extended_type="FEI1"
        ) as writer:
            for frame in poisson():
                writer.append(frame)
        with StackReader(recompress(tmp_path / "a.mrcz", tmp_path / "out", "auto").output) as reader:
            assert (reader.extended, reader.header.extended_type) == (extended, "FEI1")

    def test_a_recipe_goes_along_with_a_word_about_its_store(self, tmp_path: Path) -> None:
        recipe = {"version": 1, "store": "session.zarr", "stem": "a", "digest": "0" * 32}
        source = stack(tmp_path / "a.mrcz", poisson(), recipe=recipe)
        footer = mrcz_dask.read_footer(recompress(source, tmp_path / "out", "zstd:5").output) or {}
        assert footer["recipe"] == recipe
        assert "session.zarr" in footer["provenance"][-1]["caveats"][0]

    def test_an_output_that_reads_back_wrong_never_appears(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = stack(tmp_path / "a.mrcz", poisson())
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.mrcz").write_bytes(b"what was there")
        inner = StackWriter.append

        def wrong(self: StackWriter, frame: np.ndarray, **more: Any) -> None:
            inner(self, frame ^ (frame == 3), **more)

        monkeypatch.setattr(StackWriter, "append", wrong)
        with pytest.raises(DamagedError, match="keep the input"):
            recompress(source, tmp_path / "out", "zstd:1", overwrite=True)
        assert names(tmp_path / "out") == ["a.mrcz"]
        assert (tmp_path / "out" / "a.mrcz").read_bytes() == b"what was there"

    def test_a_damaged_input_leaves_nothing(self, tmp_path: Path) -> None:
        source = stack(tmp_path / "a.mrcz", poisson())
        data = bytearray(source.read_bytes())
        data[4000] ^= 4
        source.write_bytes(data)
        with pytest.raises(DamagedError, match=r"a\.mrcz"):
            recompress(source, tmp_path / "out", "zstd:1")
        assert names(tmp_path / "out") == []


FORMATS: list[OutputFormat] = list(OUTPUT_SUFFIXES)


class TestFormats:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float16", "uint32"])
    def test_pixels_and_what_is_known_go_there_and_back(
        self, tmp_path: Path, format: OutputFormat, dtype: str
    ) -> None:
        recipe = {"version": 1, "store": "session.zarr", "stem": "a", "digest": "0" * 32}
        extended = {"extended": b"abcd", "extended_type": "FEI1"}
        source = stack(
            tmp_path / "a.mrcz", poisson(dtype), recipe=recipe, pixels={"unit": "counts"}, **extended
        )
        there = recompress(source, tmp_path / "there", "auto", format)
        assert verify_file(there.output).status == "sound"
        back = recompress(Path(there.output), tmp_path / "back", "auto")
        with open_source(source) as a, open_source(back.output) as b:
            assert a.dtype == b.dtype and a.pixel_size == b.pixel_size
            assert np.array_equal(a.frames(), b.frames()) == (format != "tiff")
            assert np.array_equal(a.frames(), b.frames()[:, ::-1]) == (format == "tiff")
            assert (b.extended, b.extended_type) == (b"abcd", "FEI1")
            turned = {"rows_reversed": True} if format == "tiff" else {}
            assert b.meta == a.meta and (b.footer or {})["recipe"] == recipe | turned
            assert [one["name"] for one in b.provenance] == ["camera", "recompress", "recompress"]
            assert verify_chain(b.provenance) == []
            assert str(tmp_path) not in repr(b.footer)

    def test_rows_are_right_wherever_a_tiff_goes(self, tmp_path: Path) -> None:
        """Another program sees the same image, by whatever way it got there."""
        tiff = as_tiff(tmp_path, "a", poisson())
        shown = poisson()[:, ::-1]
        for k, way in enumerate(
            product(("mrcz", "zarr", "mrcs", "tiff"), ("mrcz", "zarr"), ("mrcs", "tiff"))
        ):
            path = tiff
            for step, format in enumerate(way):
                made = recompress(path, tmp_path / f"{k}-{step}", "auto", format)  # type: ignore[arg-type]
                path = Path(made.output)
            found = mrcz_dask.read(path)
            assert np.array_equal(found[:, ::-1] if way[-1] == "tiff" else found, shown), way

    def test_a_recipe_still_corrects_what_was_turned(self, night: Path, koma: Any) -> None:
        koma(night, write="recompressed")
        source = sorted((night / "koma").glob("*.mrcz"))[0]
        expected = mrcz_dask.open_stack(source, corrected=True).compute()
        tiff = recompress(source, source.parent / "tiff", "auto", "tiff").output
        for way, turned in ((tiff, True), (source, False)):
            made = recompress(Path(way), source.parent / f"again{turned}", "auto", "mrcs").output
            for path, rows in ((made, False), (way, turned)):
                beside = Path(path).replace(source.parent / f"_{Path(path).name}")
                if sidecar_path(path).exists():
                    sidecar_path(path).replace(sidecar_path(beside))
                found = mrcz_dask.open_stack(beside, corrected=True).compute()
                assert np.array_equal(found[:, ::-1] if rows else found, expected)

    def test_quantized_integers_keep_their_scale(self, tmp_path: Path) -> None:
        pixels = {"scale": 0.25, "offset": 0.0}
        source = stack(tmp_path / "a.mrcz", poisson(np.int16) - 3, pixels=pixels)
        for format in FORMATS:
            made = recompress(source, tmp_path / "out", "auto", format)
            found = mrcz_dask.read(made.output)
            assert np.array_equal(found[:, ::-1] if format == "tiff" else found, mrcz_dask.read(source))

    @pytest.mark.parametrize("format", ["mrcs", "mrcs.zst", "tiff"])
    def test_what_the_format_cannot_hold_leaves_nothing(self, tmp_path: Path, format: OutputFormat) -> None:
        frames = poisson(np.uint32)
        frames[0, 0, 0] = 1 << 30
        with pytest.raises(DtypeError, match="write mrcz or zarr"):
            recompress(stack(tmp_path / "a.mrcz", frames), tmp_path / "out", "auto", format)
        assert names(tmp_path / "out") == []

    def test_a_json_file_of_somebody_else_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.tif.json").write_text("{}")
        with pytest.raises(OutputExistsError, match="move it away"):
            recompress(stack(tmp_path / "a.mrcz", poisson()), tmp_path / "out", "auto", "tiff")
        assert names(tmp_path / "out") == ["a.tif.json"]

    def test_how_the_input_was_read_is_recorded(self, tmp_path: Path) -> None:
        source = stack(tmp_path / "a.mrcs", poisson(np.int8) - 3, footer=False)
        made = recompress(source, tmp_path / "out", "auto", params=InputParams(mode0="unsigned"))
        assert mrcz_dask.read(made.output).dtype == np.uint8
        step = (mrcz_dask.read_footer(made.output) or {})["provenance"][-1]
        assert step["parameters"]["input"]["mode0"] == "unsigned"

    @pytest.mark.parametrize("codec", ["keep", "lz4:1", "deflate:99"])
    def test_codecs_of_other_formats_are_refused(self, tmp_path: Path, codec: str) -> None:
        source = stack(tmp_path / "a.mrcz", poisson())
        with pytest.raises(ParameterError, match="codec"):
            recompress(source, tmp_path / "out", codec, "tiff")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("codec", ["nonsense", "zstd:99", "zstd:x", "zstd:1:odd", ""])
def test_a_codec_that_is_none_is_refused_before_any_work(tmp_path: Path, codec: str) -> None:
    source = stack(tmp_path / "a.mrcz", poisson())
    with pytest.raises(ParameterError, match="codec"):
        recompress(source, tmp_path / "out", codec)
    assert not (tmp_path / "out").exists()


def test_outputs_are_neither_inputs_nor_overwritten(tmp_path: Path) -> None:
    source = stack(tmp_path / "a.mrcz", poisson())
    with pytest.raises(SessionError, match="overwrite"):
        recompress(source, tmp_path, "zstd:1", overwrite=True)
    recompress(source, tmp_path / "out", "zstd:1")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        recompress(source, tmp_path / "out", "zstd:1")
    assert recompress(source, tmp_path / "out", "lz4:9", overwrite=True).bytes_out > 0


class TestPlain:
    def test_a_plain_file_and_its_sidecar(self, tmp_path: Path) -> None:
        made = decompress(stack(tmp_path / "a.mrcz", poisson()), tmp_path / "out")
        assert len(names(tmp_path / "out")) == 2
        assert np.array_equal(mrcz_dask.read(made.output), poisson())
        footer = mrcz_dask.read_footer(made.output) or {}
        assert [s["name"] for s in footer["provenance"]] == ["camera", "decompress"]
        assert verify_file(made.output).status == "sound"
        header = mrcz_dask.read_header(made.output)
        assert (header["codec"], header["pixel_size"][0]) == (None, pytest.approx(1.5))
        assert Path(made.output).stat().st_size == 1024 + poisson().nbytes

    def test_without_provenance(self, tmp_path: Path) -> None:
        made = decompress(
            stack(tmp_path / "a.mrcz", poisson()), tmp_path / "out", keep="none", format="plain"
        )
        assert names(tmp_path / "out") == ["a.mrcs"]
        assert mrcz_dask.read_footer(made.output) is None

    def test_with_a_footer(self, tmp_path: Path) -> None:
        made = decompress(
            stack(tmp_path / "a.mrcz", poisson()), tmp_path / "out", keep="footer", format="plain"
        )
        assert names(tmp_path / "out") == ["a.mrcs"]
        assert verify_file(made.output).status == "sound"

    def test_quantized_pixels_become_counts_and_keep_what_is_known(self, tmp_path: Path) -> None:
        said = {
            "scale": 0.25,
            "offset": 0.0,
            "unit": "counts",
            "dose_per_frame": 3.0,
            "rounding": "stochastic",
        }
        source = stack(tmp_path / "a.mrcz", poisson(np.int16), pixels=said)
        made = decompress(source, tmp_path / "out")
        footer = mrcz_dask.read_footer(made.output) or {}
        assert mrcz_dask.read(made.output).dtype == np.float32
        assert np.array_equal(mrcz_dask.read(made.output), mrcz_dask.read(source))
        assert footer["pixels"]["unit"] == "counts"
        assert footer["pixels"]["dose_per_frame"] == 3.0
        assert footer["pixels"]["dtype"] == "<f4"
        assert not {"scale", "offset", "rounding"} & set(footer["pixels"])
        assert [s["name"] for s in footer["provenance"]] == ["camera", "decompress"]

    def test_rows_of_tiff_are_reversed(self, tmp_path: Path) -> None:
        made = decompress(as_tiff(tmp_path, "a", poisson()), tmp_path / "out")
        assert np.array_equal(mrcz_dask.read(made.output), poisson()[:, ::-1])
        footer = mrcz_dask.read_footer(made.output) or {}
        assert footer["provenance"][-1]["results"]["rows_reversed"] is True

    def test_an_image(self, tmp_path: Path) -> None:
        made = decompress(stack(tmp_path / "a.mrcz", poisson()[0]), tmp_path / "out")
        assert Path(made.output).name == "a.mrc"
        assert np.array_equal(mrcz_dask.read(made.output)[0], poisson()[0])

    def test_a_recipe_stays_behind_and_that_is_said(self, tmp_path: Path) -> None:
        recipe = {"version": 1, "store": "session.zarr", "stem": "a", "digest": "0" * 32}
        made = decompress(
            stack(tmp_path / "a.mrcz", poisson(), recipe=recipe), tmp_path / "out", format="plain"
        )
        footer = mrcz_dask.read_footer(made.output) or {}
        assert "recipe" not in footer
        assert "recipe" in footer["provenance"][-1]["skipped"][0]
        assert "recipe" in made.findings["skipped"][0]


def test_an_output_with_its_provenance_elsewhere_is_not_kept(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9))
    for keep, other in (("sidecar", "footer"), ("footer", "sidecar")):
        out = tmp_path / keep
        decompress(tmp_path / "a.mrcz", out, keep=keep)
        assert decompress(tmp_path / "a.mrcz", out, keep=keep, resume=True).kept
        with pytest.raises(OutputExistsError, match="--overwrite"):
            decompress(tmp_path / "a.mrcz", out, keep=other, resume=True)


@pytest.mark.parametrize("format", ["mrcz", "tiff", "plain"])
@pytest.mark.parametrize("damage", ["cut", "without its sidecar"])
def test_a_damaged_output_that_is_listed_is_made_again(tmp_path: Path, format: Any, damage: str) -> None:
    if format == "mrcz" and damage == "without its sidecar":
        return
    frames = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)
    mrcz_dask.write(tmp_path / "a.mrcz", frames)
    out = tmp_path / "out"
    made = Path(recompress(tmp_path / "a.mrcz", out, format=format).output)
    whole = {path: path.read_bytes() for path in out.iterdir()}
    if damage == "cut":
        made.write_bytes(whole[made][:-9])
    else:
        sidecar_path(made).unlink()
    if format == "mrcz":  # nobody knows whose it is
        with pytest.raises(OutputExistsError, match="--overwrite"):
            recompress(tmp_path / "a.mrcz", out, format=format, resume=True)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {path.name}" for path, data in whole.items()]
    (out / "MANIFEST").write_text("\n".join(lines) + "\n")
    assert not recompress(tmp_path / "a.mrcz", out, format=format, resume=True).kept
    assert {path: path.read_bytes() for path in whole} == whole
