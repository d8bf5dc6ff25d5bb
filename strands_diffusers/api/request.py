"""What a caller asks for and what it gets back: the two ends of every verb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from strands_diffusers.api.access import Access
from strands_diffusers.errors import ConfigError

Reply = dict[str, Any]
"""`status`, `content`, and where there is something to hold them, `data` and `artifacts`. JSON-ready."""

DEFAULT_FPS = 24.0
"""Rate [Hz] of a film whose pipeline and parameters name none."""


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
    fps: float = DEFAULT_FPS
    label: str = ""
    access: Access = field(default_factory=Access)
    """Which files the caller may have read and written."""


def ok(text: str, data: Any = None, artifacts: list[str] | None = None, **more: Any) -> Reply:
    """A successful reply; `data` and `artifacts` are left out where they are None."""
    reply: Reply = {"status": "success", "content": [{"text": text}]}
    if data is not None:
        reply["data"] = data
    if artifacts is not None:
        reply["artifacts"] = artifacts
    return reply | more


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
        value = from_json(value, "parameters", '{"prompt": "..."}')
    if not isinstance(value, Mapping):
        raise ConfigError(f"parameters must be an object of names and values, got a {type(value).__name__}.")
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(f"parameters must have names that are strings, got {name!r}.")
    return value


def from_json(text: str, name: str, example: str) -> Any:
    """The value of a JSON text. Raises: `ConfigError` with the place of the mistake and an example."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name} is a string that is not JSON ({error}). Write it like {example}.") from error


def require(value: str | None, name: str, verb: str, example: str) -> str:
    """The argument, or a `ConfigError` that says which verb needs it and shows one."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"action='{verb}' needs {name}, for example {name}={example!r}.")
    return value.strip()
