"""List the files of a folder that may be stacks, by suffix and the user's patterns, without opening them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from mrcz_dask.formats.places import INPUT_SUFFIXES, LOOKED_FOR, ZARR, is_text, resolved, stem_of, suffix_of
from mrcz_dask.formats.text.mdoc import mdoc_index
from mrcz_dask.session.entries import Rejected, Skipped
from mrcz_dask.values.errors import NoStacksError, PlaceError
from mrcz_dask.values.texts import some

LISTS = {".txt", ".lst", ".list", ".csv"}
_HIDDEN = (".", "~", "#")
CALIBRATION = "calibration.zarr"  # of a detector
SESSION = "session.zarr"  # of a run of koma
STORES = (SESSION, "truth.zarr", CALIBRATION)  # truth: of a simulation
EVENTS = ".events.zarr"  # of a counted stack


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder that may be stacks, judged by their names alone, with files that were left out.

    Attributes
    ----------
    files
        Paths of the candidates, sorted by their names relative to the session.
    mdocs
        For every folder: its .mdoc files by case-folded name.
    skipped
        The output folder, excluded files.
    rejected
        Folders that cannot be listed.
    warnings
        Links to a file that is there already, patterns that match nothing.
    """

    files: tuple[Path, ...]
    mdocs: dict[Path, dict[str, str]]
    skipped: tuple[Skipped, ...]
    rejected: tuple[Rejected, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """Folders and files as they are met."""

    root: Path
    output: Path | None
    recursive: bool
    files: list[Path] = field(default_factory=list)
    mdocs: dict[Path, dict[str, str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def enter(self, folder: Path) -> None:
        """List a folder, and those below it if that is asked for."""
        status = folder.stat()
        if (status.st_dev, status.st_ino) in self.seen:
            return  # a link back to a folder above
        self.seen.add((status.st_dev, status.st_ino))
        try:
            with os.scandir(folder) as listed:
                entries = sorted((e for e in listed if not e.name.startswith(_HIDDEN)), key=lambda e: e.name)
        except OSError as error:
            reason = f"{folder}: cannot be listed ({error.strerror}); expected a folder that may be read"
            self.rejected.append(Rejected(folder, f"{reason}; change its permissions"))
            return
        self.mdocs[folder] = mdoc_index(e.name for e in entries)
        for entry in entries:
            path = folder / entry.name
            is_store = path.suffix.casefold() in ZARR
            if not is_text(path):
                if suffix_of(path.name) in INPUT_SUFFIXES:
                    shown = Path(os.fsencode(path).decode(errors="backslashreplace"))
                    reason = f"{shown}: its name is no UTF-8, as names of outputs are; rename it"
                    self.rejected.append(Rejected(shown, f"{reason}, or leave it out (--exclude)"))
                continue
            ours = entry.name in STORES or entry.name.endswith(EVENTS)
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link to itself, or through a folder that may not be read
                is_folder = False
            if not is_folder or (is_store and not ours):
                suffix = suffix_of(path.name)
                self.suffixes[suffix] += 1
                if suffix in INPUT_SUFFIXES:
                    self.files.append(path)
            elif not self.recursive or is_store:
                continue
            elif resolved(path) == self.output:
                self.skipped.append(Skipped(path, "the output folder"))
            else:
                self.enter(path)


def list_stacks(
    folder: Path,
    output: Path | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    recursive: bool = False,
) -> Listing:
    """List the files in a folder that may be stacks, by suffix and pattern; see `discover`.

    Raises
    ------
    NoStacksError
        If there is no file that may be a stack; says what was looked for and what is there.
    """
    walk = _Walk(folder, None if output is None else resolved(output), recursive)
    walk.enter(folder)
    names = _Names(folder, walk.files)
    included = names.matching(include or ())
    chosen = [path for path in walk.files if not include or path in included]
    patterns = [pattern for item in exclude or () for pattern in _patterns(item, names)]
    reasons = names.matching(patterns)
    left = [path for path in chosen if path not in reasons]
    if not left:
        raise NoStacksError(_nothing(walk, include, len(chosen)))
    first_of: dict[object, Path] = {}
    warnings = []
    for path in sorted(left, key=lambda p: (p.is_symlink(), p.as_posix())):
        try:
            status = path.stat()
        except OSError:
            first_of[path] = path  # said when it is opened
            continue
        first = first_of.setdefault((status.st_dev, status.st_ino), path)
        if first is not path:
            warnings.append(f"{path} and {first} are the same file; only the latter is used")
    for option, all_patterns in (("include", include or ()), ("exclude", patterns)):
        if idle := [pattern for pattern in all_patterns if not names.meant(pattern)]:
            warnings.append(f"{option}: nothing matches {some(map(repr, idle))}")
    excluded = [Skipped(path, f"excluded by {reasons[path]!r}") for path in chosen if path in reasons]
    return Listing(
        tuple(sorted(first_of.values(), key=lambda p: p.as_posix())),
        walk.mdocs,
        (*walk.skipped, *excluded),
        tuple(walk.rejected),
        tuple(warnings),
    )


class _Names:
    """The names of files, which patterns match.

    Parameters
    ----------
    folder
        Folder of the session.
    files
        Paths in it.
    """

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._names: dict[Path, tuple[str, ...]] = {}
        self.literal: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            name = path.relative_to(folder).as_posix()
            self._names[path] = names = (name, f"./{name}", path.name, stem_of(path.name))
            for text in dict.fromkeys(names):
                self.literal[text].append(path)

    def meant(self, pattern: str) -> list[Path]:
        """Return the files of this name, whatever characters it has; else those that match the pattern."""
        if pattern in self.literal:
            return self.literal[pattern]
        return [p for p, names in self._names.items() if any(fnmatchcase(name, pattern) for name in names)]

    def matching(self, patterns: Sequence[str]) -> dict[Path, str]:
        """Return the files that patterns stand for, each with the first of its patterns."""
        return {path: pattern for pattern in reversed(patterns) for path in self.meant(pattern)}


def _patterns(pattern: str, names: _Names) -> Iterator[str]:
    """Yield a pattern, or the lines of a text file in the place of its name (``#`` begins a comment)."""
    path = Path(pattern)
    if pattern in names.literal:
        yield pattern
        return
    if path.suffix.casefold() in LISTS and not path.is_file():
        raise PlaceError(
            f"--exclude {pattern}: no such list; expected a text file with a pattern in each line"
        )
    if suffix_of(path.name) in INPUT_SUFFIXES or not path.is_file():
        yield pattern
        return
    for line in path.read_text(errors="replace").splitlines():
        text = line if line in names.literal else line.partition("#")[0].strip()
        yield from [text] if text else []


def _nothing(walk: _Walk, include: Sequence[str] | None, excluded: int) -> str:
    where = f"{walk.root} and the folders below it" if walk.recursive else f"{walk.root}"
    counts = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in sorted(walk.suffixes.items()))
    chosen = f" that match {some(map(repr, include))}" if include else ""
    left = f", {excluded} of them excluded" if excluded else ""
    unread = "".join(f"; {file.reason}" for file in walk.rejected)
    tree = "" if walk.recursive else ", or use --recursive for a tree of folders"
    return (
        f"{where}: no stacks; looked for {LOOKED_FOR} (in any case){chosen}; "
        f"found {counts or 'no files'}{left}{unread}; check the folder and the patterns{tree}"
    )
