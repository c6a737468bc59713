"""Probe a file by its header, without reading frames: a stack, something else, or a broken file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PureWindowsPath

from mrcz_dask.formats.foreign.eer import EerReader
from mrcz_dask.formats.places import Measured, expected_kind, measure, stem_of
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.formats.text.mdoc import Mdoc, find_mdoc, read_mdoc
from mrcz_dask.session.entries import (
    PixelSizeSource,
    Rejected,
    SingleFrame,
    Skipped,
    StackEntry,
    relative_name,
)
from mrcz_dask.session.times import acquisition_time, not_understood
from mrcz_dask.values.errors import (
    FormatError,
    HeaderError,
    MissingLibraryError,
    MrczDaskError,
    NoStackError,
    PlaceError,
    TruncatedError,
    error_text,
)
from mrcz_dask.values.params import InputParams

_REFERENCE = re.compile(r"gain|dark|flat|defect|mask|(?:^|[\W_]|count|super|lin)ref", re.IGNORECASE)
_PICTURE = re.compile(r"picture|photo|atlas|view|snapshot", re.IGNORECASE)
_DECTRIS = re.compile(r"^(.*)_data_\d+(\.h5)$")
_COPY = re.compile(r"; copy (it|the file) again$")
_REMEDY = "copy it again from where it came from, or leave it out (--exclude)"
_OURS = "koma"  # the step that marks what came out of a run


@dataclass(frozen=True, slots=True)
class ProbedFile:
    """Result of probing a file: its stack entry, or why it is no stack; and warnings about its .mdoc."""

    found: StackEntry | Skipped | Rejected
    warnings: tuple[str, ...] = ()


def probe(
    root: Path,
    mdocs: Mapping[Path, Mapping[str, str]],
    path: Path,
    inputs: InputParams | None = None,
    outputs: bool = False,
) -> ProbedFile:
    """Probe whether a file is a stack of the session, by its header; a broken file is a result, no error.

    Parameters
    ----------
    root
        Folder of the session.
    mdocs
        For every folder: its .mdoc files by case-folded name.
    path
        A file in one of these folders.
    inputs
        How it is read.
    outputs
        Take outputs of KOMA, too.
    """
    if (part := part_of_master(path)) is not None:
        return ProbedFile(part)
    try:
        if text := broken_link(path):
            raise HeaderError(text)
        file, expected = measure(path), f"expected {expected_kind(path.name) or 'MRC'}"
        if file.size == 0 and path.is_file():
            raise FormatError(f"{path}: is empty; {expected}")
        mdoc_path = find_mdoc(path, mdocs[path.parent])
        with open_source(path, inputs) as reader:
            other = _no_stack(path, reader, mdoc_path, outputs)
            if other is not None:
                return ProbedFile(other)
            return _stack(root, path, file, mdoc_path, mdocs[path.parent], reader)
    except NoStackError as error:
        return ProbedFile(Skipped(path, str(error).removeprefix(f"{path}: ")))
    except (MrczDaskError, OSError) as error:
        return ProbedFile(Rejected(path, _broken(path, error)))


def part_of_master(path: Path) -> Skipped | None:
    """Return a reason to skip a Dectris data file if its master file is beside it; else None."""
    master = _DECTRIS.sub(r"\1_master\2", path.name)
    is_part = master != path.name and path.with_name(master).exists()
    return Skipped(path, f"frames of {master}") if is_part else None


def broken_link(path: Path) -> str:
    """Return a message if a path is a link to a file that does not exist; '' for other paths."""
    broken = path.is_symlink() and not path.exists()
    return f"{path}: is a link that leads nowhere ({path.readlink()}); mend the link" if broken else ""


def _broken(path: Path, error: MrczDaskError | OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: is not there; put it back, or leave it out (--exclude)"
    text = str(error) if isinstance(error, MrczDaskError) else f"cannot be read: {error.strerror or error}"
    if not text.startswith(str(path)):
        text = f"{path}: {text}"
    if isinstance(error, HeaderError | MissingLibraryError | PlaceError):  # a copy is no better
        return f"{text}; or leave it out (--exclude)"
    return f"{_COPY.sub('', text)}; {_REMEDY}"


def _no_stack(path: Path, reader: FrameSource, mdoc_path: Path | None, outputs: bool) -> Skipped | None:
    """Return why a file is passed over: an output of KOMA, or a single image; None for a stack."""
    steps = [step.get("name") for step in reader.provenance if isinstance(step, Mapping)]
    if not outputs and ("recipe" in (reader.footer or {}) or _OURS in steps):
        return Skipped(path, "an output of KOMA, as its footer says")
    if reader.shape[0] > 1:
        return None
    if isinstance(reader, EerReader):
        raise HeaderError(
            f"{path}: has {reader.bounds[-1]} raw frames, which give a single frame; expected 2 or more: "
            f"take --eer-frames {max(1, reader.bounds[-1] // 2)} or fewer"
        )
    mdoc = _mdoc(mdoc_path)[0]
    if mdoc is not None and mdoc.frames > 1:
        raise TruncatedError(f"{path}: has one frame, and {mdoc_path} says {mdoc.frames}; copy it again")
    stem = stem_of(path.name)
    mean_of_one = reader.dtype.kind == "f" and 0.5 < (reader.stated_mean or 0) < 2
    named = _REFERENCE.search(stem) is not None
    gain = "; looks like a gain reference" if mean_of_one or named else ""
    kind = None if named or _PICTURE.search(stem) else (reader.shape[1:], reader.dtype, mean_of_one)
    return SingleFrame(path, f"a single image, no stack{gain}", kind)


def _stack(
    root: Path,
    path: Path,
    file: Measured,
    mdoc_path: Path | None,
    mdocs: Mapping[str, str],
    reader: FrameSource,
) -> ProbedFile:
    if reader.dtype.kind not in "iuf":
        raise HeaderError(f"{path}: has {reader.dtype} pixels; expected integers or floats")
    mdoc, warnings = _mdoc(mdoc_path)
    if mdoc is not None and (tilts := len(mdoc.tilts)):
        mdoc = mdoc.of_frames(path.name)
        if mdoc is None:
            series = f"a tilt series, no movie: {mdoc_path} lists {tilts} tilts"
            return ProbedFile(Skipped(path, series), warnings)
    movie = "" if mdoc is None else PureWindowsPath(mdoc.get("SubFramePath") or "").name
    if movie and find_mdoc(path.with_name(movie), mdocs) not in (None, mdoc_path):
        warnings += (f"{mdoc_path} is about {movie}, which has another .mdoc; the stack is taken without it",)
        mdoc = None
    warnings += tuple(f"{path.name}: {note}" for note in reader.notes)
    pixel_size: float | None = None
    source: PixelSizeSource | None = None
    if reader.pixel_size is not None:
        pixel_size = reader.pixel_size[0]
        source = "footer" if "pixel_size" in section(reader.footer, "pixels") else "header"
    elif mdoc is not None and mdoc.pixel_size is not None:
        pixel_size, source = mdoc.pixel_size, "mdoc"
    modified = datetime.fromtimestamp(file.mtime_ns / 1e9)
    name = relative_name(path, root)
    entry = StackEntry(
        path=path,
        name=name,
        shape=reader.shape,
        dtype=reader.dtype,
        size=file.size,
        mtime_ns=file.mtime_ns,
        stem=name.removesuffix(path.name) + stem_of(path.name),
        acquired=acquisition_time(path.name, modified, mdoc=mdoc, labels=reader.labels, meta=reader.meta),
        pixel_size=pixel_size,
        pixel_size_source=source,
        mdoc=None if mdoc is None else mdoc_path,
        tilt=None if mdoc is None else mdoc.tilt,
        place=None if mdoc is None else mdoc.place,
        codec=reader.codec,
        meta=reader.meta,
        format=reader.format,
        first_row=reader.first_row,
    )
    return ProbedFile(entry, warnings)


def _mdoc(path: Path | None) -> tuple[Mdoc | None, tuple[str, ...]]:
    """Read an .mdoc; return it with warnings."""
    if path is None:
        return None, ()
    try:
        mdoc = read_mdoc(path)
    except (MrczDaskError, OSError) as error:
        return None, (f"{error_text(error)}; the stack is taken without it",)
    return mdoc, not_understood(path, mdoc)
