"""Parameters as callers write them: references put in, callables kept out, code loaders refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strands_diffusers.api import names
from strands_diffusers.api.store import PREFIX, STORE
from strands_diffusers.errors import AccessError, ConfigError

UNPACK = "**"
"""This key of a mapping stands for all entries of the mapping that its value refers to."""

RUNS_CODE = frozenset({"custom_pipeline", "custom_revision", "trust_remote_code", "pretrained_model_cls", "model_cls"})
"""Parameters by which diffusers would run Python from a repository or build a class of the caller's choice."""

MAX_DEPTH = 40
MAX_VALUES = 1_000_000
"""Most values in one request: an action chunk has hundreds, and more belongs into a file."""


def check(value: Any, name: str) -> None:
    """Refuse what no verb can use: too many values, nested too deep, text with a zero byte or half of a letter.

    Raises: `ConfigError`, for every caller and before anything else is done with the request.
    """
    count, level = 0, [value]
    for _ in range(MAX_DEPTH + 1):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, str) and ("\x00" in item or any("\ud800" <= letter <= "\udfff" for letter in item)):
                raise ConfigError(f"{name} holds a zero byte, or half of a letter (a lone surrogate), in its text.")
            if isinstance(item, Mapping):
                inside += [*item, *item.values()]
            elif isinstance(item, list | tuple):
                inside += item
        count += len(inside)
        if count > MAX_VALUES:
            raise ConfigError(f"{name} holds more than {MAX_VALUES:,} values. Give a file instead (.npy for numbers).")
        if not inside:
            return
        level = inside
    raise ConfigError(f"{name} is nested more than {MAX_DEPTH} levels deep.")


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value, at any depth; keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in [*value, *value.values()] if isinstance(value, Mapping) else value:
            yield from texts_in(item)


def resolve(value: Any, name: str = "parameters") -> Any:
    """A copy of `value` with every `cached:KEY` replaced by its object and every `{"**": "cached:KEY"}` unpacked.

    Explicit entries win over unpacked ones; of a diffusers config, its own notes (`_class_name`) are left out.

    Raises: `AccessError` for a callable, module or class at any depth and for parameters that run code; `ConfigError`
        for an unknown key, or a `**` that is not a mapping.
    """
    if isinstance(value, str):
        return reference(value, name) if value.startswith(PREFIX) else value
    if isinstance(value, Mapping) and type(value).__module__ == "builtins":
        return _mapping(value, name)
    if type(value) in (list, tuple):
        return type(value)(resolve(item, f"{name}[{i}]") for i, item in enumerate(value))
    if names.is_smuggled(value):
        raise AccessError(f"{name} is a {type(value).__name__}: parameters carry data, not callables.")
    return value


def _mapping(value: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    if UNPACK in value:
        unpacked = resolve(value[UNPACK], f"{name}.**")
        if not isinstance(unpacked, Mapping):
            raise ConfigError(
                f"{name}: the value of '**' is a {type(unpacked).__name__}, not a mapping of names to values."
            )
        found.update({str(key): item for key, item in unpacked.items() if not str(key).startswith("_")})
    for key, item in value.items():
        if key != UNPACK:
            found[key] = resolve(item, f"{name}.{key}")
    for key in found:
        refused = str(key).lower() in RUNS_CODE and found[key] not in (None, False)
        if refused:
            raise AccessError(f"{name}.{key} would run code that is not diffusers'; it is not open here.")
    return found


def reference(text: str, name: str) -> Any:
    """The object that `cached:KEY` stands for, or the public data at `cached:KEY.attribute`."""
    value, attributes = STORE.split(text)
    for word in attributes:
        value = names.public_value(value, word, f"{name}={text}")
    return value
