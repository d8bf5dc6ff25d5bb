"""`condition=closed_loop`: what it takes, what it refuses before anything loads, and what no other condition has."""

import numpy as np
import pytest

from strands_diffusers import Observation, loop
from strands_diffusers.cli import main
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, RequestError
from strands_diffusers.pipelines.request import make_request
from strands_diffusers.runner import job

QUIET = ("tracker=none",)
LOOP = (*QUIET, "condition=closed_loop")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["condition.num_looks=0"], r"condition.num_looks must be from 1 to 10,000 looks, got 0"),
        (["condition.act_steps=0"], r"condition.act_steps must be >= 1 steps, got 0"),
        (
            ["condition.act_steps=17"],
            r"condition.act_steps=17 is more than a chunk of 16 steps\. Use condition.act_steps=16",
        ),
        (
            ["condition.num_chunks=2"],
            r"condition.num_chunks belongs to condition=policy or forward_dynamics or inverse",
        ),
        (["sampler.guidance_scale=3"], r"Type policy.sampler.guidance_scale=3 or world.sampler.guidance_scale=3\.$"),
        (["sampler.num_inference_steps=4"], r"Type policy.sampler.num_inference_steps=4 or world.sampler.num_inf"),
        (["policy.sampler.num_inference_steps=0"], r"policy.sampler.num_inference_steps must be from 1 to 1,000 steps"),
        (["world.sampler.flow_shift=0"], r"world.sampler.flow_shift must be > 0"),
        (
            ["policy=random", "policy.repo=/x"],
            r"policy.repo belongs to policy=model or best_of, not to the policy chosen here",
        ),
        (["score.goal_image.goal=/x"], r"score.goal_image.goal needs score=\[goal_image\]"),
        (
            ["policy=server", "policy.views.left=[0,0,1,1]"],
            r"policy.views is given as a whole\. Type 'policy\.views=\{left:\[0,0,1,1\]\}'\.$",
        ),
        (
            ["policy=server", "policy.state.0=1"],
            r"policy.state is given as a whole\. Type 'policy\.state=\[\.\.\.\]'\.$",
        ),
        (["policy.views.left=[0,0,1,1]"], r"^policy.views belongs to policy=server, not to the policy chosen here"),
        (["policy=modle"], r"policy=modle is not a choice; there are .*\bmodel\b"),
        (["score=[goal_imag]"], r"score=goal_imag is not a choice"),
        (
            ["output=[sound]"],
            r"output=\[sound\] cannot come from condition=closed_loop",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compose.compose([*LOOP, *overrides])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["condition.chunk_size=12"], r"trained on chunks of 4 or 8 or 16 steps, not 12"),
        (["domain=bridge"], r"sample:push_left was seen in the domain pusht, and this run has domain=bridge"),
        (["domain.view_point=wrist_view"], r"sample:push_left is a third_person_view, .* domain.view_point=wrist_view"),
        (
            ["domain.view_point=wrist_view", "policy=random"],
            r"is a third_person_view, .* Type domain.view_point=third_person_view",
        ),
        (["policy=replay", "condition.num_looks=9"], r"has 32 steps; policy=replay needs 144"),
        (["score=[goal_image]"], r"score=\[goal_image\] needs a goal"),
        (["world.reference=model"], r"world.reference=model is the world itself"),
        (["world.reference=pushed"], r"^world.reference=pushed: no world is called 'pushed'; there are "),
        (["policy.repo=/no/such/folder"], r"/no/such/folder"),
        (["observation=sample:push_left", "policy=replay", "policy.actions=/no/rows.json"], r"/no/rows.json"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_loads(overrides, message):
    with pytest.raises(RequestError, match=message) as caught:
        job.check(compose.compose([*LOOP, *overrides]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["policy=random"], r"^policy=random needs condition=closed_loop; condition=policy uses no policy\.$"),
        (["policy.repo=/x"], r"^the options of policy=model need condition=closed_loop; "),
        (["world.reference=pusht"], r"^the options of world=model need condition=closed_loop; "),
        (["score=[goal_image]"], r"^score=\[goal_image\] needs condition=closed_loop; condition=policy has no episode"),
    ],
)
def test_what_acts_is_refused_where_nothing_is_acted_in(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose.compose([*QUIET, *overrides])


def test_a_view_that_the_model_was_not_trained_on_is_refused(tmp_path):
    config = compose.compose([*LOOP, "domain.view_point=ego_view"])
    seen = Observation(np.zeros((1, 96, 96, 3), np.uint8), task="Push the T block.")  # a file says nothing of its view

    with pytest.raises(
        ConfigError, match=r"domain pusht as third_person_view, not as ego_view\. Use domain.view_point="
    ):
        make_request(compose.compose([*QUIET, "domain.view_point=ego_view"]), seen)
    with pytest.raises(ConfigError, match=r"as third_person_view, not as ego_view"):
        loop.cast(config, seen, config.space, "Push the T block.")


def test_a_callers_mapping_reaches_the_key_that_holds_one():
    views = {"left": [0, 0, 0.5, 1]}
    found = compose.compose(values={"condition": "closed_loop", "policy": {"name": "server", "views": views}})

    assert found.policy.views == views


def test_each_of_policy_and_world_gets_what_its_model_recommends():
    config = compose.compose(LOOP)

    assert (config.policy.name, config.world.name, config.score) == ("model", "model", {})
    assert (config.policy.sampler.num_inference_steps, config.policy.sampler.guidance_scale) == (8, 1.0)
    assert (config.world.sampler.num_inference_steps, config.world.sampler.guidance_scale) == (2, 1.0)
    assert (config.condition.act_steps, config.condition.chunk_size) == (16, 16)


def test_what_acts_is_part_of_the_identity_of_a_closed_loop_alone():
    rollout = job.check(compose.compose(QUIET)).identity
    assert not {"policy", "world", "score"} & set(rollout)

    hashes = {
        job.check(compose.compose([*LOOP, *words])).hash
        for words in (
            [],
            ["policy=random"],
            ["policy=still"],
            ["condition.act_steps=8"],
            ["world.sampler.num_inference_steps=3"],
        )
    }
    assert len(hashes) == 5


def test_the_same_actions_from_elsewhere_are_the_same_job(tmp_path):
    rows = np.zeros((64, 2), np.float32)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, rows)

    one, other = (
        job.check(compose.compose([*LOOP, "policy=replay", f"policy.actions={tmp_path / name}"])).hash
        for name in ("a.npy", "b.npy")
    )
    assert one == other


def test_a_sweep_over_policies_says_which_of_them_has_no_such_option(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["-m", *LOOP, "policy=model,random", "policy.sampler.num_inference_steps=2"])

    assert caught.value.code == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("ConfigError: job 1 of 2 (")
    assert (
        "policy.sampler.num_inference_steps belongs to policy=model or best_of, not to the policy chosen here." in line
    )
