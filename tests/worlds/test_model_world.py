"""Policy and world that are models: the numbers of the conditions that they are made of, through the engine's own path."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from strands_diffusers import records, rollout
from strands_diffusers.config import compose
from strands_diffusers.observations.rollouts import read_rollouts
from strands_diffusers.pipelines import loader, pretrained
from strands_diffusers.runner import job
from strands_diffusers.runner.again import measure
from strands_diffusers.runner.control import Control
from strands_diffusers.runner.run import run_job

QUIET = ("tracker=none", "visualizer=[]")
IMAGINED = (*QUIET, "condition=closed_loop", "world.sampler.num_inference_steps=1")
LOOP = (*IMAGINED, "policy.sampler.num_inference_steps=1", "policy.sampler.guidance_scale=1")


@pytest.mark.slow
def test_given_actions_in_the_model_are_its_forward_dynamics_bit_for_bit(tmp_path):
    episode = rollout(*IMAGINED, "policy=replay", "condition.num_looks=2", "seed=4", output_dir=tmp_path / "loop")
    chunks = rollout(
        *QUIET,
        "condition=forward_dynamics",
        "condition.num_chunks=2",
        "sampler.num_inference_steps=1",
        "seed=4",
        output_dir=tmp_path / "chunks",
    )

    np.testing.assert_array_equal(episode.video[1:], chunks.video[1:])
    np.testing.assert_array_equal(episode.action, chunks.given_action)
    np.testing.assert_array_equal(episode.video[0], episode.observation.frames[0])


@pytest.mark.slow
def test_one_look_of_the_model_is_its_policy_bit_for_bit(tmp_path):
    episode = rollout(*LOOP, "condition.num_looks=1", "seed=4", output_dir=tmp_path / "loop")
    policy = rollout(
        *QUIET, "sampler.num_inference_steps=1", "sampler.guidance_scale=1", "seed=4", output_dir=tmp_path / "one"
    )

    np.testing.assert_array_equal(episode.action, policy.action)
    np.testing.assert_array_equal(episode.episode.proposed_video[0], policy.video)


@pytest.mark.slow
def test_an_episode_reads_back_from_its_files_and_is_a_source_of_observations(tmp_path):
    words = (*LOOP, "condition.num_looks=2", "condition.act_steps=6", "score=[goal_image]")
    goal = "score.goal_image.goal=sample:push_left@frame:-1"
    made = rollout(*words, goal, output_dir=tmp_path / "episode")
    record = records.read(tmp_path / "episode")

    [read] = read_rollouts(record)

    assert record.mode == "closed_loop"
    np.testing.assert_array_equal(read.action, made.action)
    np.testing.assert_array_equal(read.episode.proposed_action, made.episode.proposed_action)
    np.testing.assert_array_equal(read.episode.scores["goal_image"].values, made.episode.scores["goal_image"].values)
    assert read.episode.proposed_video.shape == (2, 7, 96, 96, 3)
    error = read.episode.proposed_video[:, 1:].astype(float) - made.episode.proposed_video[:, 1:7]
    assert np.abs(error).mean() < 3
    assert (read.episode.looks, read.episode.policy, read.episode.world) == ((0, 6), "model", "model")
    assert record.metrics["scores"]["goal_image_final"] == made.episode.scores["goal_image"].values[-1]

    seen = rollout(
        *IMAGINED,
        "condition.num_looks=1",
        "policy=still",
        f"observation=run:{tmp_path / 'episode'}",
        output_dir=tmp_path / "next",
    )
    assert seen.video.shape == (17, 96, 96, 3)


@pytest.mark.slow
def test_nothing_is_loaded_or_encoded_twice(tmp_path, monkeypatch):
    loader.clear()
    loaded, load = [], pretrained.load
    monkeypatch.setattr(pretrained, "load", lambda *a: loaded.append(a) or load(*a))
    made = rollout(*LOOP, "condition.num_looks=2", "condition.act_steps=8", output_dir=tmp_path / "episode")

    assert len(loaded) == 1
    first, second = made.episode.seconds
    assert first["world.encode"] < first["policy.encode"]  # the frame that the policy saw is encoded already
    assert second["policy.text"] + second["world.text"] < first["policy.text"] + first["world.text"]


@pytest.mark.slow
def test_an_episode_that_is_killed_goes_on_to_the_same_result(tmp_path):
    words = [*LOOP, "condition.num_looks=4", "condition.act_steps=4"]
    whole = rollout(*words, output_dir=tmp_path / "whole")
    cut = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-m", "strands_diffusers", *words, f"output_dir={cut}"])
    for _ in range(1200):
        if list(cut.glob(".chunks-*/look_000_001.npz")) or process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert not (cut / "manifest.json").exists()

    rest = run_job(job.check(compose.compose(words)), cut)

    np.testing.assert_array_equal(rest.rollouts[0].video, whole.video)
    np.testing.assert_array_equal(rest.rollouts[0].action, whole.action)
    np.testing.assert_array_equal(rest.rollouts[0].episode.proposed_video, whole.episode.proposed_video)
    assert rest.rollouts[0].details["looks_kept"] >= 2
    assert json.loads((cut / "manifest.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_job_is_cancelled_within_a_denoising_step_and_says_where(tmp_path):
    def progress(what, done, total):
        seen.append(f"{what} {done}/{total}")
        if what.endswith("world denoise"):
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        run_job(job.check(compose.compose([*LOOP, "condition.num_looks=3"])), tmp_path, control=Control(progress))

    assert "look 0/3" in seen
    assert "look 1/3: policy denoise 1/1" in seen
    assert seen[-1].startswith("look 1/3: world denoise")


@pytest.mark.slow
def test_each_sample_has_the_reference_of_its_own_actions_also_when_read_back(tmp_path, monkeypatch):
    from strands_diffusers import Stepped, World
    from strands_diffusers.plugin.manager import Registration, plugins

    class Shade(World):
        """A frame as bright as the action is large."""

        name = "shade"

        def reset(self, setting, seed):
            return setting.observation.frames[0], None

        def step(self, actions, num_steps, progress=None):
            levels = 100 + 50 * actions[:num_steps, 0]
            return Stepped(np.broadcast_to(levels[:, None, None, None], (num_steps, 96, 96, 3)).astype(np.uint8))

    index = plugins()
    mine = Registration("register_worlds", "world", "shade", "theirs", Shade)
    monkeypatch.setattr(index, "registrations", [*index.registrations, mine])
    words = [*IMAGINED, "policy=random", "world.reference=shade", "condition.num_looks=1", "sampler.num_samples=2"]
    made = run_job(job.check(compose.compose(words)), tmp_path).rollouts

    read = read_rollouts(records.read(tmp_path))

    assert made[0].details["reference"].endswith("ends below 25 dB PSNR (metric.horizon.psnr) against world shade")
    [again] = measure([tmp_path], "metric=[horizon]", "metric.horizon.psnr=1")
    assert {s.details["reference"] for s in again.record.samples} == {
        "trust: no look of 1 ends below 1 dB PSNR (metric.horizon.psnr) against world shade"
    }

    for one, other in zip(read, made, strict=True):
        assert np.abs(one.reference_video.astype(float) - other.reference_video).mean() < 1
    assert np.abs(made[0].reference_video.astype(float) - made[1].reference_video).mean() > 5


@pytest.mark.slow
def test_another_checkpoint_acts_and_stays_warm_beside_the_world(tmp_path, monkeypatch):
    import shutil

    from strands_diffusers.config.models import ModelConfig
    from strands_diffusers.pipelines import checkpoint

    folder = tmp_path / "other"
    shutil.copytree(checkpoint.locate(ModelConfig("x", "asset:cosmos3_pusht")).place, folder)
    words = [*LOOP, "condition.num_looks=2", "condition.act_steps=4"]
    same = run_job(job.check(compose.compose(words)), tmp_path / "same")
    loader.clear()
    loaded, load = [], pretrained.load
    monkeypatch.setattr(pretrained, "load", lambda *a: loaded.append(a) or load(*a))
    for name, seed in (("one", 0), ("two", 1)):
        made = run_job(job.check(compose.compose([*words, f"policy.repo={folder}", f"seed={seed}"])), tmp_path / name)
        if not seed:
            np.testing.assert_array_equal(made.rollouts[0].action, same.rollouts[0].action)
            assert made.record.hash != same.record.hash

    assert len(loaded) == 2
    assert len(loader.warm_models()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 4, 7])
def test_fewer_steps_are_the_beginning_of_more_bit_for_bit(num_steps):
    cast = job.check(compose.compose([*IMAGINED, "policy=replay", "condition.num_looks=1"])).cast
    world, rows = cast.world, cast.setting.observation.actions[:16]
    shown = []
    for steps in (num_steps, 16):
        world.reset(cast.setting, 0)
        shown.append(world.step(rows, steps).frames)
    cast.close()

    assert len(shown[0]) == num_steps
    np.testing.assert_array_equal(shown[0], shown[1][:num_steps])
