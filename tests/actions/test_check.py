"""What `check_actions` accepts and refuses; above all, that no real model-space chunk is taken for physical units."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from strands_diffusers import actions, domains
from strands_diffusers.errors import ActionError, DomainError
from strands_diffusers.results import ActionSpace

WITH_STATISTICS = [domain for domain in domains.all_domains() if domain.statistics]


def rotations(generator: np.random.Generator, count: int, angle_rad: float) -> np.ndarray:
    """Return `[count, 3, 3]` turns of about `angle_rad`, by Rodrigues' formula."""
    axis = generator.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    skew = np.zeros((count, 3, 3))
    skew[:, [2, 0, 1], [1, 2, 0]], skew[:, [1, 2, 0], [2, 0, 1]] = axis, -axis
    return np.eye(3) + np.sin(angle_rad) * skew + (1 - np.cos(angle_rad)) * skew @ skew


def physical_chunk(
    domain: domains.Domain, generator: np.random.Generator, angle_rad: float, steps: int = 16
) -> np.ndarray:
    """Return true actions `[T, D]` in physical units: every body turns by `angle_rad` a step and moves alike."""
    statistics = actions.load_statistics(domain.statistics, domain.name)
    rows = generator.uniform(statistics.q01, statistics.q99, (steps, domain.width))
    for pose in domain.poses:
        rows[:, pose.start : pose.start + 3] *= angle_rad / 0.05
        rows[:, pose.start + 3 : pose.start + 9] = actions.matrix_to_rot6d(rotations(generator, steps, angle_rad))
    return rows


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Return `values` rounded as a bfloat16 pipeline hands them over."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_nested_lists_and_chunks_become_one_float32_table_with_the_same_values() -> None:
    values = np.random.default_rng(0).normal(size=(2, 4, 10)).astype(np.float32)

    for given in (values, values.tolist(), values.astype(np.float64)):
        rows_TD = actions.check_actions(given, "bridge")
        assert rows_TD.dtype == np.float32
        np.testing.assert_array_equal(rows_TD, values.reshape(8, 10))
    np.testing.assert_array_equal(actions.check_actions(values[:1], "bridge"), values[0])
    np.testing.assert_array_equal(actions.check_actions(values[0], "bridge"), values[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[0.0] * 10, [0.0] * 9], "ragged: row 1 has 9 values, the first has 10"),
        ([[[0.0] * 10], [[0.0] * 10, [0.0] * 10]], "ragged"),
        ([[[0.0] * 10, [0.0] * 8]], "ragged: chunk 0, row 1 has 8 values"),
        ([], r"no actions: shape \[0\]"),
        ([[]], r"no actions: shape \[1, 0\]"),
        ([[[]]], "no actions"),
        ([0.0] * 10, r"shape \[10\]. Give numbers \[T, D\]"),
        (np.zeros((1, 1, 4, 10)), r"Give numbers \[T, D\]"),
        (3.0, r"shape \[\]"),
        ([["1"] * 10], "holds '1' in row 0, column 0: not a number"),
        ([[None] * 10], "holds None in row 0, column 0: not a number"),
        ({"action": [[0.0] * 10]}, "dict of object, not numbers"),
        (None, "not numbers"),
        ([[True] * 10], "not a number"),
        (np.zeros((4, 10), complex), "ndarray of complex128, not numbers"),
        (np.zeros((4, 9)), r"9 columns; domain 'bridge' needs 10: x, y, z, r11, .*gripper\.$"),
        (np.zeros((4, 7)), "convert the angles to rot6d"),
        ([[0.0] * 9 + [float("nan")]], "holds nan in row 0, column 'gripper'"),
        ([[0.0] * 10, [float("-inf")] * 10], "holds -inf in row 1, column 'x'"),
        ([[1e300] * 10], "holds inf in row 0"),
        ([[0.0] * 9 + [87.0]], "'gripper' reaches 87.*per cent"),
    ],
)
def test_what_is_not_an_action_chunk_is_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message) as caught:
        actions.check_actions(value, "bridge")
    assert "\n" not in str(caught.value)


def test_a_domain_without_a_width_takes_no_actions() -> None:
    with pytest.raises(DomainError, match="'libero' has no action width"):
        actions.check_actions(np.zeros((4, 7)), "libero")


def test_pixels_are_refused_in_pusht() -> None:
    with pytest.raises(ActionError, match=r"'target_y' reaches 301.*pixel / 256 - 1"):
        actions.check_actions([[1.0, 301.0]], "pusht")
    assert actions.check_actions([[-1.02, 1.3]], "pusht").shape == (1, 2)


@pytest.mark.parametrize("domain", WITH_STATISTICS, ids=lambda domain: domain.short)
@pytest.mark.parametrize("angle_rad", [0.0, 1e-4, 1e-3, 0.01, 0.05, 0.3])
def test_true_actions_in_physical_units_are_refused_and_their_encoding_is_taken(
    domain: domains.Domain, angle_rad: float
) -> None:
    rows = physical_chunk(domain, np.random.default_rng(3), angle_rad)

    for stored in (rows, rows.astype(np.float32), rows.round(5)):
        with pytest.raises(ActionError, match=r"look like physical units.*to_model\(actions"):
            actions.check_actions(stored, domain.name)
    encoded = actions.to_model(rows, actions.space_of(domain.name))
    assert actions.check_actions(encoded, domain.name).shape == rows.shape
    assert actions.check_actions(rows, domain.name, units="physical").shape == rows.shape


@pytest.mark.parametrize("domain", WITH_STATISTICS, ids=lambda domain: domain.short)
def test_no_generated_chunk_is_taken_for_physical_units(domain: domains.Domain) -> None:
    """Still to fast arms, clean to noisy, whole and cut short, mirrored: 0 of 864 for each domain."""
    generator = np.random.default_rng(5)
    space = actions.space_of(domain.name)
    for angle_rad in (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.3):
        for noise in (0.0, 0.0005, 0.003, 0.01, 0.05, 0.3):
            for _ in range(4):
                model = actions.to_model(physical_chunk(domain, generator, angle_rad), space)
                generated = bfloat16(model + noise * generator.normal(size=model.shape))
                for steps in (1, 4, 16):
                    for sign in (1.0, -1.0):
                        grippers = [i for i, column in enumerate(domain.columns) if column.kind == "gripper"]
                        given = sign * generated[:steps]
                        given[:, grippers] = generated[:steps, grippers]
                        actions.check_actions(given, domain.name)


def test_a_real_chunk_is_taken_as_it_is_and_refused_once_decoded(bridge_chunk: np.ndarray) -> None:
    action_KTD = bridge_chunk
    space = actions.space_of("bridge")

    np.testing.assert_array_equal(actions.check_actions(action_KTD, "bridge"), action_KTD[0].astype(np.float32))

    physical = actions.to_physical(action_KTD[0], space)
    physical[:, 3:9] = actions.matrix_to_rot6d(actions.rot6d_to_matrix(physical[:, 3:9]))
    with pytest.raises(ActionError, match="look like physical units"):
        actions.check_actions(physical, "bridge")


def test_the_real_umi_and_driving_actions_are_taken_as_model_space(real_chunk: Callable) -> None:
    umi, driving = real_chunk("nvidia_cosmos/umi.json"), real_chunk("nvidia_cosmos/av_traj_left.json")

    assert actions.check_actions(umi, "umi").shape == (32, 10)
    assert actions.check_actions(driving, "av").shape == (
        60,
        9,
    )  # av has no statistics: its rotations stand as they are
    assert umi[:, 9].max() < 0  # a width in metres would be positive


def test_the_umi_example_is_normalised_by_round_numbers_not_by_the_published_quantiles(real_chunk: Callable) -> None:
    """Its rotations are exact under the ranges 0.99 to 1 and -0.1 to 0.1; under the quantiles they are off by 6e-4."""
    rot6d = real_chunk("nvidia_cosmos/umi.json")[:, 3:9]
    low = np.array([0.99, -0.1, -0.1, -0.1, 0.99, -0.1])
    high = np.array([1.0, 0.1, 0.1, 0.1, 1.0, 0.1])

    def off(decoded: np.ndarray) -> float:
        return float(np.abs(actions.matrix_to_rot6d(actions.rot6d_to_matrix(decoded)) - decoded).max())

    assert off(0.5 * (rot6d + 1) * (high - low) + low) < 1e-6
    published = actions.load_statistics("umi_lerobot", "umi")
    scale, offset = published.scale_and_offset("quantile")
    assert off(rot6d * scale[3:9] + offset[3:9]) > 5e-4


def test_model_space_values_are_refused_where_physical_ones_belong(bridge_chunk: np.ndarray) -> None:
    with pytest.raises(ActionError, match=r"look like model space.*to_physical\(actions"):
        actions.check_actions(bridge_chunk, "bridge", units="physical")


def test_columns_that_are_no_rotation_in_either_space_are_refused_as_physical_values() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (8, 10))

    with pytest.raises(ActionError, match=r"from any rotation: these look like model space"):
        actions.check_actions(rows, "bridge", units="physical")


def test_the_statistics_of_the_space_are_the_ones_to_judge_by() -> None:
    rows = physical_chunk(domains.get("bridge"), np.random.default_rng(0), 0.05)

    with pytest.raises(DomainError, match="those of fractal"):
        actions.check_actions(rows, "bridge", space=ActionSpace("bridge_orig_lerobot", "fractal_lerobot"))
    with pytest.raises(ActionError, match="physical units"):
        actions.check_actions(rows, "bridge", space=ActionSpace("bridge_orig_lerobot"))  # switched off: still judged
