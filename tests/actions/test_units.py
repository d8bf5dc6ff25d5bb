"""Model space <-> physical units: round trips, the still arm, polarity, pixels, and what the real chunks decode to."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from strands_diffusers import actions, domains
from strands_diffusers.errors import ActionError, DomainError
from strands_diffusers.results import ActionSpace, Rollout

WITH_STATISTICS = [domain for domain in domains.all_domains() if domain.statistics]
PIXELS = ActionSpace("pusht", pixel_map=True)


def chunk(width: int):
    return arrays(np.float64, (2, 4, width), elements=st.floats(-2.0, 2.0, allow_subnormal=False))


def own_statistics(folder: Path, domain: domains.Domain) -> str:
    """Write statistics with all six arrays, drawn at random, and return the file's path."""
    generator = np.random.default_rng(7)
    low, span = generator.normal(size=domain.width), generator.uniform(0.1, 2.0, domain.width)
    content = {
        "q01": low,
        "q99": low + span,
        "min": low - 1,
        "max": low + span + 1,
        "mean": low + span / 2,
        "std": span,
    }
    path = folder / f"{domain.short}.json"
    path.write_text(json.dumps({"domains": [domain.name]} | {key: value.tolist() for key, value in content.items()}))
    return str(path)


@pytest.mark.parametrize("domain", WITH_STATISTICS, ids=lambda domain: domain.short)
@given(values=st.data())
def test_decoding_and_encoding_undo_each_other(domain: domains.Domain, values: st.DataObject) -> None:
    space = actions.space_of(domain.name)
    action_KTD = values.draw(chunk(domain.width))

    back = actions.to_model(actions.to_physical(action_KTD, space), space)

    # AgiBot's head turns by so little (1e-6 on the diagonal) that float64's sixteenth digit becomes the tenth.
    np.testing.assert_allclose(back, action_KTD, rtol=1e-9, atol=2e-9)


@pytest.mark.parametrize("normalization", ["quantile", "min_max", "mean_std"])
@pytest.mark.parametrize("gripper", ["open_is_1", "closed_is_1", "closed_is_minus_1", "open_is_minus_1"])
def test_every_normalisation_and_polarity_has_an_exact_inverse(
    normalization: str, gripper: str, tmp_path: Path
) -> None:
    domain = domains.get("robomind_franka_dual")
    space = ActionSpace(domain.name, own_statistics(tmp_path, domain), normalization, gripper)
    action_KTD = np.random.default_rng(0).normal(size=(2, 4, 20))

    np.testing.assert_allclose(
        actions.to_model(actions.to_physical(action_KTD, space), space), action_KTD, rtol=1e-12, atol=1e-12
    )


def test_the_ends_of_model_space_are_the_quantiles_the_extremes_and_one_deviation(tmp_path: Path) -> None:
    domain = domains.get("bridge")
    path = own_statistics(tmp_path, domain)
    stored = {key: np.array(value) for key, value in json.loads(Path(path).read_text()).items() if key != "domains"}
    ends = np.stack([-np.ones(10), np.ones(10)])

    def decoded(normalization: str) -> np.ndarray:
        return actions.to_physical(ends, ActionSpace(domain.name, path, normalization))

    np.testing.assert_allclose(decoded("quantile"), [stored["q01"], stored["q99"]], atol=1e-12)
    np.testing.assert_allclose(decoded("min_max"), [stored["min"], stored["max"]], atol=1e-12)
    np.testing.assert_allclose(
        decoded("mean_std"), [stored["mean"] - stored["std"], stored["mean"] + stored["std"]], atol=1e-12
    )


@pytest.mark.parametrize(
    ("gripper", "closed", "opened"),
    [("open_is_1", 0, 1), ("closed_is_1", 1, 0), ("closed_is_minus_1", -1, 1), ("open_is_minus_1", 1, -1)],
)
def test_gripper_polarity_changes_what_the_reader_sees_and_nothing_else(gripper: str, closed: int, opened: int) -> None:
    model = np.zeros((2, 10))
    model[:, 9] = (-1.0, 1.0)  # closed, open

    physical = actions.to_physical(model, ActionSpace("bridge_orig_lerobot", "bridge_orig_lerobot", gripper=gripper))

    np.testing.assert_allclose(physical[:, 9], [closed, opened], atol=1e-12)
    np.testing.assert_array_equal(physical[:, :9], actions.to_physical(model, actions.space_of("bridge"))[:, :9])


def test_a_polarity_is_refused_where_the_gripper_is_a_width_in_metres() -> None:
    with pytest.raises(ActionError, match=r"closed_is_1 has no meaning for umi.*opening in m"):
        actions.to_physical(np.zeros(10), ActionSpace("umi", "umi_lerobot", gripper="closed_is_1"))


def test_a_still_bridge_arm_does_not_drift_and_is_not_zero_in_model_space() -> None:
    space = actions.space_of("bridge")
    still = actions.still_row(space)
    still[9] = 1.0

    [path] = actions.paths(np.tile(still, (3, 16, 1)), space).values()

    assert still[2] == pytest.approx(0.1725, abs=1e-4)  # FACTS 5: z = +0.173
    assert path.shape == (49, 4, 4)
    np.testing.assert_allclose(path, np.broadcast_to(np.eye(4), path.shape), atol=1e-12)


@pytest.mark.parametrize("domain", WITH_STATISTICS, ids=lambda domain: domain.short)
def test_no_still_body_drifts_by_a_micrometre_in_float32(domain: domains.Domain) -> None:
    space = actions.space_of(domain.name)
    still = np.nan_to_num(actions.still_row(space)).astype(np.float32)

    for path in actions.paths(np.tile(still, (1, 64, 1)), space).values():
        assert np.abs(path[:, :3, 3]).max() < 1e-6


@pytest.mark.parametrize(("short", "axis", "value"), [("fractal", 2, -0.126), ("droid", 1, 0.076)])
def test_the_still_rows_of_other_arms_are_the_known_ones(short: str, axis: int, value: float) -> None:
    assert actions.still_row(actions.space_of(short))[axis] == pytest.approx(value, abs=1e-3)


def test_chunks_are_laid_one_after_the_other_in_one_path() -> None:
    space = actions.space_of("bridge")
    action_KTD = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 4, 10)) + actions.still_row(space).clip(-1, 1)
    action_KTD[..., 9] = 0.0

    [whole] = actions.paths(action_KTD, space).values()
    [first] = actions.paths(action_KTD[0], space).values()
    [second] = actions.paths(action_KTD[1], space).values()

    assert whole.shape == (13, 4, 4)
    np.testing.assert_allclose(whole[:9], np.concatenate([first, first[-1] @ second[1:]]), atol=1e-12)


@pytest.mark.parametrize("short", ["av", "camera_pose", "pusht", "galbot"])
def test_domains_without_statistics_have_no_metric_path_and_say_so(short: str) -> None:
    space = actions.space_of(short)
    width = domains.get(short).width

    assert actions.paths(np.zeros((1, 4, width)), space) == {}
    assert actions.pixel_path(np.zeros((1, 4, width)), space) is None
    assert not actions.decodable(space)
    with pytest.raises(ActionError, match=f"domain '{short}' has no published statistics"):
        actions.to_physical(np.zeros((1, 4, width)), space)


def test_statistics_that_were_switched_off_are_named_in_the_hint() -> None:
    with pytest.raises(ActionError, match=r"keeps bridge in model space\. Use domain.statistics=bridge_orig_lerobot"):
        actions.to_physical(np.zeros(10), ActionSpace("bridge_orig_lerobot"))


def test_the_pixel_map_of_the_embedded_model() -> None:
    action_KTD = np.array([[[-1.0, 0.0], [0.5, 1.0]]])

    path = actions.pixel_path(action_KTD, PIXELS)

    np.testing.assert_array_equal(path, [[0.0, 256.0], [384.0, 512.0]])
    np.testing.assert_array_equal(actions.to_model(path, PIXELS), action_KTD[0])
    assert actions.decodable(PIXELS)


def test_the_pixel_map_is_refused_in_another_domain() -> None:
    with pytest.raises(ActionError, match="pixel map is for pusht alone"):
        actions.to_physical(np.zeros(10), ActionSpace("bridge_orig_lerobot", pixel_map=True))


def test_a_wrong_width_and_a_column_without_a_span_are_refused(tmp_path: Path) -> None:
    domain = domains.get("bridge")
    path = Path(own_statistics(tmp_path, domain))
    content = json.loads(path.read_text())
    content["q99"][9] = content["q01"][9]
    path.write_text(json.dumps(content))

    with pytest.raises(ActionError, match=r"shape \[1, 16, 9\].*needs \[\.\.\., 10\]"):
        actions.to_physical(np.zeros((1, 16, 9)), actions.space_of("bridge"))
    with pytest.raises(ActionError, match=r"'gripper'.*spans nothing"):
        actions.to_model(np.zeros(10), ActionSpace(domain.name, str(path)))


def test_an_unknown_polarity_gets_the_allowed_ones() -> None:
    with pytest.raises(ActionError, match=r"Did you mean 'open_is_1'\? Use open_is_1, closed_is_1"):
        actions.to_physical(np.zeros(10), ActionSpace("bridge_orig_lerobot", "bridge_orig_lerobot", gripper="open_is1"))


def test_another_domains_statistics_are_refused_when_decoding() -> None:
    with pytest.raises(DomainError, match="those of droid_lerobot"):
        actions.to_physical(np.zeros(10), ActionSpace("bridge_orig_lerobot", "droid_lerobot"))


def test_the_share_of_values_out_of_range() -> None:
    assert actions.out_of_range_share([[1.0, -1.0], [1.0001, -3.0]]) == 0.5


def test_a_real_bridge_chunk_decodes_to_the_motions_of_a_table_top_arm(bridge_chunk: np.ndarray) -> None:
    [path] = actions.paths(bridge_chunk, actions.space_of("bridge")).values()

    steps_m = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=-1)
    turns_deg = np.rad2deg(actions.geodesic(path[:-1, :3, :3], path[1:, :3, :3]))
    assert steps_m.max() < 0.07  # a WidowX at 5 Hz: under 35 cm/s
    assert 0.1 < steps_m.sum() < 0.6
    assert np.linalg.norm(path[-1, :3, 3]) < 0.4
    assert turns_deg.max() < 20


def test_a_real_bridge_chunk_is_nearest_to_rotations_under_the_bridge_statistics(bridge_chunk: np.ndarray) -> None:
    """The statistics of five other arms leave it at least twice as far from SO(3)."""
    rot6d = bridge_chunk[0][:, 3:9]

    def distance(domain: domains.Domain) -> float:
        scale, offset = actions.load_statistics(domain.statistics, domain.name).scale_and_offset("quantile")
        decoded = rot6d * scale[3:9] + offset[3:9]
        nearest = actions.matrix_to_rot6d(actions.rot6d_to_matrix(decoded))
        return float(np.sqrt((((nearest - decoded) / scale[3:9]) ** 2).mean()))

    found = {domain.short: distance(domain) for domain in WITH_STATISTICS if domain.width == 10}
    bridge = found.pop("bridge")
    assert bridge < 0.02
    assert min(found.values()) > 1.4 * bridge


def test_the_record_names_every_column_its_unit_and_the_source_of_the_numbers(bridge_chunk: np.ndarray) -> None:
    action_KTD = bridge_chunk.astype(np.float32)

    record = actions.physical_record(Rollout("policy", action=action_KTD, fps=5.0, space=actions.space_of("bridge")))

    assert json.loads(json.dumps(record)) == record
    assert record["columns"][2] == {"name": "z", "group": "arm", "kind": "translation", "unit": "m"}
    assert np.shape(record["action"]) == (1, 16, 10)
    assert np.shape(record["paths"]["arm"]["poses"]) == (17, 4, 4)
    assert (record["origin"], record["gripper"], record["normalization"]) == ("predicted", "open_is_1", "quantile")
    assert record["statistics"]["source"].startswith("NVIDIA cosmos-framework")


def test_the_record_of_forward_dynamics_holds_the_given_actions_in_pixels_for_the_embedded_model() -> None:
    record = actions.physical_record(Rollout("forward_dynamics", given_action=np.zeros((1, 4, 2)), space=PIXELS))

    assert (record["origin"], record["normalization"], record["statistics"]) == ("given", "pixel_map", None)
    assert record["action"] == [[[256.0, 256.0]] * 4]
    assert (record["paths"], record["gripper"]) == ({}, None)


def test_there_is_no_record_of_a_rollout_without_actions() -> None:
    with pytest.raises(ActionError, match="holds no actions"):
        actions.physical_record(Rollout("text"))


def test_actions_of_another_domain_are_pointed_out_by_their_range(data: Path) -> None:
    bridge = np.float32(json.loads((data / "cosmos3_nano/cosmos_action_chunk.json").read_text()))

    assert actions.range_note(bridge, "bridge") is None
    assert "model space of domain bridge" in actions.range_note(bridge * 20, "bridge")
    pixels = np.array([[[3.2, 250.0], [0.5, 251.0]]])
    assert actions.range_note(pixels, "pusht").startswith("75 % of the values lie beyond -1 to 1, where model space of")
