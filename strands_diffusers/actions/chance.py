"""Actions by chance, in model space: a lower bound for whatever acts. Letters: N rows, D action width."""

from __future__ import annotations

from strands_diffusers import domains
from strands_diffusers.actions.perturb import no_motion
from strands_diffusers.actions.poses import Array, matrix_to_rot6d
from strands_diffusers.actions.units import to_model, to_physical
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace

FREE = 0.1
"""Largest turn about each axis [rad] in domains whose rotations are not normalised."""


def uniform(seed: int, count: int, space: ActionSpace) -> np.ndarray:
    """Return `count` rows float32 `[N, D]`, every value uniform over -1 to 1, every turn a small rotation that is one.

    Turns about the axes are uniform over what model space's -1 to 1 stands for. Row n depends on the seed and n alone.

    Raises: `ActionError` where the domain's statistics were switched off.
    """
    known = domains.get(space.domain)
    rows_ND = np.random.default_rng([seed, 3]).uniform(-1, 1, (count, known.width or 0))
    if not known.poses:
        return rows_ND.astype(np.float32)
    no_motion(rows_ND, space)  # refuses a space whose rotations cannot be encoded
    physical_ND = rows_ND * FREE if space.statistics is None else to_physical(rows_ND, space)
    for pose in known.poses:
        turn = slice(pose.start + 3, pose.start + 9)
        r21, r31, r32 = (
            physical_ND[:, turn.start + i] for i in (1, 2, 5)
        )  # of a small rotation, the turns about z, -y, x
        physical_ND[:, turn] = matrix_to_rot6d(rotations(np.stack([r32, -r31, r21], axis=-1)))
    encoded_ND = physical_ND if space.statistics is None else to_model(physical_ND, space)
    for pose in known.poses:
        turn = slice(pose.start + 3, pose.start + 9)
        rows_ND[:, turn] = encoded_ND[:, turn]
    return rows_ND.astype(np.float32)


def rotations(vector_N3: Array) -> Array:
    """Rotation vectors [rad] as matrices `[N, 3, 3]`."""
    angle_N = np.linalg.norm(vector_N3, axis=-1)
    x, y, z = (vector_N3 / np.maximum(angle_N, 1e-12)[:, None]).T
    zero = np.zeros_like(x)
    cross_N33 = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    sine, versine = np.sin(angle_N)[:, None, None], (1 - np.cos(angle_N))[:, None, None]
    return np.asarray(np.eye(3) + sine * cross_N33 + versine * (cross_N33 @ cross_N33))
