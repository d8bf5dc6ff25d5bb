"""In the simulator: the world, the scripted policy, the coverage by state and by frame, the metric along the video."""

import dataclasses
import shutil
import threading
import types

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht import PushTCoverage, PushTExpert, PushTGap, PushTHorizon, PushTSource, PushTWorld
from strands_diffusers_pusht.expert import GOAL_PX, Expert
from strands_diffusers_pusht.score import coverage
from strands_diffusers_pusht.simulator import PushT, to_model_space, to_pixels

from strands_diffusers import (
    Look,
    Observation,
    ObservationRequest,
    Setting,
    Track,
    WorldEnv,
    actions,
    errors,
    rollout,
    testing,
)
from strands_diffusers.pipelines.checkpoint import ASSETS
from strands_diffusers.runner import job

pytestmark = pytest.mark.filterwarnings("ignore")  # pygame's and gymnasium's own
SPACE = dataclasses.replace(actions.space_of("pusht"), pixel_map=True)
CONFIG = testing.compose("domain=pusht")

# Coverage at the end and at best of 96 steps, by this package's closed-loop program before it became `condition=closed_loop`
# (commit 955b6af: python -m strands_diffusers_pusht --episodes 3 --policies still,expert).
OLD = {
    ("expert", 500_000): (0.4952414424027517, 0.5253354453814167),
    ("expert", 500_001): (0.32036792424863825, 0.5225627447126698),
    ("expert", 500_002): (0.6203305760289942, 0.6779214983540299),
    ("still", 500_000): (0.18359147859438818, 0.18359147859438818),
    ("still", 500_001): (0.5225627447126698, 0.5225627447126698),
    ("still", 500_002): (0.049366351469908996, 0.049366351469908996),
}


def setting(address="500000@task:goal", prompt="", **changes):
    observation = PushTSource().read(address, ObservationRequest(num_frames=2, domain="pusht"))
    given = Setting(CONFIG, observation, SPACE, prompt, 10.0, 16, 8, 12)
    return dataclasses.replace(given, **changes)


def episode(given, policy, world, looks=None, seed=0, give=True):
    """Frames [F, H, W, 3], actions [F - 1, 2] and states of a policy in a world, as the loop asks them."""
    policy.check(given)
    world.check(given)
    policy.reset(given, seed)
    frame, state = world.reset(given, seed)
    frames, acted, states = [frame], np.zeros((0, 2), np.float32), [state]
    for index in range(looks or given.num_looks):
        look = Look(index, np.stack(frames), acted, given.prompt, seed + index, state=states[-1] if give else None)
        if isinstance(policy, Still):
            look = types.SimpleNamespace(**vars(look) | {"hold": world.hold()})
        chunk = policy.act(look).actions
        assert chunk.shape == (given.chunk_size, 2)
        assert chunk.dtype == np.float32
        stepped = world.step(chunk, given.act_steps)
        frames.extend(stepped.frames)
        states.extend(stepped.states)
        acted = np.concatenate([acted, chunk[: given.act_steps]])
    return np.stack(frames), acted, states


class Still:
    """Hold the pusher where it is."""

    def check(self, setting):
        pass

    def reset(self, setting, seed):
        self.size = setting.chunk_size

    def act(self, look):
        if not len(look.actions):
            self.chunk = np.tile(look.hold, (self.size, 1))
        return dataclasses.make_dataclass("Proposal", ["actions"])(self.chunk)


@pytest.mark.parametrize(("name", "seed"), OLD)
def test_episodes_are_those_of_the_former_closed_loop(name, seed):
    policy = PushTExpert() if name == "expert" else Still()
    frames, acted, states = episode(setting(f"{seed}@task:goal"), policy, PushTWorld())

    table = PushT()
    table.start(seed)
    expert, held = Expert("goal", table, seed), table.pusher_px
    for row, state in zip(acted, states[1:], strict=True):  # the former program's loop
        action = to_model_space(expert.act() if name == "expert" else held)
        np.testing.assert_array_equal(action, row)
        table.step(to_pixels(action))
        given = [*state["pusher_px"], *state["block_px"], state["angle_rad"]]
        np.testing.assert_array_equal(table.state, given)
    np.testing.assert_array_equal(table.render(), frames[-1])
    found = PushTCoverage().compute(Track(frames, acted, states))
    np.testing.assert_allclose((found[-1], found.max()), OLD[name, seed], rtol=1e-9)


@pytest.mark.parametrize("act_steps", [1, 5, 16])
def test_the_expert_acts_the_same_however_often_it_looks(act_steps):
    given = setting(act_steps=act_steps)
    few, many = ({"looks": 32 // steps + 1} for steps in (act_steps, 8))

    _, one, _ = episode(given, PushTExpert(), PushTWorld(), **few)
    _, other, _ = episode(setting(), PushTExpert(), PushTWorld(), **many)

    np.testing.assert_array_equal(one[:32], other[:32])


def test_the_expert_needs_no_state_where_its_own_simulator_knows_it():
    given = setting()

    seen, unseen = (episode(given, PushTExpert(), PushTWorld(), looks=4, give=give)[1] for give in (True, False))

    np.testing.assert_array_equal(seen, unseen)


def test_the_rest_of_the_expert_s_chunk_is_nearly_what_it_would_do():
    whole, half = setting(act_steps=16), setting(act_steps=8)
    chunks = []
    for given in (whole, half):
        policy = PushTExpert()
        policy.reset(given, 0)
        chunks.append(
            policy.act(Look(0, np.zeros((1, 96, 96, 3), np.uint8), np.zeros((0, 2), np.float32), "", 0)).actions
        )

    np.testing.assert_array_equal(chunks[0][:8], chunks[1][:8])
    np.testing.assert_allclose(chunks[0][8:], chunks[1][8:], atol=0.02)


def test_where_other_actions_were_executed_the_expert_plans_from_where_they_lead():
    given, world = setting("500002@task:left"), PushTWorld()
    policy = PushTExpert()
    policy.reset(given, 0)
    world.reset(given, 0)
    frames = np.zeros((9, 96, 96, 3), np.uint8)
    policy.act(Look(0, frames[:1], np.zeros((0, 2), np.float32), "", 0))
    others = np.zeros((8, 2), np.float32)
    state = world.step(others, 8).states[-1]

    blind = policy.act(Look(1, frames, others, "", 1)).actions
    seeing = policy.act(Look(1, frames, others, "", 1, state=state)).actions

    np.testing.assert_array_equal(blind, seeing)
    assert np.linalg.norm(to_pixels(blind[0]) - state["pusher_px"]) < 110  # the furthest that it goes in a step is 72


def test_noise_makes_a_worse_expert_and_is_the_same_each_time():
    given = setting()
    noisy = [episode(given, PushTExpert(PushTExpert.Config(noise_px=40)), PushTWorld(), looks=2)[1] for _ in range(2)]
    _, exact, _ = episode(given, PushTExpert(), PushTWorld(), looks=2)

    np.testing.assert_array_equal(*noisy)
    assert 20 < np.abs(to_pixels(noisy[0]) - to_pixels(exact)).mean() < 80
    with pytest.raises(errors.ConfigError, match=r"noise_px=-1 is not within"):
        PushTExpert.Config(noise_px=-1)


def test_another_seed_is_an_expert_of_other_habits():
    given = setting()
    one, other = (episode(given, PushTExpert(), PushTWorld(), looks=1, seed=seed)[1] for seed in (0, 1))

    assert np.abs(one - other).max() > 0.01


def test_an_observation_that_begins_later_is_entered_with_the_block_moving():
    later = setting("500003@task:down@start:20", act_steps=16)
    whole = PushTSource().read("500003@task:down", ObservationRequest(num_frames=41, domain="pusht"))
    world = PushTWorld()

    first, state = world.reset(later, 0)
    stepped = world.step(whole.actions[20:36], 16)

    np.testing.assert_array_equal(first, whole.frames[20])
    np.testing.assert_array_equal(stepped.frames, whole.frames[21:37])
    np.testing.assert_allclose(state["pusher_px"], later.observation.details["state"][:2])


def test_a_state_that_no_seed_leads_to_is_entered_at_rest():
    given = setting()
    details = {"kind": "pusht", "state": [60.0, 70.0, 300.0, 310.0, 0.5]}
    given = dataclasses.replace(given, observation=dataclasses.replace(given.observation, details=details))
    world = PushTWorld()

    _, state = world.reset(given, 0)

    np.testing.assert_allclose(
        [*state["pusher_px"], *state["block_px"], state["angle_rad"]], details["state"], atol=1e-9
    )


def test_an_episode_is_restored_to_the_same_frames():
    given, policy, world = setting(), PushTExpert(), PushTWorld()
    frames, acted, _ = episode(given, policy, world, looks=3)
    again = PushTWorld()
    again.reset(given, 0)
    again.restore(frames[:17], acted[:16], 8)

    np.testing.assert_array_equal(again.step(acted[16:], 8).frames, frames[17:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": "photo"}, r"begins at a table of the simulator, and table\.png is none"),
        (
            {"space": actions.space_of("bridge_orig_lerobot")},
            r"those of domain 'bridge_orig_lerobot' of this model are others",
        ),
        ({"space": dataclasses.replace(SPACE, pixel_map=False)}, r"pixel_map=true"),
        ({"fps": 5.0}, r"10 steps a second, and domain\.fps is 5"),
    ],
)
@pytest.mark.parametrize("cls", [PushTWorld, PushTExpert])
def test_what_is_no_table_of_the_simulator_is_refused_before_anything_loads(cls, changes, message):
    given = setting()
    if "observation" in changes:
        changes = {"observation": dataclasses.replace(given.observation, details={}, source="table.png")}

    with pytest.raises(errors.RequestError, match=message):
        cls().check(dataclasses.replace(given, **changes))


def test_a_prompt_names_the_expert_s_task_and_one_that_it_does_not_know_is_refused():
    _, left, _ = episode(setting(prompt="push the T block to the left"), PushTExpert(), PushTWorld(), looks=3)
    _, true, _ = episode(setting("500000@task:left"), PushTExpert(), PushTWorld(), looks=3)

    np.testing.assert_array_equal(left, true)
    with pytest.raises(errors.ConfigError, match=r"does not know the task 'Wash the dishes\.'; it knows 'Push"):
        PushTExpert().check(setting(prompt="Wash the dishes."))


def test_coverage_read_off_a_frame_is_near_the_simulator_s():
    table, true, frames = PushT(), [], []
    rng = np.random.default_rng(0)
    for _ in range(40):
        block = GOAL_PX + rng.normal(0, 40, 2)
        table.state = np.array([*rng.uniform(40, 470, 2), *block, np.pi / 4 + rng.normal(0, 0.5)])
        true.append(table.coverage)
        frames.append(table.render())
    frames, none = np.stack(frames), np.zeros((39, 2), np.float32)

    seen = PushTCoverage().compute(Track(frames, none))
    given = PushTCoverage().compute(Track(frames, none, [{"coverage": value} for value in true]))

    np.testing.assert_array_equal(given, true)
    assert np.abs(seen - true).mean() < 0.015
    assert np.abs(seen - true).max() < 0.07
    assert np.corrcoef(seen, true)[0, 1] > 0.99
    np.testing.assert_allclose(coverage(np.repeat(np.repeat(frames, 2, 1), 2, 2)), seen, atol=0.03)


def test_coverage_is_the_same_to_the_last_digit_on_every_table_and_gym_pusht_s_own():
    state = np.array([40.0, 40.0, 270.123, 281.456, 0.789])
    tables = [PushT() for _ in range(4)]
    for table in tables * 2:
        table.start(3)
        table.state = state

    assert len({table.coverage for table in tables}) == 1
    assert tables[0].coverage == pytest.approx(tables[0]._env._get_coverage(), abs=1e-12)


def test_the_gap_is_how_far_the_block_s_pixels_are_from_the_target():
    table, frames = PushT(), []
    table.start(500_000)
    for shift in (0, 40, 150):
        table.state = np.array([30.0, 30.0, GOAL_PX[0] + shift, GOAL_PX[1], np.pi / 4])
        frames.append(table.render())
    frames.append(np.full_like(frames[0], 255))

    on, near, far, gone = PushTGap().compute(Track(np.stack(frames), np.zeros((3, 2), np.float32)))

    assert on < 2
    assert 5 < near < 40 < far < 150
    assert np.isnan(gone)


def test_coverage_is_refused_where_there_is_no_block():
    with pytest.raises(errors.ConfigError, match=r"domain 'bridge_orig_lerobot' has none"):
        PushTCoverage().check(setting(space=actions.space_of("bridge_orig_lerobot")))


def test_the_horizon_of_the_truth_is_nothing_and_a_shift_is_measured_in_pixels_of_the_table():
    observation = PushTSource().read("500003@task:down", ObservationRequest(num_frames=33, domain="pusht"))
    base = dataclasses.replace(
        testing.rollouts()["policy"],
        video=observation.frames,
        reference_video=observation.frames,
        observation=observation,
    )
    shifted = np.roll(observation.frames, 3, axis=2)

    same = PushTHorizon().compute(base)
    off = PushTHorizon().compute(dataclasses.replace(base, video=shifted))

    assert (same["pusher_px"], same["block_px"], same["overlap"]) == (0, 0, 1)
    assert same["block_px_first_frame"] > 5
    assert off["block_px_after_16"] == pytest.approx(16, abs=0.5)  # 3 of 96 pixels
    assert off["pusher_px_after_32"] == pytest.approx(16, abs=0.5)
    assert 0 < off["overlap"] < 0.9
    assert "overlap_after_48" not in off
    assert PushTHorizon().compute(dataclasses.replace(base, reference_video=None)) == {}


def test_other_walls_or_another_state_behind_the_same_frame_are_another_job():
    given, other = setting(), setting()
    options = dataclasses.replace(CONFIG.source["pusht"], solid_walls=False)
    walls = dataclasses.replace(given, config=dataclasses.replace(CONFIG, source={**CONFIG.source, "pusht": options}))
    moved = {**given.observation.details, "state": [60.0, 70.0, 300.0, 310.0, 0.5]}
    state = dataclasses.replace(given, observation=dataclasses.replace(given.observation, details=moved))
    for made in (PushTWorld(), PushTExpert()):
        assert made.fingerprint(given) == made.fingerprint(other)
        assert len({made.fingerprint(each) for each in (given, walls, state)}) == 3


@pytest.mark.slow
def test_the_model_s_episode_is_that_of_single_rollouts_with_the_same_seeds(tmp_path):
    """As the former closed-loop program asked the model: one rollout a look, from the simulator's frame, with a seed of its own."""
    fast = ["num_inference_steps=1", "guidance_scale=1"]
    looks, steps, seed_step = 2, 3, 1_000_003
    shared = ("tracker=none", "visualizer=[]", "metric=[]", "domain=pusht")
    episode = rollout(
        *("condition=closed_loop", "world=pusht", "policy=model", "score=[pusht_coverage]", *shared),
        *(f"condition.num_looks={looks}", f"condition.act_steps={steps}", *(f"policy.sampler.{each}" for each in fast)),
        observation=PushTSource().read("500001@task:goal", ObservationRequest(num_frames=2, domain="pusht")),
        output_dir=tmp_path / "episode",
    )

    table, frames, coverages = PushT(), [], []
    table.start(500_001)
    frames.append(table.render())
    coverages.append(table.coverage)
    for look in range(looks):
        seen = Observation(frames[-1][None], 10.0, domain="pusht", task="Push the T block to the goal.")
        asked = ("condition=policy", *(f"sampler.{each}" for each in fast), f"seed={seed_step * look}", *shared)
        chunk = rollout(*asked, observation=seen, output_dir=tmp_path / f"{look}").action[0]
        np.testing.assert_array_equal(episode.episode.proposed_action[look], chunk)
        for action in to_pixels(chunk[:steps]):
            table.step(action)
            frames.append(table.render())
            coverages.append(table.coverage)
    np.testing.assert_array_equal(episode.video, np.stack(frames))
    np.testing.assert_array_equal(episode.episode.scores["pusht_coverage"].values, coverages)


def test_a_reference_world_that_does_not_fit_is_named_as_it_was_typed():
    chosen = ("condition=closed_loop", "policy=random", "world.reference=pusht", "observation=sample:push_left")

    with pytest.raises(errors.ObservationError, match=r"^world\.reference=pusht begins at a table of the simulator"):
        rollout(*chosen, "tracker=none")


@pytest.mark.parametrize(("world", "acts_in"), [("pusht", "pusht"), ("model_beside_pusht", "model")])
def test_the_preset_composes_in_the_simulator_and_in_the_model_beside_it(world, acts_in):
    sizes = ("policy=pusht_expert", "observation=pusht:500000@task:goal", f"world={world}")
    config = testing.compose("experiment=pusht_closed_loop", *sizes)

    assert (config.condition.num_looks, config.condition.act_steps) == (12, 8)
    assert [*config.score] == ["pusht_coverage"]
    assert config.world.name == acts_in
    assert getattr(config.world, "reference", None) == ("pusht" if acts_in == "model" else None)


def test_other_weights_are_another_job_only_where_the_model_is_asked(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(ASSETS / "cosmos3_pusht", folder)
    chosen = ("experiment=pusht_closed_loop", "policy=pusht_expert", "observation=pusht:500000@task:goal")
    worlds = {name: testing.compose(*chosen, f"world={name}") for name in ("pusht", "model")}
    model = dataclasses.replace(worlds["model"].model, name="copy", repo=str(folder))
    worlds = {name: dataclasses.replace(config, model=model) for name, config in worlds.items()}
    before = {name: job.check(config).hash for name, config in worlds.items()}
    weights = next((folder / "transformer").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    after = {name: job.check(config).hash for name, config in worlds.items()}

    assert after["pusht"] == before["pusht"]
    assert after["model"] != before["model"]


@pytest.mark.parametrize("noise_px", [25, 50, 100, 200])
def test_the_preset_of_the_judge_has_a_ladder_of_worse_experts(noise_px):
    chosen = (f"policy=expert_{noise_px}px", "observation=pusht:500000@task:goal", "world=model_beside_pusht")
    config = testing.compose("experiment=judge_pusht", *chosen)

    assert (config.policy.name, config.policy.noise_px) == ("pusht_expert", noise_px)
    assert (config.condition.num_looks, config.condition.act_steps) == (6, 16)  # whole chunks
    assert [*config.score, *config.output] == ["pusht_coverage", "episode"]
    assert config.sweep.verdict == "policy_ranking"


def test_the_simulator_is_an_environment_of_gymnasium_an_action_a_step():
    from gymnasium.utils.env_checker import check_env

    env = WorldEnv(
        *("world=pusht", "condition.act_steps=1"),
        observation="pusht:500001@task:goal",
        reward="pusht_coverage",
        max_steps=4,
    )
    check_env(env)
    frame, info = env.reset(seed=0)
    table = PushT()
    table.start(500_001)
    np.testing.assert_array_equal(frame, table.render())
    assert info["state"]["coverage"] == table.coverage
    for step in range(1, 5):
        action = np.float32([0.1 * step, -0.2])
        frame, reward, terminated, truncated, _ = env.step(action)
        table.step(to_pixels(action))
        np.testing.assert_array_equal(frame, table.render())
        assert (reward, terminated, truncated) == (table.coverage, False, step == 4)
    env.close()


def test_world_expert_and_score_keep_the_rules_of_the_loop():
    given = testing.setting(observation=setting("500003@task:down@start:5").observation)

    testing.check_world(PushTWorld, given)
    testing.check_policy(PushTExpert, given)
    testing.check_score(PushTCoverage, given)


@pytest.mark.slow
def test_a_session_of_play_shows_what_the_simulator_does_under_the_same_actions_on_every_branch(tmp_path):
    from strands_diffusers.play.session import Session

    quick = ("world.sampler.num_inference_steps=1", "tracker=none", "visualizer=[]", "metric=[horizon]")
    session = Session([*quick, "observation=pusht:500003@task:left", "world.reference=pusht", f"output_dir={tmp_path}"])
    session.begin()
    first = session.act(0, {"point": [120, 400], "speed": 40})
    session.act(first.id, {"point": [60, 60], "speed": 40})
    threads = threading.active_count()
    branch = session.hand_over(first.id, "pusht_expert", "Push the T block to the left.")
    session.act(0, {"point": [400, 60], "speed": 40})
    assert threading.active_count() <= threads + 1  # the expert's own; world and simulator keep theirs

    saved = session.save(branch.id).rollouts[0]

    true = np.concatenate([moment.truth for moment in branch.path])
    np.testing.assert_array_equal(saved.reference_video, true)  # acted out anew, from the start
    np.testing.assert_array_equal(saved.video, np.concatenate([moment.frames for moment in branch.path]))
    assert [dict(each) for each in saved.episode.details] == [
        {"by": "person"},
        {"by": "pusht_expert", "task": "Push the T block to the left."},
    ]
    session.close()
