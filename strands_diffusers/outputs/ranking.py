"""Judged against true scores of policies: the picture of `sweep.verdict=policy_ranking`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.text import fit

MAX_PANELS = 6
_COLUMNS, _SIDE, _GAP_X, _GAP_Y = 3, 380, 96, 88
_LEFT, _TOP, _LEGEND, _MARGIN = 100, 150, 420, 60
_CURVES = 230
"""Height of the curves over the looks [px]."""

_FONT = 15.0
_CURVE_NAMES = {"pearson": "Pearson correlation", "rank_violation": "mean maximum rank violation"}
_MAX_NAMES = 40


@dataclass(frozen=True, eq=False)
class Panel:
    """The policies after one look."""

    looks: int
    names: Sequence[str]
    judged_P: np.ndarray
    true_P: np.ndarray
    judged_P2: np.ndarray | None
    true_P2: np.ndarray | None
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def draw_ranking(
    path: Path, panels: Sequence[Panel], score: str, who: str, truth: str, limits: Mapping[str, float]
) -> None:
    """Draw up to six panels, one a look: a point for each policy with the 95 % intervals of both scores, dashed where both
    agree; below them the statistics over all looks. `OutputError` where it cannot be written.
    """
    chosen = [panels[i] for i in dict.fromkeys(np.linspace(0, len(panels) - 1, MAX_PANELS).round().astype(int))]
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.names))
    width = _LEFT + columns * (_SIDE + _GAP_X) + _LEGEND
    below = _TOP + rows * (_SIDE + _GAP_Y)
    curves = _CURVES + 110 if len(panels) > 1 else 0
    height = max(below + curves, _TOP + 26 * min(len(names), _MAX_NAMES) + 40)
    canvas = Canvas(width, height)
    title = fit(f"{score}: {who} against {truth}", 24, width - 2 * _MARGIN, bold=True)
    canvas.write(_LEFT, 24, title, 24, bold=True)
    line = "one point a policy; bars: 95 % intervals over observations; dashed: both worlds say the same"
    canvas.write(_LEFT, 66, fit(line, _FONT, width - 2 * _MARGIN), _FONT, style.MUTED)
    ends = _limits(panels)
    ticks = style.even_ticks(*ends, style.nice_step(ends[1] - ends[0], 5))
    for index, panel in enumerate(chosen):
        left = _LEFT + (index % columns) * (_SIDE + _GAP_X)
        top = _TOP + (index // columns) * (_SIDE + _GAP_Y)
        values = f"Pearson {panel.values['pearson']:z.2f}, violation {panel.values['rank_violation']:.2f}"
        title = f"after {panel.looks} look{'s' * (panel.looks > 1)}: {values}"
        canvas.write(left, top - 26, fit(title, _FONT, _SIDE + _GAP_X - 20), _FONT)
        plot = Plot(canvas, left, top, _SIDE, _SIDE, ends, ends)
        plot.grid(ticks, ticks, _FONT)
        _scatter(plot, panel, names)
        canvas.write(left + _SIDE / 2, top + _SIDE + 32, "true score", _FONT, style.MUTED, ha="center")
    canvas.write(26, _TOP + _SIDE / 2, "judged score", _FONT, style.MUTED, turned=True)
    _legend(canvas, width - _LEGEND - 30, names)
    if curves:
        for place, name in enumerate(_CURVE_NAMES):
            left = _LEFT + place * (columns * (_SIDE + _GAP_X) // 2)
            _curve(canvas, left, below + 34, columns * (_SIDE + _GAP_X) // 2 - _GAP_X, panels, name, limits[name])
    canvas.save(path, "ranking")


def _scatter(plot: Plot, panel: Panel, names: Sequence[str]) -> None:
    canvas, ends = plot.canvas, plot.x_limits
    canvas.line(plot.px(ends, ends), style.EDGE, 2, dashes=(4, 3), z=1, clip=plot)
    for p, name in enumerate(panel.names):
        x, y, number = panel.true_P[p], panel.judged_P[p], names.index(name)
        colour = _colour(number)
        if panel.true_P2 is not None and panel.judged_P2 is not None:
            for bar in (plot.px(panel.true_P2[p], y), plot.px(x, panel.judged_P2[p])):
                canvas.line(bar, colour, 1.6, alpha=0.45, clip=plot)
        point = plot.px(x, y)
        canvas.marks(point, 9, colour, edge=colour, width=1.4, z=3, clip=plot)
        canvas.write(point[0] + 7, point[1] - 6, str(number + 1), 13, colour, va="baseline")


def _legend(canvas: Canvas, x: float, names: Sequence[str]) -> None:
    for number, name in enumerate(names[:_MAX_NAMES]):
        y = _TOP + 26 * number
        canvas.write(x + 30, y, str(number + 1), _FONT, _colour(number), ha="right", bold=True)
        canvas.write(x + 44, y, fit(name, _FONT, _LEGEND - 60), _FONT)
    if len(names) > _MAX_NAMES:
        canvas.write(x + 44, _TOP + 26 * _MAX_NAMES, f"and {len(names) - _MAX_NAMES} more", _FONT)


def _curve(
    canvas: Canvas, left: float, top: float, width: float, panels: Sequence[Panel], name: str, limit: float
) -> None:
    """A statistic over the looks with its interval; the line that it must reach, or stay below."""
    canvas.write(left, top - 24, _CURVE_NAMES[name], _FONT)
    looks = [panel.looks for panel in panels]
    value_K = np.array([panel.values[name] for panel in panels])
    ends_K2 = np.array([panel.intervals.get(name, (np.nan, np.nan)) for panel in panels])
    known = [*value_K, limit, *ends_K2[np.isfinite(ends_K2)]]
    low, high = (min(0.0, *known), 1.0) if name == "pearson" else (0.0, 1.1 * max(known))
    y_limits = low - 0.02 * (high - low), high + 0.04 * (high - low)
    plot = Plot(canvas, left, top, width, _CURVES, (looks[0] - 0.3, looks[-1] + 0.3), y_limits)
    every = max(1, round(style.nice_step(len(looks), 12)))
    x_ticks = {float(k): str(k) for k in looks[::every]}
    plot.grid(x_ticks, style.even_ticks(low, high, style.nice_step(high - low, 4)), _FONT)
    canvas.line(plot.px(plot.x_limits, limit), style.MUTED, 2, dashes=(4, 3), z=1, clip=plot)
    known_K = np.isfinite(ends_K2).all(axis=1)
    low_K2, high_K2 = (plot.px(looks, side_K)[known_K] for side_K in ends_K2.T)
    if known_K.any():
        canvas.area(np.concatenate([low_K2, high_K2[::-1]]), style.CYCLE[0], alpha=0.16, z=1.5, clip=plot)
    canvas.line(plot.px(looks, value_K), style.CYCLE[0], 3, clip=plot)
    canvas.marks(plot.px(looks, value_K), 7, style.CYCLE[0], edge=style.CYCLE[0], width=1.4, clip=plot)
    canvas.write(left + width / 2, top + _CURVES + 32, "looks", _FONT, style.MUTED, ha="center")


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Limits that hold every point and bar of every panel."""
    arrays = [a for p in panels for a in (p.judged_P, p.true_P, p.judged_P2, p.true_P2) if a is not None]
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _colour(number: int) -> str:
    return style.CYCLE[number % len(style.CYCLE)]
