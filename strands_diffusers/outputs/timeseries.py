"""The picture of an action chunk over time, `timeseries.png`, and of several samples of one, `spread.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas
from strands_diffusers.outputs.curves import Look, draw_curves, draw_keys, key_width, label_chunks
from strands_diffusers.outputs.panels import Panel, panel_rows, predicted_actions, shown_action, spread_rows
from strands_diffusers.outputs.text import text_width
from strands_diffusers.outputs.titles import draw_title, facts, spread_facts
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout

_WIDE = Look(font=15.0)
_NARROW = Look(font=15.0, margin=64.0, rail=32.0)
_EDGE, _TOP, _FOOT = 32, 108, 42
"""Margins of the picture [px]: left and right, above the panels for the title, below them for the axis label."""

_KEYS = 28
"""Height of a line of keys below the title's second line, where there is no room beside it [px]."""

_ROW, _LOW_ROW = 266, 190
"""Height of a row of panels [px]; a single curve needs less."""


class TimeseriesVisualizer(Visualizer):
    """Draw every action dimension over time to `timeseries.png`, one panel per group of columns.

    Shapes: the chunks shown are `rollout.action`, or in forward dynamics `rollout.given_action`, `[K, T, D]`.
    Units: physical where the space can be decoded (rot6d excepted, which has none), else model space; each panel says
        which. The white band, or the bars at a panel's right, are what model space's -1 to 1 stands for; values beyond
        are ringed and counted in the title. Dashed: the observation's own actions. Below them the scores of an episode
        after each step, dashed those of the reference world.
    Raises: `OutputError` for a wrong shape, NaN or inf, or a file that cannot be written.
    """

    name = "timeseries"
    output_types = ("rollout",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw `timeseries.png`; nothing where the rollout holds no action."""
        action_KTD = shown_action(rollout)
        if action_KTD is None:
            return []
        shape = list(action_KTD.shape)
        return [timeseries_canvas(rollout).save(directory / "timeseries.png", self.name, action_shape=shape)]

    def draw_all(self, rollouts: Sequence[Rollout], directory: Path) -> list[Artifact]:
        """Draw `spread.png` over the samples of a job: each one thin, their mean thick in a band of one standard
        deviation, in the units of `timeseries.png`. Nothing where no action was predicted.
        """
        action_NKTD = predicted_actions(rollouts)
        if action_NKTD is None:
            return []
        details = {"action_shape": list(action_NKTD.shape[1:]), "samples": len(rollouts)}
        return [spread_canvas(rollouts).save(directory / "spread.png", "spread", **details)]


def timeseries_canvas(rollout: Rollout) -> Canvas:
    """Return the picture: 1600 pixels wide, 1920 where several bodies move."""
    action_KTD = shown_action(rollout)
    assert action_KTD is not None
    return _page(panel_rows(rollout), rollout, facts(rollout, action_KTD), action_KTD.shape)


def spread_canvas(rollouts: Sequence[Rollout]) -> Canvas:
    """Return the picture of several samples of one job, laid out like `timeseries_canvas`."""
    action_NKTD = predicted_actions(rollouts)
    assert action_NKTD is not None
    return _page(spread_rows(rollouts), rollouts[0], spread_facts(rollouts, action_NKTD), action_NKTD.shape[1:])


def _page(rows: Sequence[Sequence[Panel]], rollout: Rollout, line: str, shape_KTD: tuple[int, ...]) -> Canvas:
    """Return the panels below the rollout's headline and `line`, with their keys and their time axis."""
    chunks, chunk, _ = shape_KTD
    single = all(len(row) == 1 for row in rows)
    width, look = (1600, _WIDE) if single else (1920, _NARROW)
    inner, keys = width - 2 * _EDGE, key_width(rows, look)
    beside = text_width(line, 17) <= inner - keys
    top = _TOP if beside else _TOP + _KEYS
    height = top + _FOOT + sum(_ROW if len(row[0].curves) > 1 else _LOW_ROW for row in rows)
    canvas = Canvas(width, height)
    draw_title(canvas, _EDGE, 28, inner, rollout, line, 17, reserved=keys if beside else 0)
    draw_keys(canvas, width - _EDGE if beside else _EDGE + keys, 78 if beside else 78 + _KEYS, rows, look)
    drawn = draw_curves(canvas, rows, (_EDGE, top, inner, height - top - _FOOT), chunk, look)
    label = f"step  (1 step = {1 / rollout.fps:.3g} s)" if rollout.fps else "step"
    canvas.write(width / 2, height - 16, label, look.font, style.MUTED, ha="center", va="bottom")
    if chunks > 1:
        label_chunks(drawn[0][0], chunks, chunk, look, "look" if rollout.episode else "chunk")
    return canvas


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [TimeseriesVisualizer]
