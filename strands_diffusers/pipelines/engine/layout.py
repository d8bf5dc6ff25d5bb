"""Where the generated tokens of one sample lie, and the rotary embeddings of their positions.

A sample's tokens are its vision patches, then its sound frames, then its action steps. Vision and sound start at the
same temporal position, a fixed margin after the text; actions lie half-open between the frames. All of it depends on
sizes alone, so it is worked out once before the loop.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The sizes of one sample, in latent cells and in tokens."""

    latent: tuple[int, int, int, int]
    """Channels, latent frames, height and width of the vision latents [cells]."""

    patch: int
    """Side of a vision token [cells]."""

    clean_frames: tuple[int, ...]
    """Latent frames that condition: kept, never denoised."""

    sound_frames: int = 0
    """Sound tokens; 0 without sound."""

    action_steps: int = 0
    """Action tokens; 0 without actions."""

    actions_given: bool = False
    """True in forward dynamics, where actions condition and are not denoised."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns of vision tokens."""
        _, frames, height, width = self.latent
        return frames, -(-height // self.patch), -(-width // self.patch)

    @property
    def noisy_frames(self) -> tuple[int, ...]:
        """Latent frames that are denoised."""
        return tuple(i for i in range(self.latent[1]) if i not in self.clean_frames)

    @property
    def frame_tokens(self) -> int:
        """Vision tokens of one latent frame."""
        return self.grid[1] * self.grid[2]

    @property
    def vision_tokens(self) -> int:
        """Vision tokens of one sample."""
        return self.grid[0] * self.frame_tokens

    @property
    def tokens(self) -> int:
        """Generated tokens of one sample, N."""
        return self.vision_tokens + self.sound_frames + self.action_steps

    @property
    def read_tokens(self) -> tuple[int, ...]:
        """Tokens of one sample whose velocity is read: those that carry noise."""
        vision = [frame * self.frame_tokens + i for frame in self.noisy_frames for i in range(self.frame_tokens)]
        first = self.vision_tokens + self.sound_frames
        actions = [] if self.actions_given else range(first, first + self.action_steps)
        return (*vision, *range(self.vision_tokens, first), *actions)

    @property
    def noisy_counts(self) -> tuple[int, int, int]:
        """Tokens of vision, sound and action that carry noise, and so a timestep."""
        vision = len(self.noisy_frames) * self.frame_tokens
        return vision, self.sound_frames, 0 if self.actions_given else self.action_steps


def text_rotary(transformer: Any, length: int, device: Any, dtype: Any) -> tuple[Tensor, Tensor]:
    """Return cos and sin [L, 1, d] of the text's positions."""
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import get_3d_mrope_ids_text_tokens

    ids, _ = get_3d_mrope_ids_text_tokens(length, 0, use_float_positions=transformer.config.enable_fps_modulation)
    return _rotary(transformer, ids, device, dtype)


def generation_rotary(
    pipe: Any, layout: Layout, text_length: int, fps: float, device: Any, dtype: Any
) -> tuple[Tensor, Tensor]:
    """Return cos and sin [N, 1, d] of the positions of one sample's generated tokens."""
    import torch
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import (
        get_3d_mrope_ids_text_tokens,
        get_3d_mrope_ids_vae_tokens,
    )

    config, compression = pipe.transformer.config, pipe.vae_scale_factor_temporal
    _, after_text = get_3d_mrope_ids_text_tokens(text_length, 0, use_float_positions=config.enable_fps_modulation)
    start = after_text + config.unified_3d_mrope_temporal_modality_margin

    def positions(grid: tuple[int, int, int], rate: float, compression: int, **more: int) -> Tensor:
        ids, _ = get_3d_mrope_ids_vae_tokens(
            *grid,
            temporal_offset=start,
            reset_spatial_indices=config.unified_3d_mrope_reset_spatial_ids,
            fps=rate if config.enable_fps_modulation else None,
            base_fps=float(config.base_fps),
            temporal_compression_factor=compression,
            **more,
        )
        return ids

    parts = [positions(layout.grid, fps, compression)]
    if layout.sound_frames:
        parts.append(positions((layout.sound_frames, 1, 1), float(config.sound_latent_fps), 1))
    if layout.action_steps:
        grid = (layout.action_steps, 1, 1)
        parts.append(positions(grid, fps, 1, base_temporal_compression_factor=compression, start_frame_offset=1))
    return _rotary(pipe.transformer, torch.cat(parts, dim=1), device, dtype)


def _rotary(transformer: Any, positions_3N: Tensor, device: Any, dtype: Any) -> tuple[Tensor, Tensor]:
    cos, sin = transformer.rotary_emb(position_ids=positions_3N.to(device).unsqueeze(1), device=device, dtype=dtype)
    return cos.squeeze(0).unsqueeze(1), sin.squeeze(0).unsqueeze(1)
