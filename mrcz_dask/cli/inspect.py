"""`info`, `provenance` and `verify`: what a file is, how it came to be, whether it is sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import typer

from mrcz_dask.cli.console import complain, print_json, say, visible
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY, UNCHECKED, USAGE, failed
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.shared import AsJson, InputGroup, Recursive, StacksOrFolders
from mrcz_dask.formats.places import LOOKED_FOR, expected_kind, is_zarr, measure
from mrcz_dask.values.errors import MissingLibraryError, MrczDaskError, NoStacksError, error_text
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.sizes import some

T = TypeVar("T")


@command()
def info(
    paths: StacksOrFolders,
    *,
    inputs: InputGroup,
    recursive: Recursive = False,
    as_json: AsJson = False,
) -> None:
    """Print what is in the header of stacks of any format, and in their footer or sidecar.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can, 2 none is there.
    """
    params = inputs.params()
    stacks, wrong = _files(paths, recursive), list[Exception]()
    if not stacks:
        raise _none(paths)
    found = dict(_readable(stacks, partial(_info, params=params), wrong))
    if as_json:
        print_json(list(found.values()))
    else:
        for name, one in found.items():
            say(name)
            for key, value in one.items():
                if key != "path":
                    say(f"  {key:<14} {value}")
    raise typer.Exit(DONE if not wrong else PARTLY if found else failed(wrong))


def _readable(
    paths: list[Path], look: Callable[[Path], T], wrong: list[Exception]
) -> Iterator[tuple[str, T]]:
    """Yield what a look at each file gives; a file that cannot be read is named and stops no other."""
    for path in paths:
        try:
            yield str(path), look(path)
        except (MrczDaskError, OSError) as error:
            wrong.append(error)
            complain(error)


def _info(path: Path, params: InputParams) -> dict[str, Any]:
    from mrcz_dask.formats.mrc.reader import StackReader
    from mrcz_dask.formats.sources import open_source

    with open_source(path, params) as reader:
        header = reader.header.to_dict() if isinstance(reader, StackReader) else {}
        size = reader.pixel_size
        steps = [f"{s.get('name')} ({s.get('package')} {s.get('version')})" for s in reader.provenance]
        return {
            "path": str(path),
            **header,
            "format": reader.format,
            "shape": list(reader.shape),
            "dtype": reader.dtype.name,
            "pixel_size": None if size is None else list(size),
            "first_row": reader.first_row,
            "bytes": measure(path).size,
            "codec": reader.codec,
            "pixels": reader.pixels,
            "meta": reader.meta,
            "footer": reader.footer is not None,
            "recipe": "recipe" in (reader.footer or {}),
            "provenance": steps,
            **({"notes": list(reader.notes)} if reader.notes else {}),
        }


@command()
def provenance(paths: StacksOrFolders, recursive: Recursive = False, as_json: AsJson = False) -> None:
    """Print what was done to stacks, step by step, as their footers or sidecars record it.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can, 2 none is there.
    """
    stacks, wrong = _files(paths, recursive), list[Exception]()
    if not stacks:
        raise _none(paths)
    found = dict(_readable(stacks, _provenance, wrong))
    if as_json:
        print_json(found)
    else:
        for name, steps in found.items():
            _show_steps(name, steps)
    raise typer.Exit(DONE if not wrong else PARTLY if found else failed(wrong))


def _provenance(path: Path) -> list[dict[str, Any]]:
    from mrcz_dask.formats.sources import open_source

    with open_source(path) as reader:
        return reader.provenance


def _show_steps(name: str, steps: list[dict[str, Any]]) -> None:
    say(name)
    if not steps:
        say("  nothing is recorded")
    for k, step in enumerate(steps):
        say(f"  {k}. {step.get('name')} ({step.get('package')} {step.get('version')})")
        for key in ("parameters", "inputs", "results", "caveats", "skipped"):
            _show(key, step.get(key), "     ")


def _show(key: str, value: Any, indent: str) -> None:
    """Print a value, a map over several lines, long lists by their beginning."""
    if value in (None, {}, [], ""):
        return
    if isinstance(value, dict):
        say(f"{indent}{key}:")
        for name, inner in value.items():
            _show(name, inner, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        say(f"{indent}{key}:")
        for inner in value:
            say(f"{indent}  - {_short(inner)}")
    else:
        say(f"{indent}{key}: {_short(value)}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


LONGEST = 200


@command()
def verify(
    paths: StacksOrFolders,
    recursive: Recursive = False,
    as_json: AsJson = False,
) -> None:
    """Check every frame's checksum, the header against the content, the chain of provenance, and the recipe.

    In an output folder, outputs that are gone or are not those that were written there are named, too.

    Exit code: 0 all sound, 3 something is damaged or gone, 4 nothing damaged but no footer to check against,
    1 a file cannot be read at all, 2 it is not there, or a folder has no stacks.
    """
    reports = [_verify(path) for path in _files(paths, recursive, events=True)]
    for folder in (path for path in paths if path.is_dir() and not is_zarr(path)):
        reports = _with_lost(reports, folder)
    if as_json:
        print_json(reports)
    else:
        for one in reports:
            say(f"{visible(one['path'])}: {one['status']}{_counted(one)}")
            for line in (*one["problems"], *one.get("notes", ())):
                say(f"  {line}")
    states = {one["status"] for one in reports}
    if not states:
        raise _none(paths)
    raise typer.Exit(
        PARTLY
        if {"damaged", "gone"} & states
        else (FAILED if any(Path(one["path"]).exists() for one in reports) else USAGE)
        if "unreadable" in states
        else UNCHECKED
        if "no-footer" in states
        else DONE
    )


def _with_lost(reports: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Return reports with what the run's log says of outputs that are gone, or are not what it wrote."""
    from mrcz_dask.session.log import last_results, read_messages
    from mrcz_dask.session.manifest import Output, listed, lost
    from mrcz_dask.values.records import StackResult, Written

    moments = tuple(read_messages(folder))
    known: list[Output] = [*last_results(moments, StackResult).values()]
    results = {one.name: one for one in [*known, *last_results(moments, Written).values()]}
    outputs = [*results.values(), *listed(folder, results.values())]
    found = {str(folder / name): text for name, text in lost(folder, outputs, read=True).items()}
    there = {one["path"] for one in reports}
    marked = [
        {**one, "status": "damaged", "problems": [*one["problems"], found[one["path"]]]}
        if one["path"] in found
        else one
        for one in reports
    ]
    gone = [p for p in found if p not in there]
    return [*marked, *({"path": p, "status": "gone", "problems": [found[p]], "frames": 0} for p in gone)]


def _counted(report: dict[str, Any]) -> str:
    sound, expected = report["frames"], report.get("expected_frames")
    if not sound:
        return ""
    return f", {sound} frames" if sound == expected else f", {sound} of {expected} frames sound"


def _files(paths: list[Path], recursive: bool, *, events: bool = False) -> list[Path]:
    """Return the stacks that are named, of folders those within, and event lists if asked for."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or is_zarr(path):
            found.append(path)
            continue
        within = sorted(path.iterdir())
        found += [one for one in within if _is_stack(one) and (events or not _is_events(one))]
        if recursive:
            found += _files([one for one in within if _is_below(one)], recursive, events=events)
    return found


def _is_below(path: Path) -> bool:
    """Whether a folder within another is one to look into: no store, not hidden, no link."""
    hidden = path.name.startswith(".") or path.suffix.casefold() == ".zarr"
    return path.is_dir() and not path.is_symlink() and not hidden


def _none(paths: list[Path]) -> NoStacksError:
    return NoStacksError(f"{some(paths)}: no stack there; looked for {LOOKED_FOR}; check the folder")


def _is_stack(path: Path) -> bool:
    """Whether a file in a folder is a stack by its name; the stores of runs are none."""
    from mrcz_dask.session.listing import STORES

    if path.name.startswith(".") or path.name in STORES:
        return False
    kind = expected_kind(path.name)
    return kind is not None and (kind == "Zarr" or not path.is_dir())


def _is_events(path: Path) -> bool:
    from mrcz_dask.session.listing import EVENTS

    return path.name.endswith(EVENTS)


def _verify(path: Path) -> dict[str, Any]:
    from mrcz_dask.correction.opening import recipe_problem
    from mrcz_dask.counting.store import event_problems
    from mrcz_dask.formats.verify import verify_file

    if _is_events(path) and path.is_dir():
        problems = event_problems(path)
        status = "damaged" if problems else "sound"
        return {"path": str(path), "status": status, "problems": problems, "frames": 0}
    try:
        report = verify_file(path)
    except MissingLibraryError as error:
        return {"path": str(path), "status": "unreadable", "problems": [str(error)], "frames": 0}
    except OSError as error:
        if isinstance(error, MrczDaskError):
            raise
        return {"path": str(path), "status": "unreadable", "problems": [error_text(error)], "frames": 0}
    found = {**asdict(report), "path": str(path), "problems": list(report.problems)}
    problem = recipe_problem(path) if report.status == "sound" else None
    return found if problem is None else {**found, "status": "damaged", "problems": [problem]}
