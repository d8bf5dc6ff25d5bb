"""Perturbed actions are what their names say, in model space, whatever no motion is there."""

import json

import numpy as np
import pytest

from strands_diffusers import actions, domains
from strands_diffusers.errors import ActionError
from strands_diffusers.results import ActionSpace

BRIDGE, PUSHT = actions.space_of("bridge"), actions.space_of("pusht", pixel_map=True)


def chunk(space, steps=16):
    return np.random.default_rng(1).uniform(-1, 1, (steps, domains.get(space.domain).width)).astype(np.float32)


@pytest.mark.parametrize("kind", actions.PERTURBATIONS)
@pytest.mark.parametrize("space", [BRIDGE, PUSHT, actions.space_of("av"), actions.space_of("galbot")])
def test_every_perturbation_keeps_shape_and_dtype(space, kind):
    changed = actions.perturbed(chunk(space), kind, space)

    assert (changed.shape, changed.dtype) == (chunk(space).shape, np.float32)
    assert np.array_equal(changed, chunk(space)) == (kind == "none")


@pytest.mark.parametrize("steps", [4, 8, 16, 60])
def test_shuffled_steps_are_the_same_rows_in_one_other_order(steps):
    rows = chunk(BRIDGE, steps)

    first, second = actions.perturbed(rows, "shuffled", BRIDGE), actions.perturbed(rows, "shuffled", BRIDGE)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(rows, axis=0))
    assert not np.array_equal(first, rows)


def test_zero_keeps_a_bridge_arm_where_it_is_and_its_gripper_as_it_was():
    rows = chunk(BRIDGE)

    still = actions.perturbed(rows, "zero", BRIDGE)

    path = actions.paths(still[None], BRIDGE)["arm"]
    np.testing.assert_allclose(path[-1], np.eye(4), atol=1e-5)
    np.testing.assert_array_equal(still[:, 9], rows[0, 9])
    assert still[0, 2] == pytest.approx(0.173, abs=1e-3), "no motion is not 0 in model space"


def test_mirrored_moves_a_bridge_arm_the_other_way_and_leaves_the_gripper():
    rows = chunk(BRIDGE)

    back = actions.to_physical(actions.perturbed(rows, "mirrored", BRIDGE), BRIDGE)

    given = actions.to_physical(rows, BRIDGE)
    np.testing.assert_allclose(back[:, :3], -given[:, :3], atol=1e-6)
    np.testing.assert_allclose(back[:, 9], given[:, 9], atol=1e-6)


def test_mirroring_twice_gives_back_what_was_given():
    rows = chunk(BRIDGE)

    twice = actions.perturbed(actions.perturbed(rows, "mirrored", BRIDGE), "mirrored", BRIDGE)

    np.testing.assert_allclose(twice, rows, atol=1e-6)


def test_pusht_goes_to_its_first_target_and_stays_or_turns_about_it():
    rows = chunk(PUSHT)

    np.testing.assert_array_equal(actions.perturbed(rows, "zero", PUSHT), np.tile(rows[0], (16, 1)))
    np.testing.assert_allclose(actions.perturbed(rows, "mirrored", PUSHT) - rows[0], rows[0] - rows, atol=1e-6)


def test_a_real_drive_stands_still_under_zero(data):
    rows = np.asarray(json.loads((data / "nvidia_cosmos" / "av_traj_left.json").read_text()), np.float32)
    space = actions.space_of("av")

    np.testing.assert_array_equal(actions.perturbed(rows, "zero", space)[0], [0, 0, 0, 1, 0, 0, 0, 1, 0])
    assert np.abs(rows[:, [3, 7]] - 1).max() < 0.01, "av holds its rotations as they are, which that row relies on"


def test_no_motion_is_unknown_where_the_statistics_were_switched_off():
    space = ActionSpace(BRIDGE.domain, None)

    assert actions.perturbed(chunk(space), "shuffled", space).shape == (16, 10)
    with pytest.raises(ActionError, match=r"Leave domain\.statistics as it is, or use condition\.perturb=shuffled"):
        actions.perturbed(chunk(space), "zero", space)


def test_an_unknown_perturbation_is_refused_with_those_there_are():
    with pytest.raises(ActionError, match="none, shuffled, zero, mirrored"):
        actions.perturbed(chunk(PUSHT), "reversed", PUSHT)
