"""One stack at a time, without its neighbours: recompress, decompress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.outputs import REVERSED, check_codec, keeps_chunks, output_codec
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.mrc.header import JSON, LABELS, foreign_labels
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.places import measure, stem_of
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import FrameSource, open_source, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import (
    OURS,
    ROWS,
    SUFFIXES,
    UINT4,
    open_writer,
    reversed_rows,
    row_order,
    stored_type,
)
from mrcz_dask.session.output_folder import forbid_overwriting, make_folder
from mrcz_dask.session.readback import pixel_digest, read_back
from mrcz_dask.session.shared_readers import USUAL
from mrcz_dask.values.errors import DtypeError, FormatError, OutputExistsError
from mrcz_dask.values.params import InputParams, OutputFormat
from mrcz_dask.version import __version__

Frame = NDArray[Any]
QUANTISATION = ("scale", "offset", "rounding", "generator")
FOOTERS: dict[str, bool | Literal["sidecar"]] = {"footer": True, "sidecar": "sidecar", "none": False}


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a stack: names, sizes in bytes, findings, whether it was kept, SHA-256 of its files."""

    name: str
    output: str
    bytes_in: int
    bytes_out: int
    findings: dict[str, Any]
    kept: bool = False
    files: tuple[tuple[str, str], ...] = ()


def recompress(
    path: Path,
    folder: Path,
    codec: str,
    format: OutputFormat = "mrcz",
    *,
    stem: str | None = None,
    params: InputParams = USUAL,
    overwrite: bool = False,
    resume: bool = False,
) -> Converted:
    """Write the same pixels with another codec or in another format; the output is read back and compared.

    Parameters
    ----------
    path
        Of the stack.
    folder
        Where STEM and the format's suffix go.
    codec
        As `check_format_codec` has it, such as ``uint4`` for four bits in ``mrcs``; for MRCZ also ``keep``:
        chunks are copied (version-2 chunks; others are written anew).
    format
        Of the output. For other programs integers are stored in the narrowest type that all read alike, and
        rows as `reversed_rows` says.
    stem
        What the output is called, with folders; None = the stem of the stack's name.
    params
        How the stack is read where it does not say it.
    overwrite
        Replace an output that is there.
    resume
        Keep one that is sound and was made from this stack in this way; replace it if the stack has changed.

    Raises
    ------
    DamagedError
        When the output does not give the same pixels again; it never appears.
    DtypeError
        The format cannot hold the pixels; says what to do.
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    ParameterError
        For a codec that is none.
    """
    check_codec(codec, format, may_keep=True)
    about = {"codec": codec, "format": format, "input": params.to_dict()}
    target, before = target_of(
        path, folder, SUFFIXES[format], stem, overwrite, ("recompress", about) if resume else None
    )
    if before is not None:
        return converted(path, target, {"digest": before["inputs"][0]["digest"]}, kept=True)
    with open_source(path, params) as reader:
        reverse = reversed_rows(reader, format)
        digest = PixelDigest(reader.shape, reader.dtype)
        with (
            read_back(target, digest.hexdigest, reverse_rows=reverse) as place,
            _copy_writer(reader, place, codec, format, reverse) as writer,
        ):
            _copy(reader, writer, codec, digest)
            step = _recompressed(reader, path, digest.hexdigest(), about, writer)
            writer.provenance = provenance.append(reader.provenance, step)
        left = list(reader.not_kept)
    found = {"digest": digest.hexdigest(), "caveats": step["caveats"], "skipped": left}
    return converted(path, target, found, reader.notes)


def _copy_writer(
    reader: FrameSource, place: Path, codec: str, format: OutputFormat, reverse: bool
) -> FrameWriter:
    dtype, four_bit = stored_type(format, reader.dtype, *range_of(reader, reader.dtype, format), codec)
    return open_writer(
        place,
        format,
        reader.shape,
        dtype,
        codec=output_codec(reader, codec) if format == "mrcz" else codec,
        pixel_size=reader.pixel_size,
        **reader.carried(),
        pixels={**reader.pixels, "dtype": dtype_text(reader.dtype), **row_order(reader, format)},
        recipe=_turned((reader.footer or {}).get("recipe"), reverse),
        four_bit=four_bit,
        reverse_rows=reverse,
    )


def _turned(recipe: Any, reverse: bool) -> Any:
    """Return a recipe for frames whose rows lie the other way round: what it needs has those of the input."""
    if not reverse or not isinstance(recipe, dict):
        return recipe
    rest = {key: value for key, value in recipe.items() if key != REVERSED}
    return rest if recipe.get(REVERSED) else {**rest, REVERSED: True}


def range_of(frames: Iterable[Frame], dtype: np.dtype[Any], format: OutputFormat) -> tuple[float, float]:
    """Return the least and the greatest pixel of frames, if the format asks for it: they are gone through."""
    if format in OURS or dtype.kind not in "iu":
        return 0, 0
    ends = [(int(frame.min()), int(frame.max())) for frame in frames]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _copy(reader: FrameSource, writer: FrameWriter, codec: str, digest: PixelDigest) -> None:
    chunks = reader if isinstance(reader, StackReader) and keeps_chunks(reader, codec) else None
    for k in range(len(reader)):
        frame = reader.frame(k)
        digest.update(frame)
        if chunks is not None and isinstance(writer, StackWriter):
            writer.append_chunk(chunks.stored_chunk(k), frame=frame)
        else:
            writer.append(frame)


def _recompressed(
    reader: FrameSource,
    path: Path,
    digest: str,
    about: dict[str, Any],
    writer: FrameWriter,
) -> dict[str, Any]:
    recipe = (reader.footer or {}).get("recipe")
    caveats = [f"its recipe needs {recipe.get('store')} beside it"] if isinstance(recipe, dict) else []
    if about["codec"] == UINT4 and reader.shape[-1] % 2:
        caveats.append(
            f"4-bit rows of {reader.shape[-1]} pixels end in half a byte, as in IMOD, not in RELION"
        )
    return provenance.step(
        "recompress",
        parameters=about,
        inputs=[input_of(path, digest)],
        results=stored_as(writer, reversed_rows(reader, about["format"])),
        caveats=caveats,
        skipped=[f"not kept: {text}" for text in reader.not_kept],
    )


def decompress(
    path: Path,
    folder: Path,
    *,
    stem: str | None = None,
    params: InputParams = USUAL,
    keep: Literal["footer", "sidecar", "none"] = "sidecar",
    overwrite: bool = False,
    resume: bool = False,
) -> Converted:
    """Write a stack as plain MRC (.mrcs; an image as .mrc) for software that knows no MRCZ.

    Quantised stacks become float32 counts; `recompress` to ``mrcs`` keeps the stored integers.

    Parameters
    ----------
    path
        Of the stack.
    folder
        Where the output goes.
    stem, resume
        See `recompress`.
    params
        How the stack is read where it does not say it.
    keep
        Where the provenance goes: behind the pixels, into a .json beside the file, or nowhere.
    overwrite
        Replace an output that is there.

    Raises
    ------
    DtypeError
        For counts on an offset that float32 cannot hold.
    OutputExistsError, SessionError, FormatError, OSError
        For an output that is there or is the input, a bad input, a full disk.
    """
    with open_source(path, params) as reader:
        if reader.quantised and reader.physical_dtype == np.float64:
            raise DtypeError(
                f"{path}: its counts lie on a constant offset of {reader.offset:g}, beside which float32 "
                "loses them. `recompress --format mrcs` keeps stored integers; the footer says the offset"
            )
        asked, suffix = {"input": params.to_dict()}, ".mrcs" if len(reader) > 1 else ".mrc"
        beside = sidecar_path(folder / f"{stem or stem_of(path.name)}{suffix}").exists()
        as_before = beside == (keep == "sidecar")  # else the provenance of what is there is elsewhere
        done = ("decompress", asked) if resume and as_before else None
        target, before = target_of(path, folder, suffix, stem, overwrite, done)
        if before is not None:
            return converted(path, target, {"skipped": before.get("skipped", [])}, kept=True)
        reverse = reversed_rows(reader, "mrcs")
        about = reader.carried()
        if reader.extended_type == JSON:  # the metadata of MRCZ
            about |= {"extended": b"", "extended_type": ""}
        left = list(_left_of(reader, about, keep))
        if keep == "none":
            about["meta"] = None
        writer = StackWriter(
            target,
            reader.shape,
            reader.physical_dtype,
            codec="none",
            pixel_size=reader.pixel_size,
            pixels=_known_of(reader),
            footer=FOOTERS[keep],
            reverse_rows=reverse,
            kind="mrc" if about["extended"] else None,  # which has a place for it
            **about,
        )
        with writer:
            for k in range(len(reader)):
                writer.append(reader.physical(k))
            step = provenance.step(
                "decompress",
                parameters=asked,
                inputs=[input_of(path, pixel_digest(reader))],
                results=stored_as(writer, reverse),
                skipped=left,
            )
            writer.provenance = provenance.append(reader.provenance, step)
    return converted(path, target, {"skipped": left}, reader.notes)


def _left_of(reader: FrameSource, about: dict[str, Any], keep: str) -> Iterator[str]:
    """Yield what a plain file of a stack does not hold."""
    yield from reader.not_kept
    if "recipe" in (reader.footer or {}):
        yield "the recipe: these are counts, not normalised"
    if keep == "none":
        labels = foreign_labels(about["mrc_header"])[LABELS - 1 :] if about["mrc_header"] else ()
        yield from (f"label {text!r}: a header holds {LABELS}" for text in labels)
        yield from ("metadata",) if about["meta"] else ()
        yield from ("provenance",) if reader.provenance else ()


def _known_of(reader: FrameSource) -> dict[str, Any] | None:
    """Return what the footer says of the pixels, without their quantisation where that is undone."""
    undone = (ROWS, "dtype", *(QUANTISATION if reader.quantised else ()))
    return {key: value for key, value in reader.pixels.items() if key not in undone} or None


def stored_as(writer: FrameWriter, reverse: bool) -> dict[str, Any]:
    """Return what a step says of the stored pixels."""
    return {"stored_dtype": dtype_text(writer.dtype), REVERSED: reverse}


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Return a dtype as payloads have it, such as ``<u2``."""
    return dtype.newbyteorder("<").str


def target_of(
    path: Path,
    folder: Path,
    suffix: str,
    stem: str | None,
    overwrite: bool,
    resumed: tuple[str, dict[str, Any]] | None,
) -> tuple[Path, dict[str, Any] | None]:
    """Return the path of an output, in a folder that is there, and the step that made it if it is kept.

    Inputs are never overwritten. `resumed` is the name of the step with its parameters, where outputs of an
    earlier run are kept.
    """
    target = folder / f"{stem or stem_of(path.name)}{suffix}"
    measure(path)  # what is not there is said before a folder is made
    forbid_overwriting([path], [target, sidecar_path(target)])
    last = _last_step(target) if resumed is not None and not overwrite and target.exists() else {}
    if resumed is not None and (last.get("name"), last.get("parameters")) == resumed:
        if _is_of(target, path, last):
            return target, last
    elif target.exists() and not overwrite:
        raise OutputExistsError(
            f"{target} is there already; use --overwrite to replace it, or another folder"
        )
    make_folder(target.parent)
    return target, None


def _last_step(target: Path) -> dict[str, Any]:
    try:
        chain = (read_footer(target) or {}).get("provenance")
    except FormatError:
        return {}
    return chain[-1] if chain else {}


def _is_of(target: Path, path: Path, step: dict[str, Any]) -> bool:
    """Return whether an output is sound, of this version, and not older than its input of the same size."""
    one, now = step["inputs"][0], measure(path)
    same = (one["name"], one["size"], step["version"]) == (path.name, now.size, __version__)
    return same and measure(target).mtime_ns >= now.mtime_ns and verify_file(target).status == "sound"


def input_of(path: Path, digest: str) -> dict[str, Any]:
    """Return what a step says of its input."""
    return {"role": "stack", "name": path.name, "size": measure(path).size, "digest": digest}


def converted(
    path: Path, target: Path, findings: dict[str, Any], notes: tuple[str, ...] = (), *, kept: bool = False
) -> Converted:
    """Return what became of a stack, and what the reader of its file noted."""
    found = findings | ({"notes": list(notes)} if notes else {})
    return Converted(path.name, str(target), measure(path).size, measure(target).size, found, kept)
