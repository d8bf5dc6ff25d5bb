"""The six hooks. Entry point group: `strands_diffusers`. Implement any of them, as a plain function, with `@hookimpl`.

Every hook is called once per process, before Hydra composes a config, so a plugin's module must import in milliseconds.
"""

from collections.abc import Iterable

import pluggy

from strands_diffusers.plugin.base import Metric, Serializer, Source, Tracker, Visualizer

PROJECT = "strands_diffusers"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook it is named after."""


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
def register_configs() -> Iterable[str]:  # type: ignore[empty-body]
    """Return `pkg://` paths of config folders (`pkg://my_package.conf`): models, domains, experiments of the plugin."""
