"""Colors are legible on white, and differ for people who see fewer of them."""

from itertools import combinations

import numpy as np
import pytest

from mrcz_dask.pages.template import (
    BAD,
    BLUE,
    DARK,
    GREEN,
    INK,
    LEVELS,
    LINK,
    NIGHT,
    PANEL,
    QUIET,
    RULE,
    VERMILION,
    WHITE,
)
from mrcz_dask.report.judging import WORDS

MARKS = (BLUE, VERMILION, GREEN, DARK)
# Texts and their grounds; texts need a contrast of 4.5, marks and lines one of 3.
TEXTS = (*((text, ground) for text in (INK, QUIET, LINK, BAD) for ground in (WHITE, PANEL)), *LEVELS.values())
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def linear(color: str) -> np.ndarray:
    values = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast of two colors as WCAG 2 defines it: 1 to 21."""
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(np.clip(xyz / [0.9505, 1, 1.089], 1e-6, None))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert contrast("#FFFFFF", "#777777") == contrast("#777777", "#FFFFFF")


@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_texts_are_legible(text: str, ground: str) -> None:
    assert contrast(text, ground) >= TEXT_CONTRAST


def test_texts_are_legible_on_a_dark_ground() -> None:
    for text in ("INK", "QUIET", "LINK", "BAD"):
        assert min(contrast(NIGHT[text], NIGHT[ground]) for ground in ("WHITE", "PANEL")) >= TEXT_CONTRAST


@pytest.mark.parametrize("color", [*MARKS, RULE])
def test_marks_are_seen_on_white(color: str) -> None:
    assert contrast(color, WHITE) >= MARK_CONTRAST


@pytest.mark.parametrize("kind", BLINDNESS)
def test_marks_are_told_apart_by_the_color_blind(kind: str) -> None:
    seen = {c: lab(np.clip(np.array(BLINDNESS[kind]) @ linear(c), 0, 1)) for c in MARKS}
    nearest = min(float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(MARKS, 2))
    assert nearest > 15


def test_every_level_has_a_color_and_a_word() -> None:
    assert set(LEVELS) == set(WORDS)
