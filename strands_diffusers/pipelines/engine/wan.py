"""The Wan VAE, latent frame by latent frame, without leaving anything on the module.

Wan's VAE is causal in time: latent frame 0 needs frame 0 alone, latent frame i the frames up to 4 * i. So the frames
that condition can be encoded without those after them, and each latent frame can become pixels and leave as soon as it
is decoded. `AutoencoderKLWan.encode` and `.decode` run these very loops with the feature caches as their own attributes;
here they are local, so two threads may decode at once.

Shapes: F frames, T latent frames (1 + (F - 1) // 4), H and W pixels, C latent channels, h and w latent cells.
"""

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from strands_diffusers.config.conditions import TEMPORAL_FACTOR
from strands_diffusers.pipelines.engine.hooks import awake
from strands_diffusers.pipelines.engine.kernels import QuickKernels


def latent_frames(num_frames: int) -> int:
    """Latent frames of a clip; frames beyond the last whole latent frame are dropped, as diffusers does."""
    return 1 + (num_frames - 1) // TEMPORAL_FACTOR


def cells(vae: Any, height: int, width: int) -> tuple[int, int]:
    """Latent height and width of a frame of `height` x `width` pixels."""
    scale = (vae.config.patch_size or 1) * 2 ** (len(vae.config.dim_mult) - 1)
    return height // scale, width // scale


def encode(pipe: Any, frames: Tensor, all_latent_frames: int) -> Tensor:
    """Encode the first frames of a clip to normalised latents [1, C, T, h, w], float32.

    `frames` is [1, 3, F, H, W] in [-1, 1]; the whole clip, of which the rest is not needed, has
    `all_latent_frames`. The last convolution still runs over that length: a kernel for fewer frames might add in
    another order.
    """
    vae = pipe.vae
    with awake(vae), QuickKernels():
        moments = _moments(vae, frames.to(vae.dtype), all_latent_frames)
    latents = moments.chunk(2, dim=1)[0]  # the mode of the distribution
    mean, inverse_std = _statistics(pipe, latents.device)
    return ((latents - mean) * inverse_std).to(frames.dtype)


def _moments(vae: Any, x: Tensor, all_latent_frames: int) -> Tensor:
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    kept = latent_frames(x.shape[2])
    if _tiles(vae, x.shape[-2], x.shape[-1]):
        return vae.encode(x[:, :, : 1 + TEMPORAL_FACTOR * (kept - 1)]).latent_dist.parameters
    if vae.config.patch_size is not None:
        x = patchify(x, patch_size=vae.config.patch_size)
    features: list[Any] = [None] * _convolutions(vae.encoder)
    parts = []
    for index in range(kept):
        first = max(0, 1 + TEMPORAL_FACTOR * (index - 1))
        chunk = x[:, :, first : 1 + TEMPORAL_FACTOR * index]
        parts.append(vae.encoder(chunk, feat_cache=features, feat_idx=[0]))
    missing = all_latent_frames - kept
    if missing:
        parts.append(parts[0].new_zeros(*parts[0].shape[:2], missing, *parts[0].shape[3:]))
    return vae.quant_conv(torch.cat(parts, dim=2))[:, :, :kept]


def decode(pipe: Any, latents: Tensor) -> Generator[Tensor]:
    """Decode latents [1, C, T, h, w] and yield frames [1, 3, F, H, W] in [-1, 1], float32: 1 frame, then 4 at a time."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae = pipe.vae
    mean, inverse_std = _statistics(pipe, latents.device)
    z = latents.to(vae.dtype) / inverse_std + mean
    with awake(vae):
        if _tiles(vae, z.shape[-2] * vae.spatial_compression_ratio, z.shape[-1] * vae.spatial_compression_ratio):
            yield vae.decode(z).sample.to(latents.dtype)
            return
        features: list[Any] = [None] * _convolutions(vae.decoder)
        x = vae.post_quant_conv(z)
        for index in range(x.shape[2]):
            first = {"first_chunk": True} if index == 0 else {}
            with QuickKernels():
                frames = vae.decoder(x[:, :, index : index + 1], feat_cache=features, feat_idx=[0], **first)
            if vae.config.patch_size is not None:
                frames = unpatchify(frames, patch_size=vae.config.patch_size)
            yield torch.clamp(frames, min=-1.0, max=1.0).to(latents.dtype)


def _statistics(pipe: Any, device: Any) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of the latents, [1, C, 1, 1, 1], as the pipeline rounds them."""
    shape, dtype = (1, -1, 1, 1, 1), pipe.vae.dtype
    mean = pipe._vae_latents_mean.to(device=device, dtype=dtype).view(shape)
    return mean, pipe._vae_latents_inv_std.to(device=device, dtype=dtype).view(shape)


def _tiles(vae: Any, height: int, width: int) -> bool:
    """Tell whether the VAE would cut this canvas into tiles; then its own loops run."""
    return bool(vae.use_tiling and (width > vae.tile_sample_min_width or height > vae.tile_sample_min_height))


def _convolutions(part: Any) -> int:
    """Feature caches that an encoder or decoder may ask for: one per convolution is enough."""
    return sum(isinstance(module, torch.nn.Conv3d) for module in part.modules())
