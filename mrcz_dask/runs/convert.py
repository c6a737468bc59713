"""One stack at a time, without its neighbours: recompress, decompress, filter outliers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.places import measure, stem_of
from mrcz_dask.formats.reader import StackReader
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.formats.writer import StackWriter
from mrcz_dask.numerics.correction import make_correction
from mrcz_dask.numerics.filling import fill_values
from mrcz_dask.numerics.outliers import OutlierMask, outlier_mask
from mrcz_dask.numerics.parts import MeanImage
from mrcz_dask.numerics.philox import key_of
from mrcz_dask.numerics.replacing import Replacement
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.numerics.weights import is_masked
from mrcz_dask.runs.outputs import check_codec, keeps_chunks, output_codec
from mrcz_dask.runs.readback import pixel_digest, read_back
from mrcz_dask.runs.space import forbid_overwriting
from mrcz_dask.values.errors import OutputExistsError, SpaceError
from mrcz_dask.values.params import OutlierParams

Frame = NDArray[Any]
QUANTISATION = ("scale", "offset", "rounding", "generator")
FOOTERS: dict[str, bool | Literal["sidecar"]] = {"footer": True, "sidecar": "sidecar", "none": False}


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a stack: names, sizes in bytes, and what there is to say of it."""

    name: str
    output: str
    bytes_in: int
    bytes_out: int
    findings: dict[str, Any]


def recompress(path: Path, folder: Path, codec: str, *, overwrite: bool = False) -> Converted:
    """Write the same pixels with another codec; the output is read back and compared.

    Parameters
    ----------
    path
        Of the stack.
    folder
        Where STEM.mrcz goes.
    codec
        NAME[:LEVEL], ``auto``, or ``keep``: chunks are copied (version-2 chunks; others are written anew).
    overwrite
        Replace an output that is there.

    Raises
    ------
    DamagedError
        When the output does not give the same pixels again; it never appears.
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    ParameterError
        For a codec that is none.
    """
    check_codec(codec, may_keep=True)
    target = _target(path, folder, ".mrcz", overwrite)
    with open_source(path) as reader:
        digest = PixelDigest(reader.shape, reader.dtype)
        with read_back(target, digest.hexdigest) as place:
            _copy(reader, place, codec, digest, path)
    return _converted(path, target, {"digest": digest.hexdigest()})


def _copy(reader: FrameSource, place: Path, codec: str, digest: PixelDigest, path: Path) -> None:
    chunks = reader if isinstance(reader, StackReader) and keeps_chunks(reader, codec) else None
    recipe = (reader.footer or {}).get("recipe")
    with StackWriter(
        place,
        reader.shape,
        reader.dtype,
        codec=output_codec(reader, codec),
        pixel_size=reader.pixel_size,
        meta=reader.meta or None,
        extended=reader.extended,
        extended_type=reader.extended_type,
        pixels=reader.pixels or None,
        recipe=recipe,
    ) as writer:
        for k in range(len(reader)):
            frame = reader.frame(k)
            digest.update(frame)
            if chunks is not None:
                writer.append_chunk(chunks.stored_chunk(k), frame=frame)
            else:
                writer.append(frame)
        step = provenance.step(
            "recompress",
            parameters={"codec": codec},
            inputs=[_input(path, digest.hexdigest())],
            caveats=[f"its recipe needs {recipe.get('store')} beside it"] if isinstance(recipe, dict) else [],
        )
        writer.provenance = provenance.append(reader.provenance, step)


def decompress(
    path: Path,
    folder: Path,
    *,
    stored: bool = False,
    keep: Literal["footer", "sidecar", "none"] = "sidecar",
    overwrite: bool = False,
) -> Converted:
    """Write a stack as plain MRC (.mrcs; an image as .mrc) for software that knows no MRCZ.

    Parameters
    ----------
    path
        Of the stack.
    folder
        Where the output goes.
    stored
        Stored integers as they are; else quantised stacks become float32 counts.
    keep
        Where the provenance goes: behind the pixels, into a .json beside the file, or nowhere.
    overwrite
        Replace an output that is there.

    Raises
    ------
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    """
    with open_source(path) as reader:
        target = _target(path, folder, ".mrcs" if len(reader) > 1 else ".mrc", overwrite)
        physical = reader.quantised and not stored
        writer = StackWriter(
            target,
            reader.shape,
            np.dtype(np.float32) if physical else reader.dtype,
            codec="none",
            pixel_size=reader.pixel_size,
            meta=(reader.meta or None) if keep != "none" else None,
            pixels=_known_of(reader, physical),
            footer=FOOTERS[keep],
        )
        left = ["recipe: these are counts, not normalised"] if "recipe" in (reader.footer or {}) else []
        with writer:
            for k in range(len(reader)):
                writer.append(reader.physical(k) if physical else reader.frame(k))
            step = provenance.step(
                "decompress",
                parameters={"stored": stored},
                inputs=[_input(path, pixel_digest(reader))],
                skipped=left,
            )
            writer.provenance = provenance.append(reader.provenance, step)
    return _converted(path, target, {"skipped": left})


def _known_of(reader: FrameSource, physical: bool) -> dict[str, Any] | None:
    """Return what the footer says of the pixels, without their quantisation where that is undone."""
    undone = (*QUANTISATION, "dtype") if physical else ()
    return {key: value for key, value in reader.pixels.items() if key not in undone} or None


def filter_outliers(
    path: Path, folder: Path, params: OutlierParams, codec: str, *, overwrite: bool = False
) -> Converted:
    """Find and fill the outliers of one stack, without KOMA.

    Counts stay counts: each outlier is kept, or replaced as a whole by a Poisson draw round the mean of its
    neighbours, with the probability that its weight says. Floats are blended with the fill.

    Raises
    ------
    OutlierError
        When the stack has no finite pixel.
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    """
    check_codec(codec, may_keep=False)
    target = _target(path, folder, ".mrcz", overwrite)
    with open_source(path) as reader:
        total = sum_stack(_Physical(reader))
        mask = outlier_mask(total, params)
        digest = pixel_digest(reader)
        counts = reader.dtype.kind in "iu" and not reader.quantised
        mean = (total.total() / len(reader)).astype(np.float32)
        change = _replacing(mask, mean, digest) if counts else _blending(mask, mean)
        writer = StackWriter(
            target,
            reader.shape,
            reader.dtype if counts else np.dtype(np.float32),
            codec=codec,
            pixel_size=reader.pixel_size,
            meta=reader.meta or None,
            provenance=reader.provenance,
            pixels={"unit": "counts", "dose_per_frame": float(mask.mean) / len(reader)},
        )
        with writer:
            for k in range(len(reader)):
                writer.append(change(reader.physical(k), k))
            step = provenance.step(
                "outliers",
                parameters=params.to_dict(),
                inputs=[_input(path, digest)],
                results={"mask": mask.summary(), "filled": "poisson draws" if counts else "blended"},
                caveats=list(mask.caveats),
            )
            writer.provenance = provenance.append(writer.provenance, step)
    return _converted(path, target, mask.summary() | {"caveats": list(mask.caveats)})


class _Physical:
    """The frames of a stack, to be gone through more than once."""

    def __init__(self, reader: FrameSource) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[Frame]:
        return (self._reader.physical(k) for k in range(len(self._reader)))


def _replacing(mask: OutlierMask, mean: NDArray[np.float32], digest: str) -> Callable[[Frame, int], Frame]:
    weight = mask.weight255
    fill = fill_values(mean, is_masked(weight), mask.neighbourly, where=weight < 255)
    return Replacement.make(weight, fill, key_of(digest)).apply


def _blending(mask: OutlierMask, mean: NDArray[np.float32]) -> Callable[[Frame, int], Frame]:
    made = make_correction("subtract", None, MeanImage(mean), mask.weight255, mask.neighbourly).ready()
    return lambda frame, k: made.apply(frame)


def _target(path: Path, folder: Path, suffix: str, overwrite: bool) -> Path:
    target = folder / f"{stem_of(path.name)}{suffix}"
    forbid_overwriting([path], [target])
    if target.exists() and not overwrite:
        raise OutputExistsError(
            f"{target} is there already; use --overwrite to replace it, or another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpaceError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another output folder"
        ) from error
    return target


def _input(path: Path, digest: str) -> dict[str, Any]:
    return {"role": "stack", "name": path.name, "size": measure(path).size, "digest": digest}


def _converted(path: Path, target: Path, findings: dict[str, Any]) -> Converted:
    return Converted(path.name, str(target), measure(path).size, target.stat().st_size, findings)
