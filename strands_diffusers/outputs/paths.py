"""Draw one path: in 3-D with the body's axes, and flat from the top and the side.

P = S + 1 points of a path over S steps; a pose is `[4, 4]`, its columns the body's x, y, z axes and its position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strands_diffusers import actions
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.axonometry import Box
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.text import fit, text_width

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


def draw_body(canvas: Canvas, path: Path3D, left: float, top: float, width: float, height: float, font: float) -> None:
    """Draw a body's title, 3-D view, top view and side view into a rectangle [px]: flat views at the right of a wide
    rectangle, below in a narrow one.
    """
    wide = width > 1.2 * height
    x = left + 0.8 * font + canvas.write(left, top, path.title, 1.13 * font, bold=True)
    unit = "[axes of its first pose, m]" if path.unit == "m" else f"[{path.unit}]"
    x += 1.2 * font + canvas.write(x, top + 0.13 * font, unit, font, style.MUTED)
    x, y = (x, 0.13 * font) if wide else (left, 1.75 * font)
    canvas.write(x, top + y, fit(path.words, font, left + width - x), font, style.MUTED)
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
    draw_space(Box(canvas, *box, low, high, path.names, font), path, font)
    scale = max(
        max((high[a] - low[a]) / flat_width, (high[b] - low[b]) / flat_height) for a, b, _ in views
    )  # one for both views, so that they can be compared
    middle, (half_x, half_y) = (low + high) / 2, (scale * flat_width / 2, scale * flat_height / 2)
    step = style.nice_step(2 * min(half_x, half_y), 6)
    for (a, b, words), (x, y) in zip(views, places, strict=True):
        limits = (middle[a] - half_x, middle[a] + half_x), (middle[b] - half_y, middle[b] + half_y)
        plot = Plot(canvas, x, y, flat_width, flat_height, *limits)
        plot.grid(style.even_ticks(*limits[0], step), style.even_ticks(*limits[1], step), 0.93 * font)
        canvas.write(x, y - 0.55 * font, words, font, bold=True, va="baseline")
        end, sides = x + flat_width, f"{names[a]} right, {names[b]} up"
        canvas.write(end, y - 0.55 * font, sides, 0.93 * font, style.MUTED, va="baseline", ha="right")
        draw_flat_view(plot, path, a, b, font)


def draw_space(box: Box, path: Path3D, font: float) -> None:
    """Draw the path, its shadow on the floor, the body's axes along it, start and end."""
    line, canvas = 0.22 * font, box.plot.canvas
    on_floor = path.points.copy()
    on_floor[:, 2] = box.low[2]
    canvas.line(box.px(on_floor), style.EDGE, line, cap="round", z=1, clip=box.plot)
    for end in (0, -1):
        drop = np.stack([path.points[end], on_floor[end]])
        canvas.line(box.px(drop), style.EDGE, 1.2, dashes=(1, 1.65), cap="round", z=1, clip=box.plot)
    if path.reference is not None:
        _draw_reference(box.plot, box.px(path.reference), line)
    _draw_in_time(box.plot, box.px(path.points), line)
    if path.rotations is not None:
        chosen = np.unique(np.linspace(0, len(path.points) - 1, min(len(path.points), 9)).round().astype(int))
        arm = 0.075 * float((box.high - box.low).max())
        for axis, colour in enumerate(_AXIS_COLOURS):
            for index in chosen:
                tip = path.points[index] + arm * path.rotations[index][:, axis]
                both = box.px(np.stack([path.points[index], tip]))
                canvas.line(both, colour, 0.6 * line, cap="round", z=3.5, clip=box.plot)
    _draw_points(box.plot, box.px(path.points), font)


def draw_flat_view(plot: Plot, path: Path3D, a: int, b: int, font: float, *, over_picture: bool = False) -> None:
    """Draw coordinates `a` (right) and `b` (up) of the path; with a pale rim where a picture lies behind it."""
    points_P2, line = plot.px(path.points[:, a], path.points[:, b]), 0.22 * font
    if path.reference is not None:
        reference_P2 = plot.px(path.reference[:, a], path.reference[:, b])
        if over_picture:
            plot.canvas.line(reference_P2, style.PAPER, 1.8 * line, z=1.9, clip=plot)
        _draw_reference(plot, reference_P2, line)
    if over_picture:
        plot.canvas.line(points_P2, style.PAPER, 2.4 * line, z=2.5, clip=plot)
    _draw_in_time(plot, points_P2, line)
    _draw_points(plot, points_P2, font)


def _draw_reference(plot: Plot, points_P2: np.ndarray, line: float) -> None:
    plot.canvas.line(points_P2, style.MUTED, 0.8 * line, dashes=(3, 2), z=2, clip=plot)


def _draw_in_time(plot: Plot, points_P2: np.ndarray, line: float) -> None:
    for index, colour in enumerate(style.time_colours(len(points_P2) - 1)):
        plot.canvas.line(points_P2[index : index + 2], colour, 1.3 * line, cap="round", z=3, clip=plot)


def _draw_points(plot: Plot, points_P2: np.ndarray, font: float) -> None:
    """Draw the points in the colour of their time, the first as a ring, the last as a square."""
    colours = style.time_colours(len(points_P2))
    for point, colour in zip(points_P2, colours, strict=True):
        plot.canvas.marks(point, 0.42 * font, colour, z=4, clip=plot)
    _draw_ends(plot.canvas, points_P2[0], points_P2[-1], colours, 0.85 * font, 0.16 * font)


def _draw_ends(canvas: Canvas, first: object, last: object, colours: Sequence[str], size: float, width: float) -> None:
    canvas.marks(first, size, style.PAPER, edge=colours[0], width=width, z=5)
    canvas.marks(last, size, colours[-1], edge=style.INK, width=width, square=True, z=5)


def draw_time_bar(
    canvas: Canvas, right: float, middle: float, steps: int, path: Path3D, fps: float | None, font: float
) -> None:
    """Explain the colours and markers, in one line that ends at `right` and is centred on `middle`."""
    colours = style.time_colours(24)
    last = f"end, {steps / fps:.3g} s" if fps else f"end, step {steps}"
    bar = 7.5 * font
    x = right - text_width("start", font) - text_width(last, font) - bar - 2.6 * font
    if path.reference is not None:
        x -= text_width("observed", font) + 3.4 * font
        canvas.line([(x, middle), (x + 1.8 * font, middle)], style.MUTED, 0.18 * font, dashes=(3, 2))
        x += 2.2 * font
        x += canvas.write(x, middle, "observed", font, style.MUTED, va="capitals") + 1.2 * font
    x += canvas.write(x, middle, "start", font, style.MUTED, va="capitals") + 1.1 * font
    for index, colour in enumerate(colours):  # overlapping: no seams
        ends = [(x + bar * index / 24, middle), (x + bar * min(index + 2, 24) / 24, middle)]
        canvas.line(ends, colour, 0.35 * font, cap="butt")
    _draw_ends(canvas, (x, middle), (x + bar, middle), colours, 0.8 * font, 0.15 * font)
    canvas.write(x + bar + 1.1 * font, middle, last, font, style.MUTED, va="capitals")
