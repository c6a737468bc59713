"""The tasks over one stack: what each needs, as small plain values, and where its output goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import xxhash

from mrcz_dask.engine.attempt import CopiesError
from mrcz_dask.formats.digest import files_in
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.writers import (
    SUFFIXES,
)
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import Settings, WriteParams
from mrcz_dask.values.records import Break, StackRecord
from mrcz_dask.version import __version__

STORE_NAME = "session.zarr"
REFERENCE = "_reference.mrc"


@dataclass(frozen=True, slots=True)
class SumTask:
    """What the first pass needs of one stack.

    Attributes
    ----------
    path, name, stem, store
        Of the stack, see `StackRecord`, and of the session store.
    settings
        Of the run.
    exposure
        Seconds of all its frames, where gamma goes by dose rate and its .mdoc says it.
    """

    path: str
    name: str
    stem: str
    store: str
    settings: Settings
    exposure: float | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there: the stack's folder, and the store."""
        return places(self.path, self.store)


def made_with(task: SumTask) -> str:
    """Return the digest of the parameters that a record depends on, beside the stack itself."""
    groups = [getattr(task.settings, name).to_dict() for name in ("outliers", "contrast", "input", "gain")]
    values = [*groups, task.exposure, __version__]
    return xxhash.xxh3_128_hexdigest(canonical(plain(values)))


@dataclass(frozen=True, slots=True)
class MemberRef:
    """A stack as a member of windows: what finds its sum in the store, and its numbers.

    Attributes
    ----------
    name, stem, digest
        Of the stack, see `StackRecord`.
    exponent, mean, n
        Of its sum, see `numerics.reference.window.Member`.
    """

    name: str
    stem: str
    digest: str
    exponent: int
    mean: float
    n: int


def member_ref(record: StackRecord) -> MemberRef:
    """Return a stack as a member of windows."""
    return MemberRef(record.name, record.stem, record.digest, record.exponent, record.mean, record.exposed())


@dataclass(frozen=True, slots=True)
class CorrectionTask:
    """What the second pass needs of one stack.

    Attributes
    ----------
    path, folder, store
        Of the input, the outputs' folder, and the session store.
    record
        What the first pass found.
    short, long
        Members of the two windows; `long` is empty where it is the same or not asked for.
    usable, score
        Whether the stack may be a reference, and its contrast score (None where not judged), which is told
        and not written: it changes a little with every other stack.
    breaks
        Those that cut its windows: the first stack after each, and why it is one.
    provisional
        Whether stacks that come later may change the window.
    settings
        Of the run.
    acquired, acquired_from
        Time of acquisition in ISO form, and where it came from.
    pixel_size, mdoc
        Angstrom or None; path or None.
    copies
        Names of stacks that hold data of this one; none of them is in its windows.
    refusal
        Why it must not be corrected; empty where it may.
    key
        Digest of all that the output depends on.
    """

    path: str
    folder: str
    store: str
    record: StackRecord
    short: tuple[MemberRef, ...]
    long: tuple[MemberRef, ...]
    usable: bool
    score: float | None
    breaks: tuple[Break, ...]
    provisional: bool
    settings: Settings
    acquired: str
    acquired_from: str
    pixel_size: float | None
    mdoc: str | None
    copies: tuple[str, ...] = ()
    refusal: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        depends = {
            "version": __version__,
            "settings": _digest_of_settings(self.settings),
            "stack": [self.record.name, self.record.digest, self.record.gamma],
            "short": _digest_of_members(self.short),
            "long": _digest_of_members(self.long),
            "usable": self.usable,
            "breaks": [one.to_dict() for one in self.breaks],
            "provisional": self.provisional,
            "acquired": [self.acquired, self.acquired_from],
            "pixel_size": self.pixel_size,
            **({"copies": [*self.copies, self.refusal]} if self.copies or self.refusal else {}),
        }
        object.__setattr__(self, "key", digest_of(depends))

    def check(self) -> None:
        """Return if the stack may be corrected.

        Raises
        ------
        CopiesError
            Most stacks around it are one and the same.
        """
        if self.refusal:
            raise CopiesError(self.refusal)

    @property
    def name(self) -> str:
        """Of the stack, relative to the session."""
        return self.record.name

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there: the stack's folder, and the store in that of the outputs."""
        return places(self.path, self.store)


def digest_of(values: Any) -> str:
    """Return xxh3-128 over plain values."""
    return xxhash.xxh3_128_hexdigest(canonical(plain(values)))


@lru_cache(maxsize=1)
def _digest_of_settings(settings: Settings) -> str:
    return digest_of(settings.to_dict())


def _digest_of_members(members: Sequence[MemberRef]) -> str:
    names = "\0".join([f"{m.digest} {m.mean!r} {m.name}" for m in members])
    return xxhash.xxh3_128_hexdigest(names.encode("utf-8", "backslashreplace"))


def places(path: str, store: str) -> tuple[str, ...]:
    """Return what must be there so that a stack can be processed: its folder, and the store."""
    return str(Path(path).parent), str(Path(store) / "zarr.json")


def output_name(stem: str, params: WriteParams) -> str:
    """Return the name of a stack's output, relative to the output folder, with forward slashes."""
    return f"{stem}{REFERENCE if params.write == 'references' else SUFFIXES[params.format]}"


def output_stem(name: str) -> str:
    """Return the stem of the stack whose output has this name."""
    endings = (one for one in (REFERENCE, *SUFFIXES.values()) if name.endswith(one))
    return name.removesuffix(next(endings, ""))


def output_path(task: CorrectionTask) -> Path:
    """Return where the output of a stack goes."""
    return Path(task.folder) / output_name(task.record.stem, task.settings.write)


def output_files(task: CorrectionTask) -> tuple[tuple[str, str], ...]:
    """Return the names of all files of a stack's output, relative to its folder, and the SHA-256 of each."""
    output, stem, store = output_path(task), task.record.stem, SessionStore(task.store)
    places = [output, sidecar_path(output)]
    places += [Path(f"{output}.mdoc")] if task.mdoc is not None else []
    match task.settings.write.write:
        case "recompressed":
            places += [store.path / "corrections" / stem]
        case "references":
            places += [mask_path(task), *(store.path / group / stem for group in ("references", "outliers"))]
    return files_in(places, Path(task.folder))


def mask_path(task: CorrectionTask) -> Path:
    """Return where `--write references` puts a stack's mask."""
    return Path(task.folder) / f"{task.record.stem}_mask.mrc"


def store_of(output: Path, stem: str) -> Path:
    """Return the session store of an output: in the folder above the tree of its stem, or beside the file."""
    parents = output.absolute().parents
    above = parents[min(stem.count("/"), len(parents) - 1)] / STORE_NAME
    beside = parents[0] / STORE_NAME
    return beside if beside.is_dir() and not above.is_dir() else above
