"""The loss's weights are what the decoder's picture does."""

from __future__ import annotations

import torch

from experiments.train_pusht import vae
from experiments.train_pusht.latents import sensitivity
from experiments.train_pusht.vae import LATENT_DIM, decode


def test_sensitivity_foretells_how_much_the_picture_changes() -> None:
    model = vae.build().requires_grad_(False).eval()
    dead = 5
    model.post_quant_conv.weight[:, dead] = 0
    generator = torch.Generator().manual_seed(0)
    latent = 3 * torch.randn(3, LATENT_DIM, 2, 2, 2, generator=generator)
    std = torch.linspace(0.3, 3, LATENT_DIM)
    measured = sensitivity(model, latent, std, probes=24)
    assert measured[dead].abs().max() < 1e-6
    assert measured[:, dead].abs().max() < 1e-6
    assert abs(float(measured.diagonal().mean()) - 1) < 1e-5

    def change(channel: int) -> float:
        step = torch.zeros_like(latent)
        step[:, channel, 1] = 1e-2 * std[channel] * torch.randn(latent[:, channel, 1].shape, generator=generator).sign()
        both = zip(latent, step, strict=True)
        return sum(float((decode(model, (z + d)[None]) - decode(model, z[None])).pow(2).sum()) for z, d in both)

    low, high = 0, LATENT_DIM - 1
    ratio, foretold = change(high) / change(low), float(measured[high, high] / measured[low, low])
    assert 0.6 < ratio / foretold < 1.6, (ratio, foretold)
    assert ratio > 10  # a unit of a channel with ten times the spread moves the picture more
