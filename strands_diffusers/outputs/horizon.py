"""The error of predicted actions along the horizon, over a set of observations: `horizon.png` of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = 8
"""Nobody could tell more apart."""

_WIDTH, _HEIGHT = 1600, 720
_LEFT, _TOP, _RIGHT, _BOTTOM = 110, 116, 470, 90
"""Margins of the plot [px]; the legend stands right of it."""

_FONT, _LINE = 15.0, 3.0


@dataclass(frozen=True, eq=False)
class Curve:
    """The mean absolute error in model space at each step."""

    label: str
    error_T: np.ndarray

    band_T2: np.ndarray | None = None
    """Low and high end of its interval."""

    baseline: bool = False
    """Drawn grey and dashed."""


def draw_horizon(path: Path, curves: Sequence[Curve], title: str, line: str) -> Path:
    """Draw the curves to `path`, one a colour, bands around them; `OutputError` where it cannot be written."""
    style.write_png(style.rendered(horizon_figure(curves, title, line)), path)
    return path


def horizon_figure(curves: Sequence[Curve], title: str, line: str) -> Figure:
    """Return the picture as a matplotlib figure: title, one line of facts, legend, the curves over the steps."""
    figure = style.new_figure(_WIDTH, _HEIGHT)
    inner = _WIDTH - _LEFT - _RIGHT
    style.write(figure, _LEFT, 24, style.fit(title, 24, _WIDTH - 2 * _LEFT, bold=True), 24, weight="bold")
    style.write(figure, _LEFT, 64, style.fit(line, _FONT, _WIDTH - 2 * _LEFT), _FONT, color=style.MUTED)
    axes = style.add_axes(figure, _LEFT, _TOP, inner, _HEIGHT - _TOP - _BOTTOM)
    steps = max(len(curve.error_T) for curve in curves)
    tops = [curve.error_T if curve.band_T2 is None else curve.band_T2[:, 1] for curve in curves]
    high = 1.08 * max(float(top.max()) for top in tops) or 1.0
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_ylim(0, high)
    every = max(1, round(style.nice_step(steps, 16)))
    style.draw_grid(
        axes,
        {float(step): str(step) for step in range(0, steps, every)},
        style.even_ticks(0, high, style.nice_step(high, 5)),
        _FONT,
    )
    x = _WIDTH - _RIGHT + 30
    for index, curve in enumerate(curves):
        colour = style.MUTED if curve.baseline else style.CYCLE[index % len(style.CYCLE)]
        x_T = np.arange(len(curve.error_T))
        if curve.band_T2 is not None:
            axes.fill_between(x_T, *curve.band_T2.T, color=colour, alpha=0.14, linewidth=0, zorder=1.5)
        dash = (0, (4, 3)) if curve.baseline else "-"
        axes.plot(x_T, curve.error_T, color=colour, linewidth=style.points(_LINE), linestyle=dash, zorder=2)
        y = _TOP + 6 + 34 * index
        style.write(figure, x, y, "╌╌" if curve.baseline else "━━", _FONT, color=colour)
        style.write(figure, x + 36, y, style.fit(curve.label, _FONT, _RIGHT - 90), _FONT, color=colour)
    style.write(figure, _LEFT + inner / 2, _HEIGHT - 44, "step of the rollout", _FONT, ha="center", color=style.MUTED)
    return figure
