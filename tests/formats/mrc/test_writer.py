import io
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats import provenance
from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.formats.compression.codecs import Codec, choose
from mrcz_dask.formats.digest import checksum, digest_array
from mrcz_dask.formats.mrc.header import Header
from mrcz_dask.formats.mrc.reader import StackReader, read_header
from mrcz_dask.formats.mrc.writer import StackWriter, write
from mrcz_dask.formats.sources import read, read_footer
from mrcz_dask.values.errors import DamagedError, DtypeError, ParameterError, SpaceError

Stack = NDArray[np.int16]
CODECS = [
    "auto",
    "auto:fast",
    "auto:small",
    "none",
    "zstd:1",
    "lz4:9:none",
    "lz4hc:1",
    "zlib:1",
    "blosclz:9:byte",
]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(CODECS), st.sampled_from([2, 5]), st.integers(1, 3))
def test_any_array_comes_back_bit_for_bit(
    stacks: st.SearchStrategy[NDArray[Any]], data: st.DataObject, codec: str, version: int, threads: int
) -> None:
    array = data.draw(stacks)
    stream = io.BytesIO()
    write(stream, array, codec=codec, chunk_version=version, nthreads=threads)
    found = read(stream)
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()
    assert digest_array(found) == digest_array(array)
    expected = (1, *array.shape) if array.ndim == 2 else array.shape
    assert found.shape == expected


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from(["mrc", "mrcs"]))
def test_plain_files_too(stacks: st.SearchStrategy[NDArray[Any]], data: st.DataObject, kind: str) -> None:
    array = data.draw(stacks)
    stream = io.BytesIO()
    write(stream, array, kind=kind)
    assert read(stream).tobytes() == array.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_same_bytes_on_any_number_of_threads(
    stacks: st.SearchStrategy[NDArray[Any]], data: st.DataObject
) -> None:
    array = data.draw(stacks)
    files = []
    for threads in (1, 2, 5):
        files.append(io.BytesIO())
        write(files[-1], array, nthreads=threads, meta={"a": 1})
    assert files[0].getvalue() == files[1].getvalue() == files[2].getvalue()


def test_the_header_says_what_others_need(stack: Stack, file_of: Any) -> None:
    found = read_header(file_of(stack, pixel_size=(1.06, 1.07), meta={"a": "ü"}, codec="zstd:1"))
    assert found["shape"] == [6, 50, 40] and found["mode"] == 1 and found["codec"] == "zstd"
    assert found["pixel_size"] == [1.06, 1.07, 1.06] and (found["mz"], found["ispg"]) == (0, 0)
    assert found["nversion"] == 20141 and found["labels"][0] == "MRCZ-dask 0.1.0"
    stats = found["stats"]
    assert (stats["minimum"], stats["maximum"]) == (stack.min(), stack.max())
    assert stats["mean"] == np.float32(stack.mean()) and stats["rms"] == np.float32(stack.std())
    assert found["extended_type"] == "json" and found["byteorder"] == "little"


def test_packed_size_is_that_of_the_chunks(stack: Stack, file_of: Any) -> None:
    with StackReader(file_of(stack)) as reader:
        assert reader.header.packed_size == sum(reader.frame_index.nbytes)
    with StackReader(file_of(stack, codec="none")) as reader:
        assert reader.header.packed_size == 0


@pytest.mark.parametrize("kind", ["mrc", "mrcs"])
def test_plain_files_are_image_stacks_without_extended_header(stack: Stack, file_of: Any, kind: str) -> None:
    found = read_header(file_of(stack, kind=kind, meta={"a": 1} if kind == "mrcs" else None))
    assert (found["mz"], found["ispg"], found["extended_size"], found["codec"]) == (1, 0, 0, None)


def test_the_footer_holds_what_is_documented(stack: Stack, file_of: Any) -> None:
    steps = provenance.append(None, provenance.step("simulate", parameters={"seed": 1}))
    data = file_of(
        stack,
        pixel_size=1.5,
        meta={"a": 1},
        pixels={"unit": "counts", "scale": 0.5, "dose_per_frame": 1.25},
        provenance=steps,
        recipe={"reference": "session.zarr/7"},
    )
    footer = read_footer(data)
    assert footer is not None
    header = Header.parse(data)
    assert footer["header"] == {
        "xxh3": checksum(data[: header.data_offset]),
        "shape": [6, 50, 40],
        "dtype": "<i2",
    }
    starts, sizes = footer["frames"]["offset"], footer["frames"]["nbytes"]
    assert starts[0] == header.data_offset and starts[1] == starts[0] + sizes[0]
    assert footer["frames"]["xxh3"][3] == checksum(data[starts[3] : starts[3] + sizes[3]])
    assert footer["pixels"] == {
        "dtype": "<i2", "unit": "counts", "scale": 0.5, "dose_per_frame": 1.25, "pixel_size": [1.5] * 3,
    }  # fmt: skip
    assert footer["meta"] == {"a": 1} and footer["recipe"] == {"reference": "session.zarr/7"}
    assert footer["provenance"] == steps
    assert Codec(**footer["codec"]) == choose(stack[0])
    assert footer["codec"]["aim"] == "auto" and footer["codec"]["blocksize"] == 50 * 40 * 2


def test_everything_is_settable_until_it_is_closed(stack: Stack) -> None:
    stream = io.BytesIO()
    with StackWriter(stream, stack.shape, stack.dtype, meta={"early": 1}) as writer:
        for frame in stack:
            writer.append(frame)
        writer.meta = {"late": "x" * 3000}
        writer.provenance = provenance.append(None, provenance.step("late"))
        writer.recipe = {"r": 1}
        writer.pixels["scale"] = 0.5
    with StackReader(stream) as reader:
        assert reader.meta == writer.meta and reader.scale == 0.5
        assert b"late" in reader.extended and b'"scale": 0.5' in reader.extended
        assert reader.provenance[0]["name"] == "late" and (reader.footer or {})["recipe"] == {"r": 1}
        np.testing.assert_array_equal(reader.frames(), stack)


def test_buffers_may_be_used_again(stack: Stack) -> None:
    stream, buffer = io.BytesIO(), np.empty_like(stack[0])
    with StackWriter(stream, stack.shape, stack.dtype, nthreads=3) as writer:
        for frame in stack:
            buffer[:] = frame
            writer.append(buffer)
    np.testing.assert_array_equal(read(stream), stack)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("codec", ["auto", "none"])
@pytest.mark.parametrize("at", [0, 3, 8])
def test_uint8_beyond_127_becomes_uint16_and_comes_back(threads: int, codec: str, at: int) -> None:
    stack = np.random.default_rng(0).integers(0, 100, (9, 30, 20), np.uint8)
    stack[at, 5, 5] = 200
    streamed, whole = io.BytesIO(), io.BytesIO()
    with StackWriter(streamed, stack.shape, "u1", codec=codec, nthreads=threads) as writer:
        for frame in stack:
            writer.append(frame)
    write(whole, stack, codec=codec)
    assert streamed.getvalue() == whole.getvalue()
    assert read_header(streamed)["mode"] == 6
    found = read(streamed)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, stack)
    with StackReader(streamed) as reader:
        assert reader.header.stats.maximum == 200


def test_small_uint8_stays_one_byte(file_of: Any) -> None:
    stack = np.full((2, 3, 4), 127, np.uint8)
    assert read_header(file_of(stack))["mode"] == 0
    assert read(file_of(stack)).dtype == np.uint8
    assert read(file_of(stack, footer=False)).dtype == np.int8


def test_four_bits_go_into_half_the_bytes(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 16, (3, 5, 7), np.uint8)
    write(tmp_path / "a.mrcs", stack, four_bit=True)
    assert (tmp_path / "a.mrcs").stat().st_size == 1024 + 3 * 5 * 4
    assert read_header(tmp_path / "a.mrcs")["mode"] == 101
    np.testing.assert_array_equal(read(tmp_path / "a.mrcs"), stack)
    assert (read_footer(tmp_path / "a.mrcs") or {})["header"]["shape"] == [3, 5, 7]
    with pytest.raises(ParameterError, match=r"hold 0\.\.15, these are 0\.\.16"):
        write(tmp_path / "b.mrcs", np.array([[0, 16]], np.uint8), four_bit=True)
    with pytest.raises(ParameterError, match="not compressed"):
        write(tmp_path / "b.mrcz", stack, four_bit=True, codec="zstd:1")
    assert names(tmp_path) == ["a.mrcs", "a.mrcs.json"]


@pytest.mark.parametrize("version", [2, 5])
def test_chunks_are_copied_unchanged(stack: Stack, file_of: Any, version: int) -> None:
    source = file_of(stack, codec="lz4hc:3", chunk_version=version)
    copy = io.BytesIO()
    with StackReader(source) as reader:
        options: dict[str, Any] = {"codec": "lz4hc:3", "chunk_version": version}
        with StackWriter(copy, reader.shape, reader.dtype, **options) as writer:
            for i in range(len(reader)):
                writer.append_chunk(reader.stored_chunk(i), frame=stack[i] if i % 2 else None)
        with StackReader(copy) as copied:
            assert copied.header == reader.header
            assert all(copied.stored_chunk(i) == reader.stored_chunk(i) for i in range(len(reader)))
    np.testing.assert_array_equal(read(copy), stack)


def test_copied_and_encoded_frames_in_one_file(stack: Stack) -> None:
    stream = io.BytesIO()
    with StackWriter(stream, stack.shape, stack.dtype) as writer:
        for i, frame in enumerate(stack):
            if i % 2:
                writer.append(frame)
            else:
                writer.append_chunk(Codec("lz4").compress(frame))
    np.testing.assert_array_equal(read(stream), stack)
    assert read_header(stream)["codec"] == "lz4"


def test_wide_chunks_of_uint8_are_copied_as_they_are(file_of: Any) -> None:
    stack = np.full((2, 30, 20), 200, np.uint8)
    copy = io.BytesIO()
    with StackReader(file_of(stack)) as reader, StackWriter(copy, stack.shape, "u1") as writer:
        for i in range(2):
            writer.append_chunk(reader.stored_chunk(i))
    assert read(copy).dtype == np.uint8 and (read(copy) == 200).all()


def test_chunks_that_do_not_belong_are_refused(stack: Stack) -> None:
    good = Codec().compress(stack[0])
    with StackWriter(io.BytesIO(), (1, 50, 40), "i2") as writer:
        with pytest.raises(DamagedError, match="version 5, this file 2"):
            writer.append_chunk(Codec(version=5).compress(stack[0]))
        writer.abort()
    with StackWriter(io.BytesIO(), (1, 50, 40), "i4") as writer:
        with pytest.raises(DamagedError, match="holds 4000 bytes, a frame has 8000"):
            writer.append_chunk(good)
        writer.abort()
    with StackWriter(io.BytesIO(), (1, 50, 40), "i2", codec="none") as writer:
        with pytest.raises(ParameterError, match="append decoded frames"):
            writer.append_chunk(good)
        writer.abort()


def test_an_extended_header_is_carried_over_byte_for_byte(stack: Stack, file_of: Any) -> None:
    blob = bytes(range(256)) * 3
    with StackReader(file_of(stack, extended=blob, extended_type="FEI1", meta={"a": 1})) as reader:
        assert reader.extended == blob and reader.header.extended_type == "FEI1"
        assert reader.meta == {"a": 1}
        np.testing.assert_array_equal(reader.frames(), stack)
    with pytest.raises(ParameterError, match="MotionCor3"):
        file_of(stack, extended=blob, kind="mrcs", footer=False)
    with StackReader(file_of(stack, extended=blob, extended_type="FEI1", kind="mrcs")) as reader:
        assert (reader.extended, reader.extended_type) == (blob, "FEI1")
        assert reader.header.extended_size == 0


@pytest.mark.parametrize(("width", "block"), [(1504, 2 << 20), (1499, 1500 * 1499 // 16 * 16)])
def test_chunks_are_version_2_in_blocks_of_up_to_a_mebibyte_per_byte(
    file_of: Any, width: int, block: int
) -> None:
    stack = np.zeros((1, 1500, width), np.int16)
    with StackReader(file_of(stack, codec="zstd:1")) as reader:
        header = ChunkHeader.parse(reader.stored_chunk(0))
    assert (header.version, header.blocksize) == (2, block)


@pytest.mark.parametrize(
    ("dtype", "cast"), [("f8", "float32"), ("i8", "int32"), ("?", "uint8"), ("c16", "complex64")]
)
def test_types_that_mrc_has_not_are_refused(dtype: str, cast: str, tmp_path: Path) -> None:
    with pytest.raises(DtypeError, match=f"cast to {cast}"):
        write(tmp_path / "a.mrcz", np.zeros((2, 3, 4), dtype))
    assert names(tmp_path) == []


def test_frames_of_another_kind_are_refused(stack: Stack) -> None:
    with StackWriter(io.BytesIO(), stack.shape, stack.dtype) as writer:
        with pytest.raises(ParameterError, match=r"frame 0 is .* float32; expected .* int16"):
            writer.append(stack[0].astype("f4"))
        writer.append(stack[0].astype(">i2"))
        with pytest.raises(ParameterError, match="frame 1 is"):
            writer.append(stack[0, 1:])
        for frame in stack[1:]:
            writer.append(frame)
        with pytest.raises(ParameterError, match="all 6 frames are there"):
            writer.append(stack[0])


def test_too_few_frames_leave_nothing(stack: Stack, tmp_path: Path) -> None:
    writer = StackWriter(tmp_path / "a.mrcz", stack.shape, stack.dtype)
    writer.append(stack[0])
    with pytest.raises(ParameterError, match="1 of 6 frames were appended; nothing was written"):
        writer.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_leaves_what_was_there(stack: Stack, tmp_path: Path, threads: int) -> None:
    write(tmp_path / "a.mrcz", stack, durable=False)
    before = (tmp_path / "a.mrcz").read_bytes()
    with (
        pytest.raises(KeyError),
        StackWriter(tmp_path / "a.mrcz", (9, 50, 40), "i2", nthreads=threads) as writer,
    ):
        writer.append(stack[0])
        raise KeyError
    assert names(tmp_path) == ["a.mrcz"] and (tmp_path / "a.mrcz").read_bytes() == before


def test_targets_that_cannot_be_written(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "folder.mrcz").mkdir()
    for name, text in (("folder.mrcz", "it is a folder"), ("no/a.mrcz", "make it first")):
        with pytest.raises(SpaceError, match=text):
            write(tmp_path / name, stack)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_disk_that_becomes_full(tmp_path: Path, threads: int) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (20, 100, 100), np.int8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SpaceError, match=r"a\.mrcz: .*free some space"):
            write(tmp_path / "a.mrcz", noise, codec="none", nthreads=threads)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_frames_beyond_what_a_chunk_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="a chunk holds"):
        StackWriter(tmp_path / "a.mrcz", (1, 1 << 16, 1 << 16), "i1")


def test_options_that_do_not_go_together(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"plain \.mrcs"):
        write(tmp_path / "a.mrcs", stack, codec="zstd:1")
    with pytest.raises(ParameterError, match="name that ends in"):
        write(tmp_path / "a.tif", stack)
    with pytest.raises(ParameterError, match="sidecar goes with plain"):
        write(tmp_path / "a.mrcz", stack, footer="sidecar")
    with pytest.raises(ParameterError, match="expected True, False, 'json'"):
        write(tmp_path / "a.mrcz", stack, footer="xml")
    for size in (0, -1, float("nan"), (1, 2, 3, 4), ()):
        with pytest.raises(ParameterError, match="Angstrom above 0"):
            write(tmp_path / "a.mrcz", stack, pixel_size=size)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="expected"):
        write(tmp_path / "a.mrcz", np.zeros((0, 3, 3), "i2"))
    assert names(tmp_path) == []


def test_a_footer_of_json_says_the_same(stack: Stack, tmp_path: Path) -> None:
    for name, footer in (("json", "json"), ("packed", True)):
        write(tmp_path / f"{name}.mrcz", stack, footer=footer, meta={"defocus": [1.5, None, "µm"]})
    with StackReader(tmp_path / "json.mrcz") as one, StackReader(tmp_path / "packed.mrcz") as other:
        assert one.footer == other.footer
    data = (tmp_path / "json.mrcz").read_bytes()
    assert data[-48:-40] == b"MRCZFOOT" and data[-38] == 1
