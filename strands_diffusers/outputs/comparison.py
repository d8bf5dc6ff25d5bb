"""The observed video beside the one that the model made: `comparison.mp4`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, write_label
from strands_diffusers.outputs.files import check_frames, check_rate
from strands_diffusers.outputs.titles import draw_title, facts
from strands_diffusers.outputs.video_file import write_mp4
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout

FULL_SCALE = 128
"""Mean absolute difference of a pixel's three channels, of 255, that has the brightest colour."""

_EDGE, _GAP, _TOP, _FOOT = 24, 12, 126, 44
"""Margins of the frames [px]: around it, between the panels, above for title and labels, below for the numbers."""


class ComparisonVisualizer(Visualizer):
    """Write observed, rollout and their absolute difference side by side to `comparison.mp4`.

    Shapes: `rollout.reference_video` `[F', H, W, 3]` (the observation through the pipeline's own frame transform) and
        `rollout.video` `[F, H, W, 3]`; the file has the frames that both have, and its title says so where F' < F.
    Units: the difference is the mean over the channels, 0 to 255, drawn dark to bright over 0 to 128; below it the
        frame's PSNR [dB]. In inverse dynamics the video is a VAE round trip of the input and labelled a reconstruction.
    Raises: `OutputError` for another size, shape or dtype, a missing rate, or a file that cannot be written.
    """

    name = "comparison"
    output_types = ("video",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `comparison.mp4`; nothing where there is no reference video."""
        if rollout.video is None or rollout.reference_video is None:
            return []
        video_FHWC = check_frames("video", rollout.video)
        reference_FHWC = check_frames("reference_video", rollout.reference_video)
        if reference_FHWC.shape[1:] != video_FHWC.shape[1:]:
            raise OutputError(
                f"reference_video has frames of {reference_FHWC.shape[1:3]}, the video of {video_FHWC.shape[1:3]}: "
                "the reference must go through the pipeline's own frame transform first."
            )
        fps = check_rate("fps of the video", rollout.fps)
        path = directory / "comparison.mp4"
        frames = comparison_frames(rollout, reference_FHWC, video_FHWC, fps)
        return [Artifact(path, self.name, write_mp4(path, frames, fps, drawn=True))]


def comparison_frames(
    rollout: Rollout, reference_FHWC: np.ndarray, video_FHWC: np.ndarray, fps: float
) -> Iterator[np.ndarray]:
    """Yield the frames, uint8 `[H, W, 3]`: one array, which the next frame is drawn into."""
    count = min(len(reference_FHWC), len(video_FHWC))
    width, height = panel_size(*video_FHWC.shape[1:3])
    lefts = [_EDGE + index * (width + _GAP) for index in range(3)]
    still_HWC = comparison_canvas(rollout, lefts, width, height, count, len(video_FHWC)).pixels()
    canvas_HWC = np.empty_like(still_HWC)
    middle = _TOP + height + 21
    for frame in range(count):
        heat_HWC, psnr_db = difference(reference_FHWC[frame], video_FHWC[frame])
        canvas_HWC[...] = still_HWC
        pictures = (reference_FHWC[frame], video_FHWC[frame], heat_HWC)
        for left, picture_HWC in zip(lefts, pictures, strict=True):
            shown_HWC = style.scaled(picture_HWC, width, height, smooth=picture_HWC is not heat_HWC)
            canvas_HWC[_TOP : _TOP + height, left : left + width] = shown_HWC
        write_label(canvas_HWC, lefts[0], middle, f"frame {frame} of {count - 1}    {frame / fps:.2f} s", 15)
        words = "identical" if psnr_db is None else f"PSNR {psnr_db:.1f} dB"
        write_label(canvas_HWC, lefts[2], middle, words, 15)
        yield canvas_HWC


def difference(observed_HWC: np.ndarray, made_HWC: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Return the absolute difference as colours, uint8 `[H, W, 3]`, and the PSNR [dB], None where the two are identical."""
    apart_HWC = np.maximum(observed_HWC, made_HWC) - np.minimum(observed_HWC, made_HWC)
    mean_HW = apart_HWC[..., 0].astype(np.uint16)
    mean_HW += apart_HWC[..., 1]
    mean_HW += apart_HWC[..., 2]
    mean_HW //= 3
    squares = int(np.square(apart_HWC, dtype=np.uint16).sum(dtype=np.int64))
    psnr_db = float(10 * np.log10(255**2 * apart_HWC.size / squares)) if squares else None
    return _heat_map().take(mean_HW, axis=0), psnr_db


def comparison_canvas(rollout: Rollout, lefts: list[int], width: int, height: int, count: int, total: int) -> Canvas:
    """Return what does not change from frame to frame: title, labels, the key of the difference's colours."""
    canvas = Canvas(lefts[2] + width + _EDGE, _TOP + height + _FOOT)
    line = facts(rollout)
    if count < total:
        line += f"  ·  the first {count} of {total} frames, where the observation ends"
    if rollout.mode == "inverse_dynamics":
        line += "  ·  the video is the model's copy of its input, not a prediction"
    draw_title(canvas, _EDGE, 20, lefts[2] + width - _EDGE, rollout, line, 15)
    made = "reconstruction" if rollout.mode == "inverse_dynamics" else "rollout"
    observed = f"world {rollout.episode.reference}" if rollout.episode and rollout.episode.reference else "observed"
    for left, label in zip(lefts, (observed, made, "absolute difference"), strict=True):
        canvas.write(left, _TOP - 10, label, 16, bold=True, va="baseline")
    end, middle, key = lefts[2] + width, _TOP + height + 21, 72
    right = end - 8 - canvas.write(end, middle, f"{FULL_SCALE}+ of 255", 14, style.MUTED, ha="right", va="capitals")
    colours_1W3 = _heat_map()[None, np.linspace(0, FULL_SCALE - 1, key).round().astype(int)]
    canvas.picture(colours_1W3.repeat(12, axis=0), right - key, middle - 6)
    canvas.write(right - key - 8, middle, "0", 14, style.MUTED, ha="right", va="capitals")
    return canvas


def panel_size(height: int, width: int) -> tuple[int, int]:
    """Return the width and height [px] of a panel: the video's own up to 640 px wide, small ones at least 320 high."""
    scale = min(max(1.0, 320 / height), 640 / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


@functools.cache
def _heat_map() -> np.ndarray:
    """Return the colour of each mean difference, uint8 `[256, 3]`: dark for none, bright from `FULL_SCALE` on."""
    import matplotlib as mpl

    levels = np.clip(np.arange(256) / FULL_SCALE, 0, 1)
    return np.asarray(np.rint(mpl.colormaps["inferno"](levels)[:, :3] * 255), np.uint8)


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [ComparisonVisualizer]
