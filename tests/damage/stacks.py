"""Stacks of all formats."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.formats import provenance
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import SUFFIXES, open_writer
from mrcz_dask.values.params import OutputFormat
from tests.damage.generator import Kind

STEPS = provenance.append(None, provenance.step("one", results={"threshold": 4.25e-7}))


def write_stack(format: OutputFormat, dtype: str, pixels: dict[str, Any], folder: Path) -> Path:
    """Write a small stack with metadata and provenance."""
    path = folder / f"a{SUFFIXES[format]}"
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


KINDS = [
    Kind("mrcz", ("formats/mrc/writer.py",), partial(write_stack, "mrcz", "i2", {}), read_stack, is_sound),
]
