"""Keep ``MANIFEST``, the outputs' SHA-256 (for ``sha256sum -c MANIFEST``), and find missing outputs.

Its first line, which sha256sum passes over, has the checksum of the others, by which lines that are gone are
missed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import xxhash

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import files_in, whole_digest
from mrcz_dask.formats.places import is_inside, measure
from mrcz_dask.formats.source import read_file
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import StackResult, Written
from mrcz_dask.values.texts import some

NAME = "MANIFEST"
FOREIGN = "is no list of sha256sum, or damaged, and is left as it is; outputs are not listed; move it away"
REMEDY = "copy it back, or run the same command again"
# last steps in the provenance of outputs that commands list; others were written from Python
LISTED = ("write", "recompress", "decompress", "outliers", "fractions", "live record")
OutputRecord = StackResult | Written
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
_LARGEST = 1 << 28
_HEAD = b"# xxh3 of the lines below: "
_PART = re.compile(r"(.*?\.zarr(?=/)|.*(?=\.json$)).*", re.DOTALL)


class Manifest:
    """A listener that keeps ``MANIFEST`` true: adds finished outputs, removes those to be made again.

    What commands without a log have listed stays. So does a ``MANIFEST`` of another program.

    Parameters
    ----------
    folder
        The output folder.
    known
        Results of earlier runs, the latest last.
    warn
        Gets a text when the file cannot be written.
    """

    def __init__(self, folder: Path, known: Iterable[OutputRecord], warn: messages.Listener) -> None:
        self._warn = warn
        self._path: Path | None = folder / NAME
        self._files = {result.name: result.files for result in known}
        ours = {name for files in self._files.values() for name, _ in files}
        self._others: dict[str, str] = {}
        with suppress(OSError):  # said when it is written
            lines = _lines(self._path) if self._path.is_file() else []
            self._others = {file[0]: file[1] for file in map(_file, lines) if file and file[0] not in ours}
            if not ours and _is_foreign(self._path):
                self._path = None
                warn(messages.Warned(f"{folder / NAME}: {FOREIGN}"))

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        match message:
            case messages.StackDone(found=StackResult() | Written() as found) if (
                self._files.get(found.name) != found.files
            ):
                self._files[found.name] = found.files
            case messages.StackDue() if message.name in self._files:
                del self._files[message.name]
            case messages.RunFinished():
                pass
            case _:
                return
        if self._path is not None:
            new = dict(item for files in self._files.values() for item in files)
            _write(self._path, _merged(self._others, new), self._warn)


def add(folder: Path, files: Iterable[tuple[str, str]], warn: messages.Listener) -> None:
    """Add files to the folder's ``MANIFEST``, for commands that write outputs but no log."""
    path = folder / NAME
    known, new = _listed(path), dict(files)
    if known is None:
        warn(messages.Warned(f"{path}: {FOREIGN}"))
    elif new:
        _write(path, _merged(known, new), warn)


def _merged(known: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Return files with new ones in the place of all files of the same output."""
    again = {_of_stack(name) for name in new}
    return {name: sha256 for name, sha256 in known.items() if _of_stack(name) not in again} | new


def listed(folder: Path, results: Iterable[OutputRecord]) -> list[OutputRecord]:
    """Return the outputs in a folder's ``MANIFEST`` that are not among `results`."""
    others = {name for result in results for name, _ in result.files}
    files = {name: sha256 for name, sha256 in (_listed(folder / NAME) or {}).items() if name not in others}
    listed: dict[str, list[tuple[str, str]]] = {}
    for name, sha256 in files.items():
        listed.setdefault(_of_stack(name), []).append((name, sha256))
    return [Written(output, output, 0, "", tuple(of)) for output, of in listed.items()]


def damage(folder: Path, results: Iterable[OutputRecord]) -> str:
    """Compare ``MANIFEST`` itself with the log of the run; return what is wrong with it, or nothing.

    Parameters
    ----------
    folder
        The output folder.
    results
        The last result of each stack. Results of older versions name no files.
    """
    path = folder / NAME
    latest = {result.name: result.files for result in results}  # of two formats of one stack
    due = {name: sha256 for files in latest.values() for name, sha256 in files}
    known = _listed(path)
    if known is None and (due or not _is_foreign(path)):
        return f"{path}: is damaged; run the same command again, or move it away"
    known = known or {}
    if wrong := sorted(name for name, sha256 in due.items() if known.get(name) != sha256):
        return f"{path}: does not list {some(wrong)} as the run wrote it; run the same command again"
    return ""


def unlisted(folder: Path, results: Iterable[OutputRecord], stacks: Iterable[Path]) -> str:
    """Say which outputs of commands neither ``MANIFEST`` nor the log lists: others may be gone unnoticed.

    Parameters
    ----------
    folder
        The output folder.
    results
        The last result of each stack, from the log.
    stacks
        Paths of the sound stacks in the folder, and in those below it.
    """
    known = {folder / _of_stack(name) for name in _listed(folder / NAME) or {}}
    known |= {folder / result.output for result in results}
    missing = []
    for path in stacks:
        with suppress(MrczDaskError, OSError):
            steps = [] if path in known else (read_footer(path) or {}).get("provenance", [])
            if steps and steps[-1].get("name") in LISTED:
                missing.append(path.relative_to(folder).as_posix())
    state = "does not list" if (folder / NAME).exists() else "is not there, which lists"
    why = "so that nothing tells whether other outputs are gone"
    return f"{folder / NAME}: {state} {some(sorted(missing))}, {why}; {REMEDY}" if missing else ""


def _of_stack(name: str) -> str:
    """Return the output that a file is part of: the folder of a Zarr array, the file beside a sidecar."""
    return _PART.sub(r"\1", name)


def _listed(path: Path) -> dict[str, str] | None:
    """Return the SHA-256 of each file; None if it is damaged, or a file of another kind."""
    if not path.is_file():
        return None if path.exists() else {}
    *lines, rest = _lines(path)
    if lines and lines[0].startswith("#") and lines.pop(0) != _head("\n".join([*lines, rest])):
        return None
    files = [_file(line) for line in lines]
    return None if rest or not files else dict(file for file in files if file) if all(files) else None


def _file(line: str) -> tuple[str, str] | None:
    """Return name and SHA-256 in a line; None if it is damaged, or leads out of the folder."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    escaped, sha256, name = match.groups()
    if escaped:
        back = {value: key for key, value in _ESCAPES.items()}
        name = re.sub(r"\\[\\nr]", lambda it: back[it[0]], name)
    return (name, sha256) if is_inside(name) else None


def _is_foreign(path: Path) -> bool:
    """Return whether a file has neither the first line nor any other of a ``MANIFEST`` of ours."""
    if not path.is_file():
        return False
    head = read_file(path, _LARGEST)[: len(_HEAD)]
    return not _HEAD.startswith(head) and not any(map(_LINE.fullmatch, _lines(path)))


def _lines(path: Path) -> list[str]:
    return read_file(path, _LARGEST).decode("utf-8", "surrogateescape").split("\n")


def _head(text: str) -> str:
    return _HEAD.decode() + xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogateescape"))


def _write(path: Path, files: dict[str, str], warn: messages.Listener) -> None:
    lines = []
    for name, sha256 in sorted(files.items()):
        escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
        lines.append(f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n")
    text = "".join(lines)
    data = f"{_head(text)}\n{text}".encode("utf-8", "surrogateescape")
    try:
        if not lines:  # which sha256sum would not take
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)
    except OSError as error:  # the stacks matter more
        warn(messages.Warned(f"{path}: cannot be written ({error.strerror or error})"))


def lost(folder: Path, results: Iterable[OutputRecord], *, read: bool) -> dict[str, str]:
    """Compare a folder's outputs with what a run wrote; return names and problems of those that differ.

    Parameters
    ----------
    folder
        The output folder.
    results
        The last result of each stack.
    read
        Whether files are read and compared by their digests, beside their names and sizes.
    """
    problems = {output.output: _problem(folder, output, read=read) for output in results}
    return {output: problem for output, problem in problems.items() if problem}


def _problem(folder: Path, output: OutputRecord, *, read: bool) -> str:
    path = folder / output.output
    names = dict(output.files) or [output.output]
    # Path.exists raises where a line was damaged, and its name is too long
    if gone := [name for name in names if not os.path.exists(folder / name)]:  # noqa: PTH110
        return f"{some(gone)} is gone; {REMEDY}"
    # of the output and its sidecar there is a digest, but of a command without a log
    others = {
        name: sha256 for name, sha256 in output.files if not output.digest or _of_stack(name) != output.output
    }
    actual = files_in([folder / name for name in others], folder) if read else ()
    if changed := [name for name, sha256 in actual if sha256 != others[name]]:
        return f"{some(changed)} is not what {NAME} lists (by its SHA-256); {REMEDY}"
    if not output.digest:
        return ""
    size = measure(path).size
    if size != output.bytes_out:
        return f"{output.output} has {size} bytes; the run wrote {output.bytes_out}; {REMEDY}"
    if read and whole_digest(path) != output.digest:
        return f"{output.output} is not the file that the run wrote (by its digest); {REMEDY}"
    return ""
