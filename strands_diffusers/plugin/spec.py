"""The hooks. Entry point group: `strands_diffusers`. Implement any of them, as a plain function, with `@hookimpl`.

The `register_` hooks are called once per process, before a config is composed, so a plugin's module must import in
milliseconds. The `on_` hooks are called as things happen, in pluggy's order (`tryfirst`, `trylast`), each plugin
by itself; what they raise is reported as a problem and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from strands_diffusers.plugin.acting import Policy, Score, World
from strands_diffusers.plugin.base import (
    Command,
    Metric,
    Panel,
    Serializer,
    Source,
    Tracker,
    Verdict,
    Visualizer,
)
from strands_diffusers.plugin.engine import Engine
from strands_diffusers.results import RunInfo

if TYPE_CHECKING:
    from strands_diffusers.records import Record

API = 1
"""Version of this interface. A plugin may name the one that it is written for: `STRANDS_DIFFUSERS_API = 1`."""

PROJECT = "strands_diffusers"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook it is named after, or of `specname=`."""


@hookspec
def register_serializers() -> Iterable[type[Serializer]]:  # type: ignore[empty-body]
    """Return `Serializer` classes. Each becomes the Hydra choice `output=[<name>]`, typed by its `Config`.
    Several may serve one output type; only a name that is taken is an error, naming both plugins.
    """


@hookspec
def register_visualizers() -> Iterable[type[Visualizer]]:  # type: ignore[empty-body]
    """Return `Visualizer` classes. Each becomes the Hydra choice `visualizer=[<name>]`, typed by its `Config`."""


@hookspec
def register_metrics() -> Iterable[type[Metric]]:  # type: ignore[empty-body]
    """Return `Metric` classes. Each becomes the Hydra choice `metric=[<name>]`, typed by its `Config`."""


@hookspec
def register_trackers() -> Iterable[type[Tracker]]:  # type: ignore[empty-body]
    """Return `Tracker` classes. Each becomes the Hydra choice `tracker=<name>`, typed by its `Config`."""


@hookspec
def register_sources() -> Iterable[type[Source]]:  # type: ignore[empty-body]
    """Return `Source` classes. Each serves `observation=<scheme>:...`; its options are `source.<scheme>.*`."""


@hookspec
def register_engines() -> Iterable[type[Engine]]:  # type: ignore[empty-body]
    """Return `Engine` classes. Each becomes the Hydra choice `engine=<name>`, typed by its `Config`."""


@hookspec
def register_policies() -> Iterable[type[Policy]]:  # type: ignore[empty-body]
    """Return `Policy` classes. Each becomes the Hydra choice `policy=<name>`, typed by its `Config`."""


@hookspec
def register_worlds() -> Iterable[type[World]]:  # type: ignore[empty-body]
    """Return `World` classes. Each becomes the Hydra choice `world=<name>`, typed by its `Config`."""


@hookspec
def register_scores() -> Iterable[type[Score]]:  # type: ignore[empty-body]
    """Return `Score` classes. Each becomes the Hydra choice `score=[<name>]`, typed by its `Config`."""


@hookspec
def register_configs() -> Iterable[str]:  # type: ignore[empty-body]
    """Return `pkg://` paths of config folders (`pkg://my_package.conf`): models, domains, experiments of the plugin."""


@hookspec
def register_verdicts() -> Iterable[type[Verdict]]:  # type: ignore[empty-body]
    """Return `Verdict` classes. Each can be asked for by `sweep.verdict=<name>`."""


@hookspec
def register_panels() -> Iterable[type[Panel]]:  # type: ignore[empty-body]
    """Return `Panel` classes. Each is a block of every report page that it has something to show on."""


@hookspec
def register_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Return `Command`s. Each is a verb of `strands-diffusers`."""


@hookspec
def on_job_start(job: RunInfo) -> None:
    """Called before a job generates anything, in the process that runs it."""


@hookspec
def on_job_end(record: Record) -> None:
    """Called with the `Record` of a job that ended, done or failed, once it is on disk."""


@hookspec
def on_sweep_end(directory: Path, records: Sequence[Record]) -> None:
    """Called once all jobs of a sweep have ended, with its folder and the `Record` of each job in it."""
