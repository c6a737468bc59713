"""HTML texts of the live page; names and messages from files and sources are escaped."""

from __future__ import annotations

import math
from html import escape
from urllib.parse import quote

from mrcz_dask.live.processors.declare import Scalar
from mrcz_dask.live.view import PanelState, Result, SourceState

KINDS = {"csv": "CSV", "png": "PNG", "zarr.zip": "Zarr"}


def headline(source: SourceState) -> str:
    """Return HTML with the name, status and frame counts of a live session's source."""
    if source.error:
        status, style = "error", "failed"
    elif source.ended or source.paused:
        status = style = "ended" if source.ended else "paused"
    else:
        status, style = ("running", "running") if source.number >= 0 else ("waiting for frames", "waiting")
    shape = source.shape
    recorded = "no" if source.recorded is None else f"{source.recorded} of {source.received}"
    facts = [
        ("frame", "frame", str(source.number) if source.number >= 0 else "-"),
        ("rate", "frames/s", f"{source.rate:.1f}"),
        ("missing", "missing", f"{source.missing} frames" if source.missing else "none"),
        ("recorded", "recorded", recorded),
        ("image", "image", "-" if shape is None else f"{shape[1]} x {shape[0]} {source.dtype}"),
        ("pixel", "pixel", f"{source.pixel_size:g} Å" if source.pixel_size else "-"),
        ("roi", "region y, x", str(source.roi).replace(",", ", ") if source.roi else "whole frame"),
    ]
    items = []
    for key, label, text in facts:
        bad = " class='bad'" if key == "missing" and source.missing else ""
        items.append(f"<div><dt>{label}</dt><dd{bad} data-fact='{key}'>{escape(text)}</dd></div>")
    error = f"<pre class='bad' data-fact='error'>{escape(source.error)}</pre>" if source.error else ""
    return (
        f"<h1><span data-fact='source'>{escape(source.name)}</span> {_pill(status, style, 'standing')}</h1>"
        f"<dl class='facts'>{''.join(items)}</dl>{error}"
    )


def _pill(text: str, style: str, fact: str) -> str:
    return f"<span class='pill {style}' data-fact='{escape(fact, quote=True)}'>{escape(text)}</span>"


def head(panel: PanelState) -> str:
    """Return HTML with the title and status of a processor, for the head of its panel."""
    title = panel.spec.title.rstrip(".") if panel.spec else panel.name
    status: str = panel.status
    if status in ("running", "waiting"):  # that of single frames would flicker
        status = "failed" if panel.trace else "running" if panel.rate else status
    version = f", version {panel.version}" if panel.version > 1 else ""
    return (
        f"<h2>{escape(title)} {_pill(status, status, f'{panel.name}.status')}</h2>"
        f"<div class='quiet'>{escape(panel.name)} in {escape(panel.file)}"
        f"<span data-fact='{_key(panel)}.version'>{version}</span></div>"
    )


def numbers(panel: PanelState, last: Result | None) -> str:
    """Return HTML with a processor's last scalars, frames per second, delay,
    and counts of processed frames.
    """
    scalars = []
    for output in panel.spec.outputs if panel.spec and last else ():
        value = last.values.get(output.name) if last else None
        if isinstance(output, Scalar) and isinstance(value, (int, float)):
            number = f"{value:.5g}" if math.isfinite(value) else "-"
            fact = f"<b data-fact='{_key(panel)}.{output.name}'>{number}</b>"
            scalars.append(f"<span>{output.name} {fact} {escape(output.unit)}</span>")
    lag = f"{panel.lag:.1f} s" if panel.lag >= 1 else f"{1000 * panel.lag:.0f} ms"
    counts = [f"{panel.rate:.1f} frames/s", f"lag {lag}", f"{panel.behind} behind", f"{panel.processed} done"]
    if panel.roi:
        counts.append(f"region {panel.roi}".replace(",", ", "))
    counts.append(f"{panel.skipped} skipped")
    for count, word in ((panel.failed, "failed"), (panel.restarts, "restarts")):
        counts.append(f"<b class='bad'>{count} {word}</b>" if count else f"{count} {word}")
    line = "".join(f"<span>{count}</span>" for count in counts)
    return f"<div class='values'>{''.join(scalars)}</div><div class='stats'>{line}</div>"


def trouble(panel: PanelState, refusal: str) -> str:
    """Return HTML with a processor's errors and a refused parameter value; '' if there are none."""
    html, key = "", _key(panel)
    if refusal:
        html += f"<p class='bad' data-fact='{key}.refused'>{escape(refusal)}</p>"
    if panel.load_error:
        goes_on = f"version {panel.version} goes on" if panel.version else "there is no other version"
        html += f"<p class='bad'>The edited file was not taken; {goes_on}.</p>"
        html += f"<pre data-fact='{key}.load_error'>{escape(panel.load_error)}</pre>"
    if panel.trace:
        html += f"<pre data-fact='{key}.trace'>{escape(panel.trace)}</pre>"
    return html


def links(panel: str) -> str:
    """Return HTML with links that download a processor's results as files."""
    name = quote(panel, safe="")
    items = (f"<a href='live/export/{name}.{kind}' download>{label}</a>" for kind, label in KINDS.items())
    return f"<div class='links'>export {' '.join(items)}</div>"


def _key(panel: PanelState) -> str:
    return escape(panel.name, quote=True)
