"""How much each noise level, mode and window counts in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from strands_diffusers_training.flow import MODES, PURE, Examples, Levels, carry
from transformers import AutoTokenizer

from experiments.train_pusht.prompts import Captions, build_tokenizer
from experiments.train_pusht.sampling import Sampler
from experiments.train_pusht.transformer import TransformerConfig
from experiments.train_pusht.vae import LATENT_DIM


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
        step=np.zeros(m, int),
        in_the_way=np.arange(m) < m // 4,
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
    every = Sampler(TransformerConfig(still=1), work, "shard_", captions, [0, 0]).chance
    np.testing.assert_allclose(every, 0.01)


def test_policy_is_asked_more_often_where_the_block_is_in_the_way(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=75, moving_windows=25)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(in_the_way=3.0, still=1), work, "shard_", captions, [0, 0])
    blocked = {tuple(latent[:, 0, 0, 0].tolist()) for latent in sampler.windows.latent[:25].float()}
    for mode, share in (("policy", 0.5), ("image", 0.25)):
        clean = sampler.draw(4000, MODES.index(mode)).clean[:, :, 0, 0, 0]
        assert np.mean([tuple(x.tolist()) in blocked for x in clean]) == pytest.approx(share, abs=0.03)


def test_of_episodes_with_errors_only_forward_dynamics_learns(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    path = work / "latents" / "shard_0000.npz"
    np.savez(path, **dict(np.load(path)), errs=np.arange(8) % 2 == 0)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(still=1), work, "shard_", captions, [0, 0])
    shaky = {tuple(latent[:, 0, 0, 0].tolist()) for latent in sampler.windows.latent[::2].float()}
    for mode, share in (("forward_dynamics", 0.5), ("inverse_dynamics", 0), ("policy", 0)):
        clean = sampler.draw(1000, MODES.index(mode)).clean[:, :, 0, 0, 0]
        assert np.mean([tuple(x.tolist()) in shaky for x in clean]) == pytest.approx(share, abs=0.06 * (share > 0))


def test_noise_levels_go_by_mode(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(lowest=0.0, carried=0), work, "shard_", captions, [0, 0])
    for mode, median in zip(MODES, (10 / 11, 10 / 11, 2.5 / 3.5, 2.5 / 3.5, 2.5 / 3.5), strict=True):
        sigma = sampler.draw(2000, MODES.index(mode)).batch.sigma_B
        assert float(sigma.median()) == pytest.approx(median, abs=0.02), mode


def test_carried_samples_go_on_from_the_answer_towards_the_truth(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(mode_weights=(0.3, 0.3, 0.2, 0.1, 0.1), chunk_weights=(0.5, 0.3, 0.2))
    before = Sampler(config, work, "shard_", captions, [0, 0]).draw(64)
    assert (before.batch.sigma_B[before.modes < 2] == PURE).all()

    def towards_zero(x: Examples) -> tuple[torch.Tensor, torch.Tensor]:  # a model to which everything is zero
        sigma = x.batch.sigma_B.view(-1, 1, 1)
        return x.batch.latent_BCTHW / sigma[..., None, None], x.batch.action_BAD / sigma

    after = carry(before, towards_zero(before), 30)
    assert after is not None
    assert set(after.modes.tolist()) == {0, 1}
    noisy = after.batch.noisy_frame_BT[:, None, :, None, None].expand_as(after.clean)
    torch.testing.assert_close(after.batch.latent_BCTHW[~noisy], after.clean[~noisy])
    sigma = after.batch.sigma_B.view(-1, 1, 1, 1, 1)
    arrived = after.batch.latent_BCTHW - sigma * after.targets[0]
    torch.testing.assert_close(arrived[noisy], after.clean[noisy], rtol=0, atol=1e-4)
    action = (after.batch.action_BAD - sigma[..., 0, 0] * after.targets[1])[after.batch.noisy_action_BA]
    torch.testing.assert_close(action, torch.zeros_like(action), rtol=0, atol=1e-4)  # the true ones of this folder
    # Of pure noise on the way to zero, as much is left as the noise level says.
    left = after.batch.latent_BCTHW / sigma * PURE
    assert float(left[noisy].std()) == pytest.approx(1, abs=0.03)
    assert (after.batch.sigma_B < PURE).all()


def test_nothing_is_carried_where_there_are_too_few(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(mode_weights=(0.02, 0.02, 0.9, 0.03, 0.03))
    examples = Sampler(config, work, "shard_", captions, [0, 0]).draw(64)
    assert 0 < (examples.modes < 2).sum() < 10
    assert carry(examples, (examples.batch.latent_BCTHW, examples.batch.action_BAD), 10) is None
    few = carry(examples, (examples.batch.latent_BCTHW, examples.batch.action_BAD), 1)
    assert few is not None
    assert len((examples + few).modes) == 65


def add_practice(work: Path, windows: int) -> None:
    rng = np.random.default_rng(1)
    np.savez(
        work / "latents" / "practice_0000.npz",
        latent=rng.standard_normal((windows, LATENT_DIM, 5, 6, 6)).astype("f2"),
        action=rng.standard_normal((windows, 16, 2)).astype("f4"),
        task=np.full(windows, 3),
        step=np.zeros(windows, int),
        in_the_way=np.zeros(windows, bool),
        noise=rng.standard_normal((windows, LATENT_DIM, 5, 6, 6)).astype("f2"),
        action_noise=rng.standard_normal((windows, 16, 2)).astype("f4"),
    )


def test_practice_begins_in_the_noise_that_its_actions_were_made_from_and_is_carried(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    add_practice(work, 3)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(practice=0.5), work, "shard_", captions, [0, 0])
    drawn = sampler.draw(400, MODES.index("policy"))
    assert float(drawn.decided.float().mean()) == pytest.approx(0.5, abs=0.08)
    own = drawn[drawn.decided]
    assert (own.batch.sigma_B == PURE).all()
    assert (own.batch.prompt_B > 1).all()  # never without a prompt
    windows = sampler.windows
    which = [int(np.flatnonzero([torch.equal(clean, w.float()) for w in windows.latent[8:]])[0]) for clean in own.clean]
    torch.testing.assert_close(own.targets[1], windows.action_noise[which] - windows.action[8:][which])
    torch.testing.assert_close(own.targets[0], windows.noise[which].float() - own.clean)
    carried = carry(drawn, (drawn.targets[0], drawn.targets[1]), 20)
    assert carried is not None
    assert carried.decided.all()


def test_a_window_of_a_chain_may_begin_at_the_model_s_own_frame_and_ends_at_the_true_one(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=0, moving_windows=4)
    (work / "chains").mkdir()
    first = np.full((2, LATENT_DIM, 6, 6), 7, "f2")
    np.savez(work / "chains" / "shard_0000.npz", row=np.array([1, 3]), first=first)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    sampler = Sampler(TransformerConfig(own_first=0.5, still=1), work, "shard_", captions, [0, 0])
    true = sampler.windows.latent[:, :, 1:].float()
    for mode, share in (("forward_dynamics", 0.25), ("inverse_dynamics", 0.0)):
        drawn = sampler.draw(800, MODES.index(mode))
        own = (drawn.batch.latent_BCTHW[:, :, 0] == 7).flatten(1).all(1)
        assert float(own.float().mean()) == pytest.approx(share, abs=0.05), mode
        assert not drawn.batch.noisy_frame_BT[own, 0].any()
        for later in drawn.clean[own][:20, :, 1:]:
            assert any(torch.equal(later, true[row]) for row in (1, 3))


def test_of_a_short_chunk_nothing_later_is_asked_or_seen(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(mode_weights=(0.3, 0.3, 0.4, 0, 0), chunk_weights=(0.2, 0.3, 0.5))
    batch = Sampler(config, work, "shard_", captions, [0, 0]).draw(600).batch
    for chunk, share in ((16, 0.2), (8, 0.3), (4, 0.5)):
        rows = batch.chunk_B == chunk
        assert float(rows.float().mean()) == pytest.approx(share, abs=0.07)
        assert not batch.noisy_action_BA[rows, chunk:].any()
        assert not batch.noisy_frame_BT[rows, chunk // 4 + 1 :].any()
        assert batch.noisy_frame_BT[rows, 1 : chunk // 4 + 1].any(0).all()


def test_a_held_policy_s_actions_go_to_the_true_ones_and_only_its_video_goes_astray(tmp_path: Path) -> None:
    work = work_folder(tmp_path, still_windows=4, moving_windows=4)
    add_practice(work, 3)
    captions = Captions(AutoTokenizer.from_pretrained(work / "tokenizer"))
    config = TransformerConfig(practice=0.5, held=0.5, chunk_weights=(1, 0, 0))
    drawn = Sampler(config, work, "shard_", captions, [0, 0]).draw(400, MODES.index("policy"))
    assert drawn.decided.all()
    assert float(drawn.held.float().mean()) == pytest.approx(0.75, abs=0.08)  # all of the expert's, half of practice
    assert float((drawn.batch.sigma_B < PURE).float().mean()) == pytest.approx(0.5, abs=0.08)

    astray = (drawn.targets[0] + 1, drawn.targets[1] + 1)
    after = carry(drawn, astray, 100)

    assert after is not None
    assert 0 < int(after.held.sum()) < 100
    sigma = after.batch.sigma_B.view(-1, 1, 1)
    clean = after.batch.action_BAD - sigma * after.targets[1]
    for latent, action, true, level, held in zip(
        after.clean, after.batch.action_BAD, clean, after.batch.sigma_B, after.held, strict=True
    ):
        match = (drawn.clean == latent).flatten(1).all(1).nonzero().flatten()
        noises = [drawn.batch.action_BAD[i] + (1 - drawn.batch.sigma_B[i]) * drawn.targets[1][i] for i in match]
        on_the_way = any(torch.allclose(action, true.lerp(noise, level), atol=1e-4) for noise in noises)
        assert on_the_way == bool(held)
    arrived = after.batch.latent_BCTHW - sigma[..., None, None] * after.targets[0]
    noisy = after.batch.noisy_frame_BT[:, None, :, None, None].expand_as(arrived)
    torch.testing.assert_close(arrived[noisy], after.clean[noisy], rtol=0, atol=1e-4)
