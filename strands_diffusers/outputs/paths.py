"""Draw one path: in 3-D with the body's axes, and flat from the top and the side.

P = S + 1 points of a path over S steps; a pose is `[4, 4]`, its columns the body's x, y, z axes and its position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strands_diffusers import actions
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.axonometry import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_REACH = {"m": 2e-3, "px": 1.0, "model space": 0.1}
"""A still body is shown in a space of at least this size, not magnified until its noise fills the picture."""

_AXIS_COLOURS = (style.X_COLOUR, style.Y_COLOUR, style.Z_COLOUR)


@dataclass(frozen=True, eq=False)
class Path3D:
    """What to draw of one body."""

    title: str
    points: np.ndarray
    """`[P, 3]` (or `[P, 2]` for flat views alone) in `unit`."""

    rotations: np.ndarray | None
    """`[P, 3, 3]`: the body's axes as columns; None where there are none."""

    reference: np.ndarray | None
    """Points of the observed path, or None."""

    names: tuple[str, str, str]
    unit: str
    words: str
    """What to say beside the title."""

    @classmethod
    def of_poses(cls, name: str, poses: np.ndarray, reference: np.ndarray | None) -> Path3D:
        """Return the path of a body from its poses `[P, 4, 4]` [m]."""
        points, rotations = poses[:, :3, 3], poses[:, :3, :3]
        length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        away = float(np.linalg.norm(points[-1] - points[0]))
        turn = float(np.degrees(actions.geodesic(rotations[0], rotations[-1])))
        words = f"travels {length:.3f} m, ends {away:.3f} m from its start, turned by {turn:.0f}°"
        observed = None if reference is None else reference[:, :3, 3]
        return cls(f"path of the {name.replace('_', ' ')}", points, rotations, observed, ("x", "y", "z"), "m", words)

    @classmethod
    def of_values(cls, names: list[str], values: np.ndarray, reference: np.ndarray | None) -> Path3D:
        """Return model-space values `[S, 3]` to be drawn as they are."""
        words = "values step by step, not a path in metres"
        first, second, third = (name.replace("_", " ") for name in names)
        return cls("first three columns", values, None, reference, (first, second, third), "model space", words)

    @property
    def has_reference(self) -> bool:
        """Whether an observed path is drawn beside it."""
        return self.reference is not None

    @property
    def reach(self) -> float:
        """The largest coordinate, positive or negative."""
        return max(float(np.abs(part).max()) for part in (self.points, self.reference) if part is not None)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the low and high corner `[3]` of the space to show."""
        parts = [part for part in (self.points, self.reference) if part is not None]
        if self.unit == "model space":
            parts.append(np.array([[-1.0] * 3, [1.0] * 3]))
        every = np.concatenate(parts)
        low, high = every.min(axis=0), every.max(axis=0)
        reach = max(float((high - low).max()), LEAST_REACH[self.unit])
        pad = np.maximum((0.35 * reach - (high - low)) / 2, 0) + 0.06 * reach
        return low - pad, high + pad


def draw_body(figure: Figure, path: Path3D, left: float, top: float, width: float, height: float, font: float) -> None:
    """Draw a body's title, 3-D view, top view and side view into a rectangle [px]: flat views at the right of a wide
    rectangle, below in a narrow one.
    """
    wide = width > 1.2 * height
    used = style.write(figure, left, top, path.title, 1.13 * font, weight="bold")
    unit = "axes of its first pose, m" if path.unit == "m" else path.unit
    style.write(figure, left + used + 0.8 * font, top + 0.13 * font, f"[{unit}]", font, color=style.MUTED)
    x, y = (left + used + style.text_width(f"[{unit}]", font) + 2 * font, 0.13 * font) if wide else (left, 1.75 * font)
    style.write(figure, x, top + y, style.fit(path.words, font, left + width - x), font, color=style.MUTED)
    header = (1.9 if wide else 3.4) * font
    top, height = top + header, height - header
    low, high = path.bounds()
    names = path.names
    views = ((0, 1, "top view"), (0, 2, "side view"))
    if path.unit != "m":
        views = ((0, 1, f"{names[0]} and {names[1]}"), (0, 2, f"{names[0]} and {names[2]}"))
    if wide:
        box = (left, top, 0.56 * width, height)
        flat_left, flat_width = left + 0.56 * width + 4.6 * font, 0.44 * width - 4.6 * font
        flat_height = (height - 6.2 * font) / 2
        places = [(flat_left, top + 1.6 * font + i * (flat_height + 3.7 * font)) for i in range(2)]
    else:
        box = (left, top, width, 0.56 * height)
        flat_width = (width - 9.6 * font) / 2
        flat_height = 0.44 * height - 4.4 * font
        places = [
            (left + 3.6 * font + i * (flat_width + 5.0 * font), top + 0.56 * height + 2.2 * font) for i in range(2)
        ]
    draw_space(Box(figure, *box, low, high, path.names, font), path, font)
    scale = max(
        max((high[a] - low[a]) / flat_width, (high[b] - low[b]) / flat_height) for a, b, _ in views
    )  # one for both views, so that they can be compared
    for (a, b, words), (x, y) in zip(views, places, strict=True):
        axes = style.add_axes(figure, x, y, flat_width, flat_height)
        half = scale * np.array([flat_width, flat_height]) / 2
        middle = (low + high) / 2
        axes.set_xlim(middle[a] - half[0], middle[a] + half[0])
        axes.set_ylim(middle[b] - half[1], middle[b] + half[1])
        step = style.nice_step(2 * float(half.min()), 6)
        ticks = (style.even_ticks(*axes.get_xlim(), step), style.even_ticks(*axes.get_ylim(), step))
        style.draw_grid(axes, *ticks, 0.93 * font)
        style.write(figure, x, y - 0.55 * font, words, font, weight="bold", va="baseline")
        right = f"{path.names[a]} right, {path.names[b]} up"
        style.write(
            figure, x + flat_width, y - 0.55 * font, right, 0.93 * font, color=style.MUTED, va="baseline", ha="right"
        )
        draw_flat_view(axes, path, a, b, font)


def draw_space(box: Box, path: Path3D, font: float) -> None:
    """Draw the path, its shadow on the floor, the body's axes along it, start and end."""
    segments = np.stack([path.points[:-1], path.points[1:]], axis=1)
    shadow = segments.copy()
    shadow[..., 2] = box.low[2]
    line = 0.22 * font
    box.lines(shadow, colors=style.EDGE, linewidths=style.points(line), zorder=1)
    ends = path.points[[0, -1]]
    drops = np.stack([ends, np.column_stack([ends[:, :2], np.full(2, box.low[2])])], axis=1)
    box.lines(drops, colors=style.EDGE, linewidths=style.points(1.2), linestyles="dotted", zorder=1)
    if path.reference is not None:
        flat = box.project(path.reference)
        box.axes.plot(
            flat[:, 0], flat[:, 1], color=style.MUTED, linewidth=style.points(0.8 * line), dashes=(3, 2), zorder=2
        )
    box.lines(segments, colors=style.time_colours(len(segments)), linewidths=style.points(1.3 * line), zorder=3)
    if path.rotations is not None:
        chosen = np.unique(np.linspace(0, len(path.points) - 1, min(len(path.points), 9)).round().astype(int))
        arm = 0.075 * float((box.high - box.low).max())
        for axis, colour in enumerate(_AXIS_COLOURS):
            tips = path.points[chosen] + arm * path.rotations[chosen][:, :, axis]
            both = np.stack([path.points[chosen], tips], axis=1)
            box.lines(both, colors=colour, linewidths=style.points(0.6 * line), zorder=3.5)
    flat = box.project(path.points)
    _draw_points(box.axes, flat, font)


def draw_flat_view(axes: Axes, path: Path3D, a: int, b: int, font: float, *, over_picture: bool = False) -> None:
    """Draw coordinates `a` (right) and `b` (up) of the path; with a pale rim where a picture lies behind it."""
    from matplotlib.collections import LineCollection

    flat = path.points[:, [a, b]]
    line = 0.22 * font
    if path.reference is not None:
        observed = path.reference[:, [a, b]].T
        if over_picture:
            axes.plot(*observed, color=style.PAPER, linewidth=style.points(1.8 * line), zorder=1.9)
        axes.plot(*observed, color=style.MUTED, linewidth=style.points(0.8 * line), dashes=(3, 2), zorder=2)
    if over_picture:
        axes.plot(*flat.T, color=style.PAPER, linewidth=style.points(2.4 * line), zorder=2.5, solid_joinstyle="round")
    segments = list(np.stack([flat[:-1], flat[1:]], axis=1))
    colours = style.time_colours(max(len(segments), 1))
    axes.add_collection(
        LineCollection(segments, colors=colours, linewidths=style.points(1.3 * line), zorder=3, capstyle="round"),
        autolim=False,
    )
    _draw_points(axes, flat, font)


def _draw_points(axes: Axes, flat: np.ndarray, font: float) -> None:
    """Draw the points in the colour of their time, the first as a ring, the last as a square."""
    colours = style.time_colours(len(flat))
    axes.scatter(flat[:, 0], flat[:, 1], s=style.points(0.42 * font) ** 2, c=colours, zorder=4, linewidths=0)
    for index, marker, face in ((0, "o", style.PAPER), (-1, "s", colours[-1])):
        axes.plot(
            *flat[index], marker=marker, markersize=style.points(0.85 * font), markerfacecolor=face, zorder=5, clip_on=False,
            markeredgecolor=colours[0] if index == 0 else style.INK, markeredgewidth=style.points(0.16 * font),
        )  # fmt: skip


def draw_time_bar(
    figure: Figure, right: float, middle: float, steps: int, has_reference: bool, fps: float | None, font: float
) -> None:
    """Explain the colours and markers, in one line that ends at `right` and is centred on `middle`."""
    from matplotlib.collections import LineCollection

    width, height = style.size_of(figure)
    y = 1 - middle / height
    colours = style.time_colours(24)
    last = f"end, {steps / fps:.3g} s" if fps else f"end, step {steps}"
    texts = ["start", last] + (["observed"] if has_reference else [])
    bar = 7.5 * font
    x = right - sum(style.text_width(text, font) for text in texts) - bar - (2.6 + (3.4 if has_reference else 0)) * font
    if has_reference:
        look: dict[str, Any] = {"color": style.MUTED, "linewidth": style.points(0.18 * font), "dashes": (3, 2)}
        style.draw_line(figure, (x, x + 1.8 * font), middle, **look)
        x += 2.2 * font
        style.write(figure, x, middle, texts[2], font, va="center_baseline", color=style.MUTED)
        x += style.text_width(texts[2], font) + 1.2 * font
    style.write(figure, x, middle, texts[0], font, va="center_baseline", color=style.MUTED)
    x += style.text_width(texts[0], font) + 1.1 * font
    edges = np.linspace(x, x + bar, 25) / width
    pieces = [[(edges[i], y), (edges[min(i + 2, 24)], y)] for i in range(24)]  # overlapping: no seams
    figure.add_artist(
        LineCollection(pieces, colors=colours, linewidths=style.points(0.35 * font), transform=figure.transFigure)
    )
    for at, marker, face, edge in ((x, "o", style.PAPER, colours[0]), (x + bar, "s", colours[-1], style.INK)):
        look = {"marker": marker, "markersize": style.points(0.8 * font), "markerfacecolor": face}
        rim = {"markeredgecolor": edge, "markeredgewidth": style.points(0.15 * font)}
        style.draw_line(figure, (at,), middle, **look, **rim)
    style.write(figure, x + bar + 1.1 * font, middle, texts[1], font, va="center_baseline", color=style.MUTED)
