"""What a caller asks for and what it gets back: the two ends of every verb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from strands_diffusers.api.access import Access
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.jsonfile import read_json
from strands_diffusers.runner.control import Control

Reply = dict[str, Any]
"""`status`, `content`, and where there is something to hold them, `data` and `artifacts`. JSON-ready."""

DEFAULT_FPS = 24.0
"""Rate [Hz] of a video where the caller, its parameters and its pipeline name none."""


@dataclass(frozen=True)
class Request:
    """One call of `use_diffusers`, with `parameters` already a dict."""

    action: str
    pipeline: str | None = None
    model: str | None = None
    inputs: Any = None
    target: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cache_key: str | None = None
    device: str | None = None
    dtype: str | None = None
    save_artifacts: bool = True
    fps: float | None = None
    label: str = ""
    access: Access = field(default_factory=Access)
    """Which files the caller may have read and written."""

    control: Control = field(default_factory=Control)
    """Takes reports of progress; raises where the call is cancelled or out of time."""


def ok(text: str, data: Any = None, artifacts: list[str] | None = None, **more: Any) -> Reply:
    """A successful reply; `data` and `artifacts` are left out where they are None, `more` where it is empty."""
    reply: Reply = {"status": "success", "content": [{"text": text}]}
    if data is not None:
        reply["data"] = data
    if artifacts is not None:
        reply["artifacts"] = artifacts
    return reply | {key: value for key, value in more.items() if value}


def preview(data: Any, limit: int = 2000) -> str:
    """The data as JSON, cut at `limit` characters: what an agent sees of it, for it reads `content` only."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]} ..."


def failed(text: str, kind: str) -> Reply:
    """A refused or failed request: one line, and the error's class in `data`."""
    return {"status": "error", "content": [{"text": text}], "data": {"error": kind}}


def parameters_of(value: Any) -> Mapping[str, Any]:
    """`parameters` as a mapping: a dict, a JSON string of one, or None.

    Raises: `ConfigError` with what there is and what it should look like.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        value = read_json(value, 'parameters is text, as {"prompt": "..."}, and', ConfigError)
    if not isinstance(value, Mapping):
        raise ConfigError(f"parameters must be an object of names and values, got a {type(value).__name__}.")
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(f"parameters must have names that are strings, got {name!r}.")
    return value


def only(parameters: Mapping[str, Any], known: Mapping[str, type | tuple[type, ...]], verb: str) -> dict[str, Any]:
    """The parameters of a verb that takes these and no others. Raises: `ConfigError` naming the odd one."""
    for name, value in parameters.items():
        if name not in known:
            raise ConfigError(f"{verb} has no parameter {name!r}; it takes {', '.join(known)}.{near_miss(name, known)}")
        if value is not None and (
            not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool)
        ):
            raise ConfigError(f"{verb}: {name}={value!r} is not what it takes.")
    return {name: value for name, value in parameters.items() if value is not None}


def rate(value: Any, name: str) -> float | None:
    """A rate [Hz] or time [s] above zero, or None. Raises: `ConfigError` for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ConfigError(f"{name}={value!r} must be a number above 0.")
    return float(value)


def require(value: str | None, name: str, verb: str, example: str) -> str:
    """The argument, or a `ConfigError` that says which verb needs it and shows one."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"action='{verb}' needs {name}, for example {name}={example!r}.")
    return value.strip()
