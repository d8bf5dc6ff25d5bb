"""`WorldEnv`: the embedded world model as an environment of gymnasium."""

import warnings

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from strands_diffusers import WorldEnv, errors, rollout

FAST = ("world.sampler.num_inference_steps=1", "world.sampler.guidance_scale=1")


@pytest.fixture(scope="module")
def chunks():
    with_goal = ("score.goal_image.goal=sample:push_left@frame:-1",)
    env = WorldEnv(*FAST, *with_goal, observation="sample:push_left", reward="goal_image", max_steps=2)
    yield env
    env.close()


def acts(env, rows):
    return [env.step(row) for row in rows]


@pytest.mark.slow
def test_it_passes_gymnasium_s_own_checks(chunks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice, such as on the range of images
        check_env(chunks, skip_render_check=False)


@pytest.mark.slow
def test_a_step_is_a_chunk_and_shows_what_a_closed_loop_shows(chunks, tmp_path):
    assert chunks.action_space.shape == (16, 2)
    first, info = chunks.reset(seed=1)
    assert info["prompt"] == "Push the T block to the left."
    assert info["frames"].shape == (0, 96, 96, 3)
    rows = np.float32(np.linspace(-0.5, 0.5, 64)).reshape(2, 16, 2)

    (frame, reward, terminated, truncated, info), (last, later, _, ended, _) = acts(chunks, rows)

    np.save(tmp_path / "rows.npy", rows.reshape(32, 2))
    loop = rollout(
        *("condition=closed_loop", "world=model", "policy=replay", f"policy.actions={tmp_path}/rows.npy", *FAST),
        *("condition.num_looks=2", "visualizer=[]", "metric=[]", "tracker=none", f"seed={chunks._seed}"),
        output_dir=tmp_path / "loop",
    )
    np.testing.assert_array_equal(np.concatenate([first[None], info["frames"]]), loop.video[:17])
    np.testing.assert_array_equal(frame, loop.video[16])
    np.testing.assert_array_equal(last, loop.video[32])
    np.testing.assert_array_equal(chunks.render(), last)
    assert (terminated, truncated, ended) == (False, False, True)
    assert -1 < reward < 1
    assert reward != later


@pytest.mark.slow
def test_with_fewer_actions_a_step_the_chunk_is_imagined_from_where_it_began():
    whole = np.float32(np.random.default_rng(0).uniform(-0.6, 0.6, (16, 2)))
    ends = {}
    for n in (16, 8, 4, 12):
        env = WorldEnv(*FAST, f"condition.act_steps={n}", observation="sample:push_left")
        env.reset(seed=3)
        steps = acts(env, whole[: 16 // n * n].reshape(-1, n, 2))
        ends[n] = steps[-1][0]
        assert [step[4]["frames"].shape[0] for step in steps] == [n] * len(steps)
        if n == 12:  # the chunk is full: the next step begins another one from the last frame
            frame = env.step(whole[:12])[0]
            assert frame.shape == (96, 96, 3)
            assert (frame != ends[12]).any()
        env.close()

    np.testing.assert_array_equal(ends[8], ends[16])
    np.testing.assert_array_equal(ends[4], ends[16])


@pytest.mark.slow
def test_a_reset_with_the_same_seed_draws_the_same_start_and_noise():
    starts = [f"sample:push_{side}" for side in ("left", "right", "up", "down")]
    env = WorldEnv(*FAST, "condition.act_steps=1", observation=starts)
    assert env.action_space.shape == (2,)
    prompts, frames = [], []
    for seed in (1, 2, 3, 4, 1):
        frame, info = env.reset(seed=seed)
        prompts.append(info["prompt"])
        frames.append(frame)
    env.close()

    assert prompts[0] == prompts[-1]
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert len(set(prompts)) > 1


@pytest.mark.slow
def test_actions_of_another_shape_or_not_finite_are_refused(chunks):
    chunks.reset(seed=0)
    with pytest.raises(errors.ActionError, match=r"shape \[16, 2\], got shape \[2\]"):
        chunks.step(np.zeros(2, np.float32))
    with pytest.raises(errors.ActionError, match="NaN"):
        chunks.step(np.full((16, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ((), {"max_steps": 0}, r"max_steps=0 leaves no step"),
        ((), {"render_mode": "human"}, r"render_mode='human' is not known"),
        ((), {"observation": []}, r"empty list"),
        (("condition=policy",), {}, r"condition"),
        ((), {"reward": "goal_image"}, r"needs a goal"),
        ((), {"reward": "goal_imag"}, r"goal_imag"),
        ((), {"observation": "nowhere.png"}, r"nowhere\.png"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_loads(overrides, options, message):
    with pytest.raises(errors.RequestError, match=message) as caught:
        WorldEnv(*overrides, **options)
    assert "\n" not in str(caught.value)
