"""The exact frame transform that diffusers' pipeline applies in an action run.

Letters: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strands_diffusers.config.fields import TIERS
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import ObservationError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Canvas:
    """What the pipeline does to a frame in an action run: resize, downscale into the canvas, pad, and keep whole cells."""

    resized: tuple[int, int]
    """(H, W) after rounding down to the autoencoder's spatial factor: the aspect changes slightly."""

    canvas: tuple[int, int]
    """(H, W) that the model is conditioned on, padded right and below."""

    content: tuple[int, int]
    """(H, W) of the frame inside the canvas."""

    output: tuple[int, int]
    """(H, W) of the video that comes out: whole latent cells of the content."""

    tier: int
    """Resolution tier 256, 480, 704 or 720."""

    @property
    def facts(self) -> dict[str, int]:
        """What the manifest records of it."""
        return {"resolution_tier": self.tier, "height": self.output[0], "width": self.output[1]}


def canvas_of(config: RunConfig, frames_FHWC: np.ndarray, factor: int, tier: int | None = None) -> Canvas:
    """The canvas of these frames in an action run, at `tier`, else as the config says. `factor`: the autoencoder's spatial.

    Raises: `ObservationError` for frames smaller than one latent cell.
    """
    condition: Any = config.condition
    height, width = frames_FHWC.shape[1:3]
    if min(height, width) < factor:
        raise ObservationError(f"frames of {width}x{height} are smaller than one latent cell ({factor}x{factor}).")
    tier = tier or condition.resolution_tier or default_tier(height, width, factor, config.model.tiers or TIERS)
    return canvas_for(height, width, tier, factor)


def canvas_for(height: int, width: int, tier: int, factor: int) -> Canvas:
    """The canvas of an H x W frame at a resolution tier. `factor`: the autoencoder's spatial factor (16 for Nano).

    Source: `Cosmos3OmniPipeline._prepare_action_video_conditioning`; a contract test compares with it.
    """
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as source
    from diffusers.video_processor import VideoProcessor

    bins = source._ACTION_RESOLUTION_BINS[str(tier)]
    resized = (height - height % factor, width - width % factor)
    canvas_h, canvas_w = VideoProcessor.classify_height_width_bin(*resized, ratios=bins)
    scale = min(canvas_w / resized[1], canvas_h / resized[0], 1.0)
    content = (max(1, int(scale * resized[0] + 0.5)), max(1, int(scale * resized[1] + 0.5)))
    cells = (max(content[0] // factor, 1), max(content[1] // factor, 1))
    return Canvas(resized, (canvas_h, canvas_w), content, (cells[0] * factor, cells[1] * factor), tier)


def default_tier(height: int, width: int, factor: int, tiers: Sequence[int] = TIERS) -> int:
    """The smallest of the tiers that needs no downscaling, else 480."""
    for tier in tiers:
        canvas = canvas_for(height, width, tier, factor)
        if canvas.content == canvas.resized:
            return tier
    return 480 if 480 in tiers else max(tiers)


def transform(frames_FHWC: np.ndarray, pipe: Any, canvas: Canvas) -> np.ndarray:
    """Frames as the pipeline itself would show them: uint8 [F, H, W, 3] of the rollout's size.

    A reference goes through this before it is compared, handed over to the next chunk, shown or exported.
    """
    import torch
    import torch.nn.functional as functional

    frames = pipe.video_processor.preprocess_video(to_pil(frames_FHWC))[0].transpose(0, 1)  # [F, 3, H, W] in [-1, 1]
    if tuple(frames.shape[-2:]) != canvas.content:
        frames = functional.interpolate(
            frames, size=canvas.content, mode="bicubic", align_corners=False, antialias=True
        )
    height, width = canvas.output
    shown = frames[:, :, :height, :width].float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.asarray(shown.permute(0, 2, 3, 1).contiguous().numpy())


def bare(factor: int) -> Any:
    """What `transform` needs of a pipeline, without loading one. `factor`: the autoencoder's spatial factor."""
    from types import SimpleNamespace

    from diffusers.video_processor import VideoProcessor

    return SimpleNamespace(video_processor=VideoProcessor(vae_scale_factor=factor, resample="bilinear"))


def to_pil(frames_FHWC: np.ndarray) -> list[Image]:
    """uint8 frames as the PIL images that diffusers takes as its canonical input."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in frames_FHWC]
