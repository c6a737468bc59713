"""Damage to every file of a kind that the program writes: single bits, cut ends, and files that are gone.

A kind says how a sound one is made, read and verified. `faults` damages each of its files and returns where
damage was not found: a reader must refuse it with an error of the program or give what was written, and a
verifier must call nothing sound but files that say the same as before.
"""

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.values.errors import MrczDaskError

Same = Callable[[bytes, bytes], bool]


def files_of(path: Path) -> list[Path]:
    """Return a file and its sidecar, or all files of a folder."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    return [p for p in (path, path.with_name(f"{path.name}.json")) if p.exists()]


def equal(found: Any, written: Any) -> None:
    """Check that values and arrays are the same."""
    np.testing.assert_equal(found, written, strict=True)


@dataclass(frozen=True)
class Kind:
    """A kind of file, or of folder, that the program writes.

    Attributes
    ----------
    name
        Of the kind, in the names of its tests.
    modules
        Modules of the package that write its bytes, as ``formats/mrc/body.py``.
    write
        Makes a small sound one in an empty folder; returns its path.
    read
        Returns all that the program takes from it, as plain values and arrays.
    verify
        Whether the program calls it sound; None = nothing verifies it but its reader.
    files
        The files that are damaged.
    optional
        Whether a file may be gone: what is left is not called sound, and no error.
    agree
        Raises AssertionError where what is read of a damaged one (first) is not what was written.
    same
        Whether two contents of a file say the same to everybody: JSON may be spelled in two ways.
    """

    name: str
    modules: tuple[str, ...]
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    verify: Callable[[Path], bool] | None = None
    files: Callable[[Path], list[Path]] = files_of
    optional: Callable[[Path], bool] = lambda file: False
    agree: Callable[[Any, Any], None] = equal
    same: Same = operator.eq

    def __str__(self) -> str:
        return self.name


def same_json(before: bytes, after: bytes) -> bool:
    """Return whether two files are the same, or the same values in JSON."""
    try:
        return before == after or bool(json.loads(before) == json.loads(after))
    except (ValueError, RecursionError):
        return False


def damages(data: bytes, flips: int, cuts: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield damaged copies of a file with words for them; None where it is gone.

    Parameters
    ----------
    data
        The file.
    flips
        So many bits are turned over, one in each copy, spread over the file; all where it has fewer.
    cuts
        To so many lengths it is cut; to all where there are fewer.
    """
    for bit in _spread(8 * len(data), flips):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit % 8} of byte {bit // 8}", bytes(copy)
    for length in _spread(len(data), cuts):
        yield f"cut to {length} bytes", data[:length]
    yield "gone", None


def _spread(n: int, most: int) -> list[int]:
    """Return numbers below `n`, one at random of each of `most` equal parts, or all."""
    if n <= most:
        return list(range(n))
    edges = np.linspace(0, n, most + 1).astype(np.int64)
    return [int(k) for k in np.random.default_rng(n).integers(edges[:-1], edges[1:])]


def faults(kind: Kind, folder: Path, flips: int, cuts: int) -> tuple[int, list[str]]:
    """Damage a kind in an empty folder; return the number of cases, and those that were not found."""
    path, cases, missed = kind.write(folder), 0, []
    written = kind.read(path)
    if kind.verify is not None and not kind.verify(path):
        missed.append("sound, and not called so")
    for file in kind.files(path):
        whole = file.read_bytes()
        for words, data in damages(whole, flips, cuts):
            file.unlink() if data is None else file.write_bytes(data)
            cases += 1
            same = data is not None and kind.same(whole, data)
            expected = None if data is None and kind.optional(file) else written
            if (problem := _problem(kind, path, expected, same=same)) is not None:
                missed.append(f"{file.relative_to(folder)}, {words}: {problem}")
        file.write_bytes(whole)
    return cases, missed


def _problem(kind: Kind, path: Path, written: Any, *, same: bool) -> str | None:
    """Return what is wrong about how a damaged one is taken; None if nothing is."""
    try:
        found = kind.read(path)
        if written is not None:
            kind.agree(found, written)
    except (MrczDaskError, FileNotFoundError):
        pass
    except AssertionError:
        return "read as something else"
    except Exception as error:  # noqa: BLE001 - any other is a fault of the reader
        return f"read with {type(error).__name__}: {error}"
    try:
        sound = kind.verify is not None and kind.verify(path)
    except (MrczDaskError, FileNotFoundError):
        return None
    except Exception as error:  # noqa: BLE001 - any other is a fault of the reader
        return f"verified with {type(error).__name__}: {error}"
    return "called sound" if sound and not same else None
