"""`info`, `provenance` and `verify`: what a file is, how it came to be, whether it is sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mrcz_dask.cli.console import complain, print_json, say, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY, UNCHECKED
from mrcz_dask.cli.options import AsJson, Paths
from mrcz_dask.formats.reader import open_reader, read_header
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import MrczDaskError

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("info")(info)
    app.command("provenance")(provenance)
    app.command("verify")(verify)


def info(paths: Paths, as_json: AsJson = False) -> None:
    """Print what is in the header of stacks, and in their footer.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can.
    """
    found = dict(_readable(paths, _info))
    if as_json:
        print_json(list(found.values()))
    else:
        for name, one in found.items():
            say(name)
            for key, value in one.items():
                if key != "path":
                    say(f"  {key:<14} {value}")
    raise typer.Exit(_exit_code(paths, found))


def _readable(paths: list[Path], look: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
    """Yield what a look at each file gives; a file that cannot be read is named and stops no other."""
    for path in paths:
        try:
            yield str(path), look(path)
        except (MrczDaskError, OSError) as error:
            complain(error)


def _exit_code(paths: list[Path], found: dict[str, Any]) -> int:
    return DONE if all(str(path) in found for path in paths) else PARTLY if found else FAILED


def _info(path: Path) -> dict[str, Any]:
    values = {"path": str(path), **read_header(path)}
    with open_reader(path) as reader:
        steps = [f"{s.get('name')} ({s.get('package')} {s.get('version')})" for s in reader.provenance]
        return values | {
            "dtype": reader.dtype.name,
            "bytes": path.stat().st_size,
            "codec": reader.codec,
            "pixels": reader.pixels,
            "meta": reader.meta,
            "footer": reader.footer is not None,
            "recipe": "recipe" in (reader.footer or {}),
            "provenance": steps,
        }


def provenance(paths: Paths, as_json: AsJson = False) -> None:
    """Print what was done to stacks, step by step, as their footers record it.

    Exit code: 0 all read, 3 some files cannot be read, 1 none can.
    """
    found = dict(_readable(paths, _provenance))
    if as_json:
        print_json(found)
    else:
        for name, steps in found.items():
            _show_steps(name, steps)
    raise typer.Exit(_exit_code(paths, found))


def _provenance(path: Path) -> list[dict[str, Any]]:
    with open_reader(path) as reader:
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


def verify(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with stacks.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Check every frame's checksum, the header against the content, the chain of provenance, and the recipe.

    Exit code: 0 all sound, 3 something is damaged, 4 nothing damaged but no footer to check against,
    1 a file cannot be read at all.
    """
    reports = [_verify(path) for path in _files(paths)]
    if as_json:
        print_json(reports)
    else:
        for one in reports:
            say(f"{one['path']}: {one['status']}{_counted(one)}")
            for problem in one["problems"]:
                say(f"  {problem}")
    states = {one["status"] for one in reports}
    if not states:
        warn("no .mrcz, .mrc or .mrcs file there")
        raise typer.Exit(FAILED)
    raise typer.Exit(
        PARTLY
        if "damaged" in states
        else FAILED
        if "unreadable" in states
        else UNCHECKED
        if "no-footer" in states
        else DONE
    )


def _counted(report: dict[str, Any]) -> str:
    sound, expected = report["frames"], report.get("expected_frames")
    if not sound:
        return ""
    return f", {sound} frames" if sound == expected else f", {sound} of {expected} frames sound"


def _files(paths: list[Path]) -> list[Path]:
    suffixes = {".mrcz", ".mrc", ".mrcs"}
    found: list[Path] = []
    for path in paths:
        inside = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes) if path.is_dir() else [path]
        )
        found += inside
    return found


def _verify(path: Path) -> dict[str, Any]:
    from mrcz_dask.runs.opening import recipe_problem

    try:
        report = verify_file(path)
    except OSError as error:
        if isinstance(error, MrczDaskError):
            raise
        reason = f"{path}: cannot be read ({error.strerror or error}); check the path"
        return {"path": str(path), "status": "unreadable", "problems": [reason], "frames": 0}
    found = {**asdict(report), "path": str(path), "problems": list(report.problems)}
    problem = recipe_problem(path) if report.status == "sound" else None
    return found if problem is None else {**found, "status": "damaged", "problems": [problem]}
