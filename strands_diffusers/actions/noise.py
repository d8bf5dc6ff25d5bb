"""Random errors of actions, in their own units. Letters: T steps of a chunk, D action width, P draws."""

from __future__ import annotations

from collections.abc import Mapping

from strands_diffusers import domains
from strands_diffusers.actions.chance import rotations
from strands_diffusers.actions.poses import matrix_to_rot6d, rot6d_to_matrix
from strands_diffusers.actions.units import decodable, no_units, to_model, to_physical
from strands_diffusers.errors import ActionError
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace

KINDS = {"translation_m": "translation", "rotation_rad": "rot6d", "gripper": "gripper", "target_px": "pixel",
         "fingertip_m": "fingertip"}  # fmt: skip
"""What a standard deviation is of: the kind of `domains.Column`, by the name that carries the unit."""


def check_noise(sizes: Mapping[str, float], space: ActionSpace) -> None:
    """Refuse standard deviations of columns that the domain does not have. Raises: `ActionError`."""
    known = domains.get(space.domain)
    wanted = {name for name, size in sizes.items() if size}
    there = {name for name, kind in KINDS.items() if any(column.kind == kind for column in known.columns)}
    if wanted and not decodable(space):
        raise ActionError(no_units(known))
    if missing := sorted(wanted - there):
        has = f"it has {', '.join(sorted(there))}" if there else "none of its columns has a known unit"
        raise ActionError(f"domain {known.short} has no actions for {missing[0]}; {has}.")


def noisy(
    rows_TD: np.ndarray, sizes: Mapping[str, float], every: int, rng: np.random.Generator, space: ActionSpace
) -> np.ndarray:
    """Return the rows with Gaussian errors of the standard deviations `sizes`, by the names of `KINDS`; float32 `[T, D]`.

    Errors are drawn for every `every`-th step and are linear in between: 1 draws each step for itself. A rotation is
    turned about a random axis. Nothing is clipped. Raises: as `check_noise`.
    """
    check_noise(sizes, space)
    known = domains.get(space.domain)
    steps = np.arange(len(rows_TD))
    drawn_PD = rng.normal(size=(-(-(len(rows_TD) - 1) // every) + 1, len(known.columns)))
    between = [np.interp(steps, np.arange(len(drawn_PD)) * every, column) for column in drawn_PD.T]
    error_TD = np.stack(between, axis=-1)
    of = {KINDS[name]: size for name, size in sizes.items()}
    scale_D = np.array([0.0 if column.kind == "rot6d" else of.get(column.kind, 0.0) for column in known.columns])
    physical_TD = to_physical(rows_TD, space) + error_TD * scale_D
    if turn := of.get("rot6d", 0.0):
        for pose in known.poses:
            six = slice(pose.start + 3, pose.start + 9)
            turned = rot6d_to_matrix(physical_TD[:, six]) @ rotations(error_TD[:, six][:, :3] * turn)
            physical_TD[:, six] = matrix_to_rot6d(turned)
    return to_model(physical_TD, space).astype(np.float32)


def proper(rows: np.ndarray, space: ActionSpace) -> np.ndarray:
    """Return rows float32 `[..., D]` whose rotations are some: means of several are only nearly."""
    known = domains.get(space.domain)
    if not known.poses or not decodable(space):
        return rows
    physical = to_physical(rows, space)
    for pose in known.poses:
        six = slice(pose.start + 3, pose.start + 9)
        physical[..., six] = matrix_to_rot6d(rot6d_to_matrix(physical[..., six]))
    return to_model(physical, space).astype(np.float32)
