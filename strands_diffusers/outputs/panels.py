"""What the curves of an action chunk are: which panel shows which columns, in which unit, colour and nominal range.

S = K*T steps; row s of the action moves frame s to frame s + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from strands_diffusers import actions, domains
from strands_diffusers.domains import Column
from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.serializers import check_action
from strands_diffusers.results import ActionSpace, Rollout

MAX_UNKNOWN = 10
"""Columns without a known layout are split into panels of this many."""

_KINDS = {"translation": "translation", "rot6d": "rotation", "gripper": "gripper", "pixel": "position"}
_POLARITIES = {
    "open_is_1": "1 open, 0 closed",
    "closed_is_1": "0 open, 1 closed",
    "closed_is_minus_1": "1 open, −1 closed",
    "open_is_minus_1": "−1 open, 1 closed",
}


@dataclass(frozen=True, eq=False)
class Curve:
    """One column of the action, in the unit of its panel."""

    label: str
    colour: str
    values_S: np.ndarray
    reference_S: np.ndarray | None
    beyond_S: np.ndarray
    """bool: the model-space value lies beyond -1 to 1."""

    nominal: tuple[float, float]
    """The least and greatest of what model space's -1 and 1 stand for."""

    deviation_S: np.ndarray | None = None
    """Standard deviation over `samples` (N - 1), where `values_S` is their mean."""

    samples: tuple[Curve, ...] = ()
    """The curves that `values_S` is the mean of."""


@dataclass(frozen=True, eq=False)
class Panel:
    """The curves that share an axis."""

    title: str
    unit: str
    kind: str
    """The columns' kind, see `domains.Column.kind`."""

    curves: tuple[Curve, ...]

    @property
    def nominal(self) -> tuple[float, float] | None:
        """The nominal range where all curves have the same one, else None."""
        ranges = {curve.nominal for curve in self.curves}
        return ranges.pop() if len(ranges) == 1 else None

    @property
    def limits(self) -> tuple[float, float]:
        """What the axis must show: every value, the reference, and the nominal ranges, so that rollouts of one domain
        share a scale unless they leave it.
        """
        drawn = [curve for c in self.curves for curve in (c, *c.samples)]
        bands = [
            c.values_S + sign * c.deviation_S for c in self.curves if c.deviation_S is not None for sign in (-1, 1)
        ]
        parts = [part for c in drawn for part in (c.values_S, c.reference_S, np.array(c.nominal)) if part is not None]
        parts += bands
        values = np.concatenate(parts)
        low, high = float(values.min()), float(values.max())
        margin = 0.06 * (high - low) or 0.5
        return low - margin, high + margin


def shown_action(rollout: Rollout) -> np.ndarray | None:
    """Return the chunks that a picture of this rollout shows, float32 `[K, T, D]`: what the model predicted, or in
    forward dynamics what it was given. None where there are none.

    Raises: `OutputError` where their shape or values are wrong.
    """
    if rollout.action is not None:
        return check_action("action", rollout.action, rollout.space)
    if rollout.given_action is not None:
        return check_action("given_action", rollout.given_action, rollout.space)
    return None


def reference_action(rollout: Rollout, action_KTD: np.ndarray) -> np.ndarray | None:
    """Return the reference of the shown action, of the same shape; None where there is none, or where it is what the
    model was given.
    """
    reference_KTD = rollout.reference_action
    if reference_KTD is None or rollout.action is None:
        return None
    if reference_KTD.shape != action_KTD.shape:
        raise OutputError(f"reference_action has shape {reference_KTD.shape}; the action has {action_KTD.shape}.")
    return check_action("reference_action", reference_KTD, rollout.space)


def action_columns(rollout: Rollout, width: int) -> tuple[Column, ...]:
    """Return the domain's columns, or nameless ones where no domain is known; `details["columns"]`, a list of
    `{"name": ..., "kind": ...}`, renames them, and where no domain is known says what they are.
    """
    known = domains.get(rollout.space.domain).columns if rollout.space else ()
    columns = known or tuple(Column(f"action_{index}", "action", "unknown", "") for index in range(width))
    given = rollout.details.get("columns")
    if not given:
        return columns
    return tuple(
        replace(column, name=entry["name"], kind=column.kind if known else entry["kind"])
        for column, entry in zip(columns, given, strict=True)
    )


def panel_rows(rollout: Rollout) -> list[list[Panel]]:
    """Return the panels of a rollout's action, one row per moving body (per panel where there is but one).

    Empty where there is no action. Physical units where the space can be decoded. rot6d entries have no unit and crowd
    around 0 and 1 once decoded, so they stay in model space, as everything does in a domain without statistics.
    """
    action_KTD = shown_action(rollout)
    if action_KTD is None:
        return []
    reference_KTD = reference_action(rollout, action_KTD)
    width = action_KTD.shape[2]
    columns = action_columns(rollout, width)
    values = _Values(action_KTD, reference_KTD, rollout.space)
    rows: list[list[Panel]] = []
    for (group, kind), members in groupby(range(width), lambda index: (columns[index].group, columns[index].kind)):
        indices = list(members)
        for part in (
            [indices[i : i + MAX_UNKNOWN] for i in range(0, len(indices), MAX_UNKNOWN)]
            if kind == "unknown"
            else [indices]
        ):
            panel = _panel(values, rollout.space, group, kind, [columns[index] for index in part], part)
            if rows and kind in ("rot6d", "gripper", "fingertip"):
                rows[-1].append(panel)
            else:
                rows.append([panel])
    return [[panel] for panel in rows[0]] if len(rows) == 1 else rows  # one body: below each other, on one time axis


class _Values:
    """The action, its reference and its nominal range, in model space and, where there is one, in physical space."""

    def __init__(self, action_KTD: np.ndarray, reference_KTD: np.ndarray | None, space: ActionSpace | None) -> None:
        width = action_KTD.shape[2]
        bounds_2D = np.stack([-np.ones(width), np.ones(width)])
        self.model = [
            action_KTD.reshape(-1, width),
            None if reference_KTD is None else reference_KTD.reshape(-1, width),
            bounds_2D,
        ]
        self.physical = None
        if space is not None and actions.decodable(space):
            self.physical = [None if array is None else actions.to_physical(array, space) for array in self.model]

    def curve(self, index: int, label: str, colour: str, *, physical: bool) -> Curve:
        """Return column `index`."""
        action_SD, reference_SD, bounds_2D = self.physical if physical and self.physical else self.model
        model_SD = self.model[0]
        assert action_SD is not None
        assert bounds_2D is not None
        assert model_SD is not None
        low, high = sorted(float(bound) for bound in bounds_2D[:, index])
        reference_S = None if reference_SD is None else reference_SD[:, index]
        return Curve(label, colour, action_SD[:, index], reference_S, np.abs(model_SD[:, index]) > 1, (low, high))


def _panel(
    values: _Values, space: ActionSpace | None, group: str, kind: str, columns: Sequence[Column], indices: Sequence[int]
) -> Panel:
    """Return one panel."""
    physical = values.physical is not None and kind != "rot6d"
    names = _short_names(columns)
    colours = _colours(kind, len(columns))
    curves = tuple(
        values.curve(index, name, colour, physical=physical)
        for index, name, colour in zip(indices, names, colours, strict=True)
    )
    words = f"{group} {_KINDS.get(kind, '')}".replace("_", " ").strip()
    if kind == "unknown":
        words = f"{columns[0].name} to {columns[-1].name}" if len(columns) > 1 else columns[0].name
    return Panel(words, _unit(columns[0], space, physical=physical), kind, curves)


def _unit(column: Column, space: ActionSpace | None, *, physical: bool) -> str:
    """Say in which unit a panel is."""
    if not physical or space is None:
        return "model space"
    if column.kind == "gripper":
        return f"{column.unit}, opening" if column.unit else _POLARITIES.get(space.gripper, space.gripper)
    return f"{column.unit}/step" if column.kind == "translation" else column.unit


def _short_names(columns: Sequence[Column]) -> list[str]:
    """Return the columns' names without what the panel's title says already: `right_thumb_x` is `thumb x`."""
    names = [column.name for column in columns]
    if len(names) == 1:
        return names
    split = [name.split("_") for name in names]
    while all(len(parts) > 1 for parts in split) and len({parts[0] for parts in split}) == 1:
        split = [parts[1:] for parts in split]
    return [" ".join(parts) for parts in split]


def _colours(kind: str, count: int) -> list[str]:
    """Return one colour per curve: by axis, the second rotation column lighter; by finger, its axes from dark to light."""
    axes = (style.X_COLOUR, style.Y_COLOUR, style.Z_COLOUR)
    if kind == "rot6d":
        return [*axes, *(style.mix(colour, style.PAPER, 0.5) for colour in axes)]
    if kind == "fingertip":
        shades = ((style.INK, 0.35), (style.INK, 0.0), (style.PAPER, 0.5))
        return [style.mix(finger, other, share) for finger in style.CYCLE[: count // 3] for other, share in shades]
    if kind == "gripper":
        return [style.GRIPPER_COLOUR] * count
    return [axes[i] for i in range(count)] if kind in ("translation", "pixel") else list(style.CYCLE[:count])
