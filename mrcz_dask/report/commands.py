"""The shell commands that a report lists: to run the session again, and to check its outputs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mrcz_dask.report.data import SessionData
from mrcz_dask.values.params import Settings, WriteParams

# Settings that have an option of their own, by group.
OPTIONS = {
    "outliers": ("rule",),
    "koma": (
        "radius",
        "method",
        "form",
        "long",
        "breaks",
        "groups",
        "smooth_limit",
        "trust_reference",
        "always",
        "pool",
    ),
    "input": ("mode0", "four_bit", "eer_frames", "eer_upsampling"),
}
NORMALIZED = ("mrcz", "zarr")


def koma_command(data: SessionData) -> str:
    """Return the shell command that would repeat the last run; gain files are named without their folders."""
    words = ["mrcz-dask", "koma", data.session, "-o", data.folder, *_options(data)]
    return shlex.join(words)


def other_commands(data: SessionData) -> Iterator[tuple[str, str]]:
    """Yield title and shell command of things to do with the outputs, such as checking them."""
    first = next((s for s in data.stacks if s.bytes_out), None)
    if first is not None:
        output = str(Path(data.folder) / first.output)
        yield "What was done to a stack", shlex.join(["mrcz-dask", "provenance", output])
        yield "Check the files", shlex.join(["mrcz-dask", "verify", output])
        again = ["mrcz-dask", "reproduce", output, "--session", data.session]
        yield "Make a stack again and compare it bit by bit", shlex.join(again)
    yield (
        "These figures as PNG, SVG and CSV",
        shlex.join(["mrcz-dask", "report", data.folder, "--figures", "figures"]),
    )
    yield "All data", shlex.join(["mrcz-dask", "report", data.folder, "--json"])


def _options(data: SessionData) -> Iterator[str]:
    settings, usual = data.settings, Settings().to_dict()
    for group, names in OPTIONS.items():
        for name in names:
            value = settings[group][name]
            if (name == "radius" or value != usual[group][name]) and _has_option(value):
                yield f"--{name.replace('_', '-')}"
                if value is not True:
                    yield str(value)
    if settings["koma"].get("break_after") is not None:
        yield from ("--break-after", f"{3600 * settings['koma']['break_after']:.9g}s")
    events = all(stack.name.lower().endswith(".eer") for stack in data.stacks)
    yield from _write(settings["write"], WriteParams("references" if events else "normalized"))
    if data.gain is not None:
        yield from _gain(data.gain, settings["gain"])


def _has_option(value: Any) -> bool:
    """Return whether an option can have this value; a list, as of groups by hand, comes from a file."""
    return not isinstance(value, list | tuple)


def _write(write: Mapping[str, Any], usual: WriteParams) -> Iterator[str]:
    for name in ("write", "format", "codec"):
        if write[name] != getattr(usual, name):
            yield from (f"--{name}", str(write[name]))
    if write["write"] != "normalized":
        return
    default = "int16" if write["format"] in NORMALIZED else "float32"
    if write["dtype"] != default:
        yield from ("--dtype", write["dtype"])
    if write["step"] != usual.step:
        yield from ("--step", f"{write['step']!r}")


def _gain(about: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    for name in ("gain", "dark", "defects"):
        if name in about:
            yield from (f"--{name}", str(about[name]["name"]))
    if "gain" in about:
        way = about["gain"]["orientation"]
        yield from ("--gain-rotate", str(way["turns"]), "--gain-flip", str(int(way["flip_rows"])))
        if about["gain"]["sense"] == "divide":
            yield "--gain-divide"
    if about.get("forced"):
        yield "--gain-force"
    if list(params["gamma"]) != [1.0]:
        yield from ("--gain-gamma", ",".join(f"{n!r}" for n in params["gamma"]))
    if params["frame_time"] is not None:
        yield from ("--frame-time", str(params["frame_time"]))


def unnamed_settings(data: SessionData) -> dict[str, Any]:
    """Return settings that differ from their defaults and that came from Python or a file, not an option."""
    usual = Settings().to_dict()
    unnamed = {}
    for group in (f.name for f in fields(Settings)):
        if group in ("write", "gain"):
            continue
        for name, value in data.settings[group].items():
            named = name in (*OPTIONS.get(group, ()), "break_after") and _has_option(value)
            if not named and value != usual[group].get(name):
                unnamed[f"{group}.{name}"] = value
    return unnamed
