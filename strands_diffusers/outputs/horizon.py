"""The error of predicted actions along the horizon, over a set of observations: `horizon.png` of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.text import fit

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
    """Draw the curves over the steps to `path`, one a colour, bands around them, with a legend, a title and a `line` of
    facts; `OutputError` where it cannot be written.
    """
    canvas = Canvas(_WIDTH, _HEIGHT)
    inner = _WIDTH - _LEFT - _RIGHT
    canvas.write(_LEFT, 24, fit(title, 24, _WIDTH - 2 * _LEFT, bold=True), 24, bold=True)
    canvas.write(_LEFT, 64, fit(line, _FONT, _WIDTH - 2 * _LEFT), _FONT, style.MUTED)
    steps = max(len(curve.error_T) for curve in curves)
    tops = [curve.error_T if curve.band_T2 is None else curve.band_T2[:, 1] for curve in curves]
    high = 1.08 * max(float(top.max()) for top in tops) or 1.0
    plot = Plot(canvas, _LEFT, _TOP, inner, _HEIGHT - _TOP - _BOTTOM, (-0.5, steps - 0.5), (0, high))
    every = max(1, round(style.nice_step(steps, 16)))
    x_ticks = {float(step): str(step) for step in range(0, steps, every)}
    plot.grid(x_ticks, style.even_ticks(0, high, style.nice_step(high, 5)), _FONT)
    x = _WIDTH - _RIGHT + 30
    for index, curve in enumerate(curves):
        colour = style.MUTED if curve.baseline else style.CYCLE[index % len(style.CYCLE)]
        x_T = np.arange(len(curve.error_T))
        if curve.band_T2 is not None:
            low_T2, high_T2 = (plot.px(x_T, side_T) for side_T in curve.band_T2.T)
            canvas.area(np.concatenate([low_T2, high_T2[::-1]]), colour, alpha=0.14, z=1.5, clip=plot)
        dashes = (4, 3) if curve.baseline else None
        canvas.line(plot.px(x_T, curve.error_T), colour, _LINE, dashes=dashes, clip=plot)
        y = _TOP + 6 + 34 * index
        canvas.write(x, y, "╌╌" if curve.baseline else "━━", _FONT, colour)
        canvas.write(x + 36, y, fit(curve.label, _FONT, _RIGHT - 90), _FONT, colour)
    canvas.write(_LEFT + inner / 2, _HEIGHT - 44, "step of the rollout", _FONT, style.MUTED, ha="center")
    canvas.save(path, "horizon")
    return path
