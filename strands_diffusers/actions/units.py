"""Model space <-> physical units, and the paths that decoded actions draw.

Shapes: D columns, T steps of a chunk, K chunks. Model space is unitless, nominally -1 to 1 and never clipped; physical
units are the columns' own (`domains.Column.unit`), float64.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from strands_diffusers import domains
from strands_diffusers.actions.poses import IDENTITY, Array, integrate
from strands_diffusers.actions.statistics import Statistics, load_statistics
from strands_diffusers.domains import Domain
from strands_diffusers.errors import ActionError, near_miss
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace, Rollout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PIXELS = 512.0
"""Side of PushT's table [px]; the embedded model's map is action = pixel / 256 - 1."""

_POLARITIES: dict[str, tuple[float, float]] = {
    "open_is_1": (1.0, 0.0),
    "closed_is_1": (-1.0, 1.0),
    "closed_is_minus_1": (2.0, -1.0),
    "open_is_minus_1": (-2.0, 1.0),
}
"""Factor and summand that turn a decoded gripper (0 closed, 1 open, as all training data has it) into the reader's.

RoboLab reads closed_is_1 (1 - g), LIBERO open_is_minus_1 (1 - 2g)."""


def space_of(domain: str, *, pixel_map: bool = False) -> ActionSpace:
    """Return the default action space of `domain`: its built-in statistics, by quantiles, where there are any."""
    known = domains.get(domain)
    return ActionSpace(known.name, known.statistics, pixel_map=pixel_map)


def decodable(space: ActionSpace | None) -> bool:
    """Return whether the values of `space` have physical units: by statistics, or the embedded model's pixel map."""
    return space is not None and (space.pixel_map or space.statistics is not None)


def to_physical(action: ArrayLike, space: ActionSpace) -> Array:
    """Decode model-space values, column by column, rotation columns included.

    Shapes: `[..., D]` -> float64 `[..., D]`.
    Units: `Column.unit` of each column; the gripper follows `space.gripper`.
    Raises: `ActionError` for a wrong width or a space without statistics; `DomainError` for wrong statistics.
    Source: `0.5 * (y + 1) * (q99 - q01) + q01`, NVIDIA cosmos-framework `action_processing.py`.
    """
    scale, offset = _scale_and_offset(space)
    factor, summand = gripper_map(space)
    return np.asarray((_values(action, space) * scale + offset) * factor + summand)


def to_model(physical: ArrayLike, space: ActionSpace) -> Array:
    """Encode physical values, the exact inverse of `to_physical` up to float64 rounding: `[..., D]` -> `[..., D]`.

    Raises: as `to_physical`, and `ActionError` where a column of the statistics spans nothing.
    """
    scale, offset = _scale_and_offset(space)
    if (scale == 0).any():
        column = domains.get(space.domain).columns[int(np.argmin(np.abs(scale)))].name
        raise ActionError(f"column {column!r} of statistics {space.statistics!r} spans nothing: it cannot be encoded.")
    factor, summand = gripper_map(space)
    return np.asarray(((_values(physical, space) - summand) / factor - offset) / scale)


def still_row(space: ActionSpace) -> Array | None:
    """Return the model-space row `[D]` of zero motion: every pose delta the identity; other columns are NaN.

    None where the space has no statistics or the domain no poses. It is not 0: a still Bridge arm has z = +0.173.
    """
    known = domains.get(space.domain)
    if space.statistics is None or not known.poses:
        return None
    physical = np.full(len(known.columns), np.nan)
    for pose in known.poses:
        physical[pose.start : pose.start + 9] = IDENTITY
    return to_model(physical, space)


def paths(action_KTD: ArrayLike, space: ActionSpace | None) -> dict[str, Array]:
    """Decode the actions and integrate every body that moves by pose deltas, chunk after chunk.

    Shapes: `[K, T, D]` (or `[T, D]`) -> `{group: [K*T + 1, 4, 4]}`; empty where the space has no statistics or the
        domain no poses (av and camera_pose stay in model space; pusht has `pixel_path`).
    Units: metres, relative to the body's own frame at the first frame.
    """
    if space is None or space.statistics is None:
        return {}
    known = domains.get(space.domain)
    rows = _rows(to_physical(action_KTD, space))
    return {p.name: integrate(rows[:, p.start : p.start + 9]) for p in known.poses}


def pixel_path(action_KTD: ArrayLike, space: ActionSpace | None) -> Array | None:
    """Return the targets `[K*T, 2]` in pixels of PushT's 512 x 512 table; None without the pixel map."""
    if space is None or not space.pixel_map:
        return None
    return _rows(to_physical(action_KTD, space))


def out_of_range_share(action: ArrayLike) -> float:
    """Return the share of values beyond [-1, 1], 0 to 1. Such values are normal in small numbers and never clipped."""
    values = np.asarray(action)
    return float((np.abs(values) > 1.0).mean()) if values.size else 0.0


def range_note(action: ArrayLike, domain: str) -> str | None:
    """Say where most values lie beyond [-1, 1], as those of other units or another domain do; None where they do not."""
    share = out_of_range_share(action)
    if share <= 0.5:
        return None
    return (
        f"{100 * share:.0f} % of the values lie beyond -1 to 1, where model space of domain "
        f"{domains.short_name(domain)} holds nearly all of them: they are of another domain, or in other units"
    )


def physical_record(rollout: Rollout) -> dict[str, Any]:
    """Return what `action_physical.json` holds: named columns with units, decoded values, absolute paths, the source.

    The actions are the rollout's own, or the given ones of forward dynamics (`origin` says which).
    Raises: `ActionError` where the rollout holds no actions, or its space has no physical units.
    """
    predicted, space = rollout.action is not None, rollout.space
    action_KTD = rollout.action if predicted else rollout.given_action
    if action_KTD is None or space is None:
        raise ActionError("this rollout holds no actions: there is nothing to decode.")
    known, statistics = domains.get(space.domain), _statistics(space)
    frame = "the body's own frame at the first frame; T[t+1] = T[t] @ delta[t]"
    return {
        "domain": space.domain,
        "origin": "predicted" if predicted else "given",
        "fps": rollout.fps,
        "columns": [asdict(column) for column in known.columns],
        "gripper": space.gripper if any(c.kind == "gripper" and not c.unit for c in known.columns) else None,
        "normalization": "pixel_map" if space.pixel_map else space.normalization,
        "statistics": {"name": statistics.name, "source": statistics.source} if statistics else None,
        "action": to_physical(action_KTD, space).tolist(),
        "paths": {
            name: {"frame": frame, "unit": "m", "poses": path.tolist()}
            for name, path in paths(action_KTD, space).items()
        },
    }


def _statistics(space: ActionSpace) -> Statistics | None:
    return None if space.statistics is None or space.pixel_map else load_statistics(space.statistics, space.domain)


def _scale_and_offset(space: ActionSpace) -> tuple[Array, Array]:
    known = domains.get(space.domain)
    if space.pixel_map:
        if any(column.kind != "pixel" for column in known.columns):
            raise ActionError(f"the pixel map is for pusht alone, not for domain {space.domain!r}.")
        return np.full(2, PIXELS / 2), np.full(2, PIXELS / 2)
    statistics = _statistics(space)
    if statistics is None:
        raise ActionError(no_units(known))
    return statistics.scale_and_offset(space.normalization)


def no_units(known: Domain) -> str:
    """Return the sentence that says why actions of this domain have no physical units here."""
    if known.statistics:
        return f"domain.statistics=null keeps {known.short} in model space. Use domain.statistics={known.statistics}."
    return (
        f"domain {known.short!r} has no published statistics: its actions stay in model space. "
        "Set domain.statistics=FILE.json to statistics of your own."
    )


def gripper_map(space: ActionSpace) -> tuple[Array, Array]:
    """Return `[D]` factor and summand that turn grippers as trained (1 open) into the space's; 1 and 0 in other columns.

    Raises: `ActionError` for a polarity that is unknown, or of a gripper that is an opening in metres.
    """
    if space.gripper not in _POLARITIES:
        raise ActionError(
            f"domain.gripper={space.gripper} is not known.{near_miss(space.gripper, _POLARITIES)} "
            f"Use {', '.join(_POLARITIES)}."
        )
    columns = domains.get(space.domain).columns
    factor, summand = np.ones(len(columns)), np.zeros(len(columns))
    for index, column in enumerate(columns):
        if column.kind != "gripper":
            continue
        if column.unit and space.gripper != "open_is_1":
            raise ActionError(
                f"domain.gripper={space.gripper} has no meaning for {space.domain}, whose gripper is an opening in "
                f"{column.unit}. Use domain.gripper=open_is_1."
            )
        factor[index], summand[index] = _POLARITIES[space.gripper]
    return factor, summand


def _values(action: ArrayLike, space: ActionSpace) -> Array:
    values = np.asarray(action, dtype=np.float64)
    width = len(domains.get(space.domain).columns)
    if values.ndim < 1 or values.shape[-1] != width:
        raise ActionError(f"actions have shape {list(values.shape)}; domain {space.domain!r} needs [..., {width}].")
    return values


def _rows(action: Array) -> Array:
    return action.reshape(-1, action.shape[-1])
