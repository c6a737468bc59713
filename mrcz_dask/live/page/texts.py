"""What the page says in words; all that comes from files and sources is escaped."""

from __future__ import annotations

import math
from html import escape
from urllib.parse import quote

from mrcz_dask.live.processors.declare import Scalar
from mrcz_dask.live.view import PanelState, Result, SourceState, Status

KINDS = {"csv": "CSV", "png": "PNG", "zarr.zip": "Zarr"}


def headline(source: SourceState) -> str:
    """Return how the source stands."""
    facts = "".join(_fact(*one) for one in _facts(source))
    error = f"<pre class='bad' data-fact='error'>{escape(source.error)}</pre>" if source.error else ""
    pill = _pill(*_standing(source), "standing")
    return (
        f"<h1><span data-fact='source'>{escape(source.name)}</span> {pill}</h1>"
        f"<dl class='facts'>{facts}</dl>{error}"
    )


def _standing(source: SourceState) -> tuple[str, str]:
    """Return how the source stands in a word, and how that is to be coloured."""
    if source.error:
        return "error", "failed"
    if source.ended:
        return "ended", "ended"
    if source.paused:
        return "paused", "paused"
    return ("running", "running") if source.number >= 0 else ("waiting for frames", "waiting")


def _facts(source: SourceState) -> list[tuple[str, str, str]]:
    recorded = "no" if source.recorded is None else f"{source.recorded} of {source.received}"
    return [
        ("frame", "frame", str(source.number) if source.number >= 0 else "-"),
        ("rate", "frames/s", f"{source.rate:.1f}"),
        ("missing", "missing", f"{source.missing} frames" if source.missing else "none"),
        ("recorded", "recorded", recorded),
        ("image", "image", _image(source)),
        ("pixel", "pixel", f"{source.pixel_size:g} Å" if source.pixel_size else "-"),
        ("roi", "region y, x", str(source.roi).replace(",", ", ") if source.roi else "whole frame"),
    ]


def _image(source: SourceState) -> str:
    return "-" if source.shape is None else f"{source.shape[1]} x {source.shape[0]} {source.dtype}"


def _fact(key: str, label: str, text: str) -> str:
    bad = " class='bad'" if key == "missing" and text != "none" else ""
    return f"<div><dt>{label}</dt><dd{bad} data-fact='{key}'>{escape(text)}</dd></div>"


def _pill(text: str, kind: str, fact: str) -> str:
    return f"<span class='pill {kind}' data-fact='{escape(fact, quote=True)}'>{escape(text)}</span>"


def head(panel: PanelState) -> str:
    """Return title and status of a panel."""
    title = panel.spec.title.rstrip(".") if panel.spec else panel.name
    status = standing(panel)
    version = f", version {panel.version}" if panel.version > 1 else ""
    return (
        f"<h2>{escape(title)} {_pill(status, status, f'{panel.name}.status')}</h2>"
        f"<div class='quiet'>{escape(panel.name)} in {escape(panel.file)}"
        f"<span data-fact='{_key(panel)}.version'>{version}</span></div>"
    )


def standing(panel: PanelState) -> Status:
    """Return the status without that of single frames: it would flicker."""
    if panel.status not in ("running", "waiting"):
        return panel.status
    if panel.trace:
        return "failed"
    return "running" if panel.rate else panel.status


def numbers(panel: PanelState, last: Result | None) -> str:
    """Return how fast a panel is, what became of its frames, and its last values."""
    counts = [
        f"{panel.rate:.1f} frames/s",
        f"lag {_seconds(panel.lag)}",
        f"{panel.behind} behind",
        f"{panel.processed} done",
        *([f"region {panel.roi}".replace(",", ", ")] if panel.roi else []),
        f"{panel.skipped} skipped",
        _loud(panel.failed, "failed"),
        _loud(panel.restarts, "restarts"),
    ]
    line = "".join(f"<span>{one}</span>" for one in counts)
    return f"<div class='values'>{_values(panel, last)}</div><div class='stats'>{line}</div>"


def _loud(count: int, what: str) -> str:
    return f"<b class='bad'>{count} {what}</b>" if count else f"{count} {what}"


def _seconds(lag: float) -> str:
    return f"{lag:.1f} s" if lag >= 1 else f"{1000 * lag:.0f} ms"


def _values(panel: PanelState, last: Result | None) -> str:
    if last is None or panel.spec is None:
        return ""
    scalars = [one for one in panel.spec.outputs if isinstance(one, Scalar)]
    return "".join(_value(panel, one, last.values.get(one.name)) for one in scalars)


def _value(panel: PanelState, output: Scalar, value: object) -> str:
    if not isinstance(value, (int, float)):
        return ""
    shown = f"{value:.5g}" if math.isfinite(value) else "-"
    number = f"<b data-fact='{_key(panel)}.{output.name}'>{shown}</b>"
    return f"<span>{output.name} {number} {escape(output.unit)}</span>"


def trouble(panel: PanelState, refused: str) -> str:
    """Return what is wrong with a panel; '' if nothing is."""
    said = ""
    if refused:
        said += f"<p class='bad' data-fact='{_key(panel)}.refused'>{escape(refused)}</p>"
    if panel.load_error:
        goes_on = f"version {panel.version} goes on" if panel.version else "there is no other version"
        said += f"<p class='bad'>The edited file was not taken; {goes_on}.</p>"
        said += f"<pre data-fact='{_key(panel)}.load_error'>{escape(panel.load_error)}</pre>"
    if panel.trace:
        said += f"<pre data-fact='{_key(panel)}.trace'>{escape(panel.trace)}</pre>"
    return said


def links(panel: str) -> str:
    """Return the links under which a panel's results can be had."""
    name = quote(panel, safe="")
    each = (f"<a href='live/export/{name}.{end}' download>{label}</a>" for end, label in KINDS.items())
    return f"<div class='links'>export {' '.join(each)}</div>"


def _key(panel: PanelState) -> str:
    return escape(panel.name, quote=True)
