"""Poses of a dataset become the actions of a domain, whichever way they are written."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy
from strands_diffusers_lerobot.choices import Polarity, Rotation, Units
from strands_diffusers_lerobot.mapping import Mapping, pieces
from strands_diffusers_lerobot.rows import BATCH_ROWS
from strands_diffusers_lerobot.source import LeRobotSource

from strands_diffusers import ActionSpace, ObservationRequest, actions, domains
from strands_diffusers.config import compose
from strands_diffusers.errors import ObservationError

BRIDGE = "bridge_orig_lerobot"


def turn(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def path_of(steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Absolute poses [F, 4, 4] that a lively Bridge arm goes through, and its model-space actions [F - 1, 10]."""
    rng = np.random.default_rng(seed)
    model = actions.still_row(actions.space_of("bridge")) + rng.normal(0, 0.2, (steps, 10))
    model[:, 9] = rng.choice([-1.0, 1.0], steps)
    physical = actions.to_physical(model, actions.space_of("bridge"))
    start = np.eye(4)
    start[:3, :3], start[:3, 3] = turn(2, 40) @ turn(1, -70) @ turn(0, 160), (0.3, -0.1, 0.2)
    path = start @ actions.integrate(physical[:, :9])
    exact = np.concatenate([actions.deltas(path), physical[:, 9:]], axis=1)  # rotations are rotations now
    return path, exact


def written(path_F44: np.ndarray, rotation: Rotation) -> np.ndarray:
    """The rotations [F, 3, 3] of a path as somebody else would write them."""
    matrix = path_F44[:, :3, :3]
    if rotation is Rotation.matrix:
        return matrix.reshape(-1, 9)
    if rotation is Rotation.rot6d:
        return actions.matrix_to_rot6d(matrix)
    if rotation is Rotation.euler_xyz:
        pitch = -np.arcsin(matrix[:, 2, 0])
        roll = np.arctan2(matrix[:, 2, 1], matrix[:, 2, 2])
        return np.stack([roll, pitch, np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])], 1)
    angle = np.arccos((np.trace(matrix, axis1=1, axis2=2) - 1) / 2)[:, None]
    skew = np.stack([matrix[:, 2, 1] - matrix[:, 1, 2], matrix[:, 0, 2] - matrix[:, 2, 0]], 1)
    axis = np.concatenate([skew, (matrix[:, 1, 0] - matrix[:, 0, 1])[:, None]], 1) / (2 * np.sin(angle))
    if rotation is Rotation.rotvec:
        return axis * angle
    xyz, w = axis * np.sin(angle / 2), np.cos(angle / 2)
    return np.concatenate([xyz, w] if rotation is Rotation.quat_xyzw else [w, xyz], 1)


@pytest.mark.parametrize("rotation", list(Rotation))
def test_poses_give_the_motion_that_led_through_them(rotation):
    path, physical = path_of(16)
    gripper = np.concatenate([physical[:, 9:], [[0.0]]])
    rows = {"pose": np.concatenate([path[:, :3, 3], written(path, rotation)], 1), "grip": gripper}

    mapping = Mapping(pieces("pose+grip"), Units.poses, rotation)

    np.testing.assert_allclose(mapping.physical(rows, "bridge"), physical, atol=1e-9)
    encoded = mapping.model(rows, actions.space_of("bridge"))
    np.testing.assert_allclose(encoded, actions.to_model(physical, actions.space_of("bridge")), atol=1e-6)
    actions.check_actions(encoded, BRIDGE)  # as the runner will


@pytest.mark.parametrize(
    ("polarity", "raw"),
    [
        (Polarity.open_is_1, lambda g: g),
        (Polarity.closed_is_1, lambda g: 1 - g),
        (Polarity.closed_is_minus_1, lambda g: 2 * g - 1),
        (Polarity.open_is_minus_1, lambda g: 1 - 2 * g),
    ],
)
def test_the_gripper_is_read_as_the_dataset_means_it(polarity, raw, tmp_path):
    path, physical = path_of(11)
    grip = np.concatenate([raw(physical[:, 9:]), [[0.5]]])
    columns = {"pose": [np.concatenate([path[:, :3, 3], written(path, Rotation.rotvec)], 1)] * 3, "grip": [grip] * 3}
    mapped = f"@actions:pose+grip@units:poses@rotation:rotvec@gripper:{polarity.value}"
    root = toy.write_v3(
        tmp_path / "set", {k: [np.resize(v[0], (n, v[0].shape[1])) for n in toy.LENGTHS] for k, v in columns.items()}
    )

    seen = LeRobotSource().read(
        f"{root}@camera:top{mapped}", ObservationRequest(12, 10.0, BRIDGE, "policy", actions.space_of("bridge"))
    )
    [streamed] = LeRobotSource().action_rows(f"{root}@episode:0{mapped}", "bridge").pieces

    np.testing.assert_allclose(seen.actions, actions.to_model(physical, actions.space_of("bridge")), atol=1e-6)
    np.testing.assert_allclose(streamed, physical, atol=1e-9)


def test_two_arms_take_their_poses_one_after_the_other():
    left, left_physical = path_of(9, seed=1)
    right, right_physical = path_of(9, seed=2)
    rows = {}
    for name, path, physical in (("left", left, left_physical), ("right", right, right_physical)):
        pose = np.concatenate([path[:, :3, 3], written(path, Rotation.quat_wxyz)], 1)
        rows[name] = np.concatenate([pose, np.concatenate([physical[:, 9:], [[1.0]]])], 1)

    found = Mapping(pieces("left+right"), Units.poses, Rotation.quat_wxyz).physical(rows, "robomind_franka_dual")

    np.testing.assert_allclose(found, np.concatenate([left_physical, right_physical], 1), atol=1e-9)


@pytest.mark.parametrize(
    ("experiment", "transform"),
    [
        ("lerobot_droid", lambda pose: pose @ rigid(turn(2, 90))),
        (
            "lerobot_bridge",
            lambda pose: (
                pose
                @ rigid([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
                @ rigid(np.eye(3), (-0.093575, 0, 0))
                @ rigid([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
            ),
        ),
    ],
)
def test_the_experiments_turn_poses_as_nvidia_does(experiment, transform):
    options = compose.compose([f"experiment={experiment}", "observation=x.mp4", "prompt=a"]).source["lerobot"]
    path, _ = path_of(9)
    pose = np.concatenate([path[:, :3, 3], written(path, Rotation.euler_xyz), np.zeros((10, 1))], 1)

    mapping = Mapping(pieces("pose"), options.units, options.rotation, options.gripper, tuple(options.body))

    np.testing.assert_allclose(
        mapping.physical({"pose": pose}, "bridge")[:, :9], actions.deltas(transform(path)), atol=1e-9
    )


def rigid(rotation, translation=(0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


@pytest.mark.parametrize(
    ("text", "units", "rotation", "domain", "message"),
    [
        ("pose:0-5", Units.poses, Rotation.euler_xyz, "bridge", r"takes 7 \(arm position 3 \+ euler_xyz 3, gripper\)"),
        ("pose", Units.poses, Rotation.quat_xyzw, "bridge", r"gives 7 columns; .* takes 8"),
        ("pose", Units.poses, Rotation.euler_xyz, "pusht", r"takes no poses at all"),
        (
            "pose:0-6+pose:0",
            Units.poses,
            Rotation.quat_xyzw,
            "bridge",
            r"a quaternion has length .* is @rotation: right",
        ),
        ("pose:9-3", Units.physical, None, "bridge", r"columns 9 to 3 of 'pose', which has 0 to 6"),
    ],
)
def test_columns_that_do_not_fit_are_refused(text, units, rotation, domain, message):
    with pytest.raises(ObservationError, match=message):
        Mapping(pieces(text), units, rotation).physical({"pose": np.full((5, 7), 2.0)}, domain)


def test_physical_columns_are_encoded_by_the_run_s_statistics(tmp_path):
    pixels = [512 * np.random.default_rng(n).random((n, 2)).astype(np.float32) for n in toy.LENGTHS]
    root = toy.write_v3(tmp_path / "set", {"action": pixels})
    request = ObservationRequest(9, 10.0, "pusht", "policy", ActionSpace("pusht", pixel_map=True))

    seen = LeRobotSource().read(f"{root}@camera:top@actions:action@units:physical", request)

    np.testing.assert_allclose(seen.actions, pixels[0][:8] / 256 - 1, atol=1e-6)


def test_the_real_droid_actions_fill_the_domain_s_quantiles(droid):
    options = compose.compose(["experiment=lerobot_droid", "observation=x.mp4", "prompt=a"]).source["lerobot"]
    source, statistics = LeRobotSource(options), actions.load_statistics("droid_lerobot", "droid")

    [rows_TD] = source.action_rows(str(droid), "droid").pieces
    window = source.read(f"{droid}@start:120", ObservationRequest(17, 15.0, "droid_lerobot", "forward_dynamics"))

    assert rows_TD.shape == (721, 10)
    inside_D = ((rows_TD >= statistics.q01 - 1e-6) & (rows_TD <= statistics.q99 + 1e-6)).mean(0)
    assert (inside_D > 0.955).all()
    np.testing.assert_allclose(window.actions, actions.to_model(rows_TD[120:136], actions.space_of("droid")), atol=1e-5)
    assert (rows_TD[:, 9].min(), rows_TD[:, 9].max()) == (0, 1)
    assert rows_TD[0, 9] == 1  # the episode begins with the hand open, which DROID writes as 0


def test_a_dataset_larger_than_a_batch_streams_episode_by_episode(tmp_path):
    count, length = 90_000, 30_000
    assert count > BATCH_ROWS > length
    root = toy.write_v3(tmp_path / "set", total_frames=count)
    values, index = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32), np.arange(count)
    table = {"action": pa.array(list(values)), "frame_index": index % length, "episode_index": index // length}
    pq.write_table(pa.table(table), root / "data/chunk-000/file-000.parquet")
    (root / "data/chunk-000/file-001.parquet").unlink()
    episodes = root / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pa.table({"episode_index": [0, 1, 2], "length": [length] * 3}), episodes)

    whole = list(LeRobotSource().action_rows(f"{root}@actions:action@units:physical", "pusht").pieces)

    assert [len(rows) for rows in whole] == [length] * 3
    np.testing.assert_array_equal(np.concatenate(whole), values)


def test_every_domain_with_poses_says_which_columns_it_takes():
    for domain in domains.all_domains():
        if domain.poses:
            with pytest.raises(ObservationError, match="position 3 \\+ rotvec 3"):
                Mapping(pieces("x"), Units.poses, Rotation.rotvec).physical({"x": np.zeros((4, 1))}, domain.short)
