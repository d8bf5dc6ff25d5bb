"""From the last latents to pixels, sound and actions, and past the guardrail, as diffusers' call does at its end."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strands_diffusers.pipelines.engine import wan
from strands_diffusers.pipelines.engine.hooks import awake
from strands_diffusers.pipelines.engine.samebits import same_bits

CELLS_PER_CPU_BATCH = 4_096
"""Latent cells that a CPU decodes together: those of small samples, and only where every bit is that of a sample alone."""


def videos(pipe: Any, latents_BCThw: Tensor, num_frames: int | None = None) -> Iterator[np.ndarray]:
    """Decode samples to uint8 [F, H, W, 3] each, each latent frame leaving the device as soon as it is decoded.

    Rounds as diffusers' `pil` output does: half to even, from float32. Ends once there are `num_frames`.
    """
    cells, cpu = latents_BCThw[0, 0].numel(), latents_BCThw.device.type == "cpu"
    for batch in latents_BCThw.split(max(1, CELLS_PER_CPU_BATCH // cells) if cpu else 1):
        if len(batch) > 1:
            yield from map(_pixels, _together(pipe, batch, num_frames))
        else:
            yield np.concatenate([_pixels(frames[0]) for frames in _frames(pipe, batch, num_frames)])


def _together(pipe: Any, latents: Tensor, num_frames: int | None) -> Tensor:
    """The frames of several samples [B, 3, F, H, W], decoded as a batch where that gives the bits of each alone."""
    vae = pipe.vae
    shapes = tuple(weight.shape for weight in vae.parameters())
    return same_bits(
        ("decode", latents.shape, num_frames, vae.dtype, vae.use_tiling, shapes),
        lambda: _decoded(pipe, latents, num_frames),
        lambda: torch.cat([_decoded(pipe, single, num_frames) for single in latents.split(1)]),
    )


def _frames(pipe: Any, latents: Tensor, num_frames: int | None) -> Iterator[Tensor]:
    """Frames [B, 3, F, H, W] in [-1, 1], until there are `num_frames`."""
    count = 0
    with closing(wan.decode(pipe, latents)) as decoded:
        for frames in decoded:
            yield frames
            count += frames.shape[2]
            if num_frames is not None and count >= num_frames:
                break


def _decoded(pipe: Any, latents: Tensor, num_frames: int | None) -> Tensor:
    return torch.cat(list(_frames(pipe, latents, num_frames)), dim=2)


def _pixels(frames_CFHW: Tensor) -> np.ndarray:
    pixels = (frames_CFHW * 0.5 + 0.5).clamp(0, 1) * 255
    frames_FHWC: np.ndarray = pixels.round().to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()
    return frames_FHWC


def sound(pipe: Any, latents_CS: Tensor) -> np.ndarray:
    """Decode one sample's sound to float32 [N, channels]."""
    tokenizer = pipe.sound_tokenizer
    with awake(tokenizer):
        waveform = pipe.decode_sound(latents_CS)
    return waveform.float().cpu().numpy().T.copy()  # type: ignore[no-any-return]


def check_prompt(pipe: Any, prompt: str, device: Any) -> None:
    """Run the text guardrail. Raises: ValueError, as diffusers does, for an unsafe prompt."""
    if not _checked(pipe, "check_text_safety", prompt, device):
        raise ValueError(
            f"Cosmos Guardrail detected unsafe text in the prompt: {prompt}. Please ensure that the prompt abides by "
            "the NVIDIA Open Model License Agreement."
        )


def check_video(pipe: Any, frames_FHWC: np.ndarray, device: Any) -> np.ndarray:
    """Run the video guardrail, which may blur faces, on uint8 frames and return what it lets pass.

    Raises: ValueError, as diffusers does, for an unsafe video.
    """
    checked = _checked(pipe, "check_video_safety", frames_FHWC, device)
    if checked is None:
        raise ValueError(
            "Cosmos Guardrail detected unsafe content in the generated video. Please ensure that the generation abides "
            "by the NVIDIA Open Model License Agreement."
        )
    return np.asarray(checked)


def _checked(pipe: Any, check: str, value: Any, device: Any) -> Any:
    checker = pipe.safety_checker
    checker.to(device)
    try:
        return getattr(checker, check)(value)
    finally:
        checker.to("cpu")
