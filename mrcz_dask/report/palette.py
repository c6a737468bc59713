"""The colours of reports: legible on white (WCAG AA), and told apart by the colour-blind."""

from __future__ import annotations

# Okabe and Ito's; marks of figures differ in shape as well.
BLUE, VERMILION, GREEN, DARK = "#0072B2", "#D55E00", "#009E73", "#333333"
MARKS = (BLUE, VERMILION, GREEN, DARK)
SEQUENTIAL = "cividis"

WHITE, INK, QUIET, LINK, PANEL, RULE = "#FFFFFF", "#1B1F24", "#4A5159", "#005A8C", "#F4F6F8", "#767E87"
# Of a verdict: what is written, and on what.
LEVELS = {
    "good": ("#FFFFFF", "#1A6B3C"),
    "look": ("#1B1F24", "#F2B84B"),
    "act": ("#FFFFFF", "#A8201A"),
    "unknown": ("#FFFFFF", "#545C66"),
}
# What is written on what; marks and lines need 3, texts 4.5.
TEXTS = ((INK, WHITE), (QUIET, WHITE), (LINK, WHITE), (INK, PANEL), (QUIET, PANEL), *LEVELS.values())
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, #RRGGBB, as WCAG 2 defines it: 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[k : k + 2], 16) / 255) for k in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
