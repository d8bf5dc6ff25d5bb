"""From a name to something of diffusers that may be called, and to nothing else.

Open are: what diffusers exports at its root, the class methods of those classes, diffusers' documented media helpers
(`utils.export_to_video`), and the public methods of kept objects that diffusers or transformers define. Closed is
everything behind a private name, a module, a builtin, or a class of any other library.
"""

from __future__ import annotations

import inspect
import keyword
import types
from collections.abc import Callable
from typing import Any

from strands_diffusers.api import wants
from strands_diffusers.api.store import PREFIX, STORE
from strands_diffusers.errors import AccessError, ConfigError, near_miss
from strands_diffusers.pipelines import catalog

HELPERS = (
    "encode_video",
    "export_to_gif",
    "export_to_obj",
    "export_to_ply",
    "export_to_video",
    "load_image",
    "load_video",
)
"""Functions of `diffusers.utils` that its documentation tells users to call."""

OURS = ("diffusers", "transformers")
"""Libraries whose classes' public methods may be called on a kept object."""

_METHODS = (types.FunctionType, classmethod, staticmethod)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type)


Target = tuple[Callable[..., Any] | None, Any]
"""What a target name stands for: what is called, or None and the plain value of a kept object or its attribute."""


def resolve(target: str) -> Target:
    """Find what `target` names.

    Raises: `AccessError` for a closed name, with a near miss among the open ones; `ConfigError` for an unknown key.
    """
    if target.startswith(PREFIX):
        return _kept(target)
    parts = target.split(".")
    for part in parts:
        _check_word(part, repr(target))
    public = catalog.public_names()
    if parts[0] == "diffusers" and len(parts) > 1:
        parts = parts[1:]
    at = next((i for i, part in enumerate(parts) if part in public), None)
    if parts[0] == "utils" and len(parts) == 2 and parts[1] in HELPERS:
        from diffusers import utils

        return _open(getattr(utils, parts[1]), target), None
    if at is None or (at > 0 and ".".join(parts[:at]) != public[parts[at]]):
        known = [*public, *(f"utils.{name}" for name in HELPERS)]
        raise AccessError(
            f"{target!r} is not a public name of diffusers.{near_miss(target.rpartition('.')[2], known)} "
            "Targets are names that diffusers exports (CosmosActionCondition), their class methods "
            "(WanPipeline.from_pretrained), utils.export_to_* and load_*, and cached:KEY.method."
        )
    import diffusers

    found = _open(getattr(diffusers, parts[at]), target)
    methods = parts[at + 1 :]
    if not methods:
        return found, None
    if len(methods) > 1 or not isinstance(found, type):
        raise AccessError(f"{target!r} reaches into {parts[at]}; only one class method may follow a class.")
    return _class_method(found, methods[0], target), None


def public_value(owner: Any, name: str, shown: str) -> Any:
    """Attribute or key `name` of a kept object: data of a class of diffusers or transformers, or an item of a mapping.

    Raises: `AccessError` for private names, functions, modules and classes, and for attributes of any other library.
    """
    _check_word(name, shown)
    if isinstance(owner, dict) and name in owner:
        return _data(owner[name], shown)
    if not _is_ours(type(owner)):
        raise AccessError(f"{shown}: attributes of a {type(owner).__name__} are not open.")
    try:
        return _data(getattr(owner, name), shown)
    except AttributeError as error:
        words = [word for word in dir(owner) if not word.startswith("_")]
        raise ConfigError(f"{shown}: {type(owner).__name__} has no {name!r}.{near_miss(name, words)}") from error


def is_smuggled(value: Any) -> bool:
    """True for a function, method, class, module or other callable; not for modules that are networks."""
    if isinstance(value, _FUNCTIONS):
        return True
    if not callable(value):
        return False
    return not any(_is_library(base) or base.__module__.startswith("torch.nn.") for base in type(value).__mro__)


def _check_word(word: str, shown: str) -> None:
    if word.startswith("_"):
        raise AccessError(f"{shown}: names that start with an underscore are private.")
    if not word.isidentifier() or keyword.iskeyword(word):
        raise AccessError(f"{shown}: {word!r} is not a name.")


def _open(found: Any, target: str) -> Callable[..., Any]:
    """A class or function that diffusers itself defines."""
    if isinstance(found, types.ModuleType) or not isinstance(found, type | types.FunctionType):
        raise AccessError(f"{target!r} is a {type(found).__name__}; only classes and functions may be called.")
    if found.__module__.partition(".")[0] != "diffusers":
        raise AccessError(f"{target!r} belongs to {found.__module__}, not to diffusers.")
    return found


def _class_method(cls: type, name: str, target: str) -> Callable[..., Any]:
    found = {word: raw for word, raw in _members(cls).items() if isinstance(raw, classmethod | staticmethod)}
    if name not in found:
        raise AccessError(
            f"{target!r} is not a class method of {cls.__name__}, which has {', '.join(found)}.{near_miss(name, found)}"
        )
    return getattr(cls, name)  # type: ignore[no-any-return]


def _members(cls: type) -> dict[str, Any]:
    """What the libraries define for a class under public names, as it stands in the class itself."""
    bases = [base for base in reversed(cls.__mro__) if _is_library(base)]
    return {name: raw for base in bases for name, raw in vars(base).items() if not name.startswith("_")}


def _kept(target: str) -> Target:
    value, attributes = STORE.split(target)
    if not attributes:
        return (value, None) if callable(value) and _is_ours(type(value)) else (None, value)
    for word in attributes:
        _check_word(word, repr(target))
    for word in attributes[:-1]:
        value = public_value(value, word, repr(target))
    method = _method(value, attributes[-1])
    return method, None if method else public_value(value, attributes[-1], repr(target))


def _method(owner: Any, name: str) -> Callable[..., Any] | None:
    """A public method that diffusers or transformers defines for the owner's class; None where `name` is no method."""
    for base in type(owner).__mro__:
        raw = vars(base).get(name)
        if raw is None:
            continue
        if not isinstance(raw, _METHODS):
            break
        if not _is_library(base):
            raise AccessError(
                f"{type(owner).__name__}.{name} belongs to {base.__module__}; only diffusers' own methods are open."
            )
        return getattr(owner, name)  # type: ignore[no-any-return]
    return None


def _data(value: Any, shown: str) -> Any:
    if is_smuggled(value) or inspect.ismodule(value):
        raise AccessError(f"{shown} is a {type(value).__name__}, not data: callables are not handed over.")
    return value


def _is_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in OURS


def _is_ours(cls: type) -> bool:
    return any(_is_library(base) for base in cls.__mro__)


def methods(value: Any) -> list[str]:
    """Public methods of a kept object that `call` may reach, sorted."""
    return sorted(name for name, raw in _members(type(value)).items() if isinstance(raw, _METHODS))


def signature(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of a callable with defaults and annotations, and its documentation."""
    spec = inspect.signature(function).parameters
    return {
        "parameters": {
            name: {
                "default": "REQUIRED" if each.default is inspect.Parameter.empty else repr(each.default),
                "annotation": wants.annotation(each) or None,
            }
            for name, each in spec.items()
            if name != "self"
        },
        "doc": inspect.getdoc(function) or "",
    }
