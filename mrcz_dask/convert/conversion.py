"""Converts many stacks, named or found in folders, as one task for each on a client."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from mrcz_dask.convert.recompress import Converted
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Task, carry_out
from mrcz_dask.engine.memory import MemoryEstimate, estimate_memory
from mrcz_dask.formats.digest import files_in
from mrcz_dask.formats.places import is_text, is_zarr, measure, stems_of
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import open_source
from mrcz_dask.session import manifest
from mrcz_dask.session.discovery import session_folder
from mrcz_dask.session.entries import Rejected, Skipped, StackEntry, relative_name
from mrcz_dask.session.listing import list_stacks
from mrcz_dask.session.probe import broken_link, part_of_master, probe
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError, NoStackError, PlaceError, error_text, is_usage_error
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.records import Failure
from mrcz_dask.values.texts import some


@dataclass(frozen=True, slots=True)
class StackToConvert:
    """Record of one stack to be converted: its path, and the name of its output.

    Attributes
    ----------
    path, name
        Path of the stack, and its name relative to the folder that was named.
    stem
        Name of its output without suffix, with folders.
    in_folder
        It comes from a folder that was named, so that an output of an earlier run is kept.
    """

    path: Path
    name: str
    stem: str
    in_folder: bool
    places: tuple[str, ...] = ()


@dataclass(slots=True)
class Conversion:
    """Stacks to be converted into a folder, with the results and failures so far."""

    folder: Path
    stacks: list[StackToConvert] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    usage_error: bool = True  # as far as there are failures
    _results: dict[StackToConvert, Converted] = field(default_factory=dict)

    @property
    def done(self) -> list[Converted]:
        """Results of the stacks that have been converted, in the order of the stacks."""
        return [self._results[stack] for stack in self.stacks if stack in self._results]

    def fail(self, path: Path, reason: str, *, usage_error: bool = False) -> str:
        """Record that a stack failed, and whether a wrong option is to blame; return the reason."""
        for name in (path, path.absolute()):
            reason = reason.removeprefix(f"{name}: ")
        reason = reason.replace(" (--exclude)", "")  # which these commands do not have
        self.failed[str(path)] = reason
        self.usage_error &= usage_error
        return reason

    def kept(self) -> str:
        """Return a text that says how many files a stopped command has finished, and how to go on."""
        ended = {str(stack.path) for stack in self._results} | set(self.failed)
        left = [stack.path for stack in self.stacks if str(stack.path) not in ended]
        again = all(stack.in_folder for stack in self.stacks)
        how = "give the same command again" if again else f"go on with {some(left)}"
        return f"{len(self._results)} of {len(self.stacks)} files are done and kept; {how}"

    def run(
        self, work: Callable[..., Converted], phase: str, client: Client, listen: messages.Listener
    ) -> None:
        """Convert every stack on a client; one that fails is recorded and stops no other.

        Parameters
        ----------
        work
            Called with the path, ``stem`` and ``resume``, such as `recompress`.
        phase
            Name of the command.
        client
            Where the tasks run.
        listen
            Gets the messages.
        """
        listen(messages.PhaseStarted(phase, len(self.stacks), 0))
        convert = partial(_convert, work, self.folder)
        tasks = [Task(f"{phase}-stack", phase, convert, stack, k) for k, stack in enumerate(self.stacks)]
        try:
            for stack, result in carry_out(client, tasks):
                if isinstance(result, Failure):
                    reason = self.fail(stack.path, result.reason, usage_error=result.usage_error)
                    listen(messages.StackFailed(phase, str(stack.path), reason, 0))
                else:
                    self._results[stack] = result
                    listen(messages.StackDone(phase, stack.name, 0))
            listen(messages.PhaseFinished(phase))
        finally:
            manifest.add(self.folder, (file for result in self.done for file in result.files), listen)

    def memory_estimate(self, inputs: InputParams) -> MemoryEstimate:
        """Estimate the memory of a worker in bytes, from the stack with the largest frames."""
        estimates = [estimate_memory((1, 1), {np.dtype(np.uint8)}, "float32")]
        for stack in self.stacks:
            with suppress(MrczDaskError, OSError), open_source(stack.path, inputs) as reader:
                estimates.append(estimate_memory(reader.shape[1:], {reader.dtype}, "float32"))
        return max(estimates, key=lambda estimate: estimate.task)


def _convert(work: Callable[..., Converted], folder: Path, stack: StackToConvert) -> Converted:
    result = work(stack.path, stem=stack.stem, resume=stack.in_folder)
    target = Path(result.output)
    return replace(result, name=stack.name, files=files_in((target, sidecar_path(target)), folder))


def choose(
    paths: Sequence[Path], output: Path, inputs: InputParams, *, recursive: bool = False, movies: bool = False
) -> Conversion:
    """Find the stacks that the user named, or that lie in folders the user named.

    Parameters
    ----------
    paths
        Stacks are taken as they are named; of folders those that are found in them.
    output
        Folder of the outputs; left out if it lies in one of the folders.
    inputs
        How stacks are read where headers leave something open.
    recursive
        Look into the folders below, too.
    movies
        Leave out, of folders, single images and outputs of `koma`, as `koma` does.
    """
    conversion, named = Conversion(output), list[tuple[Path, str, bool]]()
    for path in paths:
        try:
            if path.is_dir() and not is_zarr(path):
                stacks = _stacks_within(path, output, inputs, conversion, recursive=recursive, movies=movies)
                named += [(stack, name, True) for stack, name in stacks]
            else:
                measure(path)
                if not is_text(path):
                    raise PlaceError(f"{path}: its name is no UTF-8, as names of outputs are; rename it")
                named.append((path, path.name, False))
        except (MrczDaskError, OSError) as error:
            conversion.fail(path, error_text(error), usage_error=not path.is_dir() or is_usage_error(error))
    names = [name for _, name, _ in named]
    if len(set(names)) < len(names):
        above = os.path.commonpath([path.absolute().parent for path, _, _ in named])
        names = [relative_name(path.absolute(), Path(above)) for path, _, _ in named]
    for (path, _, in_folder), name, stem in zip(named, names, stems_of(names), strict=True):
        conversion.stacks.append(StackToConvert(path, name, stem, in_folder))
    return conversion


def _stacks_within(
    folder: Path, output: Path, inputs: InputParams, conversion: Conversion, *, recursive: bool, movies: bool
) -> list[tuple[Path, str]]:
    """Return paths and names of the stacks in a folder; note in the conversion which files are none."""
    root = session_folder(folder, output)
    listing = list_stacks(root, output, recursive=recursive)
    for rejected in listing.rejected:
        conversion.fail(rejected.path, rejected.reason)
    stacks = []
    for path in listing.files:
        match probe(root, listing.mdocs, path, inputs).found if movies else _try_to_open(path, inputs):
            case Skipped(_, reason):
                conversion.skipped[str(path)] = reason
            case Rejected(_, reason):
                conversion.fail(path, reason)
            case StackEntry() | None:
                stacks.append((path, relative_name(path, root)))
    return stacks


def _try_to_open(path: Path, inputs: InputParams) -> Skipped | Rejected | None:
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
