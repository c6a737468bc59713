"""`mrcz-dask info`, `provenance`, `verify` and `reproduce`: what stacks record, and whether it is so."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mrcz_dask.cli.console import DONE, FAILED, PARTLY, UNCHECKED, USAGE, complain, failed, print_json, say
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.declare import info as info_of
from mrcz_dask.cli.options.shared import AsJson, InputGroup, Recursive, StacksOrFolders
from mrcz_dask.cli.progress import Bars
from mrcz_dask.formats.places import LOOKED_FOR, expected_kind, is_zarr, measure
from mrcz_dask.values.errors import (
    MissingLibraryError,
    MrczDaskError,
    NoStacksError,
    SessionError,
    error_text,
    is_usage_error,
)
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.texts import some

T = TypeVar("T")
LONGEST = 200  # characters of a value that provenance prints


@command()
def info(
    paths: StacksOrFolders,
    *,
    inputs: InputGroup,
    recursive: Recursive = False,
    as_json: AsJson = False,
) -> None:
    """Print the header of stacks of any format, and the facts of their footer or sidecar.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can, 2 none is there.
    """
    facts, code = _read_each(paths, recursive, partial(_facts, params=inputs.params()))
    if as_json:
        print_json(list(facts.values()))
    else:
        for name, values in facts.items():
            say(name)
            for key, value in values.items():
                if key != "path":
                    say(f"  {key:<14} {value}")
    raise typer.Exit(code)


def _read_each(paths: list[Path], recursive: bool, read: Callable[[Path], T]) -> tuple[dict[str, T], int]:
    """Read every stack that paths stand for; one that cannot be read is named and stops no other."""
    stacks = _stacks(paths, recursive)
    if not stacks:
        raise _no_stack(paths)
    results: dict[str, T] = {}
    problems: list[Exception] = []
    for path in stacks:
        try:
            results[str(path)] = read(path)
        except (MrczDaskError, OSError) as error:
            problems.append(error)
            complain(error)
    return results, DONE if not problems else PARTLY if results else failed(problems)


def _facts(path: Path, params: InputParams) -> dict[str, Any]:
    from mrcz_dask.formats.mrc.reader import StackReader
    from mrcz_dask.formats.sources import open_source

    with open_source(path, params) as reader:
        header = reader.header.to_dict() if isinstance(reader, StackReader) else {}
        size = reader.pixel_size
        steps = [f"{s.get('name')} ({s.get('package')} {s.get('version')})" for s in reader.provenance]
        facts: dict[str, str] = {}
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # of another program, or damaged
            facts = _bad_pixels(reader.provenance)
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
            **facts,
            **({"notes": list(reader.notes)} if reader.notes else {}),
        }


def _bad_pixels(steps: list[dict[str, Any]]) -> dict[str, str]:
    """Return which pixels were known to be bad from whom, which were found, and in what values."""
    facts = {}
    results = {step.get("name"): step.get("results") or {} for step in steps}
    gain, found = results.get("gain", {}), results.get("outliers", {})
    known = [
        f"{about['defects']} of {about['name']}" for about in [gain.get("gain", {})] if about.get("defects")
    ]
    if "defects" in gain:
        known.append(f"{gain['defects']['pixels']} of {gain['defects']['name']} ({gain['defects']['kind']})")
    if known:
        facts["defects"] = "; ".join(known)
    if mask := found.get("mask"):
        lasting = sum(found.get("pooled", {}).values())
        facts["outliers"] = (
            f"{mask['n_hot']} hot, {mask['n_dead']} dead, with {len(mask.get('lines', ()))} lines and "
            f"{len(mask.get('blocks', ()))} blocks; {lasting} more from the stacks around"
        )
        if "kind" in mask:
            facts["values"] = f"{mask['kind']}, variance over mean {mask['fano']:g}"
    return facts


@command()
def provenance(paths: StacksOrFolders, recursive: Recursive = False, as_json: AsJson = False) -> None:
    """Print the steps that made stacks, as their footers or sidecars record them.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can, 2 none is there.
    """
    from mrcz_dask.formats.sources import open_source

    def steps_of(path: Path) -> list[dict[str, Any]]:
        """Read the chain of one file."""
        with open_source(path) as reader:
            return reader.provenance

    chains, code = _read_each(paths, recursive, steps_of)
    if as_json:
        print_json(chains)
        raise typer.Exit(code)
    for name, steps in chains.items():
        say(name)
        if not steps:
            say("  nothing is recorded")
        for k, step in enumerate(steps):
            say(f"  {k}. {step.get('name')} ({step.get('package')} {step.get('version')})")
            for key in ("parameters", "inputs", "results", "caveats", "skipped"):
                _show(key, step.get(key), "     ")
    raise typer.Exit(code)


def _show(key: str, value: Any, indent: str) -> None:
    """Print a value, a map over several lines, long lists by their beginning."""
    if value in (None, {}, [], ""):
        return
    if isinstance(value, dict):
        say(f"{indent}{key}:")
        for name, inner in value.items():
            _show(name, inner, indent + "  ")
    elif isinstance(value, list) and isinstance(value[0], dict):
        say(f"{indent}{key}:")
        for inner in value:
            _show("-", json.dumps(inner, ensure_ascii=False), indent + "  ")
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
        say(f"{indent}- {text}" if key == "-" else f"{indent}{key}: {text}")


@command()
def verify(
    paths: StacksOrFolders,
    recursive: Recursive = False,
    deep: Annotated[bool, info_of("Make outputs again from their inputs, and compare.")] = False,
    session: Annotated[
        Path | None, info_of("Folder of the inputs, of --deep.", unset="the one above")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every frame's checksum, the header against the content, the chain of provenance, and the recipe.

    In an output folder, outputs that are gone or differ from those that were written there are named, too.
    Event lists, calibrations, stores of sessions and of live results are compared with the digests in them.
    With --deep, outputs of `koma` and `count` are made again from their inputs, and compared bit for bit:
    those that `koma` left in a folder in one run over the session, others one by one.

    Exit code: 0 all sound. 3 something is damaged or gone, or a file cannot be read. 4 nothing is damaged,
    but a file has no footer to check against, or an older one of its frames alone, or with --deep cannot be
    made again, or a folder's MANIFEST does not list its outputs. 1 no file can be read at
    all. 2 none is there, or a folder has no stacks.
    """
    reports = [_verify(path) for path in _stacks(paths, recursive, events=True)]
    folders = [path for path in paths if path.is_dir() and not is_zarr(path)]
    for folder in folders:
        reports = _with_lost(reports, folder)
    if deep:
        _add_differing(reports, folders, session)
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            sound, expected = report["frames"], report.get("expected_frames")
            frames = f", {sound} frames" if sound == expected else f", {sound} of {expected} frames sound"
            say(f"{report['path']}: {report['status']}{frames if sound else ''}")
            for line in (*report["problems"], *report.get("notes", ())):
                say(f"  {line}")
    states = {report["status"] for report in reports}
    if not states:
        raise _no_stack(paths)
    if {"damaged", "gone"} & states or ("unreadable" in states and len(states) > 1):
        code = PARTLY
    elif "unreadable" in states:
        code = FAILED if any(Path(report["path"]).exists() for report in reports) else USAGE
    else:
        code = UNCHECKED if {"no-footer", "partly-checked"} & states else DONE
    raise typer.Exit(code)


def _with_lost(reports: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Add to reports the outputs that are gone or differ, by the log of the run in a folder."""
    from mrcz_dask.session.log import last_outputs, read_messages
    from mrcz_dask.session.manifest import NAME, damage, listed, lost, unlisted

    results = last_outputs(read_messages(folder))
    outputs = [*results, *listed(folder, results)]
    problems = {str(folder / name): text for name, text in lost(folder, outputs, read=True).items()}
    if text := damage(folder, results):
        reports.append({"path": str(folder / NAME), "status": "damaged", "problems": [text], "frames": 0})
    else:
        sound = [Path(report["path"]) for report in reports if report["frames"]]
        if text := unlisted(folder, results, (path for path in sound if path.is_relative_to(folder))):
            about = {"status": "partly-checked", "problems": [text], "frames": 0}
            reports.append({"path": str(folder / NAME), **about})
    for report in reports:
        if report["path"] in problems:
            report["status"] = "damaged"
            report["problems"] = [*report["problems"], problems[report["path"]]]
    there = {report["path"] for report in reports}
    gone = {path: text for path, text in problems.items() if path not in there}
    return reports + [
        {"path": path, "status": "gone", "problems": [text], "frames": 0} for path, text in gone.items()
    ]


def _add_differing(reports: list[dict[str, Any]], folders: list[Path], session: Path | None) -> None:
    """Add to reports how outputs differ from what their inputs give now, and which cannot be made again."""
    from mrcz_dask.api.reproduce import Reproduction, reproduce_session
    from mrcz_dask.api.reproduce import reproduce as run_again
    from mrcz_dask.session.listing import STORES
    from mrcz_dask.session.log import last_results, read_messages
    from mrcz_dask.session.manifest import NAME
    from mrcz_dask.values.records import StackResult

    reproductions: dict[str, Reproduction] = {}
    with Bars() as bars:
        for folder in folders:
            if last_results(read_messages(folder), StackResult):
                again = reproduce_session(folder, session, bars)
                reproductions |= {str(path): reproduction for path, reproduction in again.items()}
        for report in reports:
            path = report["path"]
            try:
                is_made_again = path not in reproductions and Path(path).name not in (*STORES, NAME)
                if report["status"] in ("sound", "partly-checked") and is_made_again:
                    reproductions[path] = run_again(Path(path), session, bars)
            except (MrczDaskError, OSError) as error:
                other_inputs = isinstance(error, SessionError) and not is_usage_error(error)
                report["status"] = "damaged" if other_inputs else "partly-checked"
                report["problems"] = [*report["problems"], f"not made again: {error_text(error)}"]
            if path in reproductions and not reproductions[path].same:
                report["status"] = "damaged"
                report["problems"] = [*report["problems"], "its inputs give something else"]
                report["problems"] += reproductions[path].lines()


def _stacks(paths: list[Path], recursive: bool, *, events: bool = False) -> list[Path]:
    """Return the stacks that are named, and those in folders; with `events` what `count` leaves, too."""
    from mrcz_dask.session.listing import CALIBRATION, EVENTS, SESSION, STORES

    stacks: list[Path] = []
    for path in paths:
        if not path.is_dir() or is_zarr(path):
            stacks.append(path)
            continue
        below = []
        for entry in sorted(path.iterdir()):
            if entry.name.startswith("."):
                continue
            kind, is_folder = expected_kind(entry.name), entry.is_dir()
            is_stack = kind == "Zarr" or (kind is not None and not is_folder)
            ours = entry.name in STORES or entry.name.endswith(EVENTS)
            if is_stack and (not ours or (events and entry.name.endswith((EVENTS, CALIBRATION, SESSION)))):
                stacks.append(entry)
            if is_folder and not entry.is_symlink() and entry.suffix.casefold() != ".zarr":
                below.append(entry)
        if recursive:
            stacks += _stacks(below, recursive, events=events)
    return stacks


def _no_stack(paths: list[Path]) -> NoStacksError:
    return NoStacksError(f"{some(paths)}: no stack there; looked for {LOOKED_FOR}; check the folder")


def _verify(path: Path) -> dict[str, Any]:
    from mrcz_dask.correction.opening import recipe_problem
    from mrcz_dask.counting.calibration import calibration_problems
    from mrcz_dask.counting.store import event_problems
    from mrcz_dask.formats.verify import verify_file
    from mrcz_dask.live.processors.checking import is_results, results_problems
    from mrcz_dask.session.listing import CALIBRATION, EVENTS, SESSION
    from mrcz_dask.session.store_check import store_problems

    report: dict[str, Any] = {"path": str(path), "frames": 0}
    checks = {EVENTS: event_problems, CALIBRATION: calibration_problems, SESSION: store_problems}
    for ending, problems_of in checks.items():
        if path.name.endswith(ending) and path.is_dir():
            problems = problems_of(path)
            return report | {"status": "damaged" if problems else "sound", "problems": problems}
    if is_results(path):
        problems, unchecked = results_problems(path)
        status = "damaged" if problems else "partly-checked" if unchecked else "sound"
        return report | {"status": status, "problems": problems, "notes": unchecked}
    try:
        verified = verify_file(path)
    except MissingLibraryError as error:
        return report | {"status": "unreadable", "problems": [str(error)]}
    except OSError as error:
        if isinstance(error, MrczDaskError):
            raise
        return report | {"status": "unreadable", "problems": [error_text(error)]}
    problem = recipe_problem(path) if verified.status in ("sound", "partly-checked") else None
    damage = {} if problem is None else {"status": "damaged", "problems": [problem]}
    return {**asdict(verified), "path": str(path), "problems": list(verified.problems), **damage}


@command()
def reproduce(
    path: Annotated[
        Path,
        typer.Argument(help="An output of `koma`, a counted stack, or an event list.", show_default=False),
    ],
    session: Annotated[Path | None, info_of("Folder of the inputs.", unset="the one above the file")] = None,
    calibration: Annotated[
        Path | None, info_of("Calibration of a counted stack, or its folder.", unset="beside the file")
    ] = None,
    detector: Annotated[
        str | None,
        info_of("Your own function that found the electrons of a counted stack.", metavar="FILE.py:NAME"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a file again as its footer says, with KOMA or counting, and compare the two bit for bit.

    Exit code: 0 the same, 3 not the same, 1 an input is missing or changed.
    """
    from mrcz_dask.api.reproduce import reproduce as run_again

    with Bars() as bars:
        reproduction = run_again(path, session, bars, calibration=calibration, detector=detector)
    if as_json:
        print_json(asdict(reproduction))
    elif reproduction.same:
        say(f"{path}: reproduced, every byte the same")
    else:
        say(f"{path}: not the same")
        for line in reproduction.lines():
            say(f"  {line}")
    raise typer.Exit(DONE if reproduction.same else PARTLY)
