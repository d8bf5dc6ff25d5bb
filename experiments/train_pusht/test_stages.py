"""Every stage after the autoencoder's, on a few episodes, from the embedded model on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.simulator import PushT, to_pixels
from strands_diffusers_training.parallel import Ranks

import strands_diffusers

from . import chains, data, latents, mended, practice, transformer
from .data import ALL_TASKS, Frames
from .latents import load
from .pose import fit, rectangles
from .prompts import Captions, load_tokenizer
from .sampling import FORWARD, Mixture, Sampler
from .world import World

MODEL = str(Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(tmp_path_factory.mktemp("work"))
    data.run(data.DataConfig(num_shards=1, episodes_per_shard=4, in_the_way=0), path, Ranks())
    latents.run(latents.LatentsConfig(windows_between=0, init=MODEL), path, Ranks())
    chains.run(chains.ChainsConfig(init=MODEL), path, Ranks())
    practice.run(practice.PracticeConfig(init=MODEL, num_shards=1, rollouts=8, batch=8), path, Ranks())
    mended.run(mended.MendedConfig(init=MODEL, num_shards=1, episodes=4, batch=4), path, Ranks())
    return path


@pytest.mark.timeout(300)
def test_windows_follow_each_other_and_others_lie_between(work: Path) -> None:
    chosen = latents.choose(Frames.training(work), 2, np.random.default_rng(0))
    steps = chosen[:, 3].reshape(4, 5)
    assert (steps[:, :3] == [0, 16, 32]).all()
    assert not np.isin(steps[:, 3:], [0, 16, 32]).any()
    with np.load(work / "latents" / "shard_0000.npz") as file:
        assert file["step"].tolist() == [0, 16, 32] * 4


def test_a_chain_goes_on_from_where_the_model_s_video_ended(work: Path) -> None:
    windows, frames = load(work, "shard_"), Frames.training(work)
    rows = np.flatnonzero(windows.has_first)
    assert {1, 4, 7, 10} & set(rows)  # after the first window of an episode of three,
    assert set(rows) <= {1, 2, 4, 5, 7, 8, 10, 11}  # and after the second
    own = windows.first[rows]
    assert not (own == windows.latent[rows][:, :, 0]).flatten(1).all(1).any()
    pictures = World(work, Ranks(), MODEL).last_frames(own[:, :, None].float())
    true = np.stack([frames.clip(0, 49 * (row // 3) + 16 * (row % 3), 1)[0] for row in rows])
    overlap = tracking.overlap(tracking.block_mask(pictures), tracking.block_mask(true))
    assert overlap.min() > 0.3
    assert 0.5 < overlap.mean() < 0.99


def test_practice_holds_what_the_simulator_does_under_the_policy_s_own_actions(work: Path) -> None:
    own, frames = load(work, "practice_"), Frames.training(work)
    starts, tasks = practice.draw_starts(frames, 8, np.random.default_rng([0, 5]))
    assert 3 <= len(own) <= 8
    assert own.noise.shape == own.latent.shape
    world, sim, row = World(work, Ranks(), MODEL), PushT(), 0
    for start, task in zip(starts, tasks, strict=True):
        if row == len(own) or task != own.task[row]:
            continue
        sim.state = start
        video, _ = sim.run(to_pixels(own.action[row].numpy()))
        again = world.encode(video[None])[0]
        if (again - own.latent[row].float()).abs().mean() < 0.02:
            row += 1
    assert row == len(own), ALL_TASKS


def test_what_is_mended_begins_where_the_model_s_own_frame_shows_the_t(work: Path) -> None:
    own, world, sim = load(work, "mended_"), World(work, Ranks(), MODEL), PushT()
    assert 3 <= len(own) <= 8
    assert own.has_first.all()
    assert own.errs.all()  # for forward dynamics alone
    assert not (own.first == own.latent[:, :, 0]).flatten(1).all(1).any()
    seen = tracking.block_mask(world.last_frames(own.first[:, :, None].float()))
    put = tracking.block_mask(world.last_frames(own.latent[:, :, :1].float()))
    overlap = tracking.overlap(seen, put)
    assert overlap.min() > 0.05  # some have melted
    assert np.median(overlap) > 0.6
    row = int(overlap.argmax())  # acted out by the simulator, from there
    begin = world.last_frames(own.latent[row : row + 1, :, :1].float())
    guess = tracking.block_px(begin)[0]
    poses = [fit(begin, np.append(guess, angle)[None], rectangles(sim), steps=60) for angle in np.arange(0, 6.2, 0.5)]
    pose, _ = max(poses, key=lambda found: found[1][0])
    sim.state = np.concatenate([tracking.pusher_px(begin)[0], pose[0]])
    video, _ = sim.run(to_pixels(own.action[row].numpy()))
    end = world.last_frames(own.latent[row : row + 1].float())[0]
    assert tracking.overlap(tracking.block_mask(video[-1]), tracking.block_mask(end)) > 0.4


def test_forward_dynamics_begins_at_mended_frames_as_often_as_asked(work: Path) -> None:
    config = Mixture(mended=1.0, own_first=1.0, practice=1.0, mode_weights=(0.5, 0.0, 0.5, 0.0, 0.0))
    sampler = Sampler(config, work, "shard_", Captions(load_tokenizer(work, Ranks())), [0, 0])
    own = load(work, "mended_")

    drawn = sampler.draw(16)

    forward = drawn.modes == FORWARD
    given = drawn.batch.latent_BCTHW[:, :, 0]
    mended_too = torch.stack([(own.first.float() == frame).flatten(1).all(1).any() for frame in given])
    assert (mended_too == forward).all()


@pytest.mark.timeout(300)
def test_training_on_all_of_it_goes_on_where_it_was(work: Path) -> None:
    config = transformer.TransformerConfig(
        steps=2, cooldown=1, batch=16, carried=4, shape=2, init=MODEL, compile=False, muon_lr=1e-4, adam_lr=1e-5
    )
    transformer.run(config, work, Ranks())
    before = torch.load(work / "transformer_cooled.pt", weights_only=False)
    assert before["step"] == 2
    config.steps = config.cooldown = 4
    (work / "transformer_cooled.pt").rename(work / "transformer.pt")
    transformer.run(config, work, Ranks())
    after = torch.load(work / "transformer_cooled.pt", weights_only=False)
    assert after["step"] == 4
    name = "layers.0.mlp_moe_gen.down_proj.weight"
    assert 0 < (after["average"][name] - before["average"][name]).abs().max() < 0.01
