"""Draw the curves of an action chunk: the panels of `panels.py` on the canvas of `style.py`.

The `timeseries` picture is this with a title; the `animation` video is this with a playhead over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.panels import Curve, Panel
from strands_diffusers.outputs.text import fit, text_width

_SHARES = {"translation": 0.9, "rot6d": 1.2, "fingertip": 1.45, "gripper": 0.75}
"""Relative widths of panels that stand side by side, by what their legends need."""

MAX_BARS = 6
"""More columns than this have no bars of their nominal ranges beside their panel: nobody could tell them apart."""


@dataclass(frozen=True)
class Look:
    """Sizes [px] of the curves at one scale."""

    font: float = 14.0
    line: float = 2.6
    margin: float = 74.0
    """Left of each panel, for its tick labels."""

    header: float = 32.0
    """Above each panel, for its title and legend."""

    gap: float = 18.0
    """Between a panel and the header below it; the lowest has its tick labels there."""

    rail: float = 34.0
    """Right of each panel, for the bars of the nominal ranges."""

    legends: bool = True
    """Whether every panel names its columns, or only the first of its kind: the colours are the same in all."""


def draw_curves(
    canvas: Canvas, rows: Sequence[Sequence[Panel]], box: tuple[float, float, float, float], chunk: int, look: Look
) -> list[tuple[Plot, Panel]]:
    """Draw the panels into `box` (left, top, width, height) [px] and return each with its plot.

    `chunk` is T: a border is drawn every T steps.
    """
    left, top, width, height = box
    weights = [0.62 if all(len(panel.curves) == 1 for panel in row) else 1.0 for row in rows]
    foot = 1.6 * look.font  # tick labels of the lowest row
    share = (height - foot - len(rows) * (look.header + look.gap) + look.gap) / sum(weights)
    drawn: list[tuple[Plot, Panel]] = []
    named: set[str] = set()
    for row, weight in zip(rows, weights, strict=True):
        shares = [_SHARES.get(panel.kind, 1.0) for panel in row]
        x = left
        for panel, share_of_row in zip(row, shares, strict=True):
            cell = width * share_of_row / sum(shares)
            x, inner = x + look.margin, cell - look.margin - look.rail
            limits = (0, len(panel.curves[0].values_S)), panel.limits
            plot = Plot(canvas, x, top + look.header, inner, weight * share, *limits)
            _draw_panel(plot, panel, chunk, look, labelled=row is rows[-1])
            _draw_header(canvas, panel, x, top, inner, look, legend=look.legends or panel.kind not in named)
            named.add(panel.kind)
            drawn.append((plot, panel))
            x += inner + look.rail
        top += look.header + weight * share + look.gap
    return drawn


def _draw_panel(plot: Plot, panel: Panel, chunk: int, look: Look, *, labelled: bool) -> None:
    """Draw bands, borders, curves and references into the plot."""
    (_, steps), (low, high) = plot.x_limits, plot.y_limits
    room = plot.width / (2.1 * look.font)
    every = next((n for n in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500) if steps <= n * room), 1000)
    x_ticks = {
        step + 0.5: str(step) for step in range(0, int(steps), every)
    }  # step s leads from frame s to frame s + 1
    y_ticks = style.even_ticks(low, high, style.nice_step(high - low, 2 if len(panel.curves) == 1 else 5))
    plot.grid(x_ticks, y_ticks, look.font, numbered=labelled)
    if panel.kind == "score":
        pass
    elif panel.nominal:
        (bottom, top), (left, right) = panel.nominal, plot.x_limits
        band = plot.px([left, right, right, left], [bottom, bottom, top, top])
        plot.canvas.area(band, style.PAPER, z=0.4, edge=style.EDGE, width=1, clip=plot)
    elif len(panel.curves) <= MAX_BARS:
        _draw_rail(plot, panel, look)
    for border in range(chunk, int(steps), chunk):
        line = plot.px((border, border), plot.y_limits)
        plot.canvas.line(line, style.MUTED, 1.6, dashes=(2, 2), z=1.5, clip=plot)
    time_S = np.arange(steps) + 0.5
    for curve in panel.curves:
        _draw_curve(plot, curve, time_S, look, highlighted=panel.kind == "gripper")


def _draw_curve(plot: Plot, curve: Curve, time_S: np.ndarray, look: Look, *, highlighted: bool) -> None:
    """Draw one column, its samples and reference, and the rings of what lies beyond model space's -1 to 1."""
    line_S2, canvas = plot.px(time_S, curve.values_S), plot.canvas
    if curve.deviation_S is not None:
        _draw_samples(plot, curve, time_S, look)
    elif highlighted:
        _shade(plot, curve, time_S, np.full_like(curve.values_S, curve.nominal[0]), curve.values_S, 0.14)
    if curve.reference_S is not None:
        colour = style.mix(curve.colour, style.PAPER, 0.25)
        reference_S2 = plot.px(time_S, curve.reference_S)
        canvas.line(reference_S2, colour, 0.7 * look.line, dashes=(3, 2), z=2.1, clip=plot)
    canvas.line(line_S2, curve.colour, (1.5 if highlighted else 1.0) * look.line, z=2.5, clip=plot)
    if len(time_S) <= 64:
        canvas.marks(line_S2, 1.9 * look.line, curve.colour, z=2.5, edge=curve.colour, width=1.4, clip=plot)
    _draw_rings(plot, curve, time_S, look)


def _shade(plot: Plot, curve: Curve, time_S: np.ndarray, low_S: np.ndarray, high_S: np.ndarray, alpha: float) -> None:
    outline = np.concatenate([plot.px(time_S, low_S), plot.px(time_S, high_S)[::-1]])
    plot.canvas.area(outline, curve.colour, alpha=alpha, z=1.8, clip=plot)


def _draw_samples(plot: Plot, curve: Curve, time_S: np.ndarray, look: Look) -> None:
    """Draw behind a mean the band of one standard deviation and each sample as a thin line."""
    assert curve.deviation_S is not None
    _shade(plot, curve, time_S, curve.values_S - curve.deviation_S, curve.values_S + curve.deviation_S, 0.16)
    for sample in curve.samples:
        line = plot.px(time_S, sample.values_S)
        plot.canvas.line(line, curve.colour, 0.4 * look.line, alpha=0.6, z=2.0, clip=plot)
        _draw_rings(plot, sample, time_S, look)


def _draw_rings(plot: Plot, curve: Curve, time_S: np.ndarray, look: Look) -> None:
    if not curve.beyond_S.any():
        return
    pitch = plot.width / len(time_S)
    dense = pitch < 4.6 * look.line  # rings that touch become a rim behind the curve
    size = max(pitch, 2.8 * look.line) if dense else 4.6 * look.line
    rings = plot.px(time_S[curve.beyond_S], curve.values_S[curve.beyond_S])
    plot.canvas.marks(rings, size, "", z=2.4 if dense else 3, edge=style.WARNING_COLOUR, width=0.6 * look.line)


def _draw_rail(plot: Plot, panel: Panel, look: Look) -> None:
    """Draw right of the panel, as bars, the range that model space's -1 to 1 stands for in each column."""
    pitch = min(0.24 * look.rail, (look.rail - 4) / len(panel.curves))
    for index, curve in enumerate(panel.curves):
        x = plot.box[2] + 6 + index * pitch
        bar = [(x, y) for _, y in plot.px(0, curve.nominal)]
        plot.canvas.line(bar, style.mix(curve.colour, style.PAPER, 0.3), 0.6 * pitch, cap="butt")


def _draw_header(
    canvas: Canvas, panel: Panel, left: float, top: float, width: float, look: Look, *, legend: bool
) -> None:
    """Write the panel's title and unit at its left, the names of its columns at its right."""
    baseline = top + look.header - 0.6 * look.font
    end = left + width
    if legend:
        end = _draw_legend(canvas, panel, end, baseline, look)
    title = fit(panel.title, look.font, end - left - 10, bold=True)
    canvas.write(left, baseline, title, look.font, bold=True, va="baseline")
    used = text_width(title + " ", look.font, bold=True)
    unit = f" {panel.unit}"
    if left + used + text_width(unit, look.font) < end - 10:
        canvas.write(left + used, baseline, unit, look.font, style.MUTED, va="baseline")


def _draw_legend(canvas: Canvas, panel: Panel, right: float, baseline: float, look: Look) -> float:
    """Write each column's name behind a piece of its line, the last one ending at `right`; return where it begins."""
    if len(panel.curves) == 1:
        return right
    entries = [([curve.colour], curve.label) for curve in panel.curves]
    if panel.kind == "fingertip":  # three axes of a finger, dark to light, are one entry
        entries = [
            ([curve.colour for curve in panel.curves[i : i + 3]], panel.curves[i].label.split()[0])
            for i in range(0, len(panel.curves), 3)
        ]
    font, dash = 0.93 * look.font, 1.1 * look.font
    y = baseline - 0.34 * font
    for colours, label in reversed(entries):
        right -= text_width(label, font)
        canvas.write(right, baseline, label, font, va="baseline")
        piece = dash / len(colours)
        for index, colour in enumerate(colours):
            x = right - 5 - dash + index * piece
            canvas.line([(x, y), (x + piece, y)], colour, 1.3 * look.line, cap="butt")
        right -= dash + 5 + 0.9 * font
    return right + 0.9 * font


def _keys(rows: Sequence[Sequence[Panel]]) -> list[tuple[str, str]]:
    """Return the marks that need explaining, with their words."""
    panels = [panel for row in rows for panel in row]
    curves = [curve for panel in panels for curve in panel.curves]
    keys = []
    if any(curve.reference_S is not None for curve in curves):
        judged = any(panel.kind == "score" and panel.curves[0].reference_S is not None for panel in panels)
        keys.append(("dashes", "reference world" if judged else "observed"))
    if any(curve.deviation_S is not None for curve in curves):
        keys += [("mean", "mean, shaded ±1 std"), ("thin", "each sample")]
    if any(drawn.beyond_S.any() for curve in curves for drawn in (curve, *curve.samples)):
        keys.append(("ring", "beyond ±1 of model space"))
    if any(panel.kind == "fingertip" for panel in panels):
        keys.append(("shades", "fingers: x, y, z dark to light"))
    bands = any(panel.nominal for panel in panels if panel.kind != "score")
    bars = any(not panel.nominal and len(panel.curves) <= MAX_BARS for panel in panels if panel.kind != "score")
    if bands or bars:
        which = "white band, bars" if bands and bars else "white band" if bands else "bars"
        keys.append(("bar" if bars else "band", f"{which}: nominal range (±1)"))
    return keys


def key_width(rows: Sequence[Sequence[Panel]], look: Look) -> float:
    """Return the width of what `draw_keys` writes [px]."""
    return sum(
        text_width(words, look.font) + (1.3 if mark == "shades" else 3.4) * look.font for mark, words in _keys(rows)
    )


def draw_keys(canvas: Canvas, right: float, middle: float, rows: Sequence[Sequence[Panel]], look: Look) -> None:
    """Explain the marks in use, in one line that ends at `right` and is centred on `middle`."""
    x = right - key_width(rows, look)
    lines: dict[str, dict[str, Any]] = {
        "dashes": {"dashes": (3, 2), "width": 0.8 * look.line, "colour": style.INK},
        "mean": {"width": look.line, "colour": style.INK},
        "thin": {"width": 0.4 * look.line, "colour": style.INK},
        "band": {"width": 0.9 * look.font, "colour": style.EDGE, "cap": "butt"},
        "bar": {"width": 0.35 * look.font, "colour": style.MUTED, "cap": "butt"},
    }
    for mark, words in _keys(rows):
        if mark in lines:
            canvas.line([(x, middle), (x + 1.6 * look.font, middle)], **lines[mark])
        elif mark == "ring":
            place, edge = [(x + 0.8 * look.font, middle)], style.WARNING_COLOUR
            canvas.marks(place, 4.6 * look.line, "", edge=edge, width=0.7 * look.line)
        x += 0 if mark == "shades" else 2.1 * look.font
        x += canvas.write(x, middle, words, look.font, style.MUTED, va="capitals") + 1.3 * look.font


def label_chunks(plot: Plot, chunks: int, chunk: int, look: Look, word: str = "chunk") -> None:
    """Name the chunks at the top of a panel."""
    for index in range(chunks):
        x, _ = plot.px(index * chunk, 0)
        plot.canvas.write(x + 5, plot.box[1] + 4, f"{word} {index + 1}", 0.87 * look.font, style.MUTED)
