"""The video of a rollout beside its action curves: `animation.mp4`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot, paste, write_label
from strands_diffusers.outputs.curves import Look, draw_curves
from strands_diffusers.outputs.files import check_frames, check_rate
from strands_diffusers.outputs.panels import Panel, panel_rows, shown_action
from strands_diffusers.outputs.titles import draw_title, facts
from strands_diffusers.outputs.video_file import write_mp4
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout

_LOOK = Look(font=13.0, line=2.4, margin=62.0, header=28.0, gap=12.0, rail=28.0, legends=False)
_EDGE, _TOP, _FOOT = 24, 92, 40
"""Margins of the frames [px]: around it, above for the title, below for the frame's number and the axis label."""

MAX_CELLS = 36
"""Most samples that the grid shows: more would be too small to see, and larger than players take."""

_GAP = 4
"""Between the cells of the grid [px]."""

_PALE = 0.68
"""How far steps to come fade into the panel: 0 not at all, 1 wholly."""

_DOT, _RIM = 5.0, 7.0
"""Radii of the dots that ride on the curves, and of their white rims [px]."""


class AnimationVisualizer(Visualizer):
    """Write the video beside the action curves, with a playhead over them, to `animation.mp4`.

    Shapes: video `[F, H, W, 3]`, actions `[K, T, D]` as in `timeseries`. Frame f stands between row f - 1, which led to
        it, and row f, which leads on. What differs from F = K*T + 1 is shown as it is: the shorter one holds its end.
        Without a video the curves stand alone.
    Units: `rollout.fps` [Hz], the rate of the file too.
    Raises: `OutputError` for a wrong shape, NaN or inf, a missing rate, or a file that cannot be written.
    """

    name = "animation"
    output_types = ("rollout",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `animation.mp4`; nothing where the rollout holds no action."""
        action_KTD = shown_action(rollout)
        if action_KTD is None:
            return []
        fps = check_rate("fps of the rollout", rollout.fps)
        layout = Layout.of(rollout, action_KTD)
        path = directory / "animation.mp4"
        return [Artifact(path, self.name, write_mp4(path, layout.frames(fps), fps, drawn=True))]

    def draw_all(self, rollouts: Sequence[Rollout], directory: Path) -> list[Artifact]:
        """Write `grid.mp4`: the videos of a job's samples side by side, row by row, at most `MAX_CELLS`."""
        videos = [check_frames("video", rollout.video) for rollout in rollouts[:MAX_CELLS] if rollout.video is not None]
        if len(videos) < 2:
            return []
        fps = check_rate("fps of the video", rollouts[0].fps)
        path = directory / "grid.mp4"
        return [Artifact(path, "grid", write_mp4(path, grid(videos), fps, crf=18) | {"samples": len(videos)})]


def grid(videos: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the frames of a grid of videos `[F, H, W, 3]`, as wide as it is high; a shorter one holds its end."""
    columns = math.ceil(math.sqrt(len(videos)))
    rows = math.ceil(len(videos) / columns)
    height, width = (max(video.shape[axis] for video in videos) + _GAP for axis in (1, 2))
    for frame in range(max(map(len, videos))):
        canvas_HWC = np.full((rows * height - _GAP, columns * width - _GAP, 3), 255, np.uint8)
        for at, video in enumerate(videos):
            top, left = at // columns * height, at % columns * width
            shown_HWC = video[min(frame, len(video) - 1)]
            canvas_HWC[top : top + shown_HWC.shape[0], left : left + shown_HWC.shape[1]] = shown_HWC
        yield canvas_HWC


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that does not change from frame to frame, drawn once."""

    full_HWC: np.ndarray
    """The canvas with all curves drawn out."""

    pale_HWC: np.ndarray
    """The same with the curves faded: what has not happened yet."""

    drawn: list[tuple[Plot, Panel]]
    video_FHWC: np.ndarray | None
    video_box: tuple[int, int, int, int]
    """Left, top, width and height [px] of the video."""

    steps: int

    @classmethod
    def of(cls, rollout: Rollout, action_KTD: np.ndarray) -> Layout:
        """Place and draw what does not change."""
        rows = panel_rows(rollout)
        single = all(len(row) == 1 for row in rows)
        video_FHWC = None if rollout.video is None else check_frames("video", rollout.video)
        width, height = (0, 0) if video_FHWC is None else shown_size(video_FHWC)
        curves_width = (760 if single else 1320) if width else 1280
        curves_height = max(height + _FOOT, 150 * len(rows) + _FOOT, 300)
        gap = 4 if width else 0
        canvas = Canvas(_EDGE + width + gap + curves_width + 12, _TOP + (curves_height + 1) // 2 * 2)
        draw_title(canvas, _EDGE, 20, canvas.width - 2 * _EDGE, rollout, facts(rollout, action_KTD), 14)
        box = (_EDGE + width + gap, _TOP - _LOOK.header, curves_width, canvas.height - _TOP + _LOOK.header - 28)
        drawn = draw_curves(canvas, rows, box, action_KTD.shape[1], _LOOK)
        foot = box[0] + curves_width / 2, canvas.height - 12
        canvas.write(*foot, "step", 13, style.MUTED, ha="center", va="baseline")
        full_HWC = canvas.pixels()
        top = _TOP + max(0, (canvas.height - _TOP - _FOOT - height) // 2)
        steps = action_KTD.shape[0] * action_KTD.shape[1]
        return cls(full_HWC, _faded(full_HWC, drawn), drawn, video_FHWC, (_EDGE, top, width, height), steps)

    def frames(self, fps: float) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 `[H, W, 3]`: one array, which the next frame is drawn into."""
        count = max(self.steps + 1, 0 if self.video_FHWC is None else len(self.video_FHWC))
        panels = [_Played.of(plot, panel) for plot, panel in self.drawn]
        left, top, width, height = self.video_box
        canvas_HWC = np.empty_like(self.pale_HWC)
        for frame in range(count):
            canvas_HWC[...] = self.pale_HWC
            for plot in panels:
                plot.draw(canvas_HWC, self.full_HWC, min(frame, self.steps))
            if self.video_FHWC is not None:
                picture_HWC = self.video_FHWC[min(frame, len(self.video_FHWC) - 1)]
                canvas_HWC[top : top + height, left : left + width] = style.scaled(picture_HWC, width, height)
            words = f"frame {frame} of {count - 1}    {frame / fps:.2f} s"
            write_label(canvas_HWC, _EDGE, len(canvas_HWC) - 22, words, 14)
            yield canvas_HWC


def shown_size(video_FHWC: np.ndarray) -> tuple[int, int]:
    """Return the width and height [px] in which a video is shown: its own, or scaled to 384 to 720 rows."""
    height, width = video_FHWC.shape[1:3]
    shown = min(max(height, 384), 720)
    return max(2, round(width * shown / height / 2) * 2), shown // 2 * 2


def _faded(full_HWC: np.ndarray, drawn: list[tuple[Plot, Panel]]) -> np.ndarray:
    """Return the canvas with every panel faded."""
    pale_HWC = full_HWC.copy()
    for plot, _ in drawn:
        patch = pale_HWC[_pixels(plot)]
        patch[...] = (patch * (1 - _PALE) + style.rgb(style.PANEL) * _PALE).astype(np.uint8)
    return pale_HWC


def _pixels(plot: Plot) -> tuple[slice, slice]:
    """Return the rows and columns of a plot on the canvas."""
    left, top, right, bottom = map(round, plot.box)
    return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, eq=False)
class _Played:
    """One panel, ready for the playhead."""

    rows: slice
    columns: slice
    x_F: np.ndarray
    """Column of the playhead [px] at every frame, `[S + 1]`."""

    y_CF: np.ndarray
    """Row of each curve [px] at every frame."""

    colours: list[str]

    @classmethod
    def of(cls, plot: Plot, panel: Panel) -> _Played:
        values_CS = np.stack([curve.values_S for curve in panel.curves])
        # On the line drawn through the steps' middles, frame f lies half way between row f - 1 and row f.
        held_CS = np.concatenate([values_CS[:, :1], values_CS, values_CS[:, -1:]], axis=1)
        values_CF = (held_CS[:, :-1] + held_CS[:, 1:]) / 2
        places_CF2 = plot.px(np.arange(values_CF.shape[1]), values_CF)
        colours = [curve.colour for curve in panel.curves]
        return cls(*_pixels(plot), places_CF2[0, :, 0], places_CF2[..., 1], colours)

    def draw(self, canvas_HWC: np.ndarray, full_HWC: np.ndarray, frame: int) -> None:
        """Uncover the past, draw the playhead and the dots."""
        now = round(self.x_F[frame])
        canvas_HWC[self.rows, self.columns.start : now] = full_HWC[self.rows, self.columns.start : now]
        canvas_HWC[self.rows, max(now - 1, self.columns.start) : min(now + 1, self.columns.stop)] = style.rgb(style.INK)
        for y, colour in zip(self.y_CF[:, frame], self.colours, strict=True):
            for cover_HW, tint in ((_disc(_RIM), style.PAPER), (_disc(_DOT), colour)) if np.isfinite(y) else ():
                paste(canvas_HWC, cover_HW, tint, round(y) - len(cover_HW) // 2, now - len(cover_HW) // 2)


@functools.cache
def _disc(radius: float) -> np.ndarray:
    """How much of each pixel a disc covers, uint8."""
    reach = np.arange(-int(radius) - 1, int(radius) + 2)
    return (np.clip(radius + 0.5 - np.hypot(reach[:, None], reach), 0, 1) * 255).astype(np.uint8)


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [AnimationVisualizer]
