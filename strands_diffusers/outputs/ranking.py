"""Judged against true scores of policies: the picture of `sweep.verdict=policy_ranking`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    """Draw up to six panels, one a look, and the statistics over all looks; `OutputError` where it cannot be written."""
    style.write_png(style.rendered(ranking_figure(panels, score, who, truth, limits)), path)


def ranking_figure(panels: Sequence[Panel], score: str, who: str, truth: str, limits: Mapping[str, float]) -> Figure:
    """The picture: a point for each policy with the 95 % intervals of both scores, dashed where both agree."""
    chosen = [panels[i] for i in dict.fromkeys(np.linspace(0, len(panels) - 1, MAX_PANELS).round().astype(int))]
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.names))
    width = _LEFT + columns * (_SIDE + _GAP_X) + _LEGEND
    below = _TOP + rows * (_SIDE + _GAP_Y)
    curves = _CURVES + 110 if len(panels) > 1 else 0
    height = max(below + curves, _TOP + 26 * min(len(names), _MAX_NAMES) + 40)
    figure = style.new_figure(width, height)
    style.write(
        figure,
        _LEFT,
        24,
        style.fit(f"{score}: {who} against {truth}", 24, width - 2 * _MARGIN, bold=True),
        24,
        weight="bold",
    )
    line = "one point a policy; bars: 95 % intervals over observations; dashed: both worlds say the same"
    style.write(figure, _LEFT, 66, style.fit(line, _FONT, width - 2 * _MARGIN), _FONT, color=style.MUTED)
    low, high = _limits(panels)
    for index, panel in enumerate(chosen):
        left = _LEFT + (index % columns) * (_SIDE + _GAP_X)
        top = _TOP + (index // columns) * (_SIDE + _GAP_Y)
        values = f"Pearson {panel.values['pearson']:z.2f}, violation {panel.values['rank_violation']:.2f}"
        title = f"after {panel.looks} look{'s' * (panel.looks > 1)}: {values}"
        style.write(figure, left, top - 26, style.fit(title, _FONT, _SIDE + _GAP_X - 20), _FONT)
        axes = style.add_axes(figure, left, top, _SIDE, _SIDE)
        _scatter(axes, panel, names, low, high)
        style.write(figure, left + _SIDE / 2, top + _SIDE + 32, "true score", _FONT, ha="center", color=style.MUTED)
    style.write(figure, 26, _TOP + _SIDE / 2, "judged score", _FONT, rotation=90, va="center", color=style.MUTED)
    _legend(figure, width - _LEGEND - 30, names)
    if curves:
        for place, name in enumerate(_CURVE_NAMES):
            left = _LEFT + place * (columns * (_SIDE + _GAP_X) // 2)
            _curve(figure, left, below + 34, columns * (_SIDE + _GAP_X) // 2 - _GAP_X, panels, name, limits[name])
    return figure


def _scatter(axes: Axes, panel: Panel, names: Sequence[str], low: float, high: float) -> None:
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    ticks = style.even_ticks(low, high, style.nice_step(high - low, 5))
    style.draw_grid(axes, ticks, ticks, _FONT)
    axes.plot([low, high], [low, high], color=style.EDGE, linewidth=style.points(2), linestyle=(0, (4, 3)), zorder=1)
    for p, name in enumerate(panel.names):
        x, y, number = panel.true_P[p], panel.judged_P[p], names.index(name)
        colour = _colour(number)
        if panel.true_P2 is not None and panel.judged_P2 is not None:
            axes.plot(panel.true_P2[p], [y, y], color=colour, linewidth=style.points(1.6), alpha=0.45, zorder=2)
            axes.plot([x, x], panel.judged_P2[p], color=colour, linewidth=style.points(1.6), alpha=0.45, zorder=2)
        axes.plot([x], [y], "o", color=colour, markersize=style.points(9), zorder=3)
        axes.annotate(
            str(number + 1), (x, y), xytext=(style.points(7), style.points(6)), textcoords="offset points", zorder=4,
            fontsize=style.points(13), family=style.FAMILY, color=colour, parse_math=False,
        )  # fmt: skip


def _legend(figure: Figure, x: float, names: Sequence[str]) -> None:
    for number, name in enumerate(names[:_MAX_NAMES]):
        y = _TOP + 26 * number
        style.write(figure, x + 30, y, str(number + 1), _FONT, color=_colour(number), ha="right", weight="bold")
        style.write(figure, x + 44, y, style.fit(name, _FONT, _LEGEND - 60), _FONT)
    if len(names) > _MAX_NAMES:
        style.write(figure, x + 44, _TOP + 26 * _MAX_NAMES, f"and {len(names) - _MAX_NAMES} more", _FONT)


def _curve(
    figure: Figure, left: float, top: float, width: float, panels: Sequence[Panel], name: str, limit: float
) -> None:
    """A statistic over the looks with its interval; the line that it must reach, or stay below."""
    style.write(figure, left, top - 24, _CURVE_NAMES[name], _FONT)
    axes = style.add_axes(figure, left, top, width, _CURVES)
    looks = [panel.looks for panel in panels]
    value_K = np.array([panel.values[name] for panel in panels])
    ends_K2 = np.array([panel.intervals.get(name, (np.nan, np.nan)) for panel in panels])
    known = [*value_K, limit, *ends_K2[np.isfinite(ends_K2)]]
    low, high = (min(0.0, *known), 1.0) if name == "pearson" else (0.0, 1.1 * max(known))
    axes.set_xlim(looks[0] - 0.3, looks[-1] + 0.3)
    axes.set_ylim(low - 0.02 * (high - low), high + 0.04 * (high - low))
    every = max(1, round(style.nice_step(len(looks), 12)))
    style.draw_grid(
        axes,
        {float(k): str(k) for k in looks[::every]},
        style.even_ticks(low, high, style.nice_step(high - low, 4)),
        _FONT,
    )
    axes.plot(
        axes.get_xlim(), [limit, limit], color=style.MUTED, linewidth=style.points(2), linestyle=(0, (4, 3)), zorder=1
    )
    axes.fill_between(looks, *ends_K2.T, color=style.CYCLE[0], alpha=0.16, linewidth=0, zorder=1.5)
    axes.plot(
        looks, value_K, "-o", color=style.CYCLE[0], linewidth=style.points(3), markersize=style.points(7), zorder=2
    )
    style.write(figure, left + width / 2, top + _CURVES + 32, "looks", _FONT, ha="center", color=style.MUTED)


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Limits that hold every point and bar of every panel."""
    arrays = [a for p in panels for a in (p.judged_P, p.true_P, p.judged_P2, p.true_P2) if a is not None]
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _colour(number: int) -> str:
    return style.CYCLE[number % len(style.CYCLE)]
