"""Write and read ``events.jsonl``, the log of all runs in an output folder: a line of JSON for each message.

One line of JSON for each message, appended as it happens: readable at any time, from any machine,
and after a crash. From it come the state of a session, and which outputs are known to be sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mrcz_dask.formats.metadata import parse_json, reading, sealed_values, unsealed_values
from mrcz_dask.formats.places import is_inside
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.source import open_file
from mrcz_dask.values import messages
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, error_text
from mrcz_dask.values.records import Record, StackResult, Summed, Written
from mrcz_dask.values.texts import json_text, some

NAME = "events.jsonl"
VERSION = 1
REMEDY = "choose another output folder, or move this file away"

KINDS: Mapping[str, type[messages.Message]] = {
    name: kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and issubclass(kind, messages.Message) and kind is not messages.Message
}
_FOUND: Mapping[str, type[Record]] = {
    messages.SUMS: Summed,
    messages.CORRECTION: StackResult,
    messages.COUNTED: Written,
}

_Kind = TypeVar("_Kind", StackResult, Written)
Moment = tuple[datetime, messages.Message]


def to_line(message: messages.Message, now: datetime) -> str:
    """Write a message as a line of JSON with the time in UTC, for the log."""
    values = {f.name: getattr(message, f.name) for f in fields(message) if f.name not in message.unlogged}
    head = {"time": now.astimezone(UTC).isoformat(timespec="milliseconds"), "event": type(message).__name__}
    version = {"layout": VERSION} if isinstance(message, messages.RunStarted) else {}
    return json_text(sealed_values({**head, **version, **plain(values)}))


def from_line(line: str) -> Moment | None:
    """Read a line of the log: return its time and message, or None if it is damaged or of an unknown kind.

    Raises
    ------
    FormatError
        When it was written in another layout.
    """
    with suppress(DamagedError), reading(NAME, "a message"):
        values = unsealed_values(parse_json(line, NAME), NAME)
        time = datetime.fromisoformat(values.pop("time"))
        kind = KINDS.get(values.pop("event"))
        if values.pop("layout", VERSION) != VERSION:
            raise FormatError(f"{NAME} has another layout than this program's, {VERSION}; {REMEDY}")
        if kind is not None:
            if isinstance(values.get("found"), dict):
                record = values["found"] = _FOUND[values["phase"]].from_dict(values["found"])
                if isinstance(record, StackResult | Written):
                    names = (record.output, *dict(record.files))
                    if not all(map(is_inside, names)):
                        raise ValueError(f"found {some(names)}, outside of the folder")
            return time, kind.from_dict(values)  # raises TypeError for the fields of another version
    return None


def read_messages(folder: Path) -> Iterator[Moment]:
    """Yield the messages of all runs in an output folder, in order, from its log; none if there is no log.

    Raises
    ------
    FormatError
        When it was written in another layout.
    """
    try:
        with os.fdopen(open_file(folder / NAME), encoding="utf-8", errors="replace") as lines:
            for line in lines:
                message = from_line(line)
                if message is not None:
                    yield message
    except OSError:  # what is not known is looked at again
        return


def last_results(
    moments: Iterable[Moment], kind: type[_Kind], session: str | None = None
) -> dict[str, _Kind]:
    """Return each output's last result, by name, from a log's messages, so that a run keeps sound outputs.

    With `session`, outputs that a run over another session wrote last are left out.
    """
    results: dict[str, _Kind] = {}
    of = session
    for _, message in moments:
        if isinstance(message, messages.RunStarted):
            of = message.session
        if isinstance(message, messages.StackDone) and isinstance(message.found, kind):
            results.pop(message.found.output, None)
            if session in (None, of):
                results[message.found.output] = message.found
    return results


def last_outputs(moments: Iterable[Moment]) -> list[StackResult | Written]:
    """Return the last record of each output in a folder, of corrected stacks and of counted ones."""
    moments = tuple(moments)
    corrected, written = last_results(moments, StackResult), last_results(moments, Written)
    return list((corrected | written).values())


class Log:
    """A listener that appends each message to ``events.jsonl``; what cannot be written is kept and written
    with the next.

    Parameters
    ----------
    folder
        Output folder; must be there.
    warn
        Gets a warning, once, if nothing can be written.
    """

    def __init__(self, folder: Path, warn: messages.Listener) -> None:
        self._path = folder / NAME
        self._warn = warn
        self._waiting: list[str] = []
        self._warned = False

    def __call__(self, message: messages.Message) -> None:
        """Write one message."""
        self._waiting.append(to_line(message, datetime.now(UTC)) + "\n")
        try:
            _append(self._path, "".join(self._waiting).encode("utf-8", "backslashreplace"))
        except (MrczDaskError, OSError) as error:  # the stacks matter more
            if not self._warned:
                self._warned = True
                reason = error_text(error).removeprefix(f"{self._path}: ")
                self._warn(messages.Warned(f"{self._path}: cannot be written ({reason})"))
            return
        self._waiting.clear()
        self._warned = False


def _append(path: Path, data: bytes) -> None:
    """Append whole lines; one that a crash has cut off is ended first."""
    with os.fdopen(open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                data = b"\n" + data
        file.write(data)
