"""Rotations and rigid motions, in float64 numpy.

A pose delta is nine numbers: translation 3 + rot6d 6, where rot6d is the first two COLUMNS of the rotation matrix, one
after the other (identity `[1, 0, 0, 0, 1, 0]`). Row t is the motion from frame t to frame t + 1 as seen from the body
at frame t: `T[t+1] = T[t] @ delta[t]`.

Source: NVIDIA cosmos-framework, `pose_utils.py` (`backward_framewise` poses).
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from strands_diffusers.errors import ActionError
from strands_diffusers.lazy import np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

IDENTITY = (0, 0, 0, 1, 0, 0, 0, 1, 0)
"""The pose delta of no motion."""

_PARALLEL = 1e-6
"""Below this area of the parallelogram that two columns span, they fix no rotation."""


def rot6d_to_matrix(rot6d: ArrayLike) -> Array:
    """Return the rotation matrices of `rot6d`.

    The third column is the cross product of the two that are given; the three are then projected onto SO(3) by SVD, so
    that columns which are only nearly orthonormal, as every generated chunk's are, still give a rotation.

    Shapes: `[..., 6]` -> `[..., 3, 3]`, determinant +1.
    Raises: `ActionError` for another last dimension, values that are not finite, or columns that fix no rotation (zero
        or parallel).
    """
    columns = _array(rot6d, 6, "rot6d")
    if not np.isfinite(columns).all():
        raise ActionError("rot6d holds NaN or inf.")
    first, second = columns[..., :3], columns[..., 3:]
    if (np.linalg.norm(np.cross(first, second), axis=-1) < _PARALLEL).any():
        raise ActionError("rot6d columns are zero or parallel: they fix no rotation. Are these rotation columns?")
    return project(columns)


def project(rot6d: Array) -> Array:
    """Project as `rot6d_to_matrix` does, without its checks: degenerate columns give some rotation, not an error."""
    first, second = rot6d[..., :3], rot6d[..., 3:]
    u, _, vt = np.linalg.svd(np.stack([first, second, np.cross(first, second)], axis=-1))
    u[..., :, 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return np.asarray(u @ vt)


def matrix_to_rot6d(matrix: ArrayLike) -> Array:
    """Return the first two columns of `matrix`, one after the other: `[..., 3, 3]` -> `[..., 6]`."""
    rotation = np.asarray(matrix, dtype=np.float64)
    if rotation.shape[-2:] != (3, 3):
        raise ActionError(f"a rotation matrix has shape [..., 3, 3], got {list(rotation.shape)}.")
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], axis=-1)


def integrate(delta_T9: ArrayLike) -> Array:
    """Return the poses that local deltas lead through, relative to the body at the first frame: `T[t+1] = T[t] @ delta[t]`.

    Shapes: `[T, 9]` -> `[T + 1, 4, 4]`, the first one the identity; `start @ path` begins at another pose.
    Units: those of the deltas' translation; decode them first (`to_physical`). Model-space deltas give a path that
        drifts, because zero motion is not 0 there.
    Raises: `ActionError` as `rot6d_to_matrix` does.
    """
    delta = _array(delta_T9, 9, "a pose delta")
    if delta.ndim != 2:
        raise ActionError(f"pose deltas have shape [T, 9], got {list(delta.shape)}.")
    step_T44 = np.tile(np.eye(4), (len(delta), 1, 1))
    step_T44[:, :3, :3] = rot6d_to_matrix(delta[:, 3:])
    step_T44[:, :3, 3] = delta[:, :3]
    return np.array(list(accumulate(step_T44, np.matmul, initial=np.eye(4))))


def deltas(path: ArrayLike) -> Array:
    """Return the local deltas between the poses of `path`, the inverse of `integrate`: `[T + 1, 4, 4]` -> `[T, 9]`."""
    poses = np.asarray(path, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) < 2:
        raise ActionError(f"a path has shape [T + 1, 4, 4] with T >= 1, got {list(poses.shape)}.")
    back = poses[:-1, :3, :3].transpose(0, 2, 1)
    translation = np.einsum("tij,tj->ti", back, poses[1:, :3, 3] - poses[:-1, :3, 3])
    return np.concatenate([translation, matrix_to_rot6d(back @ poses[1:, :3, :3])], axis=-1)


def geodesic(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the angle between rotations [rad], 0 to pi: `[..., 3, 3]` twice -> `[...]`.

    By atan2 of the sine (from the skew part) and the cosine (from the trace), exact for small angles, where arccos of
    the trace alone loses half of the digits.
    """
    relative = np.swapaxes(np.asarray(first, dtype=np.float64), -1, -2) @ np.asarray(second, dtype=np.float64)
    skew = relative - np.swapaxes(relative, -1, -2)
    sine = 0.5 * np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    cosine = 0.5 * (np.trace(relative, axis1=-2, axis2=-1) - 1.0)
    return np.asarray(np.arctan2(sine, cosine))


def _array(value: ArrayLike, width: int, what: str) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim < 1 or array.shape[-1] != width:
        raise ActionError(f"{what} has {width} numbers in its last dimension, got shape {list(array.shape)}.")
    return array
