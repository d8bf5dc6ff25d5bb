"""The action curves of the page: those of `timeseries.png`, as numbers rounded for drawing.

S steps of all chunks, one after the other; D action width.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from strands_diffusers import jsonfile
from strands_diffusers.errors import OutputError, StrandsDiffusersError, one_line
from strands_diffusers.observations.rollouts import read_episode
from strands_diffusers.outputs.panels import Panel, panel_rows
from strands_diffusers.records import MANIFEST, Record, SampleRecord
from strands_diffusers.results import Rollout

_DIGITS = 4
"""Significant digits of a number that is drawn: a thousandth of the axis is below a pixel. `action.json` is exact."""


@dataclass
class Drawings:
    """Curves of many samples, with what they share (titles, units, colours, true actions) held once."""

    layouts: list[dict[str, Any]] = field(default_factory=list)
    """`{panels: [{title, unit, kind, curves: [{label, colour, low, high}]}], chunk}`; low and high are what -1 and 1
    in model space stand for."""

    truths: list[list[list[float]]] = field(default_factory=list)
    """The observation's own actions, `[curves][S]` each."""

    def add(self, record: Record, sample: SampleRecord, notes: list[str]) -> dict[str, Any] | None:
        """Return `{layout, values, beyond, given, truth}` of the actions that a sample predicted, or else was given.

        `values` are `[curves][S]` in the order of the layout; `beyond` `[curve, step]` of every value outside -1 to 1 in
        model space; `given` marks actions that drove the video; `truth` is the place of the reference in `truths`, or
        None. None where there are no actions; where they are damaged `notes` says so.
        """
        path = record.file("action", sample, "action.json")
        where = f"{record.name}/{path.name}" if path else f"{record.name}/{MANIFEST}: given_action"
        try:
            if path is not None:
                rows = jsonfile.read_json(path, where, OutputError)
            elif sample.given_action is not None:
                rows = sample.given_action
            else:
                return None
            action_KTD = np.array(rows, dtype=np.float32)
            true_KTD = None if path is None else _like(sample.reference_action, action_KTD)
            episode = read_episode(record, sample)
            rollout = Rollout("", action=action_KTD, reference_action=true_KTD, space=sample.space, episode=episode)
            panels = self._panels(rollout, where, notes)
        except (ValueError, TypeError, OverflowError) as error:
            notes.append(f"{where} holds no action chunks ({one_line(error, 80)}): its curves are not drawn.")
            return None
        except StrandsDiffusersError as error:
            notes.append(f"{where} is not drawn: {one_line(error, 200)}")
            return None
        layout = {"panels": [_layout(panel) for panel in panels], "chunk": action_KTD.shape[1]}
        curves = [curve for panel in panels for curve in panel.curves]
        truth = [] if episode else [_rounded(c.reference_S) for c in curves if c.reference_S is not None]
        return {
            "layout": _place(self.layouts, layout),
            "values": [_rounded(curve.values_S) for curve in curves],
            "beyond": [[row, int(step)] for row, curve in enumerate(curves) for step in np.flatnonzero(curve.beyond_S)],
            "given": path is None,
            "truth": _place(self.truths, truth) if truth else None,
        }

    def _panels(self, rollout: Rollout, where: str, notes: list[str]) -> list[Panel]:
        """The panels; in model space where what decodes them is not here any more (statistics of one's own)."""
        try:
            found = [panel for row in panel_rows(rollout) for panel in row]
            return [panel for panel in found if panel.kind != "score" or np.isfinite(panel.curves[0].values_S).all()]
        except StrandsDiffusersError as error:
            if not rollout.space or not (rollout.space.statistics or rollout.space.pixel_map):
                raise
            plain = replace(rollout, space=replace(rollout.space, statistics=None, pixel_map=False))
            panels = [panel for row in panel_rows(plain) for panel in row]
            notes.append(f"{where} is drawn in model space: {one_line(error, 200)}")
            return panels


def _like(rows: Any, action_KTD: np.ndarray) -> np.ndarray | None:
    """The reference, where it is of the action's shape."""
    true_KTD = None if rows is None else np.array(rows, dtype=np.float32)
    return true_KTD if true_KTD is not None and true_KTD.shape == action_KTD.shape else None


def _place(held: list[Any], item: Any) -> int:
    if item not in held:
        held.append(item)
    return held.index(item)


def _layout(panel: Panel) -> dict[str, Any]:
    curves = [
        {"label": c.label, "colour": c.colour, "low": rounded(c.nominal[0]), "high": rounded(c.nominal[1])}
        for c in panel.curves
    ]
    return {"title": panel.title, "unit": panel.unit, "kind": panel.kind, "curves": curves}


def _rounded(values_S: np.ndarray) -> list[float]:
    return [rounded(value) for value in values_S]


def rounded(value: float) -> float | int:
    """A number with the digits that are drawn."""
    number = float(f"{value:.{_DIGITS}g}")
    return int(number) if number.is_integer() else number
