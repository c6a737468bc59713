"""Stacks one by one, named or found in folders, on any client: recompress, decompress, outliers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mrcz_dask.convert.recompress import Converted
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Task, carry_out
from mrcz_dask.engine.memory import MemoryEstimate, estimate_memory
from mrcz_dask.formats.places import is_zarr, measure, stems_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.session import manifest
from mrcz_dask.session.discovery import session_folder
from mrcz_dask.session.entries import Rejected, Skipped, StackEntry, relative_name
from mrcz_dask.session.listing import list_stacks
from mrcz_dask.session.probe import ProbedFile, broken_link, part_of_master, probe
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError, NoStackError, error_text, is_usage_error
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.records import Failure
from mrcz_dask.values.sizes import some


@dataclass(frozen=True, slots=True)
class One:
    """A stack that something is done with by itself.

    Attributes
    ----------
    path, name
        Of the stack; relative to the folder that was named.
    stem
        What its output is called, with folders.
    found
        Whether it was found in a folder, so that an output of an earlier run is kept.
    """

    path: Path
    name: str
    stem: str
    found: bool
    places: tuple[str, ...] = ()


Work = Callable[[One], Converted]


@dataclass(slots=True)
class Batch:
    """The stacks that paths stand for, the outputs' folder, what was done, and what could not be, by path."""

    folder: Path
    ones: list[One] = field(default_factory=list)
    done: list[Converted] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    usage_error: bool = True  # as far as there are failures
    _found: dict[One, Converted] = field(default_factory=dict)

    def fail(self, path: Path, reason: str, *, usage_error: bool = False) -> str:
        """Note what could not be done, and whether what was asked for is to blame; return the reason."""
        for name in (path, path.absolute()):
            reason = reason.removeprefix(f"{name}: ")
        reason = reason.replace(" (--exclude)", "")  # which these commands do not have
        self.failed[str(path)] = reason
        self.usage_error &= usage_error
        return reason

    def kept(self) -> str:
        """Return what is said where a signal ends the batch."""
        left = [one.path for one in self.ones if not (one in self._found or str(one.path) in self.failed)]
        again = all(one.found for one in self.ones)
        how = "give the same command again" if again else f"go on with {some(left)}"
        return f"{len(self._found)} of {len(self.ones)} files are done and kept; {how}"

    def run(self, work: Work, phase: str, client: Client, listen: messages.Listener) -> None:
        """Do something with every stack; one that fails is named and stops no other."""
        listen(messages.PhaseStarted(phase, len(self.ones), 0))
        tasks = [Task(f"{phase}-stack", phase, work, one, k) for k, one in enumerate(self.ones)]
        try:
            for one, made in carry_out(client, tasks):
                if isinstance(made, Failure):
                    reason = self.fail(one.path, made.reason, usage_error=made.usage_error)
                    listen(messages.StackFailed(phase, str(one.path), reason, 0))
                else:
                    self._found[one] = replace(made, name=one.name)
                    listen(messages.StackDone(phase, one.name, 0))
            listen(messages.PhaseFinished(phase))
        finally:
            self.done = [self._found[one] for one in self.ones if one in self._found]
            manifest.add(self.folder, (file for one in self.done for file in one.files), listen)

    def memory_estimate(self, inputs: InputParams) -> MemoryEstimate:
        """Return the memory that a worker needs: that of the stack with the largest frames."""
        needs = [estimate_memory((1, 1), {np.dtype(np.uint8)}, "float32")]
        for one in self.ones:
            try:
                with open_source(one.path, inputs) as reader:
                    needs.append(estimate_memory(reader.shape[1:], {reader.dtype}, "float32"))
            except (MrczDaskError, OSError):
                continue  # said when its turn comes
        return max(needs, key=lambda one: one.task)


def choose(
    paths: Sequence[Path], output: Path, inputs: InputParams, *, recursive: bool = False, movies: bool = False
) -> Batch:
    """Return the stacks that paths of stacks and folders stand for.

    Parameters
    ----------
    paths
        Stacks are taken as they are named; of folders those that are found in them.
    output
        Folder of the outputs; left out if it lies in one of the folders.
    inputs
        How stacks are read where they do not say it.
    recursive
        ProbedFile into the folders below, too.
    movies
        Leave out, of folders, single images and outputs of `koma`, as `koma` does.
    """
    batch, named = Batch(output), []
    for path in paths:
        if path.is_dir() and not is_zarr(path):
            try:
                named += list(_within(path, output, inputs, batch, recursive=recursive, movies=movies))
            except (MrczDaskError, OSError) as error:
                batch.fail(path, error_text(error), usage_error=is_usage_error(error))
            continue
        try:
            measure(path)
        except OSError as error:
            batch.fail(path, error_text(error), usage_error=True)
        else:
            named.append((path, path.name, False))
    names = [name for _, name, _ in named]
    if len(set(names)) < len(names):
        above = os.path.commonpath([path.absolute().parent for path, _, _ in named])
        names = [relative_name(path.absolute(), Path(above)) for path, _, _ in named]
    for (path, _, found), name, stem in zip(named, names, stems_of(names), strict=True):
        batch.ones.append(One(path, name, stem, found))
    return batch


def _within(
    folder: Path, output: Path, inputs: InputParams, batch: Batch, *, recursive: bool, movies: bool
) -> Iterator[tuple[Path, str, bool]]:
    root = session_folder(folder, output)
    listing = list_stacks(root, output, recursive=recursive)
    for one in listing.rejected:
        batch.fail(one.path, one.reason)
    for path in listing.files:
        found = probe(root, listing.mdocs, path, inputs) if movies else _opened(path, inputs)
        match found.found if isinstance(found, ProbedFile) else found:
            case Skipped(_, reason):
                batch.skipped[str(path)] = reason
            case Rejected(_, reason):
                batch.fail(path, reason)
            case StackEntry() | None:
                yield path, relative_name(path, root), True


def _opened(path: Path, inputs: InputParams) -> Skipped | Rejected | None:
    """Return why a file has no pixels to write; those that are damaged are named when their turn comes."""
    if text := broken_link(path):
        return Rejected(path, text)
    if (part := part_of_master(path)) is not None:
        return part
    try:
        open_source(path, inputs).close()
    except NoStackError as error:
        return Skipped(path, str(error).removeprefix(f"{path}: "))
    except (MrczDaskError, OSError):
        pass
    return None
