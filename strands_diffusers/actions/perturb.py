"""Actions changed on purpose: does a world model still generate the same video?

Letters: T steps, D action width. Everything is in model space.
"""

from __future__ import annotations

from strands_diffusers import domains
from strands_diffusers.actions.poses import IDENTITY, Array
from strands_diffusers.actions.units import still_row
from strands_diffusers.errors import ActionError
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace

PERTURBATIONS = ("none", "shuffled", "zero", "mirrored")
"""What `perturbed` can do; the choices of `condition.perturb`."""

_SHUFFLE = 20_250
"""Seeds the one permutation of the steps: the same for every job, so that seeds differ in their noise alone."""

_MOVES = ("translation", "rot6d", "pixel", "unknown")
"""Kinds of columns that say where something goes. Grippers and fingertips are a posture: mirrored, they mean nothing."""


def perturbed(rows_TD: np.ndarray, kind: str, space: ActionSpace) -> np.ndarray:
    """Return the actions under one perturbation, float32 `[T, D]`; `none` returns them as they are.

    `shuffled`: the same rows in another order, one fixed permutation for each T. `zero`: no motion at every step.
    `mirrored`: the motion negated about no motion; grippers and fingertips stay as given.

    No motion is the normalised identity of every pose where the space has statistics, the identity itself in the
    domains that are not normalised (av, camera_pose), and 0 in columns whose meaning is unknown. What is absolute is held
    as the first row has it: grippers, fingertips, and PushT's targets (the pusher goes to its first target, one step
    away, and stays).

    Raises: `ActionError` where no motion is not known: a domain whose statistics were switched off.
    """
    if kind == "none":
        return rows_TD
    if kind == "shuffled":
        return np.asarray(rows_TD[np.random.default_rng(_SHUFFLE).permutation(len(rows_TD))])
    still_D = no_motion(rows_TD, space)
    if kind == "zero":
        return np.tile(still_D.astype(np.float32), (len(rows_TD), 1))
    if kind == "mirrored":
        moves_D = np.array([column.kind in _MOVES for column in domains.get(space.domain).columns])
        return np.where(moves_D, 2 * still_D - rows_TD, rows_TD).astype(np.float32)
    raise ActionError(f"{kind!r} is no perturbation. Use {', '.join(PERTURBATIONS)}.")


def no_motion(rows_TD: np.ndarray, space: ActionSpace) -> Array:
    """Return the row `[D]` of standing still, float64, absolute columns as the first of `rows_TD` has them.

    Raises: `ActionError` where the domain's statistics were switched off.
    """
    known = domains.get(space.domain)
    still_D = still_row(space)
    if still_D is None:
        if known.poses and known.statistics:
            raise ActionError(
                f"without statistics it is not known which actions of {known.short} are no motion. Leave domain.statistics "
                "as it is, or use condition.perturb=shuffled."
            )
        still_D = np.array([0.0 if column.kind in _MOVES[:2] + _MOVES[3:] else np.nan for column in known.columns])
        for pose in known.poses:  # av's own trajectories hold rotations as they are
            still_D[pose.start : pose.start + 9] = IDENTITY
    return np.where(np.isnan(still_D), rows_TD[0], still_D)


def padded(rows_TD: np.ndarray, count: int, space: ActionSpace) -> np.ndarray:
    """Return the rows, float32 `[count, D]`, followed by no motion where they are fewer; absolute columns are held.

    Raises: `ActionError` as `no_motion` does.
    """
    missing = count - len(rows_TD)
    if missing <= 0:
        return np.asarray(rows_TD, np.float32)
    still_D = no_motion(rows_TD[-1:], space).astype(np.float32)
    return np.concatenate([rows_TD.astype(np.float32), np.tile(still_D, (missing, 1))])
