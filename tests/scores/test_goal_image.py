"""`score=[goal_image]`: similarity to a goal, from files and addresses, in the size that the model shows."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from strands_diffusers import Observation, Setting, Track, actions, errors, testing
from strands_diffusers.scores.goal_image import GoalImageScore

SPACE = actions.space_of("pusht", pixel_map=True)
CONFIG = testing.compose("domain=pusht")
FRAMES = testing.rollouts()["policy"].video


def setting(frames=FRAMES, config=CONFIG):
    return Setting(config, Observation(frames[:1], 10.0, source="seen"), SPACE, "Push.", 10.0, 16, 8, 2)


def score(goal):
    return GoalImageScore(GoalImageScore.Config(goal=goal and str(goal)))


def picture(path, frame):
    Image.fromarray(frame).save(path)
    return path


def track(frames):
    return Track(frames, np.zeros((len(frames) - 1, 2), np.float32))


def test_the_goal_itself_has_one_and_what_is_nearer_to_it_more(tmp_path):
    made, given = score(picture(tmp_path / "goal.png", FRAMES[-1])), setting()
    made.check(given)
    made.reset(given)

    found = made.compute(track(FRAMES))

    assert found.dtype == np.float64
    assert found.shape == (17,)
    assert found[-1] == pytest.approx(1)
    assert (np.diff(found[6:]) > 0).all()


def test_a_goal_is_frame_n_of_any_observation(tmp_path):
    given, goals = setting(), {}
    for n, frame in enumerate(FRAMES):
        picture(tmp_path / f"{n:02}.png", frame)
    for suffix in ("", "@frame:0", "@frame:3", "@frame:-1"):
        made = score(f"{tmp_path}{suffix}")
        made.check(given)
        made.reset(given)
        goals[suffix] = int(made.compute(track(FRAMES)).argmax())
        assert made.fingerprint(given) == score(tmp_path / f"{goals[suffix]:02}.png").fingerprint(given)

    assert goals == {"": 0, "@frame:0": 0, "@frame:3": 3, "@frame:-1": 16}
    with pytest.raises(errors.ObservationError, match=r"@frame:17 has 17 frames; there is no frame 17"):
        score(f"{tmp_path}@frame:17").check(given)


def test_the_last_frame_of_a_sample_is_a_goal():
    seen = Observation(np.zeros((1, 96, 96, 3), np.uint8), 10.0)

    score("sample:push_left@frame:-1").check(dataclasses.replace(setting(), observation=seen))


def test_a_goal_goes_through_the_model_s_own_frame_transform(tmp_path):
    from types import SimpleNamespace

    from diffusers.video_processor import VideoProcessor

    from strands_diffusers.pipelines import canvas

    rng = np.random.default_rng(0)
    wide = np.asarray(
        Image.fromarray(rng.integers(0, 256, (9, 15, 3), np.uint8)).resize((106, 68), Image.Resampling.BICUBIC)
    )
    given = setting(wide[None])
    pipe = SimpleNamespace(video_processor=VideoProcessor(vae_scale_factor=16, resample="bilinear"))
    shown = canvas.transform(wide[None], pipe, canvas.canvas_for(68, 106, 256, 16))
    made = score(picture(tmp_path / "goal.png", wide))
    made.check(given)
    made.reset(given)

    assert shown.shape == (1, 64, 96, 3)
    assert made.compute(Track(shown, np.zeros((0, 2), np.float32))) == pytest.approx(1)
    made = score(picture(tmp_path / "shown.png", shown[0]))
    made.check(given)
    made.reset(given)
    assert made.compute(Track(shown, np.zeros((0, 2), np.float32))) == pytest.approx(1)
    with pytest.raises(errors.RolloutError, match=r"goal has 96x64 pixels, and the world's frames have 64x48"):
        made.compute(track(FRAMES))


def test_a_goal_takes_the_resolution_of_the_model_that_shows_it(tmp_path):
    seen = np.zeros((1, 720, 1280, 3), np.uint8)
    config = testing.compose("domain=pusht", "model.tiers=[256,480]")
    shown = picture(tmp_path / "shown.png", np.zeros((464, 832, 3), np.uint8))

    score(shown).check(setting(seen, config))
    with pytest.raises(errors.ObservationError, match=r"has 832x464 pixels, and the observation has 1280x720"):
        score(shown).check(setting(seen))


def test_a_missing_goal_one_of_another_size_and_one_that_is_not_there_are_refused_before_anything_loads(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"needs a goal\. Add score\.goal_image\.goal="):
        score(None).check(setting())
    other = picture(tmp_path / "other.png", np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(errors.ObservationError, match=r"has 48x48 pixels, and the observation has 64x48"):
        score(other).check(setting())
    with pytest.raises(errors.ObservationError, match=r"^score\.goal_image\.goal: .*nowhere\.png"):
        score(tmp_path / "nowhere.png").check(setting())


def test_a_goal_beside_the_command_is_found_from_elsewhere(tmp_path, monkeypatch):
    picture(tmp_path / "goal é.png", FRAMES[0])
    monkeypatch.chdir(tmp_path)

    file, sample = (
        testing.compose("condition=closed_loop", "score=[goal_image]", f"score.goal_image.goal={goal}")
        .score["goal_image"]
        .goal
        for goal in ("goal é.png@frame:0", "sample:push_left@frame:-1")
    )

    assert file == f"{tmp_path}/goal é.png@frame:0"
    assert sample == "sample:push_left@frame:-1"
