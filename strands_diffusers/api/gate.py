"""The one gate before a library opens files: every argument of a call, bound to its parameter, judged by what it names.

A confined caller's text is let through only as what is known to open no file outside of its roots: words, text for a
model to read, a path that `Access` allows, a checkpoint's name, a name inside a checkpoint. Everything else is refused.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.api import wants
from strands_diffusers.api.access import Access
from strands_diffusers.api.values import RUNS_CODE
from strands_diffusers.errors import AccessError, ConfigError, near_miss
from strands_diffusers.paths import expanded

_WORD = re.compile(r"[^/\\~\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,255}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_ASSET = re.compile(r"asset:[\w-]+", re.ASCII)

_WRITTEN = frozenset({"output", "save", "out", "cache", "offload"})
_WRITERS = ("save", "export", "encode", "to_json", "write")
_FILE_CALLS = ("from_", "load_", "save_")

SENDS = frozenset({
    "push_to_hub", "repo_id", "token", "use_auth_token", "hf_token", "proxies", "mirror", "endpoint", "force_download",
    "commit_message", "create_pr", "private", "user_agent", "tags",
})  # fmt: skip
"""Parameters by which a call would reach the Hub, or show it a token."""

FILE_OPTIONS = frozenset({
    "subfolder", "weight_name", "variant", "revision", "dtype", "torch_dtype", "low_cpu_mem_usage", "use_safetensors",
    "device_map", "max_memory", "adapter_name", "prefix", "local_files_only", "cache_dir", "return_unused_kwargs",
    "safe_serialization", "max_shard_size", "is_main_process", "ignore_mismatched_sizes", "config", "original_config",
    "safety_checker", "enable_safety_checker", "image_encoder_folder", "workflow", "disable_mmap", "output_loading_info",
})  # fmt: skip
"""Further options of calls that load or save, open to confined callers: what each does to files is known."""


def bind(function: Callable[..., Any], name: str, positional: list[Any], arguments: Mapping[str, Any]) -> Any:
    """The arguments by the parameters that they belong to, as `inspect.BoundArguments`.

    Raises: `ConfigError` naming an argument that the callable does not take, or lacks, a near miss, and what there is;
        `AccessError` for a callable that does not say what it takes.
    """
    try:
        spec = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise AccessError(f"{name} does not say which arguments it takes, so it cannot be called from here.") from error
    takes = [each for each in spec.parameters.values() if each.name != "self" and each.kind is not each.VAR_POSITIONAL]
    names = [each.name for each in takes if each.kind is not each.VAR_KEYWORD]
    if not any(each.kind is each.VAR_KEYWORD for each in takes):
        for unknown in arguments:
            if unknown not in names:
                raise ConfigError(
                    f"{name} takes no {unknown!r}.{near_miss(unknown, names)} It takes {', '.join(names)}."
                )
    try:
        return spec.bind(*positional, **arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}. It takes {', '.join(names)}.") from error


def each_argument(bound: Any, change: Callable[[str, Any], Any]) -> Any:
    """Put every bound argument, however it was given, through `change(name, value)`."""
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {each: change(each, item) for each, item in value.items()}
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            bound.arguments[name] = tuple(change(name, item) for item in value)
        else:
            bound.arguments[name] = change(name, value)
    return bound


def check_options(function: Callable[..., Any], name: str, bound: Any, access: Access) -> None:
    """Refuse, for a confined caller, what would reach the Hub, and unknown options of calls that load or save."""
    if access.is_open:
        return
    if name.rpartition(".")[2] in SENDS:
        raise AccessError(f"{name} would reach the Hub, which is closed to this caller.")
    for option, value in named(bound):
        if option.lower() in SENDS and value not in (None, False):
            raise AccessError(f"{name}: {option} would reach the Hub, which is closed to this caller. Leave it out.")
        if option.lower() in RUNS_CODE and value not in (None, False):
            raise AccessError(f"{name}: {option} would run code that is not diffusers'; it is not open here.")
    if name.rpartition(".")[2].startswith(_FILE_CALLS):
        owner = getattr(function, "__self__", None)
        cls = owner if isinstance(owner, type) or owner is None else type(owner)
        check_loading(dict(named(bound, only_extra=True)), name, cls)


def check_loading(options: Mapping[str, Any], name: str, cls: type | None) -> None:
    """Refuse, for a confined caller, options of a loader that are neither known nor parameters of the class."""
    known = FILE_OPTIONS | (set(inspect.signature(cls).parameters) if cls else set())
    for option in options:
        if option not in known or option in SENDS:
            raise AccessError(f"{name}: {option} is not open to this caller. Open are {', '.join(sorted(known))}.")


def named(bound: Any, *, only_extra: bool = False) -> Iterator[tuple[str, Any]]:
    """Name and value of every bound argument; those that a `**kwargs` takes by their own names."""
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        elif not only_extra:
            yield name, value


def let_through(value: Any, name: str, wish: wants.Wish, access: Access, *, call: str = "") -> Any:
    """The value as it may be handed to the callee `call`; of a path, what is opened is what was judged.

    Raises: `AccessError` for text that names, or may name, a file or place that is not open to the caller.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            let_through(item, f"{name}.{key}", wish, access, call=call)
        return value
    if isinstance(value, list | tuple | set | frozenset):
        found = [let_through(item, name, wish, access, call=call) for item in value]
        return found if type(value) is list else value
    if wants.PATH in wish and isinstance(value, int | float):
        raise ConfigError(f"{name}={value!r} must be a path.")  # a number would be an open file of this process
    if isinstance(value, bytes) and not access.is_open:
        raise AccessError(f"{name} holds bytes; only text and numbers are open to this caller.")
    if not isinstance(value, str | Path):
        return value
    if access.is_open or wants.TEXT in wish:
        return value
    if wants.PATH in wish:
        words = set(name.lower().split("_"))
        writes = call.rpartition(".")[2].startswith(_WRITERS) or bool(_WRITTEN & words)
        return str((access.writable if writes else access.readable)(value, name))
    if wants.MODEL in wish:
        return model(str(value), name, access)
    if wants.INSIDE in wish:
        return inside(str(value), name)
    return word(str(value), name, access)


def word(text: str, name: str, access: Access) -> str:
    """Text that is no path: without separators, short, and not the name of anything in the working folder."""
    if text == "" or (_WORD.fullmatch(text) and text.strip(".") and not os.path.lexists(text)):
        return text
    return str(access.readable(text, name))


def model(text: str, name: str, access: Access) -> str:
    """A checkpoint: a folder or file that may be read, an embedded one, or the Hub id of one in the local cache."""
    if _ASSET.fullmatch(text) or (_HUB_ID.fullmatch(text) and ".." not in text and not os.path.lexists(text)):
        return text
    return str(access.readable(expanded(text), name))


def inside(text: str, name: str) -> str:
    """A name inside of a checkpoint, whose own links were looked at when the checkpoint was judged."""
    parts = text.split("/")
    if text and not all(_WORD.fullmatch(part) and part.strip(".") for part in parts):
        raise AccessError(f"{name}: {text[:200]!r} must be a plain name inside of the checkpoint.")
    return text
