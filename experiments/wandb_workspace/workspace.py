"""The panels as a workspace of `wandb-workspaces`, which is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from experiments.wandb_workspace.panels import Panel, Section

MAX_RUNS = 100
"""Runs that a panel shows at once; W&B's own default of 10 would hide most of a sweep."""


def build(
    sections: Sequence[Section], *, entity: str, project: str, name: str, sweep: str | None = None
) -> ws.Workspace:
    """Return the workspace, not saved yet: runs sorted by prompt, then seed; of one sweep where `sweep` names it."""
    order = [ws.Ordering(ws.Config(key), ascending=True) for key in ("prompt", "seed")]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[_section(section) for section in sections],
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS, smoothing_type="none"),  # 16 steps are no noise to smooth
        runset_settings=ws.RunsetSettings(
            order=order,
            filters=[ws.Metric("Group") == sweep] if sweep else [],
            pinned_columns=["config:prompt", "config:seed", "summary:status", "summary:error"],
        ),
    )


def spec_json(workspace: ws.Workspace) -> str:
    """Return what `workspace.save()` would send."""
    return str(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2))


def _section(section: Section) -> ws.Section:
    return ws.Section(
        name=section.name,
        panels=[_panel(panel, 24 // section.columns) for panel in section.panels],
        is_open=section.is_open,
        layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=max(2, section.columns)),
    )


def _panel(panel: Panel, width: int) -> Any:
    layout = wr.Layout(w=width, h=8)
    keys = list(panel.keys)
    match panel.kind:
        case "media":
            columns = 4 if width == 24 else 2
            axis = {"mode": "gallery", "gallery_axis": "run"}  # side by side in the order of the runs
            return wr.MediaBrowser(title=panel.title, media_keys=keys, num_columns=columns, layout=layout, **axis)
        case "curves":
            return wr.LinePlot(title=panel.title, x="action/step", y=keys, layout=layout, max_runs_to_show=MAX_RUNS)
        case "bars":
            return wr.BarPlot(title=panel.title, metrics=keys, layout=layout, max_runs_to_show=MAX_RUNS)
        case "table":
            return wr.WeavePanelSummaryTable(table_name=keys[0], layout=layout)
        case "differences":
            return wr.RunComparer(diff_only="split", layout=layout)
