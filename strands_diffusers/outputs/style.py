"""One look for every picture and video: palette, tick labels, PNG files.

matplotlib and Pillow are imported inside the functions: this module is part of every plugin's start-up.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
import zlib

from strands_diffusers.lazy import np
from strands_diffusers.memory import Memory

PAPER, PANEL, GRID, EDGE, MUTED, INK = "#ffffff", "#f6f8fa", "#e2e7ec", "#c3ccd5", "#5d6b7a", "#17202b"
X_COLOUR, Y_COLOUR, Z_COLOUR = "#d1480a", "#00875f", "#0b6bb8"
"""x, y, z as robotics draws them (red, green, blue), in shades the colour-blind tell apart (after Okabe and Ito)."""

GRIPPER_COLOUR = "#7a3db8"
CYCLE = ("#0b6bb8", "#d1480a", "#00875f", "#c2347e", "#b58900", "#4a4e9e", "#3aa0c9", "#8a5a2b", "#7a8b00", "#6b7785")
"""For columns without a meaning of their own, and for the fingers of a hand."""

WARNING_COLOUR = "#c8102e"
TIME_MAP = "viridis"
"""Colour map of time along a path: dark at the start, bright at the end."""

_scaled = Memory(64 << 20)


def rgb(colour: str) -> np.ndarray:
    """Return `#rrggbb` as uint8 `[3]`."""
    return np.frombuffer(bytes.fromhex(colour.removeprefix("#")), np.uint8)


def mix(colour: str, other: str, share: float) -> str:
    """Return `colour` with `share` (0 to 1) of `other` in it."""
    mixed = np.rint(rgb(colour) * (1 - share) + rgb(other) * share).astype(np.uint8)
    return f"#{mixed.tobytes().hex()}"


@functools.cache
def time_colours(count: int) -> list[str]:
    """Return `count` colours from the start of a path to its end, without the map's palest yellow."""
    import matplotlib as mpl

    return [
        f"#{bytes(colour[:3]).hex()}" for colour in mpl.colormaps[TIME_MAP](np.linspace(0.0, 0.92, count), bytes=True)
    ]


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
    """Return a picture in another size, as it is where the size is its own; not `smooth`: with its pixels as squares.

    The last pictures are kept: the jobs of a sweep share what was observed. Do not write into what is returned.
    """
    if picture_HWC.shape[:2] == (height, width):
        return picture_HWC
    if not smooth:
        return _nearest(_nearest(picture_HWC, height, 0), width, 1)
    key = hashlib.sha1(np.ascontiguousarray(picture_HWC).data).digest(), picture_HWC.shape, width, height
    return _scaled.get_or_make(key, lambda: _resampled(picture_HWC, width, height))


def _nearest(picture_HWC: np.ndarray, size: int, axis: int) -> np.ndarray:
    places = ((np.arange(size) + 0.5) * picture_HWC.shape[axis] / size).astype(int)
    return np.asarray(picture_HWC.take(places, axis))


def _resampled(picture_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(picture_HWC).resize((width, height), Image.Resampling.BICUBIC))
