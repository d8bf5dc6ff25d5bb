"""The loss's weights are what the decoder's picture does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from strands_diffusers_training.flow import errors

from experiments.train_pusht import vae
from experiments.train_pusht.latents import channel_root, sensitivity
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


def test_the_loss_is_the_picture_change_and_a_floor(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(LATENT_DIM, LATENT_DIM, generator=generator)
    spread = half @ half.mT / LATENT_DIM
    spread[:, 7] = spread[7] = 0  # a channel that nothing reads
    with pytest.raises(SystemExit, match="latents"):
        channel_root(tmp_path, 0.1)
    (tmp_path / "latents").mkdir()
    np.save(tmp_path / "latents" / "sensitivity.npy", spread.numpy())

    error = torch.randn(1, LATENT_DIM, 5, 6, 6, generator=generator)
    action = torch.zeros(1, 16, 2)
    batch = SimpleNamespace(
        noisy_frame_BT=torch.ones(1, 5, dtype=torch.bool), noisy_action_BA=torch.ones(1, 16, dtype=torch.bool)
    )
    zero = (torch.zeros_like(error), action)
    weighed = errors(batch, (error, action), zero, None, channel_root(tmp_path, 0.1))[0][0]
    e = error.flatten(2)[0]
    expected = (e * ((0.1 * torch.eye(LATENT_DIM) + 0.9 * spread) @ e)).sum(0).mean() / LATENT_DIM
    torch.testing.assert_close(weighed, expected)
    plain = errors(batch, (error, action), zero, None, channel_root(tmp_path, 1.0))[0][0]
    torch.testing.assert_close(plain, error.pow(2).mean())
