"""Draw the curves of an action chunk: the panels of `panels.py` on the canvas of `style.py`.

The `timeseries` picture is this with a title; the `animation` video is this with a playhead over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.panels import Curve, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


@dataclass(frozen=True, eq=False)
class Drawn:
    """A panel on the canvas."""

    axes: Axes
    panel: Panel


def draw_curves(
    figure: Figure, rows: Sequence[Sequence[Panel]], box: tuple[float, float, float, float], chunk: int, look: Look
) -> list[Drawn]:
    """Draw the panels into `box` (left, top, width, height) [px] and return them with their axes.

    `chunk` is T: a border is drawn every T steps.
    """
    left, top, width, height = box
    weights = [0.62 if all(len(panel.curves) == 1 for panel in row) else 1.0 for row in rows]
    foot = 1.6 * look.font  # tick labels of the lowest row
    share = (height - foot - len(rows) * (look.header + look.gap) + look.gap) / sum(weights)
    drawn: list[Drawn] = []
    named: set[str] = set()
    for row, weight in zip(rows, weights, strict=True):
        shares = [_SHARES.get(panel.kind, 1.0) for panel in row]
        x = left
        for panel, share_of_row in zip(row, shares, strict=True):
            cell = width * share_of_row / sum(shares)
            x, inner = x + look.margin, cell - look.margin - look.rail
            axes = style.add_axes(figure, x, top + look.header, inner, weight * share)
            _draw_panel(axes, panel, chunk, look, labelled=row is rows[-1])
            _draw_header(figure, panel, x, top, inner, look, legend=look.legends or panel.kind not in named)
            named.add(panel.kind)
            drawn.append(Drawn(axes, panel))
            x += inner + look.rail
        top += look.header + weight * share + look.gap
    return drawn


def _draw_panel(axes: Axes, panel: Panel, chunk: int, look: Look, *, labelled: bool) -> None:
    """Draw bands, borders, curves and references into the axes."""
    steps = len(panel.curves[0].values_S)
    low, high = panel.limits
    axes.set_xlim(0, steps)
    axes.set_ylim(low, high)
    room = axes.get_window_extent().width / (2.1 * look.font)
    every = next((n for n in (1, 2, 4, 5, 10, 20, 50, 100, 200, 500) if steps <= n * room), 1000)
    x_ticks = {step + 0.5: str(step) for step in range(0, steps, every)}  # step s leads from frame s to frame s + 1
    y_ticks = style.even_ticks(low, high, style.nice_step(high - low, 2 if len(panel.curves) == 1 else 5))
    style.draw_grid(axes, x_ticks, y_ticks, look.font, numbered=labelled)
    if panel.kind == "score":
        pass
    elif panel.nominal:
        axes.axhspan(*panel.nominal, facecolor=style.PAPER, edgecolor=style.EDGE, linewidth=style.points(1), zorder=0.4)
    elif len(panel.curves) <= MAX_BARS:
        _draw_rail(axes, panel, look)
    for border in range(chunk, steps, chunk):
        axes.axvline(border, color=style.MUTED, linewidth=style.points(1.6), linestyle=(0, (2, 2)), zorder=1.5)
    time_S = np.arange(steps) + 0.5
    for curve in panel.curves:
        _draw_curve(axes, curve, time_S, look, highlighted=panel.kind == "gripper")


def _draw_curve(axes: Axes, curve: Curve, time_S: np.ndarray, look: Look, *, highlighted: bool) -> None:
    """Draw one column, its samples and reference, and the rings of what lies beyond model space's -1 to 1."""
    if curve.deviation_S is not None:
        _draw_samples(axes, curve, time_S, look)
    elif highlighted:
        axes.fill_between(
            time_S, curve.nominal[0], curve.values_S, color=curve.colour, alpha=0.14, linewidth=0, zorder=1.8
        )
    if curve.reference_S is not None:
        colour = style.mix(curve.colour, style.PAPER, 0.25)
        axes.plot(
            time_S, curve.reference_S, color=colour, linewidth=style.points(0.7 * look.line), dashes=(3, 2), zorder=2.1
        )
    width = (1.5 if highlighted else 1.0) * look.line
    dots: dict[str, Any] = {"marker": "o", "markersize": style.points(1.9 * look.line)} if len(time_S) <= 64 else {}
    axes.plot(
        time_S,
        curve.values_S,
        color=curve.colour,
        linewidth=style.points(width),
        zorder=2.5,
        solid_joinstyle="round",
        **dots,
    )
    _draw_rings(axes, curve, time_S, look)


def _draw_samples(axes: Axes, curve: Curve, time_S: np.ndarray, look: Look) -> None:
    """Draw behind a mean the band of one standard deviation and each sample as a thin line."""
    assert curve.deviation_S is not None
    low_S, high_S = curve.values_S - curve.deviation_S, curve.values_S + curve.deviation_S
    axes.fill_between(time_S, low_S, high_S, color=curve.colour, alpha=0.16, linewidth=0, zorder=1.8)
    thin: dict[str, Any] = {"color": curve.colour, "alpha": 0.6, "linewidth": style.points(0.4 * look.line)}
    for sample in curve.samples:
        axes.plot(time_S, sample.values_S, zorder=2.0, solid_joinstyle="round", **thin)
        _draw_rings(axes, sample, time_S, look)


def _draw_rings(axes: Axes, curve: Curve, time_S: np.ndarray, look: Look) -> None:
    """Ring what lies beyond model space's -1 to 1."""
    if not curve.beyond_S.any():
        return
    pitch = axes.get_window_extent().width / len(time_S)
    dense = pitch < 4.6 * look.line  # rings that touch become a rim behind the curve
    size = max(pitch, 2.8 * look.line) if dense else 4.6 * look.line
    axes.plot(
        time_S[curve.beyond_S], curve.values_S[curve.beyond_S], linestyle="none", marker="o", clip_on=False,
        zorder=2.4 if dense else 3, markersize=style.points(size), markerfacecolor="none",
        markeredgecolor=style.WARNING_COLOUR, markeredgewidth=style.points(0.6 * look.line),
    )  # fmt: skip


def _draw_rail(axes: Axes, panel: Panel, look: Look) -> None:
    """Draw right of the panel, as bars, the range that model space's -1 to 1 stands for in each column."""
    width = axes.get_window_extent().width
    pitch = min(0.24 * look.rail, (look.rail - 4) / len(panel.curves))
    for index, curve in enumerate(panel.curves):
        x = 1 + (6 + index * pitch) / width
        axes.plot(
            [x, x], curve.nominal, transform=axes.get_yaxis_transform(), color=style.mix(curve.colour, style.PAPER, 0.3),
            linewidth=style.points(0.6 * pitch), solid_capstyle="butt", clip_on=False,
        )  # fmt: skip


def _draw_header(
    figure: Figure, panel: Panel, left: float, top: float, width: float, look: Look, *, legend: bool
) -> None:
    """Write the panel's title and unit at its left, the names of its columns at its right."""
    baseline = top + look.header - 0.6 * look.font
    end = left + width
    if legend:
        end = _draw_legend(figure, panel, end, baseline, look)
    text = style.fit(panel.title, look.font, end - left - 10, bold=True)
    style.write(figure, left, baseline, text, look.font, weight="bold", va="baseline")
    used = style.text_width(text + " ", look.font, bold=True)
    unit = f" {panel.unit}"
    if left + used + style.text_width(unit, look.font) < end - 10:
        style.write(figure, left + used, baseline, unit, look.font, color=style.MUTED, va="baseline")


def _draw_legend(figure: Figure, panel: Panel, right: float, baseline: float, look: Look) -> float:
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
    for colours, label in reversed(entries):
        right -= style.text_width(label, font)
        style.write(figure, right, baseline, label, font, va="baseline")
        piece = dash / len(colours)
        for index, colour in enumerate(colours):
            x = right - 5 - dash + index * piece
            shape: dict[str, Any] = {"linewidth": style.points(1.3 * look.line), "solid_capstyle": "butt"}
            style.draw_line(figure, (x, x + piece), baseline - 0.34 * font, color=colour, **shape)
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
    marks = {"shades": 0.0}
    return sum(
        style.text_width(words, look.font) + (marks.get(mark, 2.1) + 1.3) * look.font for mark, words in _keys(rows)
    )


def draw_keys(figure: Figure, right: float, middle: float, rows: Sequence[Sequence[Panel]], look: Look) -> None:
    """Explain the marks in use, in one line that ends at `right` and is centred on `middle`."""
    x = right - key_width(rows, look)
    marks: dict[str, dict[str, Any]] = {
        "dashes": {"dashes": (3, 2), "linewidth": style.points(0.8 * look.line), "color": style.INK},
        "ring": {
            "linestyle": "none", "marker": "o", "markersize": style.points(4.6 * look.line), "markerfacecolor": "none",
            "markeredgecolor": style.WARNING_COLOUR, "markeredgewidth": style.points(0.7 * look.line),
        },
        "mean": {"linewidth": style.points(look.line), "color": style.INK},
        "thin": {"linewidth": style.points(0.4 * look.line), "color": style.INK},
        "band": {"linewidth": style.points(0.9 * look.font), "color": style.EDGE, "solid_capstyle": "butt"},
        "bar": {"linewidth": style.points(0.35 * look.font), "color": style.MUTED, "solid_capstyle": "butt"},
    }  # fmt: skip
    for mark, words in _keys(rows):
        if mark == "shades":
            style.write(figure, x, middle, words, look.font, va="center_baseline", color=style.MUTED)
            x += style.text_width(words, look.font) + 1.3 * look.font
            continue
        end = x + 1.6 * look.font
        style.draw_line(figure, [x + 0.8 * look.font] if mark == "ring" else [x, end], middle, **marks[mark])
        style.write(figure, end + 0.5 * look.font, middle, words, look.font, va="center_baseline", color=style.MUTED)
        x = end + style.text_width(words, look.font) + 1.8 * look.font


def label_chunks(axes: Axes, chunks: int, chunk: int, look: Look, word: str = "chunk") -> None:
    """Name the chunks at the top of a panel."""
    for index in range(chunks):
        axes.annotate(
            f"{word} {index + 1}", (index * chunk, 1), xycoords=("data", "axes fraction"), va="top", color=style.MUTED,
            xytext=(style.points(5), -style.points(4)), textcoords="offset points",
            fontsize=style.points(0.87 * look.font), family=style.FAMILY,
        )  # fmt: skip
