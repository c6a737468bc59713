"""Writes one stack again with another codec, in another format, or as plain MRC."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.outputs import REVERSED, check_codec, keeps_chunks, output_codec
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import dtype_text
from mrcz_dask.formats.mrc.header import JSON, LABELS, foreign_labels
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import FooterOption, StackWriter
from mrcz_dask.formats.places import measure, stem_of
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import FrameSource, open_source, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import (
    OURS,
    OUTPUT_SUFFIXES,
    ROWS,
    UINT4,
    open_writer,
    reversed_rows,
    row_order,
    stored_type,
)
from mrcz_dask.session import manifest
from mrcz_dask.session.output_folder import forbid_overwriting, make_folder
from mrcz_dask.session.readback import pixel_digest, read_back
from mrcz_dask.values.errors import DtypeError, FormatError, OutputExistsError, ParameterError
from mrcz_dask.values.params import USUAL_INPUT, InputParams, OutputFormat
from mrcz_dask.version import __version__

Format = OutputFormat | Literal["plain"]
ProvenancePlace = Literal["footer", "sidecar", "none"]
_FOOTERS: dict[ProvenancePlace, FooterOption] = {"footer": True, "sidecar": "sidecar", "none": False}
_QUANTIZATION = ("scale", "offset", "rounding", "generator")


@dataclass(frozen=True, slots=True)
class Converted:
    """Record of one converted stack: names, sizes in bytes, findings, SHA-256 of its files."""

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
    codec: str = "auto",
    format: Format = "mrcz",
    *,
    keep: ProvenancePlace = "sidecar",
    stem: str | None = None,
    params: InputParams = USUAL_INPUT,
    overwrite: bool = False,
    resume: bool = False,
) -> Converted:
    """Write a stack's pixels with another codec or in another format; read them back and compare.

    Parameters
    ----------
    path
        Path of the stack.
    folder
        Where STEM and the format's suffix go.
    codec
        As `check_format_codec` has it, such as ``uint4`` for four bits in ``mrcs``; for MRCZ also ``keep``:
        chunks are copied (version-2 chunks; others are written anew).
    format
        Format of the output. Integers for other programs have the narrowest type that all read alike, and
        rows as `reversed_rows` says. ``plain`` decompresses, for software that knows no MRCZ: MRC (.mrcs; an
        image as .mrc), quantized stacks as float32 counts, where ``mrcs`` keeps the stored integers.
    keep
        For ``plain``: the provenance goes behind the pixels, into a .json beside the file, or nowhere.
    stem
        Name of the output without suffix, with folders; None = that of the stack.
    params
        How the stack is read where its header leaves something open.
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
    about: dict[str, Any] = {"input": params.to_dict()}
    if format == "plain":
        if codec not in ("auto", "none"):
            raise ParameterError(f"codec is {codec!r} for plain MRC, which is not compressed; expected none")
    else:
        check_codec(codec, format, may_keep=True)
        about = {"codec": codec, "format": format, **about}
    with open_source(path, params) as reader:
        suffix = _suffix(reader, format)
        # a plain output with its provenance elsewhere was made in another way
        beside = sidecar_path(folder / f"{stem or stem_of(path.name)}{suffix}").exists()
        same_place = format != "plain" or beside == (keep == "sidecar")
        made_by = ("decompress" if format == "plain" else "recompress", about)
        kept_if = made_by if resume and same_place else None
        target, earlier = target_of(
            path, folder, suffix, stem, overwrite, kept_if, resume=resume, params=params
        )
        if earlier is not None:
            skipped = {"skipped": earlier.get("skipped", [])} if format == "plain" else {}
            return converted(path, target, {"digest": earlier["inputs"][0]["digest"], **skipped}, kept=True)
        step, skipped_texts = _write(reader, path, target, codec, format, keep, made_by)
        findings = {
            "digest": step["inputs"][0]["digest"],
            "caveats": step["caveats"],
            "skipped": skipped_texts,
        }
        return converted(path, target, findings, reader.notes)


def _suffix(reader: FrameSource, format: Format) -> str:
    if format != "plain":
        return OUTPUT_SUFFIXES[format]
    if reader.quantized and reader.physical_dtype == np.float64:
        raise DtypeError(
            f"{reader.name}: its counts lie on a constant offset of {reader.offset:g}, beside which float32 "
            "loses them. `recompress --format mrcs` keeps stored integers; the footer says the offset"
        )
    return ".mrcs" if len(reader) > 1 else ".mrc"


def _write(
    reader: FrameSource,
    path: Path,
    target: Path,
    codec: str,
    format: Format,
    keep: ProvenancePlace,
    made_by: tuple[str, dict[str, Any]],
) -> tuple[dict[str, Any], list[str]]:
    """Write and verify the output; return its step, and texts about content of the input that it lacks."""
    plain = format == "plain"
    reverse = reversed_rows(reader, "mrcs" if format == "plain" else format)
    skipped = _not_in_plain(reader, keep) if plain else list(reader.not_kept)
    chunks = reader if isinstance(reader, StackReader) and keeps_chunks(reader, codec) else None
    digest = PixelDigest(reader.shape, reader.physical_dtype if plain else reader.dtype)
    verified: AbstractContextManager[Path] = read_back(target, digest.hexdigest, reverse_rows=reverse)
    if plain and keep == "none":  # without footer a file does not tell the type of its pixels
        verified = nullcontext(target)
    with ExitStack() as stack:
        place = stack.enter_context(verified)
        if format == "plain":
            writer = stack.enter_context(_plain_writer(reader, place, keep, reverse))
        else:
            writer = stack.enter_context(_copy_writer(reader, place, codec, format, reverse))
        for k in range(len(reader)):
            frame = reader.physical(k) if plain else reader.frame(k)
            digest.update(frame)
            if chunks is not None and isinstance(writer, StackWriter):
                writer.append_chunk(chunks.stored_chunk(k), frame=frame)
            else:
                writer.append(frame)
        of_input = pixel_digest(reader) if plain and reader.quantized else digest.hexdigest()
        step = provenance.step(
            made_by[0],
            parameters=made_by[1],
            inputs=[input_of(path, of_input)],
            results=stored_as(writer, reverse),
            caveats=[] if plain else _caveats(reader, codec),
            skipped=skipped if plain else [f"not kept: {text}" for text in skipped],
        )
        writer.provenance = provenance.append(reader.provenance, step)
    return step, skipped


def _copy_writer(
    reader: FrameSource, place: Path, codec: str, format: OutputFormat, reverse: bool
) -> FrameWriter:
    dtype, four_bit = stored_type(format, reader.dtype, *range_of(reader, reader.dtype, format), codec)
    recipe = (reader.footer or {}).get("recipe")
    if reverse and isinstance(recipe, dict):  # what it needs has the rows of the input
        turned_before = recipe.get(REVERSED)
        recipe = {key: value for key, value in recipe.items() if key != REVERSED}
        recipe |= {} if turned_before else {REVERSED: True}
    return open_writer(
        place,
        format,
        reader.shape,
        dtype,
        codec=output_codec(reader, codec) if format == "mrcz" else codec,
        pixel_size=reader.pixel_size,
        **reader.carried(),
        pixels={**reader.pixels, "dtype": dtype_text(reader.dtype), **row_order(reader, format)},
        recipe=recipe,
        four_bit=four_bit,
        reverse_rows=reverse,
    )


def _plain_writer(reader: FrameSource, place: Path, keep: ProvenancePlace, reverse: bool) -> FrameWriter:
    about = reader.carried()
    if reader.extended_type == JSON:  # the metadata of MRCZ
        about |= {"extended": b"", "extended_type": ""}
    if keep == "none":
        about["meta"] = None
    undone = (ROWS, "dtype", *(_QUANTIZATION if reader.quantized else ()))
    return StackWriter(
        place,
        reader.shape,
        reader.physical_dtype,
        codec="none",
        pixel_size=reader.pixel_size,
        pixels={key: value for key, value in reader.pixels.items() if key not in undone},
        footer=_FOOTERS[keep],
        reverse_rows=reverse,
        kind="mrc" if about["extended"] else None,  # which has a place for it
        **about,
    )


def _not_in_plain(reader: FrameSource, keep: ProvenancePlace) -> list[str]:
    """List what a plain file of a stack does not hold."""
    skipped = list(reader.not_kept)
    if "recipe" in (reader.footer or {}):
        skipped.append("the recipe: these are counts, not normalized")
    if keep == "none":
        labels = foreign_labels(reader.mrc_header)[LABELS - 1 :] if reader.mrc_header else ()
        skipped += [f"label {text!r}: a header holds {LABELS}" for text in labels]
        skipped += ["metadata"] if reader.carried()["meta"] else []
        skipped += ["provenance"] if reader.provenance else []
    return skipped


def _caveats(reader: FrameSource, codec: str) -> list[str]:
    recipe = (reader.footer or {}).get("recipe")
    caveats = [f"its recipe needs {recipe.get('store')} beside it"] if isinstance(recipe, dict) else []
    if codec == UINT4 and reader.shape[-1] % 2:
        caveats.append(
            f"4-bit rows of {reader.shape[-1]} pixels end in half a byte, as in IMOD, not in RELION"
        )
    return caveats


def range_of(
    frames: Iterable[NDArray[Any]], dtype: np.dtype[Any], format: OutputFormat
) -> tuple[float, float]:
    """Return the lowest and highest pixel, from which a format's integer type is chosen; 0, 0 if unneeded."""
    if format in OURS or dtype.kind not in "iu":
        return 0, 0
    ends = [(int(frame.min()), int(frame.max())) for frame in frames]
    return min(low for low, _ in ends), max(high for _, high in ends)


def stored_as(writer: FrameWriter, reverse: bool) -> dict[str, Any]:
    """Return how pixels are stored (type, reversed rows) for a step of the provenance."""
    return {"stored_dtype": dtype_text(writer.dtype), REVERSED: reverse}


def input_of(path: Path, digest: str) -> dict[str, Any]:
    """Return name, size and digest of the input for a step of the provenance."""
    return {"role": "stack", "name": path.name, "size": measure(path).size, "digest": digest}


def target_of(
    path: Path,
    folder: Path,
    suffix: str,
    stem: str | None,
    overwrite: bool,
    made_by: tuple[str, dict[str, Any]] | None,
    *,
    resume: bool,
    params: InputParams,
) -> tuple[Path, dict[str, Any] | None]:
    """Return the path of an output, and the step of its provenance if an earlier output is kept.

    Inputs are never overwritten. `made_by` is the name of the step with its parameters, where outputs of an
    earlier run are kept: those that are sound, of this version, not older than their input, and made from its
    pixels. With `resume` an output that a run lists in ``MANIFEST`` and that is damaged is replaced.

    Raises
    ------
    OutputExistsError
        Something else is there, or an output of another stack of that name.
    """
    target = folder / f"{stem or stem_of(path.name)}{suffix}"
    now = measure(path)  # what is not there is told before a folder is made
    forbid_overwriting([path], [target, sidecar_path(target)])
    step: dict[str, Any] = {}
    if made_by is not None and not overwrite and target.exists():
        with suppress(FormatError):
            step = ((read_footer(target) or {}).get("provenance") or [{}])[-1]
    if made_by is not None and (step.get("name"), step.get("parameters")) == made_by:
        source = step["inputs"][0]
        if verify_file(target).status == "sound":
            with open_source(path, params) as reader:
                digest = pixel_digest(reader)
            # of a file of that name from another folder or night, of which this may be the only copy
            if source["digest"] != digest:
                raise OutputExistsError(
                    f"{target} is there already, made from other pixels than {path}; use --overwrite "
                    "to replace it, or another folder"
                )
            same = (source["name"], source["size"], step["version"]) == (path.name, now.size, __version__)
            if same and measure(target).mtime_ns >= now.mtime_ns:
                return target, step
    elif target.exists() and not overwrite and not (resume and _is_lost(target, folder)):
        raise OutputExistsError(
            f"{target} is there already; use --overwrite to replace it, or another folder"
        )
    make_folder(target.parent)
    return target, None


def _is_lost(target: Path, folder: Path) -> bool:
    """Return whether an output that a run lists in ``MANIFEST`` is damaged, or lacks a file."""
    name = target.relative_to(folder).as_posix()
    files = [
        file for output in manifest.listed(folder, ()) if output.output == name for file, _ in output.files
    ]
    gone = not all((folder / file).exists() for file in files)
    return bool(files) and (gone or verify_file(target).status == "damaged")


def converted(
    path: Path, target: Path, findings: dict[str, Any], notes: tuple[str, ...] = (), *, kept: bool = False
) -> Converted:
    """Build the record of a converted stack, with sizes of its files and notes of the reader."""
    findings = findings | ({"notes": list(notes)} if notes else {})
    return Converted(path.name, str(target), measure(path).size, measure(target).size, findings, kept)
