"""The picture of where the actions lead: `trajectory.png`."""

from __future__ import annotations

from pathlib import Path

from strands_diffusers import actions
from strands_diffusers.actions.units import PIXELS
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot
from strands_diffusers.outputs.files import check_frames
from strands_diffusers.outputs.panels import action_columns, reference_action, shown_action
from strands_diffusers.outputs.paths import Path3D, draw_body, draw_flat_view, draw_time_bar
from strands_diffusers.outputs.titles import draw_title, facts
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout

_EDGE, _TOP = 32, 112
"""Margins of the picture [px]: around it, and above the views for the title."""

_FONT = 15.0
_SIDE = 800
"""Side of a flat view that stands alone [px]."""


class TrajectoryVisualizer(Visualizer):
    """Draw where the actions lead to `trajectory.png`.

    Three pictures, by what the numbers mean:
    Poses with statistics: the decoded SE(3) path of every moving body [m], relative to its own pose at the first frame,
        in 3-D with its axes, from the top and from the side, at one scale.
    The embedded model's pixel map: the targets [px of PushT's 512] over the first frame.
    Neither: the first three columns as they are, in model space. They are then no path, and are not summed up to one:
        zero motion is not 0 there.
    Shapes: the chunks shown are `rollout.action`, or in forward dynamics `rollout.given_action`, `[K, T, D]`.
    Raises: `OutputError` for a wrong shape, NaN or inf, or a file that cannot be written.
    """

    name = "trajectory"
    output_types = ("rollout",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw `trajectory.png`; nothing where the rollout holds no action."""
        action_KTD = shown_action(rollout)
        if action_KTD is None:
            return []
        canvas, unit = trajectory_canvas(rollout, action_KTD)
        return [canvas.save(directory / "trajectory.png", self.name, unit=unit)]


def trajectory_canvas(rollout: Rollout, action_KTD: np.ndarray) -> tuple[Canvas, str]:
    """Return the picture and the unit of its axes."""
    reference_KTD = reference_action(rollout, action_KTD)
    bodies = actions.paths(action_KTD, rollout.space)
    if bodies:
        references = {} if reference_KTD is None else actions.paths(reference_KTD, rollout.space)
        paths = [Path3D.of_poses(name, poses, references.get(name)) for name, poses in bodies.items()]
        return _draw_paths(rollout, action_KTD, paths), "m"
    pixels_S2 = actions.pixel_path(action_KTD, rollout.space)
    if pixels_S2 is not None:
        reference_S2 = None if reference_KTD is None else actions.pixel_path(reference_KTD, rollout.space)
        return _draw_flat(
            rollout, action_KTD, Path3D("target", pixels_S2, None, reference_S2, ("x", "y", ""), "px", "")
        ), "px"
    width = action_KTD.shape[2]
    names = [column.name for column in action_columns(rollout, width)[:3]]
    rows_SD = action_KTD.reshape(-1, width)[:, :3]
    reference_SD = None if reference_KTD is None else reference_KTD.reshape(-1, width)[:, :3]
    if len(names) == 3:
        return _draw_paths(rollout, action_KTD, [Path3D.of_values(names, rows_SD, reference_SD)]), "model space"
    if len(names) == 1:  # against time
        steps = np.linspace(-1, 1, len(rows_SD))[:, None]
        rows_SD = np.hstack([steps, rows_SD])
        reference_SD = None if reference_SD is None else np.hstack([steps, reference_SD])
        names = ["time", *names]
    title = " and ".join(name.replace("_", " ") for name in names)
    path = Path3D(title, rows_SD, None, reference_SD, (names[0], names[1], ""), "model space", "")
    return _draw_flat(rollout, action_KTD, path), "model space"


def _draw_paths(rollout: Rollout, action_KTD: np.ndarray, paths: list[Path3D]) -> Canvas:
    """Draw one body large, or several side by side."""
    canvas = Canvas(1600, 900) if len(paths) == 1 else Canvas(1920, 1000)
    inner = canvas.width - 2 * _EDGE
    draw_title(canvas, _EDGE, 28, inner, rollout, facts(rollout, action_KTD), 17, reserved=430)
    steps = action_KTD.shape[0] * action_KTD.shape[1]
    draw_time_bar(canvas, canvas.width - _EDGE, 78, steps, paths[0], rollout.fps, _FONT)
    cell = inner / len(paths)
    for index, path in enumerate(paths):
        draw_body(canvas, path, _EDGE + index * cell, _TOP, cell, canvas.height - _TOP - 24, _FONT)
    return canvas


def _draw_flat(rollout: Rollout, action_KTD: np.ndarray, path: Path3D) -> Canvas:
    """Draw two coordinates: targets over the first frame that was seen (or made), or columns as they are in model space."""
    left, foot, pixels = _EDGE + 46, _TOP + _SIDE + 38, path.unit == "px"
    canvas = Canvas(_SIDE + 2 * _EDGE + 60, _SIDE + _TOP + 56)
    draw_title(canvas, _EDGE, 28, canvas.width - 2 * _EDGE, rollout, facts(rollout, action_KTD), 15)
    reach = 1.06 * max(1.0, path.reach)
    low, high = (0.0, PIXELS) if pixels else (-reach, reach)
    y_limits = (high, low) if pixels else (low, high)  # pixel rows grow downwards
    plot = Plot(canvas, left, _TOP, _SIDE, _SIDE, (low, high), y_limits, face="" if pixels else style.PANEL)
    seen = rollout.observation.frames if rollout.observation.frames is not None else rollout.video
    over_picture = pixels and seen is not None
    if over_picture:
        first_HWC = check_frames("the observation's frames", seen)[0]
        canvas.picture(style.scaled(first_HWC, _SIDE, _SIDE), left, _TOP)
    ticks = style.even_ticks(low, high, 100 if pixels else style.nice_step(2 * reach, 8))
    plot.grid(ticks, ticks, _FONT)
    draw_flat_view(plot, path, 0, 1, _FONT, over_picture=over_picture)
    canvas.write(left, foot, f"{path.title}, {path.unit}", _FONT, style.MUTED, va="capitals")
    draw_time_bar(canvas, canvas.width - _EDGE, foot, len(path.points), path, rollout.fps, _FONT)
    return canvas


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [TrajectoryVisualizer]
