"""Errors of actions, in model space and in units, against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import actions, domains
from strands_diffusers.errors import OutputError
from strands_diffusers.metrics.action import BODIES, ActionMetric
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import ActionSpace, Rollout

BRIDGE = actions.space_of("bridge")
PIXELS = ActionSpace("pusht", pixel_map=True)


def score(
    predicted: np.ndarray, true: np.ndarray | None, space: ActionSpace | None = BRIDGE, mode: str = "policy"
) -> dict[str, float]:
    return ActionMetric().compute(Rollout(mode, action=predicted, reference_action=true, space=space))


def encoded(translation_m: list[float], turn_deg: float = 0.0, gripper: float = 1.0, steps: int = 4) -> np.ndarray:
    """Return Bridge actions [1, T, 10] in model space, every step the same: a shift, and a turn about z."""
    angle = np.deg2rad(turn_deg)
    row = [*translation_m, np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0, gripper]
    return actions.to_model(np.tile(row, (1, steps, 1)), BRIDGE)


def random_pair(width: int = 10, steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    first = generator.uniform(-0.4, 0.4, (2, steps // 2, width))
    if width > 7:
        first[..., [3, 7]] += 0.6
    return first.astype(np.float32), (first + generator.normal(0, 0.1, first.shape)).astype(np.float32)


def test_the_metrics_come_through_the_hook() -> None:
    names = [each.name for each in plugins().registrations if each.hook == "register_metrics"]

    assert names[:4] == ["video", "action", "scores", "horizon"]


def test_model_space_errors_are_plain_means() -> None:
    predicted, true = random_pair()

    values = score(predicted, true)

    error = predicted.astype(np.float64) - true
    assert values["mse"] == pytest.approx((error**2).mean(), rel=1e-12)
    assert values["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-12)


def test_the_mean_action_is_the_best_constant() -> None:
    predicted, true = random_pair()

    values = score(predicted, true)

    assert values["mse_mean_action"] == pytest.approx(
        true.reshape(-1, 10).astype(np.float64).var(axis=0).mean(), rel=1e-9
    )
    constant = np.broadcast_to(predicted[0, 0], true.shape)
    assert values["mse_mean_action"] < score(constant, true)["mse"]


def test_steps_of_known_length_and_turn_give_metres_and_degrees() -> None:
    values = score(encoded([0.03, 0.0, 0.0], turn_deg=5), encoded([0.0, 0.0, 0.04], turn_deg=-3))

    assert values["translation_error"] == pytest.approx(0.05)
    assert values["rotation_error"] == pytest.approx(8.0)


def test_straight_paths_part_by_the_step_error_times_the_steps() -> None:
    values = score(encoded([0.03, 0.0, 0.0]), encoded([0.01, 0.0, 0.0]))

    assert values["ade"] == pytest.approx(0.02 * (1 + 2 + 3 + 4) / 4)
    assert values["fde"] == pytest.approx(0.08)
    assert values["ade_no_motion"] == pytest.approx(0.01 * (1 + 2 + 3 + 4) / 4)
    assert values["fde_no_motion"] == pytest.approx(0.04)
    assert values["translation_error_no_motion"] == pytest.approx(0.01)


def test_standing_still_is_the_identity_not_zero() -> None:
    still = encoded([0.0, 0.0, 0.0])

    values = score(np.zeros_like(still), still)

    assert values["mse_no_motion"] == pytest.approx(0.0, abs=1e-20)
    assert values["mse"] > 0.2
    assert values["rotation_error_no_motion"] == pytest.approx(0.0, abs=1e-6)


def test_the_still_baseline_holds_the_gripper_as_the_first_true_row_has_it() -> None:
    true = encoded([0.0, 0.0, 0.0])
    true[0, 2:, 9] = -1.0  # closes half way

    assert score(true, true)["mse_no_motion"] == pytest.approx((2 * 2.0**2) / 40)


def test_the_gripper_is_right_on_the_true_side_of_half_open() -> None:
    true = encoded([0.0, 0.0, 0.0])
    predicted = true.copy()
    predicted[0, :, 9] = (0.2, 1.03, -0.2, -1.0)

    assert score(predicted, true)["gripper_accuracy"] == 0.5
    for gripper in ("closed_is_1", "open_is_minus_1"):
        space = ActionSpace(BRIDGE.domain, BRIDGE.statistics, gripper=gripper)
        assert score(predicted, true, space)["gripper_accuracy"] == 0.5


def test_a_gripper_that_is_a_width_has_an_error_in_metres() -> None:
    space = actions.space_of("umi")
    true = np.tile(actions.still_row(space), (1, 4, 1))
    true[..., 9] = 0.0
    predicted = true.copy()
    predicted[..., 9] = 0.5  # a quarter of the range of 0.096749 m

    values = score(predicted, true, space)

    assert values["gripper_error"] == pytest.approx(0.096749 / 4)
    assert "gripper_accuracy" not in values


def test_two_arms_are_judged_together_and_each_alone() -> None:
    space = actions.space_of("robomind_franka_dual")
    true = np.nan_to_num(np.tile(actions.still_row(space), (1, 4, 1)))
    physical = actions.to_physical(true, space)
    physical[..., 10] += 0.02  # the right arm moves 2 cm a step
    predicted = actions.to_model(physical, space)

    values = score(predicted, true, space)

    assert values["translation_error_left_arm"] == pytest.approx(0.0, abs=1e-9)
    assert values["translation_error_right_arm"] == pytest.approx(0.02)
    assert values["translation_error"] == pytest.approx(0.01)
    assert values["fde_right_arm"] == pytest.approx(0.08)


def test_the_embedded_model_is_judged_in_pixels() -> None:
    true = np.zeros((1, 4, 2))
    true[0, :, 0] = (0.0, 0.1, 0.2, 0.3)
    predicted = true + np.array([3, 4]) / 256

    values = score(predicted, true, PIXELS)

    assert values["pixel_error"] == pytest.approx(5.0)
    assert values["pixel_error_final"] == pytest.approx(5.0)
    assert values["pixel_error_no_motion"] == pytest.approx(0.15 * 256)
    assert values["pixel_error_final_no_motion"] == pytest.approx(0.3 * 256)


@pytest.mark.parametrize(("short", "still"), [("av", True), ("galbot", False), ("pusht", True)])
def test_domains_without_statistics_are_judged_in_model_space_alone(short: str, still: bool) -> None:
    predicted, true = random_pair(domains.get(short).width)

    values = score(predicted, true, actions.space_of(short))

    assert ("mse_no_motion" in values) is still
    assert not [name for name in values if ActionMetric.measures[name].unit in ("m", "deg", "px")]


def test_values_out_of_range_are_counted_and_not_clipped() -> None:
    predicted = np.zeros((1, 2, 10), np.float32)
    predicted[0, 0, :5] = 1.5

    values = score(predicted, np.zeros_like(predicted))

    assert values["out_of_range_share"] == 0.25
    assert values["mse"] == pytest.approx(5 * 1.5**2 / 20)


def test_smoothness_is_the_second_difference() -> None:
    line = np.broadcast_to(np.arange(6.0)[:, None], (1, 6, 10))

    values = score(line**2, line)

    assert (values["smoothness"], values["smoothness_reference"]) == (2.0, 0.0)


def test_without_true_actions_only_what_needs_none_is_measured() -> None:
    assert set(score(random_pair()[0], None)) == {"out_of_range_share", "smoothness"}


@pytest.mark.parametrize("mode", ["forward_dynamics", "text"])
def test_actions_that_were_given_are_not_scored(mode: str) -> None:
    predicted, true = random_pair()

    assert score(predicted, true, mode=mode) == {}


def test_inverse_dynamics_is_scored_as_policy_is() -> None:
    predicted, true = random_pair()

    assert score(predicted, true, mode="inverse_dynamics") == score(predicted, true)


def test_a_shorter_reference_is_compared_as_far_as_it_goes() -> None:
    predicted, true = random_pair()

    values = score(predicted, true[:1])

    assert values["steps"] == 4
    assert values["mse"] == score(predicted[:1], true[:1])["mse"]


def test_a_reference_of_another_width_is_refused() -> None:
    with pytest.raises(OutputError, match="9 action columns, the rollout 10"):
        score(random_pair()[0], random_pair(9)[1])


@pytest.mark.parametrize("domain", [d for d in domains.all_domains() if d.width], ids=lambda domain: domain.short)
def test_every_value_of_every_domain_is_declared_and_a_plain_float(domain: domains.Domain) -> None:
    generator = np.random.default_rng(0)
    predicted, true = generator.normal(0, 0.3, (2, 1, 4, domain.width))
    for pose in domain.poses:
        for array in (predicted, true):
            array[..., [pose.start + 3, pose.start + 7]] = 0.9

    values = score(predicted, true, actions.space_of(domain.name))

    assert set(values) <= set(ActionMetric.measures)
    assert all(type(value) is float and np.isfinite(value) for value in values.values())
    assert {pose.name for pose in domain.poses} <= set(BODIES)


def test_the_mean_of_the_baselines_is_beaten_by_the_truth_on_a_real_chunk(data: Path) -> None:
    chunks = [
        np.array(json.loads((data / "cosmos3_nano" / f"rollout_policy_{i}_action.json").read_text())) for i in (1, 2)
    ]

    same, other = score(chunks[0], chunks[0]), score(chunks[1], chunks[0])

    assert (same["mse"], same["ade"], same["gripper_accuracy"]) == (0.0, 0.0, 1.0)
    assert other["mse"] > other["mse_mean_action"] > 0
    assert 0.02 < other["ade"] < 0.3  # centimetres to decimetres: another task from the same start
