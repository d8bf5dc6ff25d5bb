"""A 3-D view on a flat canvas: a box with grids on its far sides, seen from a corner, at one scale for all axes.

Parallel projection by two unit vectors, so that equal lengths stay comparable.
"""

from __future__ import annotations

import math

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.text import text_width

AZIMUTH, ELEVATION = math.radians(-52.0), math.radians(24.0)
"""Where the camera stands: 52 degrees clockwise of +x, 24 degrees above the floor."""

_RIGHT = (-math.sin(AZIMUTH), math.cos(AZIMUTH), 0.0)
_UP = (-math.sin(ELEVATION) * math.cos(AZIMUTH), -math.sin(ELEVATION) * math.sin(AZIMUTH), math.cos(ELEVATION))


class Box:
    """A 3-D view in a rectangle of the canvas."""

    def __init__(
        self, canvas: Canvas, left: float, top: float, width: float, height: float, low: np.ndarray, high: np.ndarray,
        names: tuple[str, str, str], font: float,
    ) -> None:  # fmt: skip
        """Fit the box from `low` to `high` `[3]`, rounded out to whole grid cells, into the rectangle [px]."""
        extent = float((high - low).max()) or 1.0
        self.step = style.nice_step(extent, 8)
        self.low = np.floor(low / self.step - 1e-6) * self.step
        self.high = np.ceil(high / self.step + 1e-6) * self.step
        self.font, self.names = font, names
        corners = _flat(np.array(np.meshgrid(*zip(self.low, self.high, strict=True))).reshape(3, -1).T)
        span, middle = np.ptp(corners, axis=0), (corners.min(axis=0) + corners.max(axis=0)) / 2
        margin = 2 * 4.6 * font  # tick labels and axis names around the box
        self.scale = max(span[0] / (width - margin), span[1] / (height - 0.55 * margin))
        half = np.array([width, height]) * self.scale / 2
        middle = middle - np.array([0.0, 0.7 * font * self.scale])
        x_limits, y_limits = ((middle[i] - half[i], middle[i] + half[i]) for i in range(2))
        self.plot = Plot(canvas, left, top, width, height, x_limits, y_limits, face="")
        self._draw_grids()
        self._draw_ticks()

    def px(self, points: np.ndarray) -> np.ndarray:
        """Where points `[N, 3]` of space lie on the canvas, `[N, 2]` [px]."""
        flat = _flat(points)
        return self.plot.px(flat[..., 0], flat[..., 1])

    def _ticks(self, axis: int) -> np.ndarray:
        count = round((self.high[axis] - self.low[axis]) / self.step)
        return np.asarray(self.low[axis] + self.step * np.arange(count + 1))

    def _draw_grids(self) -> None:
        canvas, low, high = self.plot.canvas, self.low, self.high
        far = (low[0], high[1], low[2])  # the camera looks from +x, -y, above
        for normal, shade in enumerate((style.PANEL, style.PANEL, style.mix(style.PANEL, style.GRID, 0.5))):
            first, second = (axis for axis in range(3) if axis != normal)
            face = np.empty((4, 3))
            face[:, normal] = far[normal]
            face[:, first] = [low[first], high[first], high[first], low[first]]
            face[:, second] = [low[second], low[second], high[second], high[second]]
            canvas.area(self.px(face), shade, z=0, clip=self.plot)
            for along, across in ((first, second), (second, first)):
                for tick in self._ticks(across):
                    line = np.empty((2, 3))
                    line[:, normal], line[:, across] = far[normal], tick
                    line[:, along] = [low[along], high[along]]
                    canvas.line(self.px(line), style.GRID, 1.2, cap="round", z=0.5, clip=self.plot)

    def _draw_ticks(self) -> None:
        """Number the two near edges of the floor and the left edge of the far wall, and name the axes."""
        low, high = self.low, self.high
        edges = (
            (0, np.array([0.0, low[1], low[2]]), -1),
            (1, np.array([high[0], 0.0, low[2]]), 1),
            (2, np.array([low[0], low[1], 0.0]), -1),
        )
        for axis, base, side in edges:
            ticks = self._ticks(axis)
            unit = np.arange(3) == axis
            pitch = float(np.linalg.norm(_flat(self.step * unit)) / self.scale)  # of a grid cell [px]
            every = max(1, math.ceil(1.4 * self.font / pitch))
            shown = ticks[every if axis == 2 else 0 :: every]  # the corner's number is x's
            labels = [style.tick_text(tick, self.step) for tick in shown]
            dy, va = (0.0, "center") if axis == 2 else (0.25, "top")
            for tick, label in zip(shown, labels, strict=True):
                self._text(np.where(unit, tick, base), label, 0.4 * side, dy, va, style.MUTED)
            widest = max((text_width(label, self.font) for label in labels), default=0.0)
            middle = shown[len(shown) // 2] if len(shown) else (low[axis] + high[axis]) / 2
            beyond = side * (1.3 + widest / self.font)
            self._text(np.where(unit, middle, base), self.names[axis], beyond, dy, va, style.INK)

    def _text(self, point: np.ndarray, words: str, dx: float, dy: float, va: str, colour: str) -> None:
        """Write beside a point of space, `dx` font sizes to its left (negative) or right and `dy` below it."""
        x, y = self.px(point) + np.array([dx, dy]) * self.font
        self.plot.canvas.write(x, y, words, self.font, colour, ha="left" if dx > 0 else "right", va=va)


def _flat(points: np.ndarray) -> np.ndarray:
    """Points of space on the picture's plane: `[..., 3]` -> `[..., 2]`, in their own unit."""
    return np.stack([points @ _RIGHT, points @ _UP], axis=-1)
