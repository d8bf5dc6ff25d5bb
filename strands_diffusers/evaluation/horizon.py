"""The error of predicted actions along the horizon, over the observations of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from strands_diffusers.evaluation.bootstrap import interval
from strands_diffusers.evaluation.stored import rollouts
from strands_diffusers.evaluation.tables import groups
from strands_diffusers.lazy import np
from strands_diffusers.outputs.horizon import MAX_CURVES, Curve, draw_horizon
from strands_diffusers.records import Record

PICTURE = "horizon.png"
_BANDED = 3
"""More curves than this would hide each other behind their bands."""


def curves(records: Sequence[Record]) -> list[Curve]:
    """The error of predicted actions at each step, a curve for each group, and that of the true mean action last.

    As in the tables, seeds are averaged first; bands are the 95 % intervals over observations, for up to three curves
    of 5 observations and more. Empty where no job predicted actions that a reference is known for. Every step that all
    observations of a curve have counts.
    """
    group_of = {record.directory: group for record, group in zip(records, groups(records), strict=True)}
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    baseline: dict[str, list[np.ndarray]] = {}
    for rollout in rollouts(records):
        if not rollout.sample.reference_action or not rollout.has("action"):
            continue
        true_TD = np.concatenate([np.asarray(chunk, np.float64) for chunk in rollout.sample.reference_action])
        rows_TD = rollout.actions()
        steps = min(len(rows_TD), len(true_TD))
        group = group_of[rollout.record.directory]
        label = " · ".join(group.values() if len(group) > 1 else map(" ".join, group.items())) or "predicted"
        error_T = np.abs(rows_TD[:steps] - true_TD[:steps]).mean(axis=1)
        errors.setdefault(label, {}).setdefault(rollout.source, []).append(error_T)
        baseline.setdefault(rollout.source, []).append(np.abs(true_TD.mean(axis=0) - true_TD).mean(axis=1))
    if not errors or len(errors) >= MAX_CURVES:
        return []
    found = [_curve(label, of, banded=len(errors) <= _BANDED) for label, of in errors.items()]
    return [*found, replace(_curve("the true actions' own mean", baseline, banded=False), baseline=True)]


def draw(directory: Path, found: Sequence[Curve]) -> Path:
    """Draw the curves to `horizon.png`."""
    line = "mean absolute error in model space, over observations"
    line += "; bands: 95 % intervals" if any(curve.band_T2 is not None for curve in found) else ""
    return draw_horizon(directory / PICTURE, found, "Error of the predicted actions along the horizon", line)


def _curve(label: str, by_observation: Mapping[str, list[np.ndarray]], *, banded: bool) -> Curve:
    steps = min(len(error_T) for errors in by_observation.values() for error_T in errors)
    error_OT = np.stack([np.mean([e[:steps] for e in errors], axis=0) for errors in by_observation.values()])
    bands = [interval(error_O) for error_O in error_OT.T] if banded else [None]
    band = None if None in bands else np.array(bands, np.float64)
    return Curve(label, error_OT.mean(axis=0), band)
