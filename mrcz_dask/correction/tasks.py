"""Arguments of the tasks over one stack, and the names and paths of its output files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import xxhash

from mrcz_dask.engine.loop import CopiesError
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.session.groups import Group
from mrcz_dask.session.store import key_of
from mrcz_dask.values.params import Settings, WriteParams
from mrcz_dask.values.records import Break, StackRecord
from mrcz_dask.version import __version__

STORE_NAME = "session.zarr"
REFERENCE = "_reference.mrc"
MASK = "_mask.mrc"


@dataclass(frozen=True, slots=True)
class SumTask:
    """Arguments of the task that sums one stack and finds its outliers.

    Attributes
    ----------
    path, name, stem, store
        Path of the stack; its name and stem, see `StackRecord`; path of the session store.
    settings
        Settings of the run.
    exposure
        Seconds of all its frames, where gamma depends on the dose rate and its .mdoc has the time.
    """

    path: str
    name: str
    stem: str
    store: str
    settings: Settings
    exposure: float | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Paths that must exist before the task starts: the stack's folder, and the session store."""
        return str(Path(self.path).parent), f"{self.store}/zarr.json"

    @property
    def made_with(self) -> str:
        """Digest of the parameters and the version; a record with another digest is made again."""
        groups = [
            getattr(self.settings, name).to_dict() for name in ("outliers", "contrast", "input", "gain")
        ]
        return digest_of([*groups, self.exposure, __version__])


@dataclass(frozen=True, slots=True)
class MemberRef:
    """Record that finds a window member's sum in the session store, with its dose and number of frames.

    Attributes
    ----------
    name, stem, digest
        See `StackRecord`.
    exponent, mean, n
        See `numerics.reference.window.Member`.
    """

    name: str
    stem: str
    digest: str
    exponent: int
    mean: float
    n: int


def member_ref(record: StackRecord) -> MemberRef:
    """Build from a stack's record the reference by which windows find its sum in the session store."""
    return MemberRef(record.name, record.stem, record.digest, record.exponent, record.mean, record.exposed())


@dataclass(frozen=True, slots=True)
class Pool:
    """Record of the stacks whose sums together show the outliers of some of them, a block.

    Attributes
    ----------
    store, shape
        Path of the session store, and (ny, nx).
    members
        The stacks in order of time.
    start, stop
        Of the members, the block: its first stack, and the one after its last.
    tail_fdr
        Largest expected share of good pixels among those that are masked.
    """

    store: str
    shape: tuple[int, int]
    members: tuple[MemberRef, ...]
    start: int
    stop: int
    tail_fdr: float

    @property
    def name(self) -> str:
        """Name of the first stack of the block, by which messages name it."""
        return self.members[self.start].name

    @property
    def places(self) -> tuple[str, ...]:
        """Paths that must exist before the task starts: the session store."""
        return (f"{self.store}/zarr.json",)

    @property
    def digest(self) -> str:
        """Hash of all that the outliers depend on, under which the session store keeps them."""
        return _digest_of_pool(self)


@dataclass(frozen=True, slots=True)
class CorrectionTask:
    """Arguments of the task that corrects one stack: its record, the members of its windows, and the
    settings.

    Attributes
    ----------
    path, folder, store
        Paths of the stack, the output folder and the session store.
    record
        Record of the stack.
    short, long
        Members of the two windows; `long` is empty if it equals `short` or the method has none.
    usable, score
        Whether the stack may be in windows, and its contrast score (None if it has none). The score is not
        written into the output, as it changes a little with every other stack.
    breaks
        Breaks that cut its windows.
    provisional
        Whether later stacks may change the windows.
    settings
        Settings of the run.
    acquired, acquired_from
        Time of acquisition in ISO form, and its source.
    pixel_size, mdoc
        Angstrom, and path of the .mdoc; None if not known.
    copies
        Names of its copies, which are in none of its windows.
    groups
        Groups of stacks that show its specimen, which are in none of its windows.
    same_specimen
        Number of stacks that show its specimen and yet are in its short window, as the settings say.
    refusal
        Reason why it must not be corrected; empty if it may.
    pool
        Stacks that show its lasting outliers; None = only its own sum shows outliers.
    key
        Digest of everything that the output depends on.
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
    groups: tuple[Group, ...] = ()
    same_specimen: int = 0
    refusal: str = ""
    pool: Pool | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        depends = {
            "version": __version__,
            "settings": _digest_of_settings(self.settings),
            "stack": [self.record.name, self.record.digest, self.record.gamma],
            "short": _digest_of_members(self.short),
            "long": _digest_of_members(self.long),
            "usable": self.usable,
            "breaks": [item.to_dict() for item in self.breaks],
            "provisional": self.provisional,
            "acquired": [self.acquired, self.acquired_from],
            "pixel_size": self.pixel_size,
            **({"copies": [*self.copies, self.refusal]} if self.copies or self.refusal else {}),
            **({"groups": [asdict(group) for group in self.groups]} if self.groups else {}),
            **({"same_specimen": self.same_specimen} if self.same_specimen else {}),
            **({"pool": self.pool.digest} if self.pool else {}),
        }
        object.__setattr__(self, "key", digest_of(depends))

    @property
    def name(self) -> str:
        """Name of the stack, relative to the session."""
        return self.record.name

    @property
    def places(self) -> tuple[str, ...]:
        """Paths that must exist before the task starts: the stack's folder, and the session store."""
        return str(Path(self.path).parent), f"{self.store}/zarr.json"

    def check(self) -> None:
        """Raise an error if the stack must not be corrected because most stacks around it are copies of one
        another.

        Raises
        ------
        CopiesError
            If most stacks around it hold the same data.
        """
        if self.refusal:
            raise CopiesError(self.refusal)

    @property
    def output(self) -> Path:
        """Path of the output that the task writes."""
        return Path(self.folder) / output_name(self.record.stem, self.settings.write)

    @property
    def mask_output(self) -> Path:
        """Path of the mask that ``--write references`` writes beside the reference."""
        return Path(self.folder) / f"{self.record.stem}{MASK}"

    @property
    def belongings(self) -> list[Path]:
        """Paths written beside the output: .json, .mdoc, mask, and arrays in the session store."""
        paths, store, stem = [sidecar_path(self.output)], Path(self.store), self.record.stem
        if self.mdoc is not None:
            paths.append(Path(f"{self.output}.mdoc"))
        if self.settings.write.write == "recompressed":
            paths.append(store / "corrections" / key_of(stem))
        elif self.settings.write.write == "references":
            paths += [
                self.mask_output,
                store / "references" / key_of(stem),
                store / "outliers" / key_of(stem),
            ]
        return paths


def digest_of(values: Any) -> str:
    """Return the xxh3-128 hash of plain values in hexadecimal, by which a change of parameters is noticed."""
    return xxhash.xxh3_128_hexdigest(canonical(plain(values)))


@lru_cache(maxsize=1)
def _digest_of_settings(settings: Settings) -> str:
    return digest_of(settings.to_dict())


@lru_cache(maxsize=8)
def _digest_of_pool(pool: Pool) -> str:
    members = [[m.digest, m.exponent, m.mean] for m in pool.members]
    return digest_of([__version__, pool.start, pool.stop, pool.tail_fdr, members])


def _digest_of_members(members: Sequence[MemberRef]) -> str:
    names = "\0".join([f"{m.digest} {m.mean!r} {m.name}" for m in members])
    return xxhash.xxh3_128_hexdigest(names.encode("utf-8", "backslashreplace"))


def output_name(stem: str, params: WriteParams) -> str:
    """Return the name of a stack's output, relative to the output folder, with forward slashes."""
    return f"{stem}{REFERENCE if params.write == 'references' else OUTPUT_SUFFIXES[params.format]}"


def output_stem(name: str) -> str:
    """Return the stem of a stack from its output's file name: the name without the output's ending."""
    return name.removesuffix(
        next((s for s in (REFERENCE, MASK, *OUTPUT_SUFFIXES.values()) if name.endswith(s)), "")
    )


def store_of(output: Path, stem: str) -> Path:
    """Return the session store of an output: at the top of its output folder, or beside the file."""
    parents = output.absolute().parents
    above = parents[min(stem.count("/"), len(parents) - 1)] / STORE_NAME
    beside = parents[0] / STORE_NAME
    return beside if beside.is_dir() and not above.is_dir() else above
