"""What the curves of an action chunk are: which panel shows which columns, in which unit, colour and nominal range.

S = K*T steps; row s of the action moves frame s to frame s + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

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
    """The columns' kind, see `domains.Column.kind`; `score` for a score, which has no nominal range."""

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
        parts = [part for c in drawn for part in (c.values_S, c.reference_S) if part is not None]
        parts += [np.array(c.nominal) for c in drawn if self.kind != "score"]
        parts += [c.values_S + s * c.deviation_S for c in self.curves if c.deviation_S is not None for s in (-1, 1)]
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
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
    width, space = action_KTD.shape[2], rollout.space
    columns = action_columns(rollout, width)
    bounds_2D = np.stack([-np.ones(width), np.ones(width)])
    parts = (action_KTD, reference_action(rollout, action_KTD), bounds_2D)
    model = [None if part is None else part.reshape(-1, width) for part in parts]
    physical = None
    if space is not None and actions.decodable(space):
        physical = [None if part is None else actions.to_physical(part, space) for part in model]
    rows: list[list[Panel]] = []
    for (group, kind), members in groupby(range(width), lambda index: (columns[index].group, columns[index].kind)):
        indices = list(members)
        size = MAX_UNKNOWN if kind == "unknown" else len(indices)
        shown = model if physical is None or kind == "rot6d" else physical
        for first in range(0, len(indices), size):
            part = indices[first : first + size]
            named = [columns[index] for index in part]
            curves = tuple(
                _curve(index, label, colour, shown, model)
                for index, label, colour in zip(part, _short_names(named), _colours(kind, len(part)), strict=True)
            )
            words = f"{group} {_KINDS.get(kind, '')}".replace("_", " ").strip()
            if kind == "unknown":
                words = " to ".join(dict.fromkeys((named[0].name, named[-1].name)))
            panel = Panel(words, _unit(named[0], space, physical=shown is physical), kind, curves)
            if rows and kind in ("rot6d", "gripper", "fingertip"):
                rows[-1].append(panel)
            else:
                rows.append([panel])
    if len(rows) == 1:
        rows = [[panel] for panel in rows[0]]  # one body: below each other, on one time axis
    return [*rows, *([panel] for panel in _score_panels(rollout, action_KTD))]


def _score_panels(rollout: Rollout, action_KTD: np.ndarray) -> Iterator[Panel]:
    """A panel for each score of an episode: its value after each step, dashed that of the reference world."""
    episode, steps = rollout.episode, action_KTD.shape[0] * action_KTD.shape[1]
    for index, (name, scored) in enumerate(episode.scores.items() if episode else ()):
        values_S = scored.values[1:]
        if episode is None or len(values_S) != steps or not np.isfinite(values_S).any():
            continue
        truth = episode.reference_scores.get(name)
        span = min(0.0, float(np.nanmin(scored.values))), max(1.0, float(np.nanmax(scored.values)))
        colour = style.CYCLE[(index + 3) % len(style.CYCLE)]
        curve = Curve(name, colour, values_S, None if truth is None else truth.values[1:], np.zeros(steps, bool), span)
        unit = f"{scored.unit}  ({scored.better} is better)".strip()
        yield Panel(name.replace("_", " "), unit, "score", (curve,))


def _curve(index: int, label: str, colour: str, shown: Sequence[Any], model: Sequence[Any]) -> Curve:
    """Column `index` of the action, its reference and its nominal range, in the space that is shown."""
    columns: list[Any] = [None if part is None else part[:, index] for part in shown]
    values_S, reference_S, bounds = columns
    low, high = sorted(map(float, bounds))
    return Curve(label, colour, values_S, reference_S, np.abs(model[0][:, index]) > 1, (low, high))


def predicted_actions(rollouts: Sequence[Rollout]) -> np.ndarray | None:
    """Return what two samples or more predicted, float32 `[N, K, T, D]` in model space.

    None where there are fewer, or where nothing was predicted: given actions are the same in every sample.
    Raises: `OutputError` where an array is wrong, or where the samples are not of one shape.
    """
    if len(rollouts) < 2 or all(rollout.action is None for rollout in rollouts):
        return None
    actions_KTD = [check_action(f"action of sample {i}", r.action, r.space) for i, r in enumerate(rollouts)]
    shapes = sorted({action_KTD.shape for action_KTD in actions_KTD})
    if len(shapes) > 1:
        raise OutputError(f"the actions have shapes {shapes}: samples of one job have the same.")
    return np.stack(actions_KTD)


def spread_rows(rollouts: Sequence[Rollout]) -> list[list[Panel]]:
    """Return the panels of `panel_rows`, each curve the mean of its samples with the samples themselves in it.

    The values are decoded first and averaged then, so that mean and deviation have the panel's unit.
    """
    by_sample = [panel_rows(rollout) for rollout in rollouts]
    return [
        [
            replace(panels[0], curves=tuple(_mean(curves) for curves in zip(*(p.curves for p in panels), strict=True)))
            for panels in zip(*rows, strict=True)
        ]
        for rows in zip(*by_sample, strict=True)
    ]


def _mean(samples: Sequence[Curve]) -> Curve:
    """Return the mean; what lies beyond model space is ringed on the sample that went there, never on the mean."""
    values_NS = np.stack([curve.values_S for curve in samples]).astype(np.float64)
    mean_S = values_NS.mean(axis=0)
    return replace(
        samples[0],
        values_S=mean_S,
        beyond_S=np.zeros(len(mean_S), bool),
        deviation_S=values_NS.std(axis=0, ddof=1),
        samples=tuple(samples),
    )


def _unit(column: Column, space: ActionSpace | None, *, physical: bool) -> str:
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
