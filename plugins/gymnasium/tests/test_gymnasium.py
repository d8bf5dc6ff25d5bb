"""Real environments as worlds: what they show, what their actions become, where they end, what is refused."""

import dataclasses
import sys
import types

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("pygame")

import gymnasium
import strands_diffusers_gymnasium
from strands_diffusers_gymnasium import Adapter, GymnasiumReward, GymnasiumSource, GymnasiumWorld
from strands_diffusers_gymnasium.options import Actions, Options

from strands_diffusers import (
    Observation,
    ObservationRequest,
    Setting,
    Track,
    actions,
    errors,
    plugins,
    rollout,
    testing,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # pygame's and gymnasium's own
SPACE = actions.space_of("pusht", pixel_map=True)
CONFIG = testing.compose("domain=pusht")
AFFINE = {"columns": [0], "actions": Actions.affine, "scale": [0.5], "offset": [0.5]}
PUSHT = "gym_pusht:gym_pusht/PushT-v0"


class Lamp(gymnasium.Env):
    """A lamp whose brightness is set by a number without bounds: an image and a number in its observation."""

    observation_space = gymnasium.spaces.Dict(
        {"camera": gymnasium.spaces.Box(0, 255, (32, 48, 3), np.uint8), "level": gymnasium.spaces.Box(0, 1, (1,))}
    )
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def _seen(self):
        return {"camera": np.full((32, 48, 3), int(200 * self.level), np.uint8), "level": np.float32([self.level])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = float(self.np_random.random()) if options is None else options["level"]
        return self._seen(), {}

    def step(self, action):
        self.level = float(np.clip(action[0], 0, 1))
        return self._seen(), self.level, False, False, {}


class Reversed(Adapter):
    """The lamp's level counted from the other end."""

    def action(self, row):
        return np.float32([1 - abs(row[0])])


gymnasium.register("Lamp-v0", Lamp)
sys.modules["lamp_adapters"] = sys.modules[__name__]


def setting(address="CartPole-v1@seed:3", space=SPACE, **changes):
    seen = GymnasiumSource(GymnasiumSource.Config(size=[96, 96])).read(address, ObservationRequest())
    return dataclasses.replace(Setting(CONFIG, seen, space, "", 10.0, 16, 8, 2), **changes)


def world(**options):
    return GymnasiumWorld(Options(**options))


def run(made, given, rows, seed=0):
    made.check(given)
    first, state = made.reset(given, seed)
    stepped = made.step(np.float32(rows), len(rows))
    made.close()
    return np.concatenate([first[None], stepped.frames]), [state, *stepped.states]


def test_an_environment_answers_as_gymnasium_itself_does():
    rows = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    observation, _ = env.reset(seed=3)

    frames, states = run(world(columns=[0], size=[400, 600]), setting(), rows)

    np.testing.assert_array_equal(frames[0], env.render())
    for row, frame, state in zip(rows, frames[1:], states[1:], strict=True):
        observation, reward, terminated, _, _ = env.step(int(row[0] >= 0))
        np.testing.assert_array_equal(frame, env.render())
        np.testing.assert_allclose(state["observation"], observation)
        assert (state["reward"], state["terminated"]) == (reward, terminated)


def test_an_episode_that_has_ended_stays_at_its_last_frame_and_says_so():
    frames, states = run(world(columns=[0]), setting(), np.ones((40, 2)))

    ended = [state["terminated"] for state in states]
    at = ended.index(True)
    assert 5 < at < 30
    assert all(ended[at:])
    assert (frames[at:] == frames[at]).all()
    assert [s["reward"] for s in states[1:]] == [1.0] * at + [0.0] * (40 - at)
    found = GymnasiumReward().compute(Track(frames, np.zeros((40, 2), np.float32), states))
    assert np.isnan(found[0])
    assert found[1:].sum() == at
    assert np.isnan(GymnasiumReward().compute(Track(frames, np.zeros((40, 2), np.float32)))).all()


def test_bounds_are_where_minus_one_and_one_lead():
    given = setting("Pendulum-v1@seed:1", space=actions.space_of("pusht"))
    for options, sent in (
        ({}, [-2.0, 1.0, 3.0]),
        ({"clip": True}, [-2.0, 1.0, 2.0]),
        ({"actions": Actions.affine, "scale": [0.5], "offset": [0.1]}, [-0.4, 0.35, 0.85]),
    ):
        made = world(columns=[1], **options)
        made.check(given)
        made.reset(given, 0)
        taken = [float(made._adapter.action(np.float32([9, value]))[0]) for value in (-1, 0.5, 1.5)]
        made.close()
        np.testing.assert_allclose(taken, sent, rtol=1e-6)


def test_statistics_decode_actions_to_physical_units():
    given, made = (
        setting("Pendulum-v1"),
        world(id="Lamp-v0", image_key="camera", columns=[1], actions=Actions.statistics),
    )
    made.reset(dataclasses.replace(given, observation=Observation(np.zeros((1, 32, 48, 3), np.uint8), 10.0)), 0)

    assert made._adapter.action(np.float32([0, 0.5])).tolist() == [384]  # PushT's pixels
    with pytest.raises(errors.ConfigError, match=r"domain av has no statistics here"):
        made.check(dataclasses.replace(given, space=actions.space_of("av")))


def test_the_pusht_environment_itself_is_driven_by_pixels():
    pytest.importorskip("gym_pusht")
    details = {"obs_type": "state", "render_mode": "rgb_array", "visualization_width": 96, "visualization_height": 96}
    given = setting("Pendulum-v1")
    made = world(
        id=PUSHT, kwargs=details, actions=Actions.statistics, reset_options={"reset_to_state": [100, 100, 300, 300, 0]}
    )

    frames, states = run(made, given, [[0.5, -0.5]] * 8)

    assert frames.shape == (9, 96, 96, 3)
    pusher = np.array(states[-1]["observation"][:2])
    np.testing.assert_allclose(states[0]["observation"][:2], [100, 100], atol=30)
    np.testing.assert_allclose(pusher, [384, 128], atol=25)


def test_an_image_in_the_observation_is_found_by_its_name_and_numbers_are_told():
    given = setting("Pendulum-v1")
    options = {"id": "Lamp-v0", "image_key": "camera", "size": [32, 48], **AFFINE}

    frames, states = run(world(**options, reset_options={"level": 0.25}), given, [[0, 0], [1, 0]])

    assert frames[:, 0, 0, 0].tolist() == [50, 100, 200]
    assert [state["observation"]["level"] for state in states] == [[0.25], [0.5], [1.0]]

    frames, _ = run(world(**options, adapter="lamp_adapters:Reversed"), given, [[0.25, 0]])
    assert frames[1, 0, 0, 0] == 150


def test_the_seed_is_the_world_s_own_else_the_observation_s_else_the_sample_s():
    photo = dataclasses.replace(setting(), observation=Observation(np.zeros((1, 96, 96, 3), np.uint8), 10.0))
    starts = {}
    for name, options, given, seed in (
        ("observation", {}, setting(), 9),
        ("own", {"seed": 3}, photo, 9),
        ("sample", {}, photo, 3),
        ("other", {}, photo, 4),
    ):
        made = world(id="CartPole-v1", columns=[0], size=[96, 96], **options)
        starts[name] = made.reset(given, seed)[1]["observation"]
        made.close()

    assert starts["observation"] == starts["own"] == starts["sample"] != starts["other"]


def test_an_episode_is_restored_to_the_same_frames():
    given, rows = setting(), np.random.default_rng(1).uniform(-1, 1, (16, 2)).astype(np.float32)
    frames, _ = run(world(columns=[0]), given, rows)
    made = world(columns=[0])
    made.reset(given, 0)
    made.restore(frames[:9], rows[:8], 8)

    np.testing.assert_array_equal(made.step(rows[8:], 8).frames, frames[9:])
    made.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "CartPol-v1", "columns": [0]}, r"world\.id=CartPol-v1 cannot be made"),
        ({"id": "CartPole-v1"}, r"takes 1 number a step, and columns \[0, 1\] .* world\.columns=\[0\]"),
        ({"id": "CartPole-v1", "columns": [5]}, r"columns \[5\] of the 2 of domain pusht"),
        ({"id": "CartPole-v1", "columns": [0], "kwargs": {"color": 1}}, r"cannot be made: TypeError"),
        ({"id": "CartPole-v1", "columns": [0], "image_key": "x"}, r"float32 \[4\], no image"),
        ({"id": "Lamp-v0", "image_key": "lens", **AFFINE}, r"no 'lens'; it has 'camera', 'level'"),
        ({"id": "Lamp-v0", "columns": [0], "image_key": "camera"}, r"no bounds .* world\.actions=affine"),
        (
            {"id": "Lamp-v0", "columns": [0], "image_key": "camera", "actions": Actions.affine},
            r"scale and world\.offset of 1",
        ),
        ({"id": "CartPole-v1", "columns": [0], "adapter": "nowhere:X"}, r"world\.adapter=nowhere:X cannot be loaded"),
        ({"id": "CartPole-v1", "columns": [0], "adapter": "json:dumps"}, r"is no subclass of"),
        (
            {"id": "CartPole-v1", "columns": [0], "size": None},
            r"is 600x400, and the observation 96x96: other proportions",
        ),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_loads(options, message):
    with pytest.raises(errors.ConfigError, match=message) as caught:
        world(**options).check(setting("Pendulum-v1"))
    assert "\n" not in str(caught.value)


def test_without_an_environment_one_is_asked_for():
    photo = dataclasses.replace(setting(), observation=Observation(np.zeros((1, 96, 96, 3), np.uint8), 10.0))

    with pytest.raises(errors.ConfigError, match=r"needs an environment\. Add world\.id="):
        world().check(photo)
    with pytest.raises(errors.ConfigError, match=r"world\.size=\[1\] is no size"):
        Options(size=[1])


def test_another_environment_behind_the_same_first_frame_is_another_job():
    found = set()
    for kwargs in (None, {"g": 1.5}, {"g": 2.5}):
        seen = GymnasiumSource(GymnasiumSource.Config(kwargs=kwargs)).read("Pendulum-v1@seed:5", ObservationRequest())
        found.add(world(columns=[0]).fingerprint(dataclasses.replace(setting(), observation=seen)))
    found.add(world(columns=[0], seed=6).fingerprint(dataclasses.replace(setting(), observation=seen)))

    assert len(found) == 4


def test_an_episode_runs_from_the_observation_s_address_alone(tmp_path):
    if "gymnasium" not in plugins().classes("world"):
        pytest.skip("needs the plugin: pip install -e plugins/gymnasium")
    loops = [
        rollout(
            *(
                "condition=closed_loop",
                "world=gymnasium",
                "world.columns=[1]",
                "policy=random",
                "score=[gymnasium_reward]",
            ),
            *(
                "source.gymnasium.kwargs={g:1.5}",
                "source.gymnasium.size=[96,96]",
                "observation=gymnasium:Pendulum-v1@seed:5",
            ),
            *("condition.num_looks=2", "condition.act_steps=4", "tracker=none", "visualizer=[]", f"seed={seed}"),
            output_dir=tmp_path / str(seed),
        )
        for seed in (0, 1)
    ]

    found = [each.episode.scores["gymnasium_reward"].values for each in loops]
    env = gymnasium.make("Pendulum-v1", g=1.5)
    env.reset(seed=5)
    true = [env.step(2 * row[1:])[1] for row in loops[0].action.reshape(-1, 2)]
    np.testing.assert_allclose(found[0][1:], true, rtol=1e-6)
    assert (found[0][1:] != found[1][1:]).all()
    assert loops[0].video.shape == (9, 96, 96, 3)


@pytest.mark.parametrize(
    "chosen", [{"world": "gymnasium", "world.id": "os:Any-v0"}, {"world.reference": "gymnasium"}], ids=str
)
def test_a_confined_caller_cannot_have_modules_imported_by_it(chosen, tmp_path):
    from strands_diffusers.api.access import Access
    from strands_diffusers.api.tool import perform

    if "gymnasium" not in plugins().classes("world"):
        pytest.skip("needs the plugin: pip install -e plugins/gymnasium")
    reply = perform(
        Access((tmp_path,)), "rollout", parameters={"condition": "closed_loop", "policy": "random", **chosen}
    )

    assert reply["data"]["error"] == "AccessError", reply
    assert "world=gymnasium speaks to other programs" in reply["content"][0]["text"]


def test_a_reward_that_nothing_gives_is_refused_before_anything_loads():
    alone = setting().config
    reference = dataclasses.replace(alone, world=types.SimpleNamespace(name="model", reference="gymnasium"))
    with pytest.raises(errors.ConfigError, match=r"world=model gives none\. Use world=gymnasium"):
        GymnasiumReward().check(setting(config=dataclasses.replace(alone, world=types.SimpleNamespace(name="model"))))
    GymnasiumReward().check(setting(config=reference))


def test_it_keeps_the_rules_of_a_plugin():
    testing.check_source(GymnasiumSource, "CartPole-v1@seed:3@task:Balance.")
    testing.check_plugin(strands_diffusers_gymnasium)
    testing.check_world(GymnasiumWorld, testing.setting(observation=setting().observation), Options(columns=[0]))
    there = dataclasses.replace(setting().config, world=types.SimpleNamespace(name="gymnasium"))
    testing.check_score(GymnasiumReward, setting(config=there))
