"""What every picture is drawn on: a canvas of pixels, and plots, rectangles of it with limits of their own.

Positions and sizes are pixels from the top left corner, as in the videos beside which the pictures stand. The rasteriser is
matplotlib's (Agg), without its figures, axes and artists, which take four fifths of a picture's time; there is no global
state, so that several threads may draw at once. matplotlib is imported inside the functions: this module is part of every
plugin's start-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style, text
from strands_diffusers.outputs.files import write_files
from strands_diffusers.results import Artifact

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import RendererAgg


def load_matplotlib() -> None:
    """Import what the pictures need of matplotlib, in one thread.

    Its packages import each other in circles: two threads that enter by different doors stop with a deadlock.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.font_manager  # noqa: F401


@dataclass(frozen=True, eq=False)
class Shape:
    """A line, an area or a row of marks."""

    points: np.ndarray
    """`[N, 2]` [px]."""

    z: float
    """Shapes with a greater one are drawn later, and hide the others."""

    colour: str = ""
    """Of the line, or of the edge; none where it is empty."""

    width: float = 0.0
    dashes: tuple[float, float] | None = None
    """Lengths of dash and gap, in widths of the line."""

    cap: str = "butt"
    face: str = ""
    """Colour of the area; none where it is empty."""

    alpha: float = 1.0
    mark: float = 0.0
    """Diameter of the marks; 0: a line or an area."""

    square: bool = False
    clip: Plot | None = None
    """What lies outside of its rectangle is not drawn."""

    def draw(self, renderer: RendererAgg) -> None:
        """Draw it."""
        from matplotlib.path import Path as Outline
        from matplotlib.transforms import Affine2D, Bbox, IdentityTransform

        height = renderer.height
        context = renderer.new_gc()
        context.set_linewidth(self.width)
        if self.colour:
            context.set_foreground(_rgba(self.colour, self.alpha), isRGBA=True)
        if self.dashes:
            context.set_dashes(0, [length * self.width for length in self.dashes])
        if self.clip is not None:
            left, top, right, bottom = self.clip.box
            context.set_clip_rectangle(Bbox([[left, height - bottom], [right, height - top]]))
        context.set_capstyle(self.cap)
        context.set_joinstyle("miter" if self.face and not self.mark else "round")
        face = _rgba(self.face, self.alpha) if self.face else None
        points = np.stack([self.points[:, 0], height - self.points[:, 1]], axis=1)  # Agg's y grows upwards
        if self.mark:
            context.set_snap(self.square)
            form = Outline.unit_rectangle() if self.square else Outline.unit_circle()
            middle, scale = (0.5, self.mark) if self.square else (0.0, self.mark / 2)
            for x, y in points:
                place = Affine2D.from_values(scale, 0, 0, scale, x - middle * scale, y - middle * scale)
                renderer.draw_path(context, form, place, face)
        else:
            closed = np.concatenate([points, points[:1]]) if face else points
            renderer.draw_path(context, Outline(closed, closed=face is not None), IdentityTransform(), face)
        context.restore()


@dataclass(frozen=True, eq=False)
class Text:
    """One line of text."""

    words: str
    box: tuple[float, float, float, float]
    """Left, top, right and bottom [px]: what the line takes, whichever letters it has."""

    colour: str
    cover_HW: np.ndarray
    """How much of each pixel the letters cover, uint8."""

    place: tuple[int, int]
    """Row and column of its first pixel."""


class Canvas:
    """A white picture; `pixels` draws what was put on it: pictures first, then shapes by their `z`, then the text."""

    def __init__(self, width: int, height: int) -> None:
        """`width` and `height` [px]."""
        self.width, self.height = width, height
        self.shapes: list[Shape] = []
        self.plots: list[Plot] = []
        self.texts: list[Text] = []
        self._pictures: list[tuple[np.ndarray, int, int]] = []

    def line(
        self, points: object, colour: str, width: float, *, z: float = 2, dashes: tuple[float, float] | None = None,
        cap: str = "", alpha: float = 1, clip: Plot | None = None,
    ) -> None:  # fmt: skip
        """Draw a line through points `[N, 2]`. `cap`: butt, projecting (by default, unless it is dashed) or round."""
        cap = cap or ("butt" if dashes else "projecting")
        self.shapes.append(Shape(np.asarray(points, float), z, colour, width, dashes, cap, alpha=alpha, clip=clip))

    def area(
        self, points: object, face: str, *, z: float = 1, alpha: float = 1, edge: str = "", width: float = 0,
        clip: Plot | None = None,
    ) -> None:  # fmt: skip
        """Fill the area that points `[N, 2]` enclose."""
        self.shapes.append(Shape(np.asarray(points, float), z, edge, width, face=face, alpha=alpha, clip=clip))

    def marks(
        self, points: object, size: float, face: str, *, z: float = 2, edge: str = "", width: float = 0,
        square: bool = False, clip: Plot | None = None,
    ) -> None:  # fmt: skip
        """Draw a dot, or a square, of `size` px at each of the points `[N, 2]`; without a `face` it is a ring."""
        flat = np.asarray(points, float).reshape(-1, 2)
        self.shapes.append(Shape(flat, z, edge, width, face=face, mark=size, square=square, clip=clip))

    def write(
        self, x: float, y: float, words: str, font: float, colour: str = style.INK, *, bold: bool = False,
        ha: str = "left", va: str = "top", turned: bool = False,
    ) -> float:  # fmt: skip
        """Write one line of text with its anchor at pixel (x, y) and return its width [px].

        `ha`: left, center or right; `va`: top, center, bottom, baseline, or capitals (their middle).
        `turned`: it runs upwards, its middle at y.
        """
        width, up, down = text.text_width(words, font, bold=bold), text.ASCENT * font, text.DESCENT * font
        if not words.strip():
            return width
        cover_HW = text.pixels(words, font, bold=bold)
        if turned:
            box = (x, y - width / 2, x + up + down, y + width / 2)
            place = round(box[1]) - text.MARGIN, round(x + up) - text.baseline(font)
            cover_HW = np.rot90(cover_HW)
        else:
            left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[ha] * width
            base = y + {"top": up, "center": (up - down) / 2, "bottom": -down, "baseline": 0, "capitals": up / 2}[va]
            box = (left, base - up, left + width, base + down)
            place = round(base) - text.baseline(font), round(left) - text.MARGIN
        self.texts.append(Text(words, box, colour, cover_HW, place))
        return width

    def picture(self, picture_HWC: np.ndarray, left: float, top: float) -> None:
        """Lay a picture under what is drawn, pixel for pixel, its top left corner at (left, top)."""
        self._pictures.append((picture_HWC, round(left), round(top)))

    def pixels(self) -> np.ndarray:
        """Draw everything; return the picture, uint8 `[H, W, 3]`."""
        from matplotlib.backends.backend_agg import RendererAgg

        renderer = RendererAgg(self.width, self.height, text.DPI)
        corners = [[0, 0], [self.width, 0], [self.width, self.height], [0, self.height]]
        Shape(np.array(corners, float), 0, face=style.PAPER).draw(renderer)
        for picture_HWC, left, top in self._pictures:
            rows, columns = picture_HWC.shape[:2]
            opaque_HW4 = np.full((rows, columns, 4), 255, np.uint8)
            opaque_HW4[..., :3] = picture_HWC[::-1]
            renderer.draw_image(renderer.new_gc(), left, self.height - top - rows, opaque_HW4)
        for shape in sorted(self.shapes, key=lambda shape: shape.z):
            shape.draw(renderer)
        pixels_HWC = np.asarray(renderer.buffer_rgba())[..., :3].copy()
        for line in self.texts:
            paste(pixels_HWC, line.cover_HW, line.colour, *line.place)
        return pixels_HWC

    def save(self, path: Path, type_: str, **details: object) -> Artifact:
        """Draw it to the PNG file `path`; `details` stand beside its shape. Raises: `OutputError`."""
        write_files({path: style.png_bytes(self.pixels())})
        return Artifact(path, type_, {"shape": [self.height, self.width, 3], **details})


class Plot:
    """A rectangle of a canvas whose points are values between limits; it is filled, and shapes may be clipped to it."""

    def __init__(
        self, canvas: Canvas, left: float, top: float, width: float, height: float,
        x_limits: tuple[float, float], y_limits: tuple[float, float], face: str = style.PANEL,
    ) -> None:  # fmt: skip
        """Place it [px]; `y_limits` are those at the bottom and at the top."""
        self.canvas, self.width, self.height = canvas, width, height
        self.box = left, top, left + width, top + height
        self.x_limits, self.y_limits = x_limits, y_limits
        canvas.plots.append(self)
        if face:
            canvas.area(self.px([x_limits[i] for i in (0, 1, 1, 0)], [y_limits[i] for i in (0, 0, 1, 1)]), face, z=0)

    def px(self, x: object, y: object) -> np.ndarray:
        """Where values lie on the canvas, `[N, 2]` [px]."""
        (left, right), (bottom, top) = self.x_limits, self.y_limits
        across = self.box[0] + (np.asarray(x, float) - left) / (right - left) * self.width
        down = self.box[3] - (np.asarray(y, float) - bottom) / (top - bottom) * self.height
        return np.stack(np.broadcast_arrays(across, down), axis=-1)

    def grid(
        self, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], font: float, *, numbered: bool = True
    ) -> None:
        """Draw lines at the ticks (`{value: label}`) and their labels below (unless not `numbered`) and left of them."""
        lines = [self.px((x, x), self.y_limits) for x in x_ticks] + [self.px(self.x_limits, (y, y)) for y in y_ticks]
        for line in lines:
            self.canvas.line(line, style.GRID, 1.2, z=0.6, cap="butt", clip=self)
        for x, label in x_ticks.items() if numbered else ():
            left, top = self.px(x, self.y_limits[0])
            self.canvas.write(left, top + 6, label, font, style.MUTED, ha="center")
        for y, label in y_ticks.items():
            left, top = self.px(self.x_limits[0], y)
            self.canvas.write(left - 10, top, label, font, style.MUTED, ha="right", va="capitals")


def paste(pixels_HWC: np.ndarray, cover_HW: np.ndarray, colour: str, row: int, column: int) -> None:
    """Lay `colour` over pixels as far as `cover_HW` says, its first pixel at (row, column); what lies beyond is cut."""
    top, left = max(0, -row), max(0, -column)
    patch = pixels_HWC[row + top : max(0, row + cover_HW.shape[0]), column + left : max(0, column + cover_HW.shape[1])]
    cover = cover_HW[top : top + patch.shape[0], left : left + patch.shape[1], None].astype(np.uint16)
    patch[...] = (patch * (255 - cover) + style.rgb(colour) * cover + 127) // 255


def write_label(frame_HWC: np.ndarray, x: int, middle: int, words: str, font: int) -> None:
    """Write `words` into a frame in place, from column `x`, their capitals around row `middle`; for labels that change."""
    row = round(middle + text.ASCENT * font / 2) - text.baseline(font)
    paste(frame_HWC, text.pixels(words, font), style.INK, row, x - text.MARGIN)


def _rgba(colour: str, alpha: float) -> tuple[float, float, float, float]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red / 255, green / 255, blue / 255, alpha
