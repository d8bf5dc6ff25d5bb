"""Which panels the workspace shows, as plain data: the keys are those of `strands_diffusers/trackers/wandb.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from strands_diffusers import Measure, domains
from strands_diffusers.plugin.manager import plugins

PICTURES = {
    "plots/comparison": "Reference and rollout, side by side",
    "plots/animation": "Rollout with its action curves",
    "plots/timeseries": "Action curves",
    "plots/trajectory": "Path",
    "plots/spread": "Samples of one job: mean and spread",
}
"""Titles of what the built-in visualizers draw; the comparison needs a reference, the spread several samples."""

STAGES = {
    "Stages of a job": ("check", "load", "generate", "write", "tracker"),
    "Stages of the model call": ("encode", "text", "denoise", "decode", "convert", "pipeline"),
}
"""What `seconds/<stage>` times: the runner's stages, then the engine's (`pipeline` is eager's only one)."""

_ARROWS = {"higher": ", higher is better", "lower": ", lower is better", "neither": ""}


@dataclass(frozen=True)
class Panel:
    """One panel: what kind, its title, and the logged keys that it shows."""

    kind: Literal["media", "curves", "bars", "table", "differences"]
    title: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Panels under one heading, `columns` of them in a row."""

    name: str
    panels: tuple[Panel, ...]
    columns: int = 3
    is_open: bool = True


def sections(domain_names: Sequence[str]) -> list[Section]:
    """Return the sections for runs in these domains (short or diffusers' own names).

    Raises: `DomainError` for a name that no domain has.
    """
    pictures = tuple(Panel("media", title, (key,)) for key, title in PICTURES.items())
    timings = tuple(
        Panel("bars", f"{title} [s]", tuple(f"seconds/{stage}" for stage in stages)) for title, stages in STAGES.items()
    )
    return [
        Section("Videos", (Panel("media", "Videos, sorted by prompt and seed", ("video",)),), columns=1),
        Section("Pictures", pictures, columns=2),
        *(Section(f"Actions of {name}", action_panels(name)) for name in dict.fromkeys(map(_short, domain_names))),
        Section("Metrics", metric_panels({name: cls.measures for name, cls in plugins().classes("metric").items()})),
        Section("Timings", timings, columns=2),
        Section("Sweep", (Panel("table", "One row a job", ("sweep",)),), columns=1),
        Section("Config", (Panel("differences", "What differs between the runs"),), columns=1, is_open=False),
    ]


def action_panels(domain: str) -> tuple[Panel, ...]:
    """Return one panel per action column: what was predicted or given, and what was observed, in model space."""
    names = ("action", "given_action", "reference_action")
    columns = domains.get(domain).columns
    return tuple(Panel("curves", column.name, tuple(f"{name}/{column.name}" for name in names)) for column in columns)


def metric_panels(measures: Mapping[str, Mapping[str, Measure]]) -> tuple[Panel, ...]:
    """Return one panel per score of each metric, its baselines and parts (`psnr_repeat_first_frame`) beside it.

    Values of which neither direction is better (counts, shares) have no panel; the runs' table lists them.
    """
    panels = []
    for metric, values in measures.items():
        for name in _scores(values):
            of_one = tuple(f"metrics/{metric}.{key}" for key in values if key == name or key.startswith(f"{name}_"))
            measure = values[name]
            unit = f" [{measure.unit}]" if measure.unit else ""
            panels.append(Panel("bars", f"{metric} {name}{unit}{_ARROWS[measure.better]}", of_one))
    return tuple(panels)


def _scores(values: Mapping[str, Measure]) -> Iterable[str]:
    """The values worth a panel of their own: neither a baseline or part of another one, nor a mere count."""
    return (
        name
        for name, measure in values.items()
        if measure.better != "neither" and not any(name.startswith(f"{other}_") for other in values)
    )


def _short(name: str) -> str:
    return domains.get(name).short
