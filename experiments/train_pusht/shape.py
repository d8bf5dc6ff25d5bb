"""A loss on the decoded T: how well its silhouette lies on the true one.

The mean of several places of the T is a blur: right in the mean square, and no T. A pixel of half the block's colour counts here
as what it would be taken for, so that a sharp T a little off is better than a blur about the right place.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from strands_diffusers_training.flow import FORWARD, POLICY, Examples
from torch.nn import functional

from .vae import decode

BLOCK_LEVELS = (119.0, 136.0, 153.0)
"""Colour of the block, 0 to 255, and within how many levels of it a pixel is taken for the block's: as `tracking` does."""

NEAR_LEVELS, SOFT_LEVELS = 45.0, 15.0

CROP = 3
"""Side of what is decoded [latents of 16 pixels]: the block and most of its way."""


def silhouette(video: torch.Tensor) -> torch.Tensor:
    """Video [B, 3, T, H, W] in [-1, 1] -> how surely each pixel is the block's, [B, T, H, W], 0 to 1."""
    colour = torch.tensor(BLOCK_LEVELS, device=video.device).view(1, 3, 1, 1, 1)
    away = ((video.float() + 1) * 127.5 - colour).abs().amax(1)
    return torch.sigmoid((NEAR_LEVELS - away) / SOFT_LEVELS)


def overlap(mask: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Intersection over union of soft masks [B, T, H, W]: [B]; 1 where neither shows anything."""
    both = torch.minimum(mask, truth).sum((1, 2, 3))
    union = torch.maximum(mask, truth).sum((1, 2, 3))
    return (both + 1) / (union + 1)


def corners(clean: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Row and column of the CROP x CROP latents in which most differs from the usual picture, int [B, 2]."""
    energy = (clean - usual).pow(2).mean((1, 2))[:, None]
    sums = functional.avg_pool2d(energy, CROP, stride=1)
    flat = sums.flatten(1).argmax(1)
    return torch.stack([flat // sums.shape[-1], flat % sums.shape[-1]], 1)


def crop(latent: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    """[B, C, T, 6, 6] -> [B, C, T, CROP, CROP], each sample at its corner."""
    return torch.stack([x[..., r : r + CROP, c : c + CROP] for x, (r, c) in zip(latent, corner.tolist(), strict=True)])


class ShapeLoss:
    """One minus the overlap of the decoded T's, for up to `count` samples of forward dynamics and decided policies."""

    def __init__(self, vae: AutoencoderKLWan, mean: torch.Tensor, std: torch.Tensor, count: int) -> None:
        self.vae, self.mean, self.std, self.count = vae.requires_grad_(False), mean, std, count

    def __call__(self, examples: Examples, velocity: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
        """`velocity` [B, 32, 5, 6, 6] as predicted; `usual` [32, 5, 6, 6], the mean latents of the training data."""
        batch = examples.batch
        decided = examples.decided & ((examples.modes == FORWARD) | (examples.modes == POLICY)) & (batch.chunk_B == 16)
        rows = decided.nonzero().flatten()
        rows = rows[torch.randperm(len(rows), device=rows.device)[: self.count]]
        if not len(rows):
            return velocity.new_zeros(())
        answer = batch.latent_BCTHW[rows] - batch.sigma_B[rows].view(-1, 1, 1, 1, 1) * velocity[rows].float()
        noisy = batch.noisy_frame_BT[rows][:, None, :, None, None]
        answer, clean = torch.where(noisy, answer, batch.latent_BCTHW[rows]), examples.clean[rows]
        corner = corners(clean, usual)
        with torch.no_grad():
            truth = silhouette(self._decode(crop(clean, corner)))[:, 1:]
        mask = silhouette(self._decode(crop(answer, corner)))[:, 1:]
        return 1 - overlap(mask, truth).mean()

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        return decode(self.vae, (latent * self.std + self.mean).to(self.vae.dtype))
