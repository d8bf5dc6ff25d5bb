"""A 3-D view on a flat canvas: a box with grids on its far sides, seen from a corner, at one scale for all axes.

Parallel projection by two unit vectors, so that equal lengths stay comparable and a whole view costs a few line
collections; matplotlib's own 3-D axes take several times as long and leave wide margins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AZIMUTH, ELEVATION = math.radians(-52.0), math.radians(24.0)
"""Where the camera stands: 52 degrees clockwise of +x, 24 degrees above the floor."""

_RIGHT = (-math.sin(AZIMUTH), math.cos(AZIMUTH), 0.0)
_UP = (-math.sin(ELEVATION) * math.cos(AZIMUTH), -math.sin(ELEVATION) * math.sin(AZIMUTH), math.cos(ELEVATION))


class Box:
    """A 3-D view in a rectangle of the figure."""

    def __init__(
        self, figure: Figure, left: float, top: float, width: float, height: float, low: np.ndarray, high: np.ndarray,
        names: tuple[str, str, str], font: float,
    ) -> None:  # fmt: skip
        """Fit the box from `low` to `high` `[3]`, rounded out to whole grid cells, into the rectangle [px]."""
        extent = float((high - low).max()) or 1.0
        self.step = style.nice_step(extent, 8)
        self.low = np.floor(low / self.step - 1e-6) * self.step
        self.high = np.ceil(high / self.step + 1e-6) * self.step
        self.font, self.names = font, names
        self.axes = style.add_axes(figure, left, top, width, height, facecolor="none")
        corners = self.project(np.array(np.meshgrid(*zip(self.low, self.high, strict=True))).reshape(3, -1).T)
        span, middle = np.ptp(corners, axis=0), (corners.min(axis=0) + corners.max(axis=0)) / 2
        margin = 2 * 4.6 * font  # tick labels and axis names around the box
        self.scale = max(span[0] / (width - margin), span[1] / (height - 0.55 * margin))
        half = np.array([width, height]) * self.scale / 2
        middle = middle - np.array([0.0, 0.7 * font * self.scale])
        self.axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
        self.axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
        self._draw_grids()
        self._draw_ticks()

    @staticmethod
    def project(points: np.ndarray) -> np.ndarray:
        """Return canvas coordinates: `[..., 3]` -> `[..., 2]`, in the points' own unit."""
        return np.stack([points @ _RIGHT, points @ _UP], axis=-1)

    def lines(self, segments_N23: np.ndarray, **look: Any) -> None:
        """Draw N straight lines, `[N, 2, 3]`."""
        from matplotlib.collections import LineCollection

        self.axes.add_collection(
            LineCollection(list(self.project(segments_N23)), capstyle="round", **look), autolim=False
        )

    def _ticks(self, axis: int) -> np.ndarray:
        count = round((self.high[axis] - self.low[axis]) / self.step)
        return np.asarray(self.low[axis] + self.step * np.arange(count + 1))

    def _draw_grids(self) -> None:
        """Draw the floor and the two far walls with their grids."""
        from matplotlib.collections import PolyCollection

        far = (self.low[0], self.high[1], self.low[2])  # the camera looks from +x, -y, above
        faces, segments = [], []
        for normal in range(3):
            first, second = (axis for axis in range(3) if axis != normal)
            face = np.empty((4, 3))
            face[:, normal] = far[normal]
            face[:, first] = [self.low[first], self.high[first], self.high[first], self.low[first]]
            face[:, second] = [self.low[second], self.low[second], self.high[second], self.high[second]]
            faces.append(self.project(face))
            for along, across in ((first, second), (second, first)):
                for tick in self._ticks(across):
                    line = np.empty((2, 3))
                    line[:, normal], line[:, across] = far[normal], tick
                    line[:, along] = [self.low[along], self.high[along]]
                    segments.append(line)
        shades = (style.PANEL, style.PANEL, style.mix(style.PANEL, style.GRID, 0.5))
        self.axes.add_collection(PolyCollection(faces, facecolors=shades, edgecolors="none", zorder=0), autolim=False)
        self.lines(np.array(segments), colors=style.GRID, linewidths=style.points(1.2), zorder=0.5)

    def _draw_ticks(self) -> None:
        """Number the two near edges of the floor and the left edge of the far wall, and name the axes."""
        low, high = self.low, self.high
        edges = (
            (0, np.array([0.0, low[1], low[2]]), -1, "top"),
            (1, np.array([high[0], 0.0, low[2]]), 1, "top"),
            (2, np.array([low[0], low[1], 0.0]), -1, "center"),
        )
        for axis, base, side, va in edges:
            ticks = self._ticks(axis)
            unit = np.arange(3) == axis
            pitch = float(np.linalg.norm(self.project(self.step * unit)) / self.scale)  # of a grid cell [px]
            every = max(1, math.ceil(1.4 * self.font / pitch))
            shown = ticks[every if axis == 2 else 0 :: every]  # the corner's number is x's
            labels = [style.tick_text(tick, self.step) for tick in shown]
            dy = 0.0 if axis == 2 else -0.25
            for tick, label in zip(shown, labels, strict=True):
                self._text(np.where(unit, tick, base), label, 0.4 * side, dy, va, style.MUTED)
            widest = max((style.text_width(label, self.font) for label in labels), default=0.0)
            middle = shown[len(shown) // 2] if len(shown) else (low[axis] + high[axis]) / 2
            beyond = side * (1.3 + widest / self.font)
            self._text(np.where(unit, middle, base), self.names[axis], beyond, dy, va, style.INK)

    def _text(self, point: np.ndarray, text: str, dx: float, dy: float, va: str, colour: str) -> None:
        """Write beside a point of space, `dx` font sizes to its left (negative) or right and `dy` above it."""
        size = style.points(self.font)
        self.axes.annotate(
            text, tuple(self.project(point)), xytext=(dx * size, dy * size), textcoords="offset points",
            ha="left" if dx > 0 else "right", va=va, fontsize=size, family=style.FAMILY, color=colour,
            annotation_clip=False, parse_math=False,
        )  # fmt: skip
