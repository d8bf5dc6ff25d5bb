"""Words in pictures: how wide they are, and their pixels, made once for all pictures of a process.

Letters stand on whole pixels, so that one word looks the same wherever it is written. matplotlib is imported inside the
functions: this module is part of every plugin's start-up.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.lazy import np

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

FAMILY = "DejaVu Sans"
"""Comes with matplotlib: the same letters on every machine, whatever a user's matplotlibrc says."""

ASCENT, DESCENT = 0.76, 0.24
"""The font's line above and below the baseline, of its size: the box that a line of text is laid out by."""

MARGIN = 3
"""Around the pixels of a word, for letters that lean out of their box [px]."""

DPI = 72
"""Dots per inch of matplotlib's canvas: its points are pixels then."""


def fit(text: str, font: float, width: float, *, bold: bool = False) -> str:
    """Return `text` on one line, cut with an ellipsis where it is wider than `width` [px] in `font` px."""
    text = printable(" ".join(text.split()))
    if text_width(text, font, bold=bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest prefix that fits
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", font, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def printable(text: str) -> str:
    """Return `text` with every character that the font lacks as an empty box, which a font's own warning would hide."""
    known = _characters()
    return "".join(letter if ord(letter) in known else "□" for letter in text)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, font: float, *, bold: bool = False) -> float:
    """Return the width of `text` [px] in `font` px."""
    return float(_renderer(1, 1).get_text_width_height_descent(text, _properties(font, bold), ismath=False)[0])


@functools.lru_cache(maxsize=4096)
def pixels(text: str, font: float, *, bold: bool = False) -> np.ndarray:
    """Return how much of each pixel a line of text covers, uint8 `[h, w]`.

    The text begins `MARGIN` from the left; `baseline(font)` is the row of its baseline.
    """
    width = math.ceil(text_width(text, font, bold=bold)) + 2 * MARGIN
    renderer = _renderer(width, baseline(font) + math.ceil(0.5 * font))
    renderer.draw_text(renderer.new_gc(), MARGIN, baseline(font), text, _properties(font, bold), 0)
    return np.asarray(renderer.buffer_rgba())[..., 3].copy()


def baseline(font: float) -> int:
    """The row of the baseline in `pixels`."""
    return math.ceil(1.2 * font)


def _renderer(width: int, height: int) -> RendererAgg:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(width, height, DPI)


@functools.cache
def _properties(font: float, bold: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=FAMILY, weight="bold" if bold else "normal", size=font)


@functools.cache
def _characters() -> frozenset[int]:
    import matplotlib as mpl
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))).get_charmap())
