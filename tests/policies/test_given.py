"""The policies that look at nothing: their actions are of the domain, finite, and the same for the same step."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import Look, Observation, Setting, actions, domains, errors
from strands_diffusers.policies.given import RandomPolicy, ReplayPolicy, StillPolicy

DOMAINS = [domain.short for domain in domains.all_domains() if domain.width]
FRAME = np.zeros((1, 8, 8, 3), np.uint8)
T, N, K = 16, 8, 3
CONFIG = SimpleNamespace(world=SimpleNamespace(name="model"))


def setting(domain="pusht", seen=None, **fields):
    space = actions.space_of(domain, pixel_map=domain == "pusht")
    observation = Observation(FRAME, 10.0, seen, "Do it.", space.domain, "testing:one")
    return Setting(
        CONFIG, observation, space, "Do it.", 10.0, **{"chunk_size": T, "act_steps": N, "num_looks": K} | fields
    )


def look(index=0, done=None, **fields):
    return Look(index, FRAME, np.zeros((0, 2), np.float32) if done is None else done, "Do it.", 0, **fields)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.sampled_from(DOMAINS), st.integers(0, 2**63 - 1), st.integers(1, 15))
def test_random_actions_are_of_every_domain_and_the_same_however_often_it_looks(domain, seed, done):
    policy, here = RandomPolicy(), setting(domain)
    policy.check(here)
    policy.reset(here, seed)

    first_TD = policy.act(look()).actions
    later_TD = policy.act(look(1, first_TD[:done])).actions

    assert first_TD.shape == (T, domains.get(domain).width)
    assert first_TD.dtype == np.float32
    np.testing.assert_array_equal(later_TD[: T - done], first_TD[done:])
    actions.check_actions(first_TD, domain, space=here.space)
    kinds = np.array([column.kind for column in domains.get(domain).columns])
    assert (np.abs(first_TD[:, kinds != "rot6d"]) <= 1).all()
    physical_TD = actions.to_physical(first_TD, here.space) if here.space.statistics else first_TD
    for pose in domains.get(domain).poses:
        rot6d = physical_TD[:, pose.start + 3 : pose.start + 9]
        matrix = actions.rot6d_to_matrix(rot6d)
        np.testing.assert_allclose(actions.matrix_to_rot6d(matrix), rot6d, atol=1e-5)  # a rotation as it stands
        angle_T = actions.geodesic(matrix, np.tile(np.eye(3), (T, 1, 1)))
        assert (angle_T < np.pi / 2).all()
        assert angle_T.max() > 0


def test_random_actions_of_pusht_are_uniform_over_the_table():
    policy = RandomPolicy()
    policy.reset(setting(), 7)

    np.testing.assert_array_equal(
        policy.act(look()).actions,
        (np.random.default_rng([7, 3]).uniform(0, 512, (T, 2)) / 256 - 1).astype(np.float32),
    )


def test_replay_acts_out_the_rows_in_turn_and_ends_without_motion():
    rows = np.linspace(-1, 1, 2 * K * N).reshape(-1, 2).astype(np.float32)
    policy, here = ReplayPolicy(), setting(seen=rows)
    policy.check(here)
    policy.reset(here, 0)

    np.testing.assert_array_equal(policy.act(look(0)).actions, rows[:T])
    np.testing.assert_array_equal(policy.act(look(1)).actions, rows[N : N + T])
    last = policy.act(look(2)).actions
    np.testing.assert_array_equal(last, np.concatenate([rows[2 * N :], np.tile(rows[-1:], (N, 1))]))


def test_replay_refuses_rows_that_are_missing_too_few_or_of_another_width(tmp_path):
    policy = ReplayPolicy()
    with pytest.raises(errors.ActionError, match=r"policy=replay needs actions and observation testing:one holds none"):
        policy.check(setting())
    with pytest.raises(errors.ActionError, match=r"has 23 steps; .* needs 24 for 3 looks .* Use condition.num_looks=2"):
        policy.check(setting(seen=np.zeros((23, 2), np.float32)))
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(np.zeros((24, 3)).tolist()))
    with pytest.raises(errors.ActionError, match=rf"^action file {path}: "):
        ReplayPolicy(ReplayPolicy.Config(actions=str(path))).check(setting())


def test_replay_is_another_job_where_the_rows_are_others(tmp_path):
    rows = np.zeros((24, 2), np.float32)
    same, other = (ReplayPolicy().fingerprint(setting(seen=r)) for r in (rows.copy(), rows + 0.5))
    np.save(tmp_path / "rows.npy", rows)

    assert ReplayPolicy(ReplayPolicy.Config(actions=str(tmp_path / "rows.npy"))).fingerprint(setting()) == same
    assert other != same


@pytest.mark.parametrize("domain", DOMAINS)
def test_still_is_no_motion_as_perturbed_zero_defines_it(domain):
    rows = RandomPolicy()
    rows.reset(setting(domain), 1)
    seen = rows.act(look()).actions
    policy, here = StillPolicy(), setting(domain, seen)
    policy.check(here)
    policy.reset(here, 0)

    np.testing.assert_array_equal(policy.act(look()).actions, actions.perturbed(seen, "zero", here.space))


def test_still_holds_what_the_world_says_then_the_last_target():
    policy, here = StillPolicy(), setting()
    policy.reset(here, 0)
    hold, done = np.array([0.25, -0.5], np.float32), np.array([[0, 0], [0.5, 0.75]], np.float32)

    np.testing.assert_array_equal(policy.act(look(hold=hold)).actions, np.tile(hold, (T, 1)))
    np.testing.assert_array_equal(policy.act(look(1, done)).actions, np.tile(done[-1], (T, 1)))
    with pytest.raises(errors.ActionError, match="domain pusht holds absolute values"):
        policy.act(look())


def test_what_is_by_chance_or_still_needs_the_statistics_of_rotations():
    space = actions.space_of("bridge")
    here = setting("bridge")
    object.__setattr__(here, "space", type(space)(space.domain, None))
    for policy in (RandomPolicy(), StillPolicy()):
        with pytest.raises(errors.ActionError, match="without statistics it is not known"):
            policy.check(here)
