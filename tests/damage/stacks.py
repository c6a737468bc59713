"""Stacks of all formats."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.formats import provenance
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer
from mrcz_dask.values.params import OutputFormat
from tests.damage.generator import Kind, same_json

STEPS = provenance.append(None, provenance.step("one", results={"threshold": 4.25e-7}))


def write_stack(format: OutputFormat, dtype: str, pixels: dict[str, Any], folder: Path) -> Path:
    """Write a small stack with metadata and provenance."""
    path = folder / f"a{OUTPUT_SUFFIXES[format]}"
    frames = np.random.default_rng(0).poisson(90, (2, 6, 10)).astype(dtype)
    about: dict[str, Any] = {"provenance": STEPS, "meta": {"title": "gr\u00fcn"}, "pixel_size": 1.25}
    with open_writer(path, format, frames.shape, dtype, pixels=pixels, durable=False, **about) as writer:
        for frame in frames:
            writer.append(frame)
    return path


def read_stack(path: Path) -> dict[str, Any]:
    """Return counts and all facts."""
    with open_source(path) as reader:
        return {
            "frames": reader.frames(scaled=True),
            "pixel_size": reader.pixel_size,
            "meta": reader.meta,
            "pixels": reader.pixels,
            "provenance": reader.provenance,
        }


def is_sound(path: Path) -> bool:
    """Return whether a file is called sound."""
    return verify_file(path).status == "sound"


def write_plain(folder: Path) -> Path:
    """Write a plain file with a sidecar by `write`."""
    write(folder / "a.mrc", np.arange(60, dtype=np.float32).reshape(2, 5, 6), footer="sidecar", meta={"a": 1})
    return folder / "a.mrc"


SCALED = {"unit": "counts", "scale": 0.0625, "offset": 1.5}
_WRITERS: dict[OutputFormat, tuple[str, ...]] = {
    "mrcz": ("formats/mrc/body.py",),
    "mrcs": ("formats/mrc/body.py", "formats/sidecar.py"),
    "mrcs.zst": ("formats/mrc/body.py", "formats/sidecar.py"),
    "tiff": ("formats/foreign/tiff_writer.py", "formats/sidecar.py"),
    "zarr": ("formats/foreign/zarr_writer.py",),
}
KINDS = [
    Kind(
        f"{format} {words}",
        modules,
        partial(write_stack, format, "i2", pixels),
        read_stack,
        is_sound,
        optional=lambda file, pixels=pixels: file.suffix == ".json" and not pixels,
        same=same_json,
    )
    for format, modules in _WRITERS.items()
    for words, pixels in (("counts", {}), ("scaled", SCALED))
]
KINDS.append(replace(KINDS[2], name="plain", write=write_plain))
