"""From the last latents to pixels, sound and actions, and past the guardrail, as diffusers' call does at its end."""

from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strands_diffusers.pipelines.engine import wan
from strands_diffusers.pipelines.engine.hooks import awake


def video(pipe: Any, latents_1CThw: Tensor, num_frames: int | None = None) -> np.ndarray:
    """Decode one sample to uint8 [F, H, W, 3], each latent frame leaving the device as soon as it is decoded.

    Rounds as diffusers' `pil` output does: half to even, from float32. Ends once there are `num_frames`.
    """
    parts: list[Tensor] = []
    with closing(wan.decode(pipe, latents_1CThw)) as decoded:
        for frames in decoded:
            pixels = (frames * 0.5 + 0.5).clamp(0, 1) * 255
            parts.append(pixels.round().to(torch.uint8)[0].permute(1, 2, 3, 0).cpu())
            if num_frames is not None and sum(map(len, parts)) >= num_frames:
                break
    frames_FHWC: np.ndarray = torch.cat(parts).numpy()
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
