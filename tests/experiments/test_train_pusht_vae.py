"""The training program's autoencoder: a wider decoder begins where the narrow one is."""

import pytest
import torch

pytest.importorskip("strands_diffusers_training", reason="the program is built on plugins/training")

from experiments.train_pusht.vae import build, decode


def test_a_widened_decoder_decodes_as_before_and_learns_in_every_weight(tmp_path):
    narrow = build()
    for parameter in narrow.decoder.parameters():  # gains of one and biases of zero would hide a mistake
        if parameter.ndim < 2 or parameter.shape[1:].numel() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    narrow.save_pretrained(tmp_path / "vae")
    narrow, wide = build(str(tmp_path)), build(str(tmp_path), decoder_base_dim=40)
    latent = torch.randn(1, 32, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    frames = decode(wide, latent)
    frames.square().mean().backward()

    assert frames.std() > 1e-3
    torch.testing.assert_close(frames, decode(narrow, latent), rtol=1e-4, atol=1e-5)
    assert all(p.grad.abs().max() > 0 for p in wide.decoder.parameters())
