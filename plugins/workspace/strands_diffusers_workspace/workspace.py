"""The verb `wandb-workspace`: a saved view of a W&B project, with a panel for what rollouts of world models log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strands_diffusers import Measure, domains, plugins
from strands_diffusers.errors import StrandsDiffusersError, one_line

DEFAULT_PROJECT = "strands-diffusers"
TABLE, LINE, STEP = "action/table", "line", "step"
"""The project that `tracker=wandb` logs to, the table of actions that it logs, and its columns that are no action."""

MAX_RUNS = 100
"""Runs that a panel shows at once; W&B's own default of 10 would hide most of a sweep."""

PICTURES = {
    "observation": "What was seen",
    "reference": "What was true",
    "plots/comparison": "Reference and rollout, side by side",
    "plots/animation": "Rollout with its action curves",
    "plots/timeseries": "Action curves",
    "plots/trajectory": "Path",
    "plots/spread": "Samples of one job: mean and spread",
    "plots/grid": "Samples of one job, side by side",
}
"""Titles of what the built-in visualizers draw; the comparison needs a reference, the last two several samples."""

STAGES = {
    "Stages of a job": ("check", "load", "generate", "write", "record", "tracker"),
    "Stages of the model call": ("encode", "text", "denoise", "decode", "convert", "pipeline"),
}
"""What `seconds/<stage>` times: the runner's stages, then the engine's (`pipeline` is eager's only one)."""

_ARROWS = {"higher": ", higher is better", "lower": ", lower is better", "neither": ""}


@dataclass(frozen=True)
class Panel:
    """One panel: what kind, its title, and the logged keys (for `lines` the action column) that it shows."""

    kind: Literal["media", "lines", "bars", "table", "differences"]
    title: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Panels under one heading, `columns` of them in a row."""

    name: str
    panels: tuple[Panel, ...]
    columns: int = 3


def main(arguments: list[str]) -> int:
    """Save the view and write its address; with `--print` write what would be sent.

    Raises: `DomainError` for a domain that there is none of, `StrandsDiffusersError` where W&B refuses.
    """
    parser = argparse.ArgumentParser(prog="strands-diffusers wandb-workspace", description=__doc__)
    parser.add_argument("--entity", help="team or user (default: the account's own)")
    parser.add_argument("--project", default=DEFAULT_PROJECT)
    parser.add_argument("--name", default="World-model rollouts", help="the saved view's name")
    parser.add_argument("--domain", action="append", help="panels of this domain's actions; repeat it (default: pusht)")
    parser.add_argument("--sweep", help="only the runs of this W&B group, a sweep's (default: all runs)")
    parser.add_argument("--print", action="store_true", dest="show", help="write the specification, send nothing")
    options = parser.parse_args(arguments)
    chosen = sections(options.domain or ["pusht"])
    if options.show:
        workspace = build(chosen, options.entity or "", options)
        sys.stdout.write(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
        return 0
    import wandb

    try:
        entity = options.entity or wandb.Api().default_entity
        if not entity:
            raise StrandsDiffusersError("this W&B account has no default team or user. Type: --entity NAME")
        workspace = build(chosen, entity, options)
        workspace.save()
    except (wandb.Error, OSError) as error:
        raise StrandsDiffusersError(
            f"the workspace was not saved: {one_line(error)} (--print writes it without a network)"
        ) from error
    sys.stdout.write(f"{workspace.url}\n")
    return 0


def sections(domain_names: Sequence[str]) -> list[Section]:
    """The sections for runs in these domains (short or diffusers' own names). Raises: `DomainError`."""
    short = dict.fromkeys(domains.get(name).short for name in domain_names)
    pictures = tuple(Panel("media", title, (key,)) for key, title in PICTURES.items())
    timings = tuple(
        Panel("bars", f"{title} [s]", tuple(f"seconds/{stage}" for stage in stages)) for title, stages in STAGES.items()
    )
    return [
        Section("Videos", (Panel("media", "Videos, sorted by prompt and seed", ("video",)),), 1),
        Section("Pictures", pictures, 2),
        *(Section(f"Actions of {name}", action_panels(name)) for name in short),
        Section("Metrics", tuple(metric_panels(plugins().measures))),
        Section("Timings", timings, 2),
        Section("Samples", (Panel("table", "One row a sample", ("samples",)),), 1),
        Section("Sweep", (Panel("table", "One row a job", ("sweep",)),), 1),
        Section("Config", (Panel("differences", "What differs between the runs"),), 1),
    ]


def action_panels(domain: str) -> tuple[Panel, ...]:
    """One panel per action column: what was predicted or given, and what is true, in model space."""
    return tuple(Panel("lines", column.name, (column.name,)) for column in domains.get(domain).columns)


def metric_panels(measures: Mapping[tuple[str, str], Measure]) -> Iterator[Panel]:
    """One panel per score of each metric, its baselines and parts (`psnr_repeat_first_frame`) beside it.

    Values of which neither direction is better (counts, shares) have no panel; the runs' table lists them.
    """
    for (metric, name), measure in measures.items():
        values = [value for other, value in measures if other == metric]
        if measure.better != "neither" and not any(name.startswith(f"{other}_") for other in values):
            of_one = tuple(f"metrics/{metric}.{key}" for key in values if f"{key}_".startswith(f"{name}_"))
            unit = f" [{measure.unit}]" if measure.unit else ""
            yield Panel("bars", f"{metric} {name}{unit}{_ARROWS[measure.better]}", of_one)


def build(chosen: Sequence[Section], entity: str, options: argparse.Namespace) -> Any:
    """The workspace, not saved yet: runs sorted by prompt, then seed; of one sweep where `--sweep` names it."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def panel(each: Panel, width: int) -> Any:
        layout, keys = wr.Layout(w=width, h=8), list(each.keys)
        match each.kind:
            case "media":
                columns = 4 if width == 24 else 2
                axis = {"mode": "gallery", "gallery_axis": "run"}  # side by side in the order of the runs
                return wr.MediaBrowser(title=each.title, media_keys=keys, num_columns=columns, layout=layout, **axis)
            case "lines":
                fields = {"x": STEP, "y": keys[0], "stroke": LINE}
                chart = wr.CustomChart.from_table(TABLE, fields, {"title": each.title})
                chart.chart_name, chart.layout = "wandb/line/v0", layout
                return chart
            case "bars":
                return wr.BarPlot(title=each.title, metrics=keys, layout=layout, max_runs_to_show=MAX_RUNS)
            case "table":
                return wr.WeavePanelSummaryTable(table_name=keys[0], layout=layout)
            case _:
                return wr.RunComparer(diff_only="split", layout=layout)

    return ws.Workspace(
        entity=entity,
        project=options.project,
        name=options.name,
        sections=[
            ws.Section(
                name=section.name,
                panels=[panel(each, 24 // section.columns) for each in section.panels],
                is_open=section.name != "Config",
                layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=max(2, section.columns)),
            )
            for section in chosen
        ],
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(ws.Config(key), ascending=True) for key in ("prompt", "seed")],
            filters=[ws.Metric("Group") == options.sweep] if options.sweep else [],
            pinned_columns=["config:prompt", "config:seed", "summary:status", "summary:problems", "summary:error"],
        ),
    )
