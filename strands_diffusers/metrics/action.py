"""How close the predicted actions are to the true ones: in model space, and in metres and degrees where they decode.

Array suffixes: T steps of all chunks, one after the other; D action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from strands_diffusers import actions, domains
from strands_diffusers.actions.poses import Array
from strands_diffusers.errors import ActionError, OutputError
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Measure, Metric
from strands_diffusers.results import ActionSpace, Rollout

SCORED_MODES = ("policy", "inverse_dynamics")
"""Modes whose actions are a prediction; those of forward dynamics are given."""

BODIES = ("arm", "left_arm", "right_arm", "head", "camera", "left_wrist", "right_wrist", "ego")
"""Every pose group of the domains that we know. A domain with one body has no values of its own for it."""

_PER_BODY = {
    "translation_error": Measure("m", "lower", "Distance between predicted and true step, mean over steps and bodies."),
    "rotation_error": Measure(
        "deg", "lower", "Angle between predicted and true turn of a step, mean over steps and bodies."
    ),
    "ade": Measure("m", "lower", "Distance between the integrated paths, mean over time and bodies."),
    "fde": Measure("m", "lower", "Distance between the ends of the integrated paths, mean over bodies."),
}
_PIXELS = {
    "pixel_error": Measure("px", "lower", "Distance between predicted and true target, mean over steps."),
    "pixel_error_final": Measure("px", "lower", "Distance between predicted and true target at the last step."),
}


def _measures() -> dict[str, Measure]:
    model = {
        "mse": Measure("", "lower", "Mean squared error in model space; the official examples hold 0.05 for a pass."),
        "mae": Measure("", "lower", "Mean absolute error in model space."),
    }
    table = model | _PER_BODY | _PIXELS
    for name, measure in tuple(table.items()):
        table[f"{name}_no_motion"] = replace(
            measure, meaning=f"`{name}` of standing still: zero motion, grippers held.", baseline=True
        )
    for name, measure in model.items():
        meaning = f"`{name}` of the true actions' own mean, the best constant."
        table[f"{name}_mean_action"] = replace(measure, meaning=meaning, baseline=True)
    for name, measure in _PER_BODY.items():
        for body in BODIES:
            table[f"{name}_{body}"] = replace(measure, meaning=f"`{name}` of the {body.replace('_', ' ')} alone.")
    return table | {
        "gripper_accuracy": Measure("", "higher", "Share of steps with the gripper on the true side of half open."),
        "gripper_error": Measure("m", "lower", "Mean error of the opening, where the gripper is a width."),
        "out_of_range_share": Measure("", "neither", "Share of predicted values beyond -1 to 1; nothing is clipped."),
        "smoothness": Measure(
            "", "neither", "Mean size of the second difference over time, model space; 0 is a straight line."
        ),
        "smoothness_reference": Measure("", "neither", "The same for the true actions."),
        "steps": Measure("steps", "neither", "How many steps were compared."),
    }


class ActionMetric(Metric):
    """Errors of predicted actions against the true ones, in model space and physical units, beside trivial baselines.

    Policy and inverse dynamics are scored, over the steps that both have, chunks laid one after the other. The
    baselines are standing still (the identity of every pose, normalised, where the domain has statistics; grippers and
    targets stay as the first true row has them) and the mean of the true actions over the window, the best constant
    there is. Metres and degrees need the domain's statistics, pixels the embedded model's pixel map.

    Raises: `OutputError` when the reference has another width than the prediction.
    Source: the official examples hold an action MSE of 0.05 in model space for a pass.
    """

    name = "action"
    output_types = ("action",)
    measures: ClassVar[Mapping[str, Measure]] = _measures()

    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return the measures; without true actions only `out_of_range_share` and `smoothness`."""
        if rollout.mode not in SCORED_MODES or rollout.action is None:
            return {}
        predicted_TD = _rows(rollout.action)
        values = {"out_of_range_share": actions.out_of_range_share(rollout.action)}
        values |= _smoothness("smoothness", predicted_TD)
        if rollout.reference_action is None:
            return values
        predicted_TD, true_TD = _paired(predicted_TD, rollout.reference_action)
        values |= _smoothness("smoothness_reference", true_TD) | {"steps": float(len(true_TD))}
        values |= _model_space(predicted_TD, true_TD, "")
        values |= _model_space(np.broadcast_to(true_TD.mean(axis=0), true_TD.shape), true_TD, "_mean_action")
        still_TD = _no_motion(true_TD, rollout.space)
        if still_TD is not None:
            values |= _model_space(still_TD, true_TD, "_no_motion")
        if rollout.space is not None and actions.decodable(rollout.space):
            values |= _physical(predicted_TD, true_TD, rollout.space, "")
            if still_TD is not None:
                baseline = _physical(still_TD, true_TD, rollout.space, "_no_motion")
                values |= {name: value for name, value in baseline.items() if name in self.measures}
        return values


def _rows(action: np.ndarray) -> Array:
    return np.asarray(action, dtype=np.float64).reshape(-1, action.shape[-1])


def _paired(predicted_TD: Array, reference: np.ndarray) -> tuple[Array, Array]:
    true_TD = _rows(reference)
    if predicted_TD.shape[1] != true_TD.shape[1]:
        raise OutputError(
            f"the reference has {true_TD.shape[1]} action columns, the rollout {predicted_TD.shape[1]}: "
            "they belong to different domains."
        )
    count = min(len(predicted_TD), len(true_TD))
    return predicted_TD[:count], true_TD[:count]


def _model_space(candidate_TD: Array, true_TD: Array, suffix: str) -> dict[str, float]:
    error = candidate_TD - true_TD
    return {f"mse{suffix}": float(np.mean(error**2)), f"mae{suffix}": float(np.mean(np.abs(error)))}


def _smoothness(name: str, action_TD: Array) -> dict[str, float]:
    return {name: float(np.abs(np.diff(action_TD, n=2, axis=0)).mean())} if len(action_TD) > 2 else {}


def _no_motion(true_TD: Array, space: ActionSpace | None) -> Array | None:
    """Return the actions of standing still; None where the domain or its space does not say what that is."""
    if space is None or any(column.kind == "unknown" for column in domains.get(space.domain).columns):
        return None
    try:
        return np.broadcast_to(actions.no_motion(true_TD, space), true_TD.shape)
    except ActionError:  # its statistics are switched off
        return None


def _physical(candidate_TD: Array, true_TD: Array, space: ActionSpace, suffix: str) -> dict[str, float]:
    space = replace(space, gripper="open_is_1")  # the reader's polarity is no matter of error
    candidate, true = actions.to_physical(candidate_TD, space), actions.to_physical(true_TD, space)
    if space.pixel_map:
        distance_T = np.linalg.norm(candidate - true, axis=1)
        return {f"pixel_error{suffix}": float(distance_T.mean()), f"pixel_error_final{suffix}": float(distance_T[-1])}
    known = domains.get(space.domain)
    bodies = {pose.name: _body(candidate, true, pose.start) for pose in known.poses}
    values = {
        f"{name}{suffix}": float(np.mean([body[name] for body in bodies.values()])) for name in _PER_BODY if bodies
    }
    if len(bodies) > 1 and not suffix:
        values |= {f"{name}_{body}": value for body, found in bodies.items() for name, value in found.items()}
    if suffix:
        return values
    for unit, name in (("", "gripper_accuracy"), ("m", "gripper_error")):
        columns = [i for i, column in enumerate(known.columns) if column.kind == "gripper" and column.unit == unit]
        if columns and unit:
            values[name] = float(np.abs(candidate[:, columns] - true[:, columns]).mean())
        elif columns:
            values[name] = float(((candidate[:, columns] > 0.5) == (true[:, columns] > 0.5)).mean())
    return values


def _body(candidate: Array, true: Array, start: int) -> dict[str, float]:
    """Return the errors of one body, whose pose deltas begin at column `start`."""
    first, second = candidate[:, start : start + 9], true[:, start : start + 9]
    turn = actions.geodesic(actions.rot6d_to_matrix(first[:, 3:]), actions.rot6d_to_matrix(second[:, 3:]))
    apart_m = np.linalg.norm(actions.integrate(first)[1:, :3, 3] - actions.integrate(second)[1:, :3, 3], axis=1)
    return {
        "translation_error": float(np.linalg.norm(first[:, :3] - second[:, :3], axis=1).mean()),
        "rotation_error": float(np.rad2deg(turn).mean()),
        "ade": float(apart_m.mean()),
        "fde": float(apart_m[-1]),
    }
