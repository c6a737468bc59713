"""Fig. 3: nested metadata as JSON, orjson's JSON and MessagePack, bare and compressed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import Any

import msgpack
import numpy as np

from benchmarks.codecs.counts import shannon
from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.results import MetadataRow
from benchmarks.codecs.timing import BenchStep, Sample, Timing, timed, turns
from mrcz_dask.formats.compression.chunks import ChunkHeader, decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.messages import Listener

_FRAMES = 40
_PARTICLES = 120
CODECS = ("none", "lz4:9:none", "zstd:1:none")


@dataclass(frozen=True, slots=True)
class Encoding:
    """A way to turn plain values into bytes and back."""

    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def _to_json(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


ENCODINGS = (
    Encoding("JSON", _to_json, json.loads),
    Encoding("MessagePack", msgpack.packb, msgpack.unpackb),
)


def encodings() -> tuple[Encoding, ...]:
    """Return the encodings that are there: orjson need not be installed."""
    if find_spec("orjson") is None:
        return ENCODINGS
    orjson = import_module("orjson")
    return (*ENCODINGS, Encoding("JSON (orjson)", orjson.dumps, orjson.loads))


@dataclass(frozen=True, slots=True)
class Serializer:
    """An encoding and a codec, or none."""

    encoding: Encoding
    compression: str

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        return f"{self.encoding.name}, {self.compression}"

    def encode(self, values: Any) -> bytes:
        """Return plain values as bytes."""
        bare = self.encoding.dumps(values)
        if self.compression == "none":
            return bare
        return Codec.parse(self.compression).compress(np.frombuffer(bare, np.uint8)[None])

    def decode(self, data: bytes) -> Any:
        """Return the values of what `encode` gave."""
        return self.encoding.loads(self.unpacked(data))

    def unpacked(self, data: bytes) -> bytes:
        """Return the bytes before compression."""
        if self.compression == "none":
            return data
        bare = np.empty(ChunkHeader.parse(data).nbytes, np.uint8)
        decompress_into(data, bare)
        return bare.tobytes()


def nested_metadata(nbytes: int, seed: int) -> dict[str, Any]:
    """Return metadata of a session as plain values, about `nbytes` as JSON; the same from the same seed."""
    draws = np.random.default_rng(seed)
    stacks: list[dict[str, Any]] = []
    size = 0
    while size < nbytes:
        stacks.append(_stack(len(stacks), draws))
        # stacks are about as long as the first
        size += len(_to_json(stacks[0])) if len(stacks) == 1 else size // (len(stacks) - 1)
    return {"session": {"voltage_kV": 300, "camera": "K2 Summit", "pixel_A": 1.06}, "stacks": stacks}


def measure_metadata(params: BenchParams, listener: Listener) -> tuple[MetadataRow, ...]:
    """Measure every encoding with every codec.

    Raises
    ------
    DamagedError
        What was decoded is not what was encoded.
    """
    values = nested_metadata(params.metadata_bytes, params.seed)
    serializers = [Serializer(*pair) for pair in product(encodings(), CODECS)]
    times: list[list[tuple[Sample, Sample]]] = [[] for _ in serializers]
    total = params.repeats * len(serializers)
    for done, (place, serializer) in enumerate(turns(serializers, params.repeats), 1):
        times[place].append(_round_trip(serializer, values))
        listener(BenchStep("metadata", serializer.name, done, total))
    return tuple(_row(one, values, taken) for one, taken in zip(serializers, times, strict=True))


def _round_trip(one: Serializer, values: Any) -> tuple[Sample, Sample]:
    data, encoding = timed(lambda: one.encode(values))
    found, decoding = timed(lambda: one.decode(data))
    if found != values:
        raise DamagedError(
            f"{one.name}: the decoded metadata differ from those encoded, expected the same values; "
            "do not use this encoding, and test the machine's memory"
        )
    return encoding, decoding


def _row(one: Serializer, values: Any, taken: list[tuple[Sample, Sample]]) -> MetadataRow:
    data = one.encode(values)
    bare = one.unpacked(data)
    bits = shannon(np.bincount(np.frombuffer(bare, np.uint8), minlength=256))
    encode, decode = (Timing.of(samples) for samples in zip(*taken, strict=True))
    name = one.encoding.name
    return MetadataRow(name, one.compression, len(bare), len(data), bits * len(bare) / 8, encode, decode)


def _stack(i: int, draws: np.random.Generator) -> dict[str, Any]:
    """Return what a facility keeps of a stack: names, settings, nested lists of numbers, and gaps."""
    return {
        "name": f"FoilHole_{draws.integers(100_000, 1_000_000)}_Data_{i:05d}",
        "acquired": f"2026-10-14T{i // 60 % 24:02d}:{i % 60:02d}:00",
        "stage_um": {axis: float(draws.normal(0, 300)) for axis in "xyz"} | {"tilt_deg": 0.0},
        "optics": {"defocus_um": round(float(draws.uniform(-3, -0.5)), 3), "spot": 6, "cs_mm": 2.7},
        "frames": list(_frames(draws)),
        "particles": draws.integers(0, 3838, (_PARTICLES, 2)).tolist(),
        "scores": draws.random(_PARTICLES).round(4).tolist(),
        "flags": {"accepted": bool(draws.random() < 0.9), "carbon": None, "comment": ""},
    }


def _frames(draws: np.random.Generator) -> Iterator[dict[str, Any]]:
    shifts = draws.normal(0, 1.5, (_FRAMES, 2)).cumsum(axis=0)
    doses = draws.normal(1, 0.02, _FRAMES).round(5)
    for k, (shift, dose) in enumerate(zip(shifts.tolist(), doses.tolist(), strict=True)):
        yield {"index": k, "exposure_s": 0.2, "dose": dose, "shift_px": shift}
