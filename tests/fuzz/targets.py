"""Everything that reads bytes from outside: files, state of runs, messages of senders, HTTP requests."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import folders, http
from tests.fuzz.target import Target


def _stacks(kind: str, folder: Path) -> list[bytes]:
    from tests.inputs import WRITERS

    counts = np.random.default_rng(0).integers(0, 4, (3, 16, 16)).astype(np.uint8)
    return [WRITERS[kind](folder, "a", counts).read_bytes()]


def _modes(folder: Path) -> list[bytes]:
    from mrcz_dask.formats.mrc.writer import write

    seeds = []
    for k, dtype in enumerate(("i1", "i2", "u2", "f4", "f2", "c8")):
        path = folder / f"{k}.mrcz"
        frames = np.arange(2 * 5 * 7).reshape(2, 5, 7).astype(dtype)
        write(path, frames, codec=None if k % 2 else "zstd:1", meta={"a": [1, {"b": None}]}, pixel_size=1.5)
        seeds.append(path.read_bytes())
    return seeds


def _read_stack(suffix: str, data: bytes, folder: Path) -> object:
    from mrcz_dask.formats.sources import open_source
    from mrcz_dask.formats.verify import verify_file

    path = folder / f"a{suffix}"
    path.write_bytes(data)
    verify_file(path)
    with open_source(path) as reader:
        facts = (reader.pixel_size, reader.meta, reader.pixels, reader.provenance, reader.notes)
        if np.prod(reader.shape) > 1 << 20:  # the law is about what was read, not about large stacks
            return facts
        return facts, reader.frames(None)


def _chunks(folder: Path) -> list[bytes]:
    from mrcz_dask.formats.compression.codecs import Codec

    frame = np.random.default_rng(0).poisson(3, 600).astype(np.int16)
    return [Codec(name).compress(frame) for name in ("zstd", "lz4", "zlib")]


def _read_chunk(data: bytes, folder: Path) -> object:
    from mrcz_dask.formats.compression.chunks import decompress_into
    from mrcz_dask.live.record.spool import check_chunk

    check_chunk(data, 1200, 2)
    out = np.empty(600, np.int16)
    decompress_into(data, out)
    return out


def _hdf5_filters() -> list[dict[str, Any]]:
    import hdf5plugin

    names = [
        hdf5plugin.Bitshuffle(),
        hdf5plugin.Bitshuffle(cname="zstd"),
        hdf5plugin.Blosc(),
        hdf5plugin.LZ4(),
    ]
    own = [{"compression": name, "shuffle": True, "fletcher32": True} for name in ("gzip", "lzf")]
    return [*map(dict, names), dict(hdf5plugin.Zstd()), *own]


def _hdf5_chunks(folder: Path) -> list[bytes]:
    import h5py

    frame = np.random.default_rng(0).poisson(3, (1, 80, 160)).astype(np.int16)
    seeds = []
    with h5py.File(folder / "a.h5", "w") as file:
        for k, filters in enumerate(_hdf5_filters()):
            data = file.create_dataset(str(k), data=frame, chunks=frame.shape, **filters)
            file.flush()
            seeds.append(bytes([k]) + data.id.read_direct_chunk((0, 0, 0))[1])
    return seeds


def _read_hdf5_chunk(data: bytes, folder: Path) -> object:
    """The first byte chooses the filters."""
    import h5py

    filters = _hdf5_filters()
    with h5py.File(folder / "a.h5", "w") as file:
        options = filters[(data or b"\0")[0] % len(filters)]
        dataset = file.create_dataset("a", (1, 80, 160), np.int16, chunks=(1, 80, 160), **options)
        dataset.id.write_direct_chunk((0, 0, 0), data[1:] or b"\0")
    return _read_stack(".h5", (folder / "a.h5").read_bytes(), folder)


def _zarr_chunks(folder: Path) -> list[bytes]:
    import numcodecs

    frame = np.random.default_rng(0).poisson(3, (1, 80, 160)).astype(np.int16)
    return [bytes(numcodecs.Blosc(name, 5, 2, 4096).encode(frame)) for name in ("zstd", "lz4", "blosclz")]


def _read_zarr_chunk(data: bytes, folder: Path) -> object:
    import zarr

    from mrcz_dask.formats.sources import open_source

    if int.from_bytes(data[4:8], "little") > 1 << 20:  # bytes that it gives: as with large stacks
        return None
    path = folder / "a.zarr"
    if not path.exists():
        zarr.create_array(path, data=np.ones((1, 80, 160), np.int16), compressors=zarr.codecs.BloscCodec())
    next(file for file in (path / "c").rglob("*") if file.is_file()).write_bytes(data)
    with open_source(path) as reader:
        return reader.frames(None)


def _headers(folder: Path) -> list[bytes]:
    return [data[:1024] for data in _modes(folder)]


def _read_header(data: bytes, folder: Path) -> object:
    from mrcz_dask.formats.mrc.header import Header

    header = Header.parse(data)
    return header.to_dict(), header.to_bytes()


MDOC = b"""T = SerialEM: Digitized on camera 29-Nov-2026  21:04:11
ImageFile = a.mrc
PixelSpacing = 1.25
[FrameSet = 0]
SubFramePath = X:\\a.tif
NumSubFrames = 40
FrameDosesAndNumber = 0.5 40
DateTime = 29-Nov-26  21:04:11
[ZValue = 0]
TiltAngle = -3.5
"""


def _read_mdoc(data: bytes, folder: Path) -> object:
    from mrcz_dask.formats.text.mdoc import read_mdoc

    path = folder / "a.mdoc"
    path.write_bytes(data)
    mdoc = read_mdoc(path)
    return mdoc.time, mdoc.unread_time, mdoc.tilts, mdoc.pixel_size, mdoc.frames, mdoc.of_frames("a.tif")


DEFECTS = [
    b"CameraSizeX 64\nCameraSizeY 48\nRotationAndFlip 0\nBadColumns 3 4\nPartialBadColumn 5 1 6 9\n"
    b"BadPixels 7 8\n",
    b"3 4 2 1\n0 0 1 1\n",
]


def _read_defects(data: bytes, folder: Path) -> object:
    from mrcz_dask.formats.defects import read_defects

    path = folder / "defects.txt"
    path.write_bytes(data)
    return read_defects(path, (48, 64))


def _star(folder: Path) -> list[bytes]:
    return [b"a.mrc", b"a b.mrc", b"0.5"]


def _write_star(data: bytes, folder: Path) -> object:
    """A word is refused, or read back as it was."""
    from mrcz_dask.formats.text.star import read_star, star_text

    word = data.decode(errors="surrogateescape")
    table = read_star(star_text({"movies": {"rlnName": [word, "b"], "rlnNumber": [1, 2]}}))["movies"]
    assert table["rlnName"] == [word, "b"]
    return table


def _greetings(folder: Path) -> list[bytes]:
    values = {"protocol": 1, "stream": "k3", "session": "s1", "greeting": 1, "acknowledged": 0, "token": ""}
    return [json.dumps(values).encode()]


def _read_greeting(data: bytes, folder: Path) -> object:
    from mrcz_dask.live.transport.wire import Hello

    return Hello.parse(data)


def _frames(folder: Path) -> list[bytes]:
    import zlib

    pixels = np.arange(12, dtype="<u2")
    chunk = _chunks(folder)[0]
    head: dict[str, Any] = {"number": 3, "after": 2, "dtype": "<u2", "shape": [3, 4], "encoding": "raw"}
    head |= {"crc": zlib.crc32(pixels.tobytes()), "time": 1e9, "pixel_size": 1.2, "stack": "a", "index": 0}
    head |= {"meta": {"a": [1, None]}}
    packed = head | {"encoding": "blosc", "crc": zlib.crc32(chunk), "dtype": "<i2", "shape": [20, 30]}
    return [json.dumps(h).encode() + b"\0" + b for h, b in ((head, pixels.tobytes()), (packed, chunk))]


def _read_frame(data: bytes, folder: Path) -> object:
    from mrcz_dask.live.transport.wire import FrameHeader

    head, _, body = data.partition(b"\0")
    return FrameHeader.parse(head, "k3", 1 << 20).pixels(body)


def _log(folder: Path) -> list[bytes]:
    from datetime import UTC, datetime

    from mrcz_dask.session.log import to_line
    from mrcz_dask.values import messages

    now = datetime(2026, 11, 29, tzinfo=UTC)
    said = [messages.Warned("a"), messages.StackFailed(messages.SUMS, "a", "b", 3)]
    return ["\n".join(to_line(one, now) for one in said).encode()]


def _read_log(data: bytes, folder: Path) -> object:
    from mrcz_dask.session.log import NAME, read_messages

    (folder / NAME).write_bytes(data)
    return list(read_messages(folder))


def _spools(folder: Path) -> list[bytes]:
    from mrcz_dask.formats.compression.codecs import Codec
    from mrcz_dask.live.frames import Frame
    from mrcz_dask.live.record.spool import FrameSpool, StreamInfo

    pixels = np.random.default_rng(0).poisson(3, (8, 9)).astype(np.uint16)
    frames = [Frame(k, 1e9 + k, pixels, "a", k, 1.5, {"b": 1}) for k in range(3)]
    with FrameSpool.create(folder / "a.spool", asdict(StreamInfo.of(frames[0]))) as spool:
        spool.add([(frame, Codec("zstd").compress(frame.data.ravel())) for frame in frames])
    return [(folder / "a.spool").read_bytes()]


def _read_spool(data: bytes, folder: Path) -> object:
    from mrcz_dask.live.record.spool import FrameSpool, spooled

    path = folder / "a.spool"
    path.write_bytes(data)
    with FrameSpool.open(path) as spool:
        shown = spool.about, spool.entries, list(spool.frames())
    return shown, list(spooled(path))


def _settings(folder: Path) -> list[bytes]:
    return [b'radius = 12\nformat = "mrcz"\nworkers = 2\nmemory = "4GB"\nexclude = ["a*"]\n']


def _read_settings(data: bytes, folder: Path) -> object:
    from mrcz_dask.engine.queues import read_queue_settings

    path = folder / "a.toml"
    path.write_bytes(data)
    return read_queue_settings(path)


def _read_options(data: bytes, folder: Path) -> object:
    from mrcz_dask.cli.koma import koma
    from mrcz_dask.cli.options.settings import read_settings

    path = folder / "a.toml"
    path.write_bytes(data)
    return read_settings(path, "koma", koma.settings)  # type: ignore[attr-defined]


def _recordings(folder: Path) -> list[bytes]:
    from mrcz_dask.formats.metadata import sealed_values

    return [json.dumps(sealed_values({"k3": 12, "b": 4})).encode(), b'{"k3": 3}']


def _read_recording(data: bytes, folder: Path) -> object:
    from mrcz_dask.live.record.spool import FrameSpool
    from mrcz_dask.live.record.stacks import StreamStacks

    def begin(*_: object) -> FrameSpool:
        raise AssertionError("no frame is recorded")

    (folder / ".recording.json").write_bytes(data)
    return StreamStacks(folder / ".recording.json", 1, begin, print).next


def _manifests(folder: Path) -> list[bytes]:
    from mrcz_dask.session.manifest import NAME, add
    from mrcz_dask.values.messages import silent

    add(folder, [("a.mrcz", "ab" * 32), ("b\nc.zarr/zarr.json", "01" * 32)], silent)
    sealed = (folder / NAME).read_bytes()
    return [sealed, sealed.partition(b"\n")[2]]


def _read_manifest(data: bytes, folder: Path) -> object:
    from mrcz_dask.session.manifest import NAME, listed, lost

    (folder / NAME).write_bytes(data)
    outputs = listed(folder, [])
    return outputs, lost(folder, outputs, read=False)


def _electrons(folder: Path) -> list[bytes]:
    from mrcz_dask.counting.packing import pack
    from tests.damage.events import electrons

    return [pack(electrons())]


def _read_electrons(data: bytes, folder: Path) -> object:
    from mrcz_dask.counting.packing import unpack

    return unpack(data)


def _stack(name: str, suffix: str, kind: str) -> Target:
    return Target(name, partial(_stacks, kind), partial(_read_stack, suffix))


TARGETS = {
    target.name: target
    for target in (
        Target("header", _headers, _read_header),
        Target("mrc", _modes, partial(_read_stack, ".mrcz")),
        _stack("four-bits", ".mrc", "four bits"),
        _stack("serialem", ".mrc", "serialem mrc"),
        _stack("wrapped", ".mrc.gz", "gz"),
        _stack("tiff", ".tif", "tiff"),
        _stack("eer", ".eer", "eer"),
        _stack("hdf5", ".h5", "hdf5"),
        _stack("dm4", ".dm4", "dm4"),
        Target("chunk", _chunks, _read_chunk),
        Target("hdf5-chunk", _hdf5_chunks, _read_hdf5_chunk),
        Target("zarr-chunk", _zarr_chunks, _read_zarr_chunk),
        Target("mdoc", lambda folder: [MDOC], _read_mdoc),
        Target("defects", lambda folder: DEFECTS, _read_defects),
        Target("star", _star, _write_star),
        Target("greeting", _greetings, _read_greeting),
        Target("frame", _frames, _read_frame),
        Target("log", _log, _read_log),
        Target("spool", _spools, _read_spool),
        Target("queue-settings", _settings, _read_settings),
        Target("settings", _settings, _read_options),
        Target("recording", _recordings, _read_recording),
        Target("manifest", _manifests, _read_manifest),
        Target("electrons", _electrons, _read_electrons),
        *folders.TARGETS,
        *http.TARGETS,
    )
}
