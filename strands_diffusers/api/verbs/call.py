"""Construct or call anything public of diffusers, or a method of a kept object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands_diffusers.api import media, names, values, wants
from strands_diffusers.api.request import Reply, Request, ok, preview, require
from strands_diffusers.api.serialize import Writer
from strands_diffusers.api.store import STORE
from strands_diffusers.errors import ConfigError
from strands_diffusers.pipelines import contents, loader
from strands_diffusers.pipelines.contents import Content

_LOADS = ("from_pretrained", "from_single_file")


def call(request: Request) -> Reply:
    """Call `target` with `parameters`; keep the result under `cache_key`, or give it back as data and files."""
    name = require(request.target, "target", "call", "CosmosActionCondition")
    target = names.resolve(name, confined=not request.access.is_open)
    if target.function is None:
        data = Writer(save=request.save_artifacts).value(target.value)
        return ok(f"{name} is a value\n{preview(data)}", data=data)
    function = target.function
    arguments = values.resolve(request.parameters)
    wishes = wants.of_call(function)
    if not request.access.is_open and wants.writes(name):
        for each, value in arguments.items():
            if {wants.PATH, wants.NAME} & wants.of_name(each, wishes).kinds and isinstance(value, str):
                request.access.writable(Path(value), each)
    arguments = media.coerce(arguments, wishes, request.access) | _placement(request, name)
    positional = _positional(request, wishes)
    names.check_arguments(function, name, positional, arguments)
    with _alone(function):
        result = function(*positional, **arguments)
    result = _placed(result, request, name)
    if request.cache_key is not None:
        STORE.put(request.cache_key, result)
        kind = type(result).__name__
        text = f"{name} is kept as {request.cache_key!r} ({kind}); refer to it as 'cached:{request.cache_key}'"
        return ok(text, data={"cached": request.cache_key, "type": kind})
    return _reply(request, name, function, result, arguments)


def _reply(request: Request, name: str, function: Any, result: Any, arguments: dict[str, Any]) -> Reply:
    writer = Writer(request.save_artifacts, fps=_rate(arguments, request))
    if hasattr(result, "__dataclass_fields__") and type(result).__name__.endswith("PipelineOutput"):
        writer.fps = writer.fps or contents.fps(function, arguments) or request.fps
        data = writer.output(function, result)
    elif name.endswith("load_video") and isinstance(result, list) and result:
        data = writer.media(Content("video", contents.clips(result)[0]))[0]
    else:
        data = writer.value(result)
    if isinstance(result, str | Path) and name.rpartition(".")[2].startswith(("export_to_", "encode_")):
        writer.artifacts.append(str(result))
    lines = [f"{name}() gave a {type(result).__name__}", *(f"  {path}" for path in writer.artifacts), preview(data)]
    return ok("\n".join(lines), data=data, artifacts=writer.artifacts)


def _rate(arguments: dict[str, Any], request: Request) -> float:
    rate = arguments.get("fps")
    return float(rate) if isinstance(rate, int | float) else request.fps


def _positional(request: Request, wishes: dict[str, wants.Wish]) -> list[Any]:
    """`inputs` is the first positional argument, coerced as the first parameter wants it."""
    if request.inputs is None:
        return []
    first = next(iter(wishes), "inputs")
    resolved = values.resolve(request.inputs, "inputs")
    return [media.coerce({first: resolved}, wishes, request.access)[first]]


def _placement(request: Request, name: str) -> dict[str, Any]:
    """`dtype` for what loads weights; refused where it would be ignored."""
    loads = name.endswith(_LOADS)
    if not loads and (request.dtype or request.device):
        raise ConfigError(f"device and dtype belong to what loads weights; {name} does not. Leave them out.")
    return {"dtype": media.torch_dtype(request.dtype, "dtype")} if request.dtype else {}


def _placed(result: Any, request: Request, name: str) -> Any:
    if not request.device or not hasattr(result, "to"):
        return result
    return result.to(loader.resolve_device(request.device))


@contextlib.contextmanager
def _alone(function: Any) -> Iterator[None]:
    """No gradients; and where a warm pipeline is called, nobody else uses it meanwhile."""
    import torch

    owner = getattr(function, "__self__", function)
    locks = [model.lock for model in loader.warm_models() if model.pipe is owner]
    with contextlib.ExitStack() as stack, torch.no_grad():
        for lock in locks:
            stack.enter_context(lock)
        yield
