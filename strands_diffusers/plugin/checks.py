"""What a plugin may register: one line that says what is wrong with anything else."""

import dataclasses
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from strands_diffusers.errors import PluginError, StrandsDiffusersError, one_line
from strands_diffusers.plugin import guard, spec
from strands_diffusers.plugin.acting import Score
from strands_diffusers.plugin.base import (
    Command,
    Configured,
    Measure,
    Metric,
    Named,
    Panel,
    Serializer,
    Source,
    Visualizer,
)
from strands_diffusers.results import OUTPUT_TYPES

BUILT_IN_VERBS = "strands_diffusers.cli.verbs:VERBS"
_NAME = re.compile(r"(?!(?:nan|inf|null|true|false)$)[a-z][a-z0-9_]*")  # those are no words in a Hydra override
_VERB = re.compile(r"[a-z][a-z0-9_-]*")


def name_of(value: Any, hook: str, group: str, base: type[Named] | None) -> str:
    """The name under which a hook's value is registered. Raises: `PluginError` for a value that cannot be."""
    if base is not None:
        _check_class(value, base, hook)
    elif group == "command":
        _check_command(value, hook)
    else:
        _check_folder(value, hook)
        return str(value)
    return str(value.name)


def _check_class(cls: Any, base: type[Named], hook: str) -> None:
    """Raise `PluginError` unless `cls` is a complete, concrete subclass of `base`."""
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise PluginError(
            f"{hook} returned {guard.shown(cls)}; it must return subclasses of strands_diffusers.{base.__name__}."
        )
    where = f"{hook} returned {cls.__name__}"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"{where}, which does not define {', '.join(missing)}().")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise PluginError(f"{where} with name={name!r}; give it a class attribute `name` of a-z, 0-9 and _.")
    if not (cls.__doc__ or "").strip() and sys.flags.optimize < 2:  # python -OO leaves no docstrings
        raise PluginError(f"{where} without a docstring; its first line is what `strands-diffusers plugins` shows.")
    if issubclass(base, Configured):
        _check_config(cls, base, where)
    if issubclass(base, Serializer | Visualizer | Metric):
        types = getattr(cls, "output_types", None)
        allowed = (*OUTPUT_TYPES, "rollout")
        if not isinstance(types, tuple) or not types or not set(types) <= set(allowed):
            raise PluginError(f"{where} with output_types={types!r}; use a tuple of {', '.join(allowed)}.")
    if issubclass(base, Metric) and not _is_built_in(cls):  # one of those follows the scores that are being indexed
        measures = getattr(cls, "measures", None)
        if not isinstance(measures, Mapping) or not all(
            isinstance(key, str) and isinstance(m, Measure) and m.better in ("higher", "lower", "neither")
            for key, m in measures.items()
        ):
            raise PluginError(f"{where} without `measures`, a mapping from each value's name to a Measure.")
    if issubclass(base, Score):
        measure = getattr(cls, "measure", None)
        if not isinstance(measure, Measure) or measure.better not in ("higher", "lower"):
            raise PluginError(f"{where} without `measure`, a Measure whose `better` is higher or lower.")
    if issubclass(base, Panel) and not isinstance(getattr(cls, "title", None), str):
        raise PluginError(f"{where} without `title`, the heading of its block.")


def _is_built_in(cls: type[Any]) -> bool:
    return cls.__module__.startswith("strands_diffusers.")


def _check_config(cls: type[Any], base: type[Configured], where: str) -> None:
    """Raise `PluginError` where Hydra could not compose the class's `Config`: it would take every command down."""
    own: Any = getattr(cls, "Config", None)
    if not (inspect.isclass(own) and dataclasses.is_dataclass(own) and issubclass(own, vars(base)["Config"])):
        raise PluginError(f"{where}, whose Config is not a dataclass derived from {base.__name__}.Config.")
    if _is_built_in(cls):
        return  # a built-in: composing it costs half a millisecond at every start, and the tests do
    try:
        node = OmegaConf.structured(own)
        if issubclass(base, Source) or not OmegaConf.missing_keys(node):
            OmegaConf.to_object(node)  # the options of every source are part of every config
    except StrandsDiffusersError as error:
        if issubclass(base, Source):
            raise PluginError(f"{where}, whose Config refuses its own defaults: {one_line(error)}") from error
    except Exception as error:
        raise PluginError(f"{where}, whose Config cannot be composed: {one_line(error)}") from error


def _check_command(command: Any, hook: str) -> None:
    if not isinstance(command, Command):
        raise PluginError(f"{hook} returned {guard.shown(command)}; it must return strands_diffusers.Command objects.")
    where = f"{hook} returned a Command"
    if not (isinstance(command.name, str) and _VERB.fullmatch(command.name)):
        raise PluginError(f"{where} with name={guard.shown(command.name)}; use a-z, 0-9, _ and -.")
    if command.name in pkgutil.resolve_name(BUILT_IN_VERBS):
        raise PluginError(f"`strands-diffusers {command.name}` is built in; give the command another name.")
    if not (isinstance(command.help, str) and command.help.strip() and "\n" not in command.help):
        raise PluginError(f"{where} {command.name} whose help is not one line.")
    words = command.completion
    if (
        not callable(command.run)
        or isinstance(words, str)
        or not all(isinstance(word, str) and len(word.split()) == 1 for word in words)
    ):
        raise PluginError(f"{where} {command.name}: `run` must be callable, `completion` a list of words.")


def _check_folder(path: Any, hook: str) -> None:
    """Raise `PluginError` where a config folder is not there: Hydra passes over it in silence."""
    if not (isinstance(path, str) and path.startswith(("pkg://", "file://"))):
        raise PluginError(f"{hook} returned {guard.shown(path)}; it must return pkg:// paths (pkg://my_package.conf).")
    scheme, _, place = path.partition("://")
    try:
        package = importlib.util.find_spec(place.replace("/", ".")) if scheme == "pkg" else None
        there = Path(place).is_dir() if scheme == "file" else package is not None and package.submodule_search_locations
    except (ImportError, ValueError):
        there = False
    if not there:
        raise PluginError(f"{hook} returned {path}, and there is no such folder: is it part of the installed package?")


def check_api(module: Any) -> None:
    """Raise `PluginError` unless the module is written for a version of the interface that is here."""
    version = getattr(module, "STRANDS_DIFFUSERS_API", spec.API)
    if not isinstance(version, int) or isinstance(version, bool):
        raise PluginError(
            f"STRANDS_DIFFUSERS_API={guard.shown(version)} is not a whole number; this version has {spec.API}."
        )
    if version > spec.API:
        raise PluginError(
            f"it is written for version {version} of the plugin interface, and this strands-diffusers has {spec.API}. "
            "Upgrade strands-diffusers, or install an older version of the plugin."
        )
