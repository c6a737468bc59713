"""Times of frame stacks from the .mdoc of their whole tilt series, which names each by its SubFramePath."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PureWindowsPath

from mrcz_dask.formats.places import stem_of
from mrcz_dask.formats.text.mdoc import Mdoc, mdoc_index, read_mdoc
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.times import Acquired

Tilts = Mapping[str, Sequence[tuple[Path, Mdoc]]]
FORM = "14-Oct-26  19:06:33"


def with_tilts(
    root: Path, mdocs: Mapping[Path, Mapping[str, str]], stacks: Sequence[StackEntry]
) -> tuple[list[StackEntry], list[str]]:
    """Give stacks without an .mdoc of their own the time and pixel size that a tilt series' .mdoc has.

    Parameters
    ----------
    root
        The session's folder; the folder above it may hold the .mdoc files, too.
    mdocs
        For every folder: its .mdoc files by case-folded name.
    stacks
        As their own headers, names and .mdoc files describe them.

    Returns
    -------
    tuple
        The stacks, and what is doubtful about the .mdoc files.
    """
    own = {stack.mdoc for stack in stacks}
    if None not in own:
        return list(stacks), []
    paths = [folder / name for folder, names in mdocs.items() for name in names.values()]
    with suppress(OSError):
        paths += [root.parent / name for name in mdoc_index(p.name for p in root.parent.iterdir()).values()]
    tilts: defaultdict[str, list[tuple[Path, Mdoc]]] = defaultdict(list)
    for path in paths:
        if path not in own:
            with suppress(OSError):
                for stem, tilt in _tilts_in(path, *_stamp(path)):
                    tilts[stem].append((path, tilt))
    doubts: list[str] = []
    return [_with_tilt(stack, tilts, doubts) if stack.mdoc is None else stack for stack in stacks], doubts


def not_understood(path: Path, mdoc: Mdoc) -> tuple[str, ...]:
    """Return what is said of a DateTime that is there and cannot be read; nothing for others."""
    text = mdoc.unread_time
    said = f"{path}: DateTime is {text!r}, which is not understood; expected a time such as {FORM!r}"
    return () if text is None else (said,)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1 << 14)
def _tilts_in(path: Path, size: int, mtime_ns: int) -> tuple[tuple[str, Mdoc], ...]:
    """Return what an .mdoc has for each frame stack, by stem; a file is read again when it has changed."""
    mdoc = read_mdoc(path)
    paths = (tilt.get("SubFramePath") for tilt in mdoc.tilts)
    found = zip(paths, mdoc.tilts, strict=True)
    return tuple((_stem(text), replace(mdoc, sections=(tilt,))) for text, tilt in found if text)


def _stem(path: str) -> str:
    return stem_of(PureWindowsPath(path).name).casefold()


def _with_tilt(stack: StackEntry, tilts: Tilts, doubts: list[str]) -> StackEntry:
    named = tilts.get(_stem(stack.path.name), ())
    if not named:
        return stack
    near = [_nearness(stack.path, path, mdoc) for path, mdoc in named]
    best = [one for one, nearness in zip(named, near, strict=True) if nearness == max(near)]
    path, mdoc = best[0]
    if len({mdoc.time for _, mdoc in best}) > 1:
        names = " and ".join(str(path) for path, _ in best)
        doubts.append(f"{stack.name}: {names} give different times for it, and none was taken")
        return stack
    doubts += not_understood(path, mdoc)
    if stack.pixel_size is None and mdoc.pixel_size is not None:
        stack = replace(stack, pixel_size=mdoc.pixel_size, pixel_size_source="mdoc")
    if mdoc.time is None:
        return stack
    before = stack.acquired
    others = () if before.source == "mtime" else ((before.source, before.time), *before.others)
    return replace(stack, acquired=Acquired(mdoc.time, "mdoc", others))


def _nearness(stack: Path, path: Path, mdoc: Mdoc) -> tuple[int, int]:
    """Return how well folders agree: those in SubFramePath with the stack's, then those of the .mdoc."""
    recorded = PureWindowsPath(mdoc.get("SubFramePath") or "").parent.parts
    return _common(recorded[::-1], stack.parent.parts[::-1]), _common(path.parent.parts, stack.parent.parts)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))
