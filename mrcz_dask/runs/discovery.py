"""Find the stacks of a session and put them in order of acquisition."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import TypeVar

from mrcz_dask.runs.entries import Discovery, Rejected, Skipped, StackEntry
from mrcz_dask.runs.listing import Listing, list_stacks
from mrcz_dask.runs.looks import Look, look
from mrcz_dask.runs.space import some
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.params import InputParams

__all__ = ["Discovery", "Rejected", "Skipped", "StackEntry", "discover"]

_Found = TypeVar("_Found", StackEntry, Skipped, Rejected)
# A look is a few short reads. Over a network it waits, and eight at a time wait less; from a local disk it
# computes, and threads that wait for each other's turn take twice as long as one. The first ones tell.
_THREADS = 8
_FIRST = 32
_WAITING = 0.5


def discover(
    folder: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    recursive: bool = False,
    inputs: InputParams | None = None,
    outputs: bool = False,
) -> Discovery:
    """Find the stacks of a session: files of several frames, of any format that is read.

    Only headers, footers and the texts beside the stacks are read, no frame.

    Parameters
    ----------
    folder
        The session's folder.
    output
        Where outputs go; left out if it lies in the session.
    include
        Patterns (``*``, ``?``, ``[...]``) of relative path, name or stem; a stack has to match one of them.
    exclude
        Such patterns, or text files that list them (``#`` begins a comment); a stack may match none.
    recursive
        Look into the folders below, too.
    inputs
        How files are read where they do not say it: the sign of 8-bit MRC, raw frames of EER.
    outputs
        Take outputs of KOMA as stacks, too.

    Returns
    -------
    Discovery
        The stacks in order of acquisition, what was skipped or rejected and why, and what is doubtful.

    Raises
    ------
    SessionError
        If there is no such folder or no stack in it, if it is the output folder itself, or if outputs of two
        stacks would have the same name.
    """
    root = session_folder(Path(folder), None if output is None else Path(output))
    listing = list_stacks(root, None if output is None else Path(output), include, exclude, recursive)
    found = assemble(
        root, listing, _map(partial(look, root, listing.mdocs, inputs=inputs, outputs=outputs), listing.files)
    )
    if not found.stacks:
        raise SessionError(_none_good(root, found.skipped, found.rejected))
    _forbid_equal_stems(found.stacks)
    return found


def session_folder(folder: Path, output: Path | None) -> Path:
    """Return the absolute path of a session's folder.

    Raises
    ------
    SessionError
        If it is not there, no folder, or the output folder.
    """
    if not folder.is_dir():
        what = "no folder" if folder.exists() else "not there"
        raise SessionError(f"session {folder} is {what}; expected a folder with stacks; check the path")
    root = folder.resolve()
    if output is not None and output.resolve() == root:
        other = root / "koma"
        raise SessionError(f"output folder {output} is the session's folder; choose another, such as {other}")
    return root


def assemble(root: Path, listing: Listing, looks: Sequence[Look]) -> Discovery:
    """Return what was found in a session's folder, in order; there may be no stack."""
    entries = sorted(_of(StackEntry, looks), key=lambda entry: (entry.acquired.time, entry.name))
    stacks, odd = _alike(entries)
    rejected = sorted((*listing.rejected, *_of(Rejected, looks), *odd), key=lambda one: one.path)
    skipped = sorted((*listing.skipped, *_of(Skipped, looks)), key=lambda one: one.path)
    doubts = (*listing.warnings, *(text for one in looks for text in one.warnings), *_doubts(stacks))
    return Discovery(root, tuple(stacks), tuple(skipped), tuple(rejected), doubts)


def _map(function: Callable[[Path], Look], files: Sequence[Path]) -> list[Look]:
    """Return what the function gives for every file, in threads if it waits for most of the time."""
    wall, processor = perf_counter(), thread_time()
    first = [function(path) for path in files[:_FIRST]]
    wall, processor = perf_counter() - wall, thread_time() - processor
    threads = _THREADS if wall - processor > _WAITING * wall else 1
    if threads == 1:
        return first + [function(path) for path in files[_FIRST:]]
    with ThreadPoolExecutor(threads) as pool:
        return first + list(pool.map(function, files[_FIRST:]))


def _of(kind: type[_Found], looks: Iterable[Look]) -> Iterator[_Found]:
    return (one.found for one in looks if isinstance(one.found, kind))


def _alike(entries: Sequence[StackEntry]) -> tuple[list[StackEntry], list[Rejected]]:
    """Return the stacks of the most frequent kind (the earliest's, of several), and the others rejected."""
    counts = Counter(entry.kind for entry in entries)
    usual = max(counts, key=counts.__getitem__, default="")
    remedy = "process these apart (--include), or leave them out (--exclude)"
    odd = [
        Rejected(
            e.path,
            f"{e.path}: found {e.kind} pixels; expected {usual}, as {counts[usual]} of {len(entries)} stacks"
            f" have; {remedy}",
        )
        for e in entries
        if e.kind != usual
    ]
    return [entry for entry in entries if entry.kind == usual], odd


def _forbid_equal_stems(stacks: Iterable[StackEntry]) -> None:
    groups: defaultdict[str, list[StackEntry]] = defaultdict(list)
    for stack in stacks:
        groups[stack.stem].append(stack)
    clashes = [" and ".join(sorted(s.name for s in group)) for group in groups.values() if len(group) > 1]
    if clashes:
        raise SessionError(
            f"{len(clashes)} outputs would get the name of another, as outputs are called by the stems of"
            f" their stacks: {some(clashes)}; expected stems that differ; rename or --exclude one"
        )


def _doubts(stacks: Sequence[StackEntry]) -> Iterator[str]:
    """Yield what makes the order of acquisition doubtful."""
    sources = Counter(stack.acquired.source for stack in stacks)
    if len(sources) > 1:
        mixed = ", ".join(f"{source} ({count})" for source, count in sources.most_common())
        yield f"the order mixes times from different sources, whose clocks may differ: {mixed}"
    modified = [stack.name for stack in stacks if stack.acquired.source == "mtime"]
    if modified:
        yield (
            f"{len(modified)} of {len(stacks)} stacks have no time in .mdoc, header or name, so that the time"
            f" of their last modification was taken: {some(modified)}"
        )
    same: defaultdict[datetime, list[str]] = defaultdict(list)
    for stack in stacks:
        same[stack.acquired.time].append(stack.name)
    tiff = [stack.name for stack in stacks if stack.format == "TIFF"]
    if 0 < len(tiff) < len(stacks):
        yield (
            f"{len(tiff)} of {len(stacks)} stacks are TIFF, whose rows other programs reverse when they read "
            "them; rows are taken in the order of each file: if one camera wrote both, see that they agree"
        )
    yield from (
        f"{some(names)} have the same time {time.isoformat(' ')}: ordered by name"
        for time, names in same.items()
        if len(names) > 1
    )


def _none_good(root: Path, skipped: Sequence[Skipped], rejected: Sequence[Rejected]) -> str:
    reasons = [f"{one.path.name} ({one.reason})" for one in skipped] + [one.reason for one in rejected]
    return (
        f"{root}: no stack that can be processed; {len(skipped)} files skipped, {len(rejected)} rejected:"
        f" {some(reasons)}; check the folder, or use --recursive for a tree of folders"
    )
