"""Load the plugins once per process and index what they register.

Built-ins are named as strings and come through the same six hooks as everybody else's. A third-party plugin is all or
nothing: one that fails to import, names an unknown hook, takes a taken name or returns something that is not a proper
class is left out whole, with one line that names it and the fix. It never takes the command down.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from strands_diffusers.errors import PluginError, near_miss, one_line
from strands_diffusers.plugin import spec
from strands_diffusers.plugin.base import Metric, Serializer, Source, Tracker, Visualizer
from strands_diffusers.results import OUTPUT_TYPES

ENTRY_POINT_GROUP = "strands_diffusers"
DISABLE_VARIABLE = "STRANDS_DIFFUSERS_DISABLE"

BUILT_INS = (
    "strands_diffusers.observations.files",
    "strands_diffusers.observations.samples",
    "strands_diffusers.observations.runs",
    "strands_diffusers.observations.https",
    "strands_diffusers.outputs.video",
    "strands_diffusers.outputs.sound",
    "strands_diffusers.outputs.action",
    "strands_diffusers.outputs.image",
    "strands_diffusers.outputs.mesh",
    "strands_diffusers.outputs.timeseries",
    "strands_diffusers.outputs.trajectory",
    "strands_diffusers.outputs.animation",
    "strands_diffusers.outputs.comparison",
    "strands_diffusers.metrics.video",
    "strands_diffusers.metrics.action",
    "strands_diffusers.trackers.wandb",
    "strands_diffusers.trackers.none",
)

HOOKS: dict[str, tuple[str, type | None]] = {
    "register_serializers": ("output", Serializer),
    "register_visualizers": ("visualizer", Visualizer),
    "register_metrics": ("metric", Metric),
    "register_trackers": ("tracker", Tracker),
    "register_sources": ("source", Source),
    "register_configs": ("config", None),
}
"""Each hook with the Hydra group that its classes become choices of, and their base class."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Registration:
    """One thing that one plugin registered."""

    hook: str
    group: str
    name: str
    plugin: str
    value: Any
    """The class, or for `register_configs` the `pkg://` path."""

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(self.value) or "").split("\n", 1)[0] if inspect.isclass(self.value) else str(self.value)


@dataclass(frozen=True)
class Problem:
    """A plugin that was left out, and why."""

    plugin: str
    message: str


@dataclass
class PluginIndex:
    """What all plugins registered, in order, and which were left out."""

    registrations: list[Registration] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)

    def classes(self, group: str) -> dict[str, type[Any]]:
        """The classes of one group (`output`, `visualizer`, `metric`, `tracker`, `source`) by name."""
        return {r.name: r.value for r in self.registrations if r.group == group and inspect.isclass(r.value)}

    @property
    def config_paths(self) -> list[tuple[str, str]]:
        """`(plugin, pkg:// path)` of every config folder."""
        return [(r.plugin, r.value) for r in self.registrations if r.hook == "register_configs"]

    def find(self, group: str, name: str) -> type[Any]:
        """The class `name` of `group`; `PluginError` listing what there is."""
        known = self.classes(group)
        if name not in known:
            raise PluginError(f"no {group} is called {name!r}; there are {', '.join(known)}.{near_miss(name, known)}")
        return known[name]


def _check_class(cls: Any, base: type, hook: str) -> None:
    """Raise `PluginError` unless `cls` is a complete, concrete subclass of `base`."""
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise PluginError(f"{hook} returned {cls!r}; it must return subclasses of strands_diffusers.{base.__name__}.")
    where = f"{hook} returned {cls.__name__}"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"{where}, which does not define {', '.join(missing)}().")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise PluginError(f"{where} with name={name!r}; give it a class attribute `name` of a-z, 0-9 and _.")
    if not (cls.__doc__ or "").strip():
        raise PluginError(f"{where} without a docstring; its first line is what `strands-diffusers plugins` shows.")
    expected: type = vars(base)["Config"]
    own: Any = getattr(cls, "Config", None)
    if not (inspect.isclass(own) and dataclasses.is_dataclass(own) and issubclass(own, expected)):
        raise PluginError(f"{where}, whose Config is not a dataclass derived from {base.__name__}.Config.")
    if issubclass(base, Serializer | Visualizer | Metric):
        types = getattr(cls, "output_types", None)
        allowed = (*OUTPUT_TYPES, "rollout")
        if not isinstance(types, tuple) or not types or not set(types) <= set(allowed):
            raise PluginError(f"{where} with output_types={types!r}; use a tuple of {', '.join(allowed)}.")
    if issubclass(base, Metric) and not isinstance(getattr(cls, "measures", None), Mapping):
        raise PluginError(f"{where} without `measures`, a mapping from each value's name to a Measure.")


def _check_hooks(manager: pluggy.PluginManager, module: Any) -> None:
    """Raise `PluginError` for a function marked as a hook that does not exist: pluggy itself stays silent."""
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        if hook not in HOOKS:
            raise PluginError(f"{hook}() is not a hook; the hooks are {', '.join(HOOKS)}.{near_miss(hook, HOOKS)}")
        if inspect.signature(getattr(module, name)).parameters:
            raise PluginError(f"{hook}() takes no arguments.")


def _collect(module: Any, plugin: str, taken: Mapping[tuple[str, str], str]) -> list[Registration]:
    """Call the module's hooks and return its registrations, each checked."""
    found: list[Registration] = []
    own: dict[tuple[str, str], str] = {}
    for hook, (group, base) in HOOKS.items():
        function = getattr(module, hook, None)
        if function is None or not hasattr(function, f"{spec.PROJECT}_impl"):
            continue
        for value in function() or ():
            if base is None:
                if not (isinstance(value, str) and value.startswith(("pkg://", "file://"))):
                    raise PluginError(
                        f"{hook} returned {value!r}; it must return pkg:// paths (pkg://my_package.conf)."
                    )
                found.append(Registration(hook, group, value, plugin, value))
                continue
            _check_class(value, base, hook)
            key = (group, value.name)
            if key in taken or key in own:
                owner = taken.get(key) or own[key]
                raise PluginError(f"{group}={value.name} is taken by {owner}; give {value.__name__} another name.")
            own[key] = plugin
            found.append(Registration(hook, group, value.name, plugin, value))
    return found


def build_index(
    plugins: Iterable[tuple[str, Any]], *, strict: bool = False, index: PluginIndex | None = None
) -> PluginIndex:
    """Index `(name, module or loader)` pairs in order. `strict` (the built-ins) lets a fault through: it is our own."""
    index = index or PluginIndex()
    manager = pluggy.PluginManager(spec.PROJECT)
    manager.add_hookspecs(spec)
    taken = {(r.group, r.name): r.plugin for r in index.registrations}
    for name, plugin in plugins:
        try:
            module = plugin if isinstance(plugin, ModuleType) or not callable(plugin) else plugin()
            _check_hooks(manager, module)
            found = _collect(module, name, taken)
            manager.register(module, name=name)
        except Exception as error:
            if strict:
                raise
            kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
            index.problems.append(Problem(name, f"{kind}{one_line(error)}"))
            continue
        index.registrations += found
        taken.update({(r.group, r.name): r.plugin for r in found})
    return index


_lock = threading.Lock()


def plugins() -> PluginIndex:
    """The index of this process: built-ins, then entry points by name. Loaded once; thread safe."""
    with _lock:
        return _load()


@functools.cache
def _load() -> PluginIndex:
    built_ins = [
        (name.removeprefix("strands_diffusers."), functools.partial(importlib.import_module, name))
        for name in BUILT_INS
    ]
    index = build_index(built_ins, strict=True)
    disabled = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()}
    entries = sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
    index.disabled = [entry.name for entry in entries if entry.name in disabled]
    return build_index([(e.name, e.load) for e in entries if e.name not in disabled], index=index)


def forget() -> None:
    """Load again at the next call; for tests that install a plugin."""
    _load.cache_clear()
