"""The task of the second pass over a stack, and the digest of all that its output depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import xxhash

from mrcz_dask.correction.prepare import places
from mrcz_dask.correction.window import MemberRef
from mrcz_dask.engine.attempt import CopiesError
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import Break, StackRecord
from mrcz_dask.version import __version__


@dataclass(frozen=True, slots=True)
class FinishTask:
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
