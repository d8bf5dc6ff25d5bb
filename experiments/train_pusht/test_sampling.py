"""How much each noise level, mode and window counts in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from experiments.train_pusht.latents import LATENT_DIM
from experiments.train_pusht.model import Batch
from experiments.train_pusht.prompts import Captions, build_tokenizer
from experiments.train_pusht.transformer import MODES, PURE, Levels, Sampler, TransformerConfig, recycle


def test_levels_make_every_mode_and_noise_level_count_alike() -> None:
    generator, levels = torch.Generator().manual_seed(0), Levels("cpu")
    sums = torch.zeros(3)
    for step in range(400):
        mode = torch.randint(0, 3, (64,), generator=generator)
        sigma = 0.05 + 0.9 * torch.rand(64, generator=generator)
        usual = torch.tensor([0.3, 0.0, 40.0])[mode] / sigma.mul(10).long().add(1) ** 2
        error = (usual * (0.5 + torch.rand(64, generator=generator))).requires_grad_(True)
        levels.relative(error, mode, sigma).backward()
        if step >= 300:
            sums += torch.zeros(3).index_add_(0, mode, (error.grad * error).detach())
    assert sums[1] == 0  # a mode that has no such error
    assert sums[2] / sums[0] == pytest.approx(1, rel=0.05)


def work_folder(path: Path, still_windows: int, moving_windows: int) -> Path:
    (path / "latents").mkdir()
    rng = np.random.default_rng(0)
    m = still_windows + moving_windows
    latent = np.repeat(rng.standard_normal((m, LATENT_DIM, 1, 6, 6)), 5, axis=2)
    latent[still_windows:, :, 2:] += rng.standard_normal((moving_windows, LATENT_DIM, 3, 6, 6))
    np.savez(
        path / "latents" / "shard_0000.npz",
        latent=latent.astype(np.float16),
        action=np.zeros((m, 16, 2), np.float32),
        task=np.zeros(m, int),
    )
    np.savez(path / "latents" / "scale.npz", mean=np.zeros(LATENT_DIM, "f4"), std=np.ones(LATENT_DIM, "f4"))
    np.save(path / "latents" / "sensitivity.npy", np.eye(LATENT_DIM, dtype="f4"))
    build_tokenizer(path / "tokenizer")
    return path


def test_windows_in_which_nothing_moves_are_drawn_less(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=75, moving_windows=25)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    chance = Sampler(TransformerConfig(still=0.2), work, "shard_", captions, [0, 0]).chance
    assert chance.sum() == pytest.approx(1)
    np.testing.assert_allclose(chance[:75] * 100, 0.2, rtol=1e-3)  # against an average of 1
    assert chance[75:].min() * 100 > 2.5
    assert Sampler(TransformerConfig(still=1), work, "shard_", captions, [0, 0]).chance is None


def test_noise_levels_go_by_mode(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(lowest=0.0, recycled=0), work, "shard_", captions, [0, 0])
    for mode, median in zip(MODES, (10 / 11, 10 / 11, 2.5 / 3.5, 2.5 / 3.5, 2.5 / 3.5), strict=True):
        sigma = sampler.draw(2000, MODES.index(mode))[0].sigma_B
        assert float(sigma.median()) == pytest.approx(median, abs=0.02), mode


def test_recycled_samples_go_on_from_the_answer_towards_the_truth(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(mode_weights=(0.3, 0.3, 0.2, 0.1, 0.1))
    batch, *targets, clean, modes = Sampler(config, work, "shard_", captions, [0, 0]).draw(64)
    assert (batch.sigma_B[modes < 2] == PURE).all()

    def answer(part: Batch) -> tuple[torch.Tensor, ...]:  # says "all zero", whatever it sees
        assert len(part.sigma_B) == 30
        return tuple(x / part.sigma_B.view(-1, *[1] * (x.ndim - 1)) for x in (part.latent_BCTHW, part.action_BAD))

    after, wanted = recycle(answer, batch, tuple(targets), modes, 30)
    moved = after.sigma_B != batch.sigma_B
    assert moved.sum() == 30
    assert {0, 1, 2} == set(modes[moved].tolist())
    assert (after.sigma_B[moved] < batch.sigma_B[moved]).all()
    assert (after.sigma_B >= 0.5 * batch.sigma_B)[modes == 2].all()
    sigma = after.sigma_B.view(-1, 1, 1, 1, 1)
    noisy = batch.noisy_frame_BT[:, None, :, None, None].expand_as(clean)
    # Where they are is on the way to zero; where they are to go is the truth.
    shrunk = batch.latent_BCTHW * sigma / batch.sigma_B.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(after.latent_BCTHW[moved], torch.where(noisy, shrunk, clean)[moved])
    arrived = after.latent_BCTHW - sigma * wanted[0]
    torch.testing.assert_close(arrived[noisy], clean[noisy], rtol=0, atol=1e-4)
    action = (after.action_BAD - sigma[..., 0, 0] * wanted[1])[batch.noisy_action_BA]
    torch.testing.assert_close(action, torch.zeros_like(action), rtol=0, atol=1e-4)  # the true ones of this folder
    for kept, name in ((batch, "latent_BCTHW"), (batch, "action_BAD")):
        assert torch.equal(getattr(kept, name)[~moved], getattr(after, name)[~moved])


def test_a_batch_with_few_actions_recycles_those(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(mode_weights=(0.02, 0.02, 0.03, 0.9, 0.03))
    batch, *targets, _, modes = Sampler(config, work, "shard_", captions, [0, 0]).draw(64)
    assert 0 < (modes < 3).sum() < 10
    after, _ = recycle(lambda part: (part.latent_BCTHW, part.action_BAD), batch, tuple(targets), modes, 10)
    assert torch.equal(after.sigma_B != batch.sigma_B, modes < 3)
