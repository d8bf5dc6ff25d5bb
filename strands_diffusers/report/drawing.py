"""The action curves of the page: those of `timeseries.png`, as numbers rounded for drawing.

S steps of all chunks, one after the other; D action width.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers.errors import StrandsDiffusersError, one_line
from strands_diffusers.outputs.panels import Panel, panel_rows
from strands_diffusers.results import ActionSpace, Rollout

_DIGITS = 4
"""Significant digits of a number that is drawn: a thousandth of the axis is below a pixel. `action.json` is exact."""


@dataclass
class Drawings:
    """Curves of many jobs, with what they share (titles, units, colours) held once."""

    layouts: list[dict[str, Any]] = field(default_factory=list)
    """`{panels: [{title, unit, kind, curves: [{label, colour, low, high}]}], chunk}`; low and high are what -1 and 1
    in model space stand for."""

    def add(self, path: Path, space: Mapping[str, Any] | None, notes: list[str]) -> dict[str, Any] | None:
        """Return the curves of an `action.json`, see `add_rows`. None, said in `notes`, where it is no action chunk."""
        where = f"{path.parent.name}/{path.name}"
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            notes.append(f"{where} cannot be read ({type(error).__name__}): its curves are not drawn.")
            return None
        return self.add_rows(rows, space, where, notes)

    def add_rows(
        self, rows: Any, space: Mapping[str, Any] | None, where: str, notes: list[str], *, given: bool = False
    ) -> dict[str, Any] | None:
        """Return `{layout, values, beyond, given}` of nested lists `[K][T][D]` in model space: values `[curves][S]` in the
        order of the layout, beyond `[curve, step]` of every value outside -1 to 1 in model space; `given` marks what
        drove the film, where other curves are what a model predicted. None, said in `notes`, where they are no action
        chunk; `where` names them there.
        """
        try:
            action_KTD = np.array(rows, dtype=np.float32)
        except (ValueError, TypeError) as error:
            notes.append(f"{where} cannot be read ({type(error).__name__}): its curves are not drawn.")
            return None
        rollout = Rollout("", action=action_KTD, space=ActionSpace(**space) if space else None)
        panels = self._panels(rollout, where, notes)
        if panels is None:
            return None
        layout = {"panels": [_layout(panel) for panel in panels], "chunk": action_KTD.shape[1]}
        if layout not in self.layouts:
            self.layouts.append(layout)
        curves = [curve for panel in panels for curve in panel.curves]
        beyond = [[row, int(step)] for row, curve in enumerate(curves) for step in np.flatnonzero(curve.beyond_S)]
        values = [[_rounded(value) for value in curve.values_S] for curve in curves]
        return {"layout": self.layouts.index(layout), "values": values, "beyond": beyond, "given": given}

    def _panels(self, rollout: Rollout, where: str, notes: list[str]) -> list[Panel] | None:
        """The panels; in model space where what decodes them is not here any more (statistics of one's own)."""
        try:
            return [panel for row in panel_rows(rollout) for panel in row]
        except StrandsDiffusersError as error:
            first = one_line(error, 200)
        if rollout.space and (rollout.space.statistics or rollout.space.pixel_map):
            plain = replace(rollout, space=replace(rollout.space, statistics=None, pixel_map=False))
            try:
                panels = [panel for row in panel_rows(plain) for panel in row]
            except StrandsDiffusersError:
                pass
            else:
                notes.append(f"{where} is drawn in model space: {first}")
                return panels
        notes.append(f"{where} is not drawn: {first}")
        return None


def _layout(panel: Panel) -> dict[str, Any]:
    curves = [
        {"label": c.label, "colour": c.colour, "low": _rounded(c.nominal[0]), "high": _rounded(c.nominal[1])}
        for c in panel.curves
    ]
    return {"title": panel.title, "unit": panel.unit, "kind": panel.kind, "curves": curves}


def _rounded(value: float) -> float | int:
    number = float(f"{value:.{_DIGITS}g}")
    return int(number) if number.is_integer() else number
