"""One look for every picture and video: palette, fonts, figures laid out in pixels.

Figures are built with matplotlib's objects alone (no pyplot, no global state), one per picture, so that several threads
may draw at once. Positions and sizes are pixels from the top left corner, as in the videos beside which they stand.
matplotlib and Pillow are imported inside the functions: this module is part of every plugin's start-up.
"""

from __future__ import annotations

import functools
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import writing
from strands_diffusers.results import Artifact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from PIL.ImageFont import FreeTypeFont

DPI = 100
"""Dots per inch of every figure; with font sizes in pixels it cancels out."""

PAPER, PANEL, GRID, EDGE, MUTED, INK = "#ffffff", "#f6f8fa", "#e2e7ec", "#c3ccd5", "#5d6b7a", "#17202b"
X_COLOUR, Y_COLOUR, Z_COLOUR = "#d1480a", "#00875f", "#0b6bb8"
"""x, y, z as robotics draws them (red, green, blue), in shades the colour-blind tell apart (after Okabe and Ito)."""

GRIPPER_COLOUR = "#7a3db8"
CYCLE = ("#0b6bb8", "#d1480a", "#00875f", "#c2347e", "#b58900", "#4a4e9e", "#3aa0c9", "#8a5a2b", "#7a8b00", "#6b7785")
"""For columns without a meaning of their own, and for the fingers of a hand."""

WARNING_COLOUR = "#c8102e"
FAMILY = "DejaVu Sans"
"""Comes with matplotlib: the same letters on every machine, whatever a user's matplotlibrc says."""

TIME_MAP = "viridis"
"""Colour map of time along a path: dark at the start, bright at the end."""


def rgb(colour: str) -> np.ndarray:
    """Return `#rrggbb` as uint8 `[3]`."""
    return np.frombuffer(bytes.fromhex(colour.removeprefix("#")), np.uint8)


def mix(colour: str, other: str, share: float) -> str:
    """Return `colour` with `share` (0 to 1) of `other` in it."""
    mixed = np.rint(rgb(colour) * (1 - share) + rgb(other) * share).astype(np.uint8)
    return f"#{mixed.tobytes().hex()}"


def time_colours(count: int) -> np.ndarray:
    """Return RGBA `[count, 4]` from the start of a path to its end, without the map's palest yellow."""
    import matplotlib as mpl

    return np.asarray(mpl.colormaps[TIME_MAP](np.linspace(0.0, 0.92, count)))


def load_matplotlib() -> None:
    """Import what the pictures need of matplotlib, in one thread.

    Its packages import each other in circles: two threads that enter by different doors stop with a deadlock.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.collections
    import matplotlib.figure
    import matplotlib.font_manager
    import matplotlib.lines  # noqa: F401


def new_figure(width: int, height: int) -> Figure:
    """Return an empty white figure of `width` x `height` pixels with an Agg canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def size_of(figure: Figure) -> tuple[int, int]:
    """Return the figure's width and height [px]."""
    return round(figure.get_figwidth() * DPI), round(figure.get_figheight() * DPI)


def add_axes(figure: Figure, left: float, top: float, width: float, height: float, *, facecolor: str = PANEL) -> Axes:
    """Add bare axes whose plot area is the given rectangle [px]; `draw_grid` numbers them.

    matplotlib's own ticks take half of a picture's time, so that none are ever made.
    """
    total_width, total_height = size_of(figure)
    rectangle = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    axes = figure.add_axes(rectangle, facecolor=facecolor)
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def draw_grid(
    axes: Axes, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], font: float, *, numbered: bool = True
) -> None:
    """Draw grid lines at the ticks (`{value: label}`) and their labels below (unless not `numbered`) and left of them.

    Call it once the limits are set.
    """
    from matplotlib.collections import LineCollection

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    lines = [[(x, bottom), (x, top)] for x in x_ticks] + [[(left, y), (right, y)] for y in y_ticks]
    axes.add_collection(LineCollection(lines, colors=GRID, linewidths=points(1.2), zorder=0.6), autolim=False)
    look: dict[str, Any] = {
        "fontsize": points(font), "family": FAMILY, "color": MUTED, "textcoords": "offset points", "annotation_clip": False,
        "parse_math": False,
    }  # fmt: skip
    for x, label in x_ticks.items() if numbered else ():
        axes.annotate(label, (x, bottom), xytext=(0, -points(6)), ha="center", va="top", **look)
    for y, label in y_ticks.items():
        axes.annotate(label, (left, y), xytext=(-points(10), 0), ha="right", va="center_baseline", **look)


def even_ticks(low: float, high: float, step: float) -> dict[float, str]:
    """Return the multiples of `step` from `low` to `high` with their labels."""
    numbers = range(math.ceil(min(low, high) / step - 1e-9), math.floor(max(low, high) / step + 1e-9) + 1)
    return {number * step: tick_text(number * step, step) for number in numbers}


def nice_step(extent: float, count: int) -> float:
    """Return the 1, 2 or 5 times a power of ten that divides `extent` into about `count` parts."""
    raw = extent / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next((m * power for m in (1.0, 2.0, 5.0) if m * power >= raw * 0.999), 10 * power)


def tick_text(value: float, step: float) -> str:
    """Return `value` with as many decimals as its grid needs."""
    if abs(value) <= step / 1000:
        return "0"
    decimals = max(0, -math.floor(math.log10(step)))
    return (f"{value:.{decimals}f}" if 1e-4 <= step < 1e5 else f"{value:.2g}").replace("-", "−")


def points(pixels: float) -> float:
    """Return pixels as matplotlib's points, the unit of its fonts and lines."""
    return pixels * 72 / DPI


def write(figure: Figure, x: float, y: float, text: str, font: float, **style: Any) -> float:
    """Write one line of text with its anchor at pixel (x, y) and return its width [px].

    `style` is matplotlib's: `color`, `weight`, `ha`, `va` (top by default), `rotation`. Text is literal, a `$` too.
    """
    width, height = size_of(figure)
    options: dict[str, Any] = {"color": INK, "va": "top", "fontsize": points(font), "family": FAMILY} | style
    figure.text(x / width, 1 - y / height, text, parse_math=False, usetex=False, **options)
    return text_width(text, font, bold=style.get("weight") == "bold")


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
    """Return the width of `text` [px] in `font` px, as matplotlib will set it."""
    from matplotlib.font_manager import FontProperties

    properties = FontProperties(family=FAMILY, weight="bold" if bold else "normal", size=points(font))
    return float(_renderer().get_text_width_height_descent(text, properties, ismath=False)[0])


@functools.cache
def _renderer() -> RendererAgg:
    """A canvas of one pixel, to measure with."""
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, DPI)


@functools.cache
def label_font(size: int) -> FreeTypeFont:
    """Return the pictures' font for Pillow, which writes the labels that change from frame to frame."""
    from PIL import ImageFont

    return ImageFont.truetype(str(_font_file()), size)


def _font_file() -> Path:
    """The file of `FAMILY`."""
    import matplotlib as mpl

    return Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@functools.cache
def _characters() -> frozenset[int]:
    """Code points of the font."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_font_file())).get_charmap())


def draw_label(frame_HWC: np.ndarray, x: int, y: int, text: str, size: int) -> None:
    """Write `text` into a frame in place, its top left corner at (x, y) [px]; for labels that change."""
    from PIL import Image, ImageDraw

    font = label_font(size)
    width, height = int(font.getlength(text)) + 2, round(size * 1.4)
    patch = frame_HWC[y : y + height, x : x + width]
    image = Image.fromarray(patch)
    ImageDraw.Draw(image).text((0, 0), text, fill=INK, font=font)
    patch[...] = np.asarray(image)


def rendered(figure: Figure) -> np.ndarray:
    """Draw the figure and return its pixels, uint8 `[H, W, 3]`."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


def draw_line(figure: Figure, xs: Sequence[float], y: float, **look: Any) -> None:
    """Draw a level line from one pixel of the figure to another, or a marker at each; `look` is matplotlib's."""
    from matplotlib.lines import Line2D

    width, height = size_of(figure)
    places = [x / width for x in xs], [1 - y / height] * len(xs)
    figure.add_artist(Line2D(*places, transform=figure.transFigure, **look))


def lay_picture(figure: Figure, picture_HWC: np.ndarray, left: float, top: float) -> None:
    """Put a picture, pixel for pixel, under what is drawn, its top left corner at (left, top) [px].

    matplotlib's own pictures are resampled and coloured anew, which takes a third of a drawing's time.
    """
    from matplotlib.artist import Artist

    height, width = picture_HWC.shape[:2]
    pixels_HW4 = np.full((height, width, 4), 255, np.uint8)
    pixels_HW4[..., :3] = picture_HWC[::-1]

    class Picture(Artist):
        zorder = -1

        def draw(self, renderer: Any) -> None:
            context = renderer.new_gc()
            renderer.draw_image(context, round(left), size_of(figure)[1] - round(top) - height, pixels_HW4)
            context.restore()

    figure.add_artist(Picture())


def save(figure: Figure, path: Path, type_: str, **details: Any) -> Artifact:
    """Draw the figure to the PNG file `path`; `details` stand beside its shape. Raises: `OutputError`."""
    write_png(rendered(figure), path)
    width, height = size_of(figure)
    return Artifact(path, type_, {"shape": [height, width, 3], **details})


def write_png(pixels_HWC: np.ndarray, path: Path) -> None:
    """Write a picture to `path`; `OutputError` where that is impossible."""
    content = png_bytes(pixels_HWC)
    with writing(path):
        path.write_bytes(content)


def png_bytes(pixels_HWC: np.ndarray) -> bytes:
    """Return uint8 `[H, W, 3]` as a PNG file (PNG 1.2, RFC 2083).

    By hand, without row filters: drawings compress as well without, in a third of the time of Pillow's choosing them.
    """
    height, width, _ = pixels_HWC.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels_HWC.reshape(height, -1)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),  # 8 bits, RGB
        b"IDAT": zlib.compress(rows.tobytes(), 3),
        b"IEND": b"",
    }
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def scaled(picture_HWC: np.ndarray, width: int, height: int, *, smooth: bool = True) -> np.ndarray:
    """Return a picture in another size, as it is where the size is its own; not `smooth`: with its pixels as squares."""
    if picture_HWC.shape[:2] == (height, width):
        return picture_HWC
    from PIL import Image

    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture_HWC).resize((width, height), method))
