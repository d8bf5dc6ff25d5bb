"""What the autoencoder's loss weighs, and how far latents moved."""

from types import SimpleNamespace

import torch

from .vae import drift, importance


def test_emphasis_weighs_white_drawn_and_pusher() -> None:
    clip = torch.ones(1, 3, 1, 9, 9)
    clip[..., 1, 1] = 0.0  # grey
    clip[0, :, 0, 7, 7] = torch.tensor([-0.5, 0.0, 0.9])  # blue
    weight = importance(clip, emphasis=5.0)[0, 0, 0]
    assert (weight[4, 4], weight[1, 1], weight[2, 2], weight[7, 7]) == (0.5, 3.0, 3.0, 5.5)
    assert (importance(clip, emphasis=0.0) == 0.5).all()


def test_drift_is_in_standard_deviations() -> None:
    std = torch.tensor([0.5, 2.0])
    vae = SimpleNamespace(config=SimpleNamespace(latents_std=std.tolist()))
    former = torch.randn(3, 2, 1, 4, 4)
    assert drift(former, former, vae) == 0
    torch.testing.assert_close(drift(former + 0.1 * std.view(1, 2, 1, 1, 1), former, vae), torch.tensor(0.01))
