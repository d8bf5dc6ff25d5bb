"""Load the plugins once per process and index what they register.

Built-ins are named as strings and come through the same hooks as everybody else's. A third-party plugin is all or
nothing: one that fails to import, names an unknown hook, takes a taken name or returns something that is not a proper
class is left out whole, with one warning that names it and the fix. It never takes the command down, whatever it
raises; only a process that it ends (`os._exit`) or an import that never returns is beyond help.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import pluggy

from strands_diffusers import records
from strands_diffusers.errors import PluginError, StrandsDiffusersError, near_miss
from strands_diffusers.plugin import acting, base, checks, engine, guard, spec
from strands_diffusers.plugin.base import Command, Measure, Tracker

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "strands_diffusers"
DISABLE_VARIABLE = "STRANDS_DIFFUSERS_DISABLE"

BUILT_INS = (
    "strands_diffusers.observations",
    "strands_diffusers.outputs.serializers",
    "strands_diffusers.outputs.timeseries",
    "strands_diffusers.outputs.trajectory",
    "strands_diffusers.outputs.animation",
    "strands_diffusers.outputs.comparison",
    "strands_diffusers.outputs.proposals",
    "strands_diffusers.metrics",
    "strands_diffusers.policies",
    "strands_diffusers.worlds",
    "strands_diffusers.scores",
    "strands_diffusers.evaluation.verdicts",
    "strands_diffusers.trackers.wandb",
    "strands_diffusers.trackers.none",
)

HOOKS: dict[str, tuple[str, type | None]] = {
    "register_serializers": ("output", base.Serializer),
    "register_visualizers": ("visualizer", base.Visualizer),
    "register_metrics": ("metric", base.Metric),
    "register_trackers": ("tracker", base.Tracker),
    "register_sources": ("source", base.Source),
    "register_engines": ("engine", engine.Engine),
    "register_policies": ("policy", acting.Policy),
    "register_worlds": ("world", acting.World),
    "register_scores": ("score", acting.Score),
    "register_configs": ("config", None),
    "register_verdicts": ("verdict", base.Verdict),
    "register_panels": ("panel", base.Panel),
    "register_commands": ("command", None),
}
"""Each hook that registers something, with its group (of Hydra, for those with a `Config`) and the base class."""

LIFECYCLE = ("on_job_start", "on_job_end", "on_sweep_end")
"""The hooks that `PluginIndex.notify` calls."""


@dataclass(frozen=True)
class Registration:
    """One thing that one plugin registered."""

    hook: str
    group: str
    name: str
    plugin: str
    value: Any
    """The class, for `register_configs` the `pkg://` path, for `register_commands` the `Command`."""

    @property
    def summary(self) -> str:
        """The first line of the class's docstring, or a command's help."""
        if isinstance(self.value, Command):
            return self.value.help
        return (inspect.getdoc(self.value) or "").split("\n", 1)[0] if inspect.isclass(self.value) else str(self.value)


@dataclass(frozen=True)
class LeftOut:
    """A plugin that was left out, and why."""

    plugin: str
    message: str


def _hooks() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(spec.PROJECT)
    manager.add_hookspecs(spec)
    return manager


@dataclass
class PluginIndex:
    """What all plugins registered, in order, and which were left out."""

    registrations: list[Registration] = field(default_factory=list)
    problems: list[LeftOut] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    hooks: pluggy.PluginManager = field(default_factory=_hooks)
    """pluggy's manager, with every loaded plugin."""

    distributions: list[importlib.metadata.Distribution] = field(default_factory=list)
    """Where the loaded third-party plugins come from."""

    @property
    def versions(self) -> dict[str, str]:
        """Distribution and version of every loaded third-party plugin."""
        return {d.name: d.version for d in self.distributions}

    @property
    def commands(self) -> dict[str, Command]:
        """The plugins' verbs by name."""
        return {r.name: r.value for r in self.registrations if r.group == "command"}

    def classes(self, group: str) -> dict[str, type[Any]]:
        """The classes of one group (`output`, `visualizer`, `metric`, `tracker`, `source`, ...) by name."""
        return {r.name: r.value for r in self.registrations if r.group == group and inspect.isclass(r.value)}

    def call(self, hook: str, plugin: Any, **arguments: Any) -> list[Any]:
        """What one plugin's implementations of a hook return, called through pluggy."""
        others = [other for other in self.hooks.get_plugins() if other is not plugin]
        return self.hooks.subset_hook_caller(hook, others)(**arguments)  # type: ignore[no-any-return]

    def notify(self, hook: str, *, limit_s: float | None = guard.LIMIT_S, **arguments: Any) -> list[records.Problem]:
        """Call `hook` (`on_job_start`, `on_job_end`, `on_sweep_end`) of every plugin, in pluggy's order.

        Each plugin may take `limit_s` seconds (None: as long as it wants). Returns a problem for each that failed.
        """
        problems = []
        for name in self.called_at(hook):
            call = functools.partial(self.call, hook, self.hooks.get_plugin(name), **arguments)
            try:
                guard.run(name, hook, call, limit_s)
            except StrandsDiffusersError as error:
                problems.append(records.Problem(f"{hook} of plugin {name}", guard.text(error)))
        return problems

    def called_at(self, hook: str) -> list[str]:
        """The plugins that a lifecycle hook calls, in the order of the calls."""
        return [impl.plugin_name for impl in reversed(getattr(self.hooks.hook, hook).get_hookimpls())]

    @property
    def measures(self) -> dict[tuple[str, str], Measure]:
        """What every value of every metric is, by `(metric, value)`, in the order in which they are declared."""
        metrics = self.classes("metric").items()
        return {(name, value): measure for name, metric in metrics for value, measure in metric.measures.items()}

    @property
    def config_paths(self) -> list[tuple[str, str]]:
        """`(plugin, pkg:// path)` of every config folder."""
        return [(r.plugin, r.value) for r in self.registrations if r.hook == "register_configs"]

    def find(self, group: str, name: str, key: str = "") -> type[Any]:
        """The class `name` of `group`; `PluginError` listing what there is. `key`: where it was typed, if not as the group."""
        known = self.classes(group)
        if name not in known:
            where = f"{key}={name}: " if key else ""
            listed = f"there are {', '.join(known)}.{near_miss(name, known)}"
            raise PluginError(f"{where}no {group} is called {name!r}; {listed}")
        return known[name]

    def owner(self, value: Any) -> str:
        """The third-party plugin that registered `value`, a class or a `Command`; empty for a built-in."""
        found = next((r.plugin for r in self.registrations if r.value is value), "")
        return "" if f"strands_diffusers.{found}" in BUILT_INS else found

    def make(self, cls: type[Any], config: Any = None) -> Any:
        """An object of a registered class with its options. Raises: `PluginError` where a plugin's cannot be made."""
        if not (owner := self.owner(cls)):
            return cls(config)
        try:
            return guard.run(owner, cls.__name__, lambda: cls(config))
        except guard.PluginFault as fault:
            raise PluginError(f"{cls.__name__} of plugin {owner} cannot be made: {fault.error}.") from fault.__cause__

    def chosen(self, group: str, options: Mapping[str, Any]) -> list[Any]:
        """The objects that a group's choices name, each with its options."""
        return [self.make(self.find(group, name), config) for name, config in options.items()]

    def tracker(self, options: Any) -> Tracker:
        """The tracker that has these options."""
        for cls in self.classes("tracker").values():
            if type(options) is cls.Config:
                return self.make(cls, options)  # type: ignore[no-any-return]
        raise PluginError(f"no tracker has the config {type(options).__name__}.")

    def sources(self, options: Mapping[str, Any]) -> dict[str, guard.GuardedSource]:
        """The observation sources by scheme, guarded; one that cannot be made is left out with a warning."""
        found = {}
        for scheme, cls in self.classes("source").items():
            try:
                found[scheme] = guard.GuardedSource(self.owner(cls), self.make(cls, options.get(scheme)))
            except PluginError as error:
                log.warning("%s", error)
        return found


def _implementations(manager: pluggy.PluginManager, module: Any, plugin: str) -> ModuleType:
    """The module's hook implementations.

    Raises: `PluginError` for a function marked as a hook that does not exist, and for other arguments than the hook's.
    """
    found = ModuleType(plugin)
    known = (*HOOKS, *LIFECYCLE)
    if manager.has_plugin(plugin):
        raise PluginError("another plugin has the same name; one of the two must be uninstalled.")
    functions = (
        [n for n, v in vars(module).items() if isinstance(v, FunctionType)] if inspect.ismodule(module) else None
    )
    for name in dir(module) if functions is None else functions:  # pluggy looks at each name for long
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            continue
        function, hook = getattr(module, name), options.get("specname") or name
        if hook not in known:
            raise PluginError(f"{hook}() is not a hook; the hooks are {', '.join(known)}.{near_miss(hook, known)}")
        allowed = [*inspect.signature(getattr(spec, hook)).parameters]
        if unknown := [a for a in inspect.signature(function).parameters if a not in allowed]:
            takes = f"takes {', '.join(allowed)}" if allowed else "takes no arguments"
            raise PluginError(f"{hook}() {takes}, not {', '.join(unknown)}.")
        if options["hookwrapper"] or options["wrapper"]:
            raise PluginError(f"{hook}() is a wrapper, and each plugin is called by itself. Use tryfirst or trylast.")
        setattr(found, name, function)
    return found


def _collect(index: PluginIndex, implementations: Any, plugin: str) -> list[Registration]:
    """Call the plugin's own hooks and return its registrations, each checked."""
    found: list[Registration] = []
    taken = {(r.group, r.name): r.plugin for r in index.registrations}
    own = {caller.name for caller in index.hooks.get_hookcallers(implementations) or ()}
    for hook, (group, kind) in HOOKS.items():
        if hook not in own:
            continue
        try:
            returned = reversed(index.call(hook, implementations))
            values: list[Any] = [value for each in returned for value in guard.listed(each, object)]
        except guard.Wrong as error:
            raise PluginError(f"{hook} {error}.") from error
        for value in values:
            name = checks.name_of(value, hook, group, kind)
            if (group, name) in taken and group != "config":
                what = "the command" if kind is None else value.__name__
                raise PluginError(f"{group}={name} is taken by {taken[group, name]}; give {what} another name.")
            taken[group, name] = plugin
            found.append(Registration(hook, group, name, plugin, value))
    return found


def build_index(
    plugins: Iterable[tuple[str, Any]], *, strict: bool = False, index: PluginIndex | None = None
) -> PluginIndex:
    """Index `(name, module or loader)` pairs in order. `strict` (the built-ins) lets a fault through: it is our own."""
    index = index or PluginIndex()
    for name, plugin in plugins:
        add = functools.partial(_add, index, name, plugin)
        try:
            # In a thread of its own, a plugin's `KeyboardInterrupt` is not the user's Ctrl-C.
            add() if strict else guard.run(name, f"plugin {name}", add, None)
        except StrandsDiffusersError as error:
            if strict:
                raise
            index.problems.append(LeftOut(name, guard.text(error).removeprefix("PluginError: ")))
    return index


def _add(index: PluginIndex, name: str, plugin: Any) -> None:
    """Load one plugin and index what it registers, all of it or nothing. Raises: whatever is wrong with it."""
    module = plugin if isinstance(plugin, ModuleType) or not callable(plugin) else plugin()
    checks.check_api(module)
    implementations = _implementations(index.hooks, module, name)
    index.hooks.register(implementations, name=name)
    try:
        index.registrations += _collect(index, implementations, name)
    except BaseException:
        index.hooks.unregister(implementations)
        raise


_lock = threading.Lock()


def plugins() -> PluginIndex:
    """The index of this process: built-ins, then entry points by name. Loaded once; thread safe.

    Each plugin that had to be left out is named in a warning, by the first process of a command.
    """
    with _lock:
        return _load()


def built_ins() -> PluginIndex:
    """An index of the built-ins alone."""
    loaders = [(n.removeprefix("strands_diffusers."), functools.partial(importlib.import_module, n)) for n in BUILT_INS]
    return build_index(loaders, strict=True)


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """As `importlib.metadata.entry_points`, which parses those of every installed package: half the time."""
    found: dict[tuple[str, str], importlib.metadata.EntryPoint] = {}
    for package in importlib.metadata.distributions():
        if f"[{ENTRY_POINT_GROUP}]" in (package.read_text("entry_points.txt") or ""):
            for entry in package.entry_points.select(group=ENTRY_POINT_GROUP):
                found.setdefault((package.name, entry.name), entry)  # the first on the path hides another of its name
    return list(found.values())


@functools.cache
def _load() -> PluginIndex:
    index = built_ins()
    disabled = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()}
    entries = sorted(_entry_points(), key=lambda entry: entry.name)
    index.disabled = [entry.name for entry in entries if entry.name in disabled]
    build_index([(e.name, e.load) for e in entries if e.name not in disabled], index=index)
    index.distributions = [e.dist for e in entries if e.dist and index.hooks.has_plugin(e.name)]
    processes = sys.modules.get("multiprocessing.process")  # loaded in every worker, and slow to load elsewhere
    if processes is None or processes.parent_process() is None:
        for problem in index.problems:
            log.warning("plugin %s was left out: %s", problem.plugin, problem.message)
    return index


def forget() -> None:
    """Load again at the next call; for tests that install a plugin."""
    _load.cache_clear()
