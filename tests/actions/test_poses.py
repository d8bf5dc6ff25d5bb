"""rot6d, SO(3) and SE(3): exact round trips, and agreement with computations that share no code with ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from strands_diffusers.actions import deltas, geodesic, integrate, matrix_to_rot6d, rot6d_to_matrix
from strands_diffusers.errors import ActionError

IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
unit = st.floats(-1.0, 1.0, allow_nan=False, width=64)


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation of `[..., 4]` (w, x, y, z), by the textbook formula."""
    w, x, y, z = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def polar_rotation(matrix: np.ndarray) -> np.ndarray:
    """Return the rotation of the polar decomposition by Newton's iteration (Higham 1986): no SVD involved."""
    for _ in range(60):
        matrix = 0.5 * (matrix + np.linalg.inv(matrix).T)
    return matrix


rotations = arrays(np.float64, (5, 4), elements=unit).filter(lambda q: (np.linalg.norm(q, axis=-1) > 0.1).all())


@given(rotations)
def test_a_rotation_survives_the_round_trip_through_rot6d(quaternions: np.ndarray) -> None:
    matrices = quaternion_to_matrix(quaternions)

    back = rot6d_to_matrix(matrix_to_rot6d(matrices))

    np.testing.assert_allclose(back, matrices, atol=1e-14)


@given(rotations)
def test_rot6d_is_the_first_two_columns_one_after_the_other(quaternions: np.ndarray) -> None:
    matrices = quaternion_to_matrix(quaternions)

    rot6d = matrix_to_rot6d(matrices)

    np.testing.assert_array_equal(rot6d[:, :3], matrices[:, :, 0])
    np.testing.assert_array_equal(rot6d[:, 3:], matrices[:, :, 1])


@given(rotations, arrays(np.float64, (5, 6), elements=st.floats(-0.25, 0.25)))
def test_a_disturbed_rotation_is_projected_as_the_polar_decomposition_does(
    quaternions: np.ndarray, noise: np.ndarray
) -> None:
    rot6d = matrix_to_rot6d(quaternion_to_matrix(quaternions)) + noise

    projected = rot6d_to_matrix(rot6d)

    first, second = rot6d[:, :3], rot6d[:, 3:]
    raw = np.stack([first, second, np.cross(first, second)], axis=-1)
    np.testing.assert_allclose(projected, [polar_rotation(matrix) for matrix in raw], atol=1e-9)
    np.testing.assert_allclose(
        projected @ projected.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(projected), 1.0, atol=1e-12)


@given(
    arrays(np.float64, (7, 3), elements=st.floats(-2.0, 2.0)),
    arrays(np.float64, (7, 4), elements=unit).filter(lambda q: (np.linalg.norm(q, axis=-1) > 0.1).all()),
)
def test_integrating_and_differencing_undo_each_other(translation: np.ndarray, quaternions: np.ndarray) -> None:
    delta = np.concatenate([translation, matrix_to_rot6d(quaternion_to_matrix(quaternions))], axis=-1)

    path = integrate(delta)

    assert path.shape == (8, 4, 4)
    np.testing.assert_array_equal(path[0], np.eye(4))
    np.testing.assert_allclose(deltas(path), delta, atol=1e-12)
    np.testing.assert_allclose(integrate(deltas(path)), path, atol=1e-12)


def test_steps_forward_along_a_turning_body_draw_a_circle() -> None:
    quarter = np.pi / 8
    turn = [np.cos(quarter), np.sin(quarter), 0.0, -np.sin(quarter), np.cos(quarter), 0.0]
    side = 2 * np.sin(quarter / 2)  # chord of a circle of radius 1
    chord = [side * np.cos(quarter / 2), side * np.sin(quarter / 2), 0.0]

    path = integrate(np.tile([*chord, *turn], (16, 1)))

    np.testing.assert_allclose(np.linalg.norm(path[:, :3, 3] - [0.0, 1.0, 0.0], axis=-1), 1.0, atol=1e-12)
    np.testing.assert_allclose(path[-1], np.eye(4), atol=1e-12)


@given(rotations, st.floats(1e-7, 3.1))
def test_the_geodesic_of_a_turn_is_its_angle_down_to_tiny_ones(quaternions: np.ndarray, angle: float) -> None:
    first = quaternion_to_matrix(quaternions)
    turn = quaternion_to_matrix(np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0]))

    np.testing.assert_allclose(geodesic(first, first @ turn), angle, rtol=1e-6, atol=1e-12)


def test_geodesics_agree_with_scipy_to_twelve_digits() -> None:
    rotation = pytest.importorskip("scipy.spatial.transform", reason="SciPy is not installed").Rotation
    generator = np.random.default_rng(0)
    first, second = rotation.random(200, random_state=generator), rotation.random(200, random_state=generator)

    ours = geodesic(first.as_matrix(), second.as_matrix())

    np.testing.assert_allclose(ours, (first.inv() * second).magnitude(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("columns", [[0.0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, -2, 0, 0]])
def test_columns_that_fix_no_rotation_are_refused(columns: list[float]) -> None:
    with pytest.raises(ActionError, match="zero or parallel"):
        rot6d_to_matrix([IDENTITY, columns])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_columns_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ActionError, match="NaN or inf"):
        rot6d_to_matrix([1, 0, bad, 0, 1, 0])


@pytest.mark.parametrize("shape", [(9,), (4, 10), (1, 4, 9)])
def test_deltas_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ActionError, match="pose delta"):
        integrate(np.zeros(shape))


def test_a_path_of_one_pose_has_no_deltas() -> None:
    with pytest.raises(ActionError, match=r"\[T \+ 1, 4, 4\]"):
        deltas(np.eye(4)[None])
