"""Find the stacks in a session's folder, and put them in order of acquisition time."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time

from mrcz_dask.formats.places import is_text, resolved, rows_are_reversed, stem_of, stems_of
from mrcz_dask.session.entries import Discovery, Rejected, SingleFrame, Skipped, StackEntry
from mrcz_dask.session.groups import with_star_series
from mrcz_dask.session.listing import Listing, list_stacks
from mrcz_dask.session.probe import ProbedFile, probe
from mrcz_dask.session.times import with_tilts
from mrcz_dask.values.errors import PlaceError, SessionError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.texts import some

__all__ = ["Discovery", "Rejected", "Skipped", "StackEntry", "discover"]

_DIGITS = re.compile(r"\d+")
# Probing is a few short reads. Over a network it waits, and eight at a time wait less; from a local disk it
# computes, and threads that wait for each other's turn take twice as long as one. The first ones tell.
_THREADS = 8
_FIRST = 32
_WAITING = 0.5
_SAME_TIME = timedelta(minutes=2)  # names give the minute, and files are written after their exposure
WHERE = {"mdoc": ".mdoc", "header": "the header", "name": "the name"}


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
    """Find the stacks in a session's folder, of any readable format, in order of acquisition time.

    Only headers, footers and the texts beside the stacks are read, no frame.

    Parameters
    ----------
    folder
        Folder of the session.
    output
        Output folder; left out if it lies in the session.
    include
        Patterns (``*``, ``?``, ``[...]``) of relative path, name or stem; a stack has to match one of them.
    exclude
        Such patterns, or text files that list them (``#`` begins a comment); a stack may match none.
    recursive
        Look into the folders below, too.
    inputs
        How files are read where headers leave something open: the sign of 8-bit MRC, raw frames of EER.
    outputs
        Take outputs of KOMA as stacks, too.

    Returns
    -------
    Discovery
        The stacks in order of acquisition, what was skipped or rejected and why, and what is doubtful.

    Raises
    ------
    SessionError
        If there is no such folder or no stack in it, or if it is the output folder itself.
    """
    root = session_folder(Path(folder), None if output is None else Path(output))
    listing = list_stacks(root, None if output is None else Path(output), include, exclude, recursive)
    probed = _probe_all(partial(probe, root, listing.mdocs, inputs=inputs, outputs=outputs), listing.files)
    discovery = assemble(root, listing, probed)
    if not discovery.stacks:
        reasons = [f"{file.path.name} ({file.reason})" for file in discovery.skipped[:1]]
        reasons += [some([file.reason for file in discovery.rejected], 1)] if discovery.rejected else []
        raise SessionError(
            f"{root}: no stack that can be processed; {len(discovery.skipped)} files skipped, "
            f"{len(discovery.rejected)} rejected: {'; '.join(reasons)}; check the folder, or use --recursive "
            "for a tree of folders"
        )
    return discovery


def session_folder(folder: Path, output: Path | None) -> Path:
    """Return a session's folder as an absolute path; check that it exists and is not the output folder.

    Raises
    ------
    SessionError
        If it is not there, no folder, or the output folder.
    """
    if not folder.is_dir():
        problem = "no folder" if folder.exists() else "not there"
        raise PlaceError(f"session {folder} is {problem}; expected a folder with stacks; check the path")
    root = resolved(folder)
    if not is_text(root):
        raise PlaceError(f"session {root}: its path is no UTF-8; rename the folder")
    if output is not None and resolved(output) == root:
        other = root / "koma"
        raise PlaceError(f"output folder {output} is the session's folder; choose another, such as {other}")
    return root


def _probe_all(function: Callable[[Path], ProbedFile], files: Sequence[Path]) -> list[ProbedFile]:
    """Probe every file, in threads if that waits for most of the time."""
    wall, processor = perf_counter(), thread_time()
    first = [function(path) for path in files[:_FIRST]]
    wall, processor = perf_counter() - wall, thread_time() - processor
    if wall - processor <= _WAITING * wall:
        return first + [function(path) for path in files[_FIRST:]]
    with ThreadPoolExecutor(_THREADS) as pool:
        return first + list(pool.map(function, files[_FIRST:]))


def assemble(root: Path, listing: Listing, probed: Sequence[ProbedFile]) -> Discovery:
    """Put the probed files of a session in order of time, and reject stacks whose frame size or pixel kind
    differs from most.

    Stacks of another kind than most (the earliest's, of several) are rejected, and so are images that were
    stacks of the session and lost their other frames.
    """
    files = [file.found for file in probed]
    timed, doubts_of_tilts = with_tilts(root, listing.mdocs, [f for f in files if isinstance(f, StackEntry)])
    timed, doubts_of_series = with_star_series(root, timed)
    entries = sorted(timed, key=lambda entry: (entry.acquired.time, entry.name))
    counts = Counter(entry.kind for entry in entries)
    usual = max(counts, key=counts.__getitem__, default="")
    alike = [entry for entry in entries if entry.kind == usual]
    stems = stems_of([entry.name for entry in alike])
    stacks = [replace(entry, stem=stem) for entry, stem in zip(alike, stems, strict=True)]
    rejected = [*listing.rejected, *(f for f in files if isinstance(f, Rejected))]
    rejected += [
        Rejected(
            e.path,
            f"{e.path}: found {e.kind} pixels; expected {usual}, as {counts[usual]} of {len(entries)} stacks"
            " have; process these apart (--include), or leave them out (--exclude)",
        )
        for e in entries
        if e.kind != usual
    ]
    cut = [f for f in files if isinstance(f, SingleFrame) and _was_a_stack(f, stacks)]
    rejected += [
        Rejected(
            image.path,
            f"{image.path}: has one frame, of the size and type of the session's stacks; expected 2 or more, "
            f"as other stacks have ({stacks[0].name}: {stacks[0].shape[0]}); copy it again from where it "
            "came from, or leave it out (--exclude)",
        )
        for image in cut
    ]
    skipped = [*listing.skipped, *(f for f in files if isinstance(f, Skipped) and f not in cut)]
    of_mdocs = dict.fromkeys(
        (*(text for file in probed for text in file.warnings), *doubts_of_tilts, *doubts_of_series)
    )
    return Discovery(
        root,
        tuple(stacks),
        tuple(sorted(skipped, key=lambda file: file.path)),
        tuple(sorted(rejected, key=lambda file: file.path)),
        (*listing.warnings, *of_mdocs, *_doubts(stacks)),
    )


def _was_a_stack(image: SingleFrame, stacks: Sequence[StackEntry]) -> bool:
    """Whether an image has size and type of the session's stacks.

    A gain reference may have both where pixels are floats: then it must also be called as the stacks are.
    """
    if image.kind is None:
        return False
    *kind, like_a_gain = image.kind
    alike = [stack for stack in stacks if [stack.shape[1:], stack.dtype] == kind]
    if like_a_gain:
        name, called = _DIGITS.sub("#", stem_of(image.path.name)), partial(_DIGITS.sub, "#")
        alike = [stack for stack in alike if called(stem_of(stack.path.name)) == name]
    return bool(alike)


def _doubts(stacks: Sequence[StackEntry]) -> Iterator[str]:
    """Yield what makes the order of acquisition doubtful."""
    sources = Counter(stack.acquired.source for stack in stacks)
    if len(sources) > 1:
        mixed = ", ".join(f"{source} ({count})" for source, count in sources.most_common())
        yield f"the order mixes times from different sources, whose clocks may differ: {mixed}"
    modified = [stack.name for stack in stacks if stack.acquired.source == "mtime"]
    if modified:
        yield (
            f"{len(modified)} of {len(stacks)} stacks have no readable time in .mdoc, header or name; their "
            f"order is that of their last modification: {some(modified)}"
        )
    yield from _disagreeing(stacks)
    turned = [stack.format for stack in stacks if rows_are_reversed(stack.format)]
    if 0 < len(turned) < len(stacks):
        yield (
            f"{len(turned)} of {len(stacks)} stacks are {some(sorted(set(turned)))}, whose rows other "
            "programs reverse when they read them; rows are taken in the order of each file: if one camera "
            "wrote both, see that they agree"
        )
    same: defaultdict[datetime, list[str]] = defaultdict(list)
    for stack in stacks:
        same[stack.acquired.time].append(stack.name)
    for time, names in same.items():
        if len(names) > 1:
            yield f"{some(names)} have the same time {time.isoformat(' ')}: ordered by name"


def _disagreeing(stacks: Sequence[StackEntry]) -> Iterator[str]:
    """Yield which sources give other times, or another order, than those that were taken."""
    differences: defaultdict[tuple[str, str], list[tuple[str, timedelta]]] = defaultdict(list)
    latest: dict[str, datetime] = {}
    for stack in stacks:
        taken = stack.acquired
        for source, time in taken.others:
            apart, before = abs(time - taken.time), latest.get(source, time)
            if apart > _SAME_TIME or time < before:
                differences[taken.source, source].append((stack.name, apart))
            latest[source] = max(time, before)
    for (taken_from, other), differing in differences.items():
        most = max(apart for _, apart in differing)
        yield (
            f"times in {WHERE[taken_from]} and in {WHERE[other]} disagree for {len(differing)} of "
            f"{len(stacks)} stacks, by up to {timedelta(seconds=round(most.total_seconds()))}; those in "
            f"{WHERE[taken_from]} decide: {some(name for name, _ in differing)}"
        )
