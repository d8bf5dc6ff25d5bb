"""Construct or call anything public of diffusers, or a method of a kept object."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from strands_diffusers.api import files, gate, media, names, values, wants
from strands_diffusers.api.access import artifacts_folder
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, ok, preview, require
from strands_diffusers.api.serialize import Writer
from strands_diffusers.api.store import STORE
from strands_diffusers.errors import ConfigError
from strands_diffusers.pipelines import contents, devices, loader, steps
from strands_diffusers.runner.control import Control

_LOADS = ("from_pretrained", "from_single_file")


def call(request: Request) -> Reply:
    """Call `target` with `parameters`; keep the result under `cache_key`, or give it back as data and files."""
    name = require(request.target, "target", "call", "CosmosActionCondition")
    function, value = names.resolve(name)
    if function is None:
        data = Writer(request.save_artifacts).value(value)
        return ok(f"{name} is a value\n{preview(data)}", data=data)
    if not name.endswith(_LOADS) and (request.dtype or request.device):
        raise ConfigError(f"device and dtype belong to what loads weights; {name} does not. Leave them out.")
    parameters = {**request.parameters, **({"dtype": request.dtype} if request.dtype else {})}
    bound = bound_arguments(function, name, request, wants.of_call(function), parameters)
    exported = _export(bound.arguments, name)
    with _alone(function, request.control):
        result = function(*bound.args, **bound.kwargs)
    if request.device and hasattr(result, "to"):
        result = result.to(devices.resolve_device(request.device))
    if request.cache_key is not None:
        STORE[request.cache_key] = result
        kind = type(result).__name__
        text = f"{name} is kept as {request.cache_key!r} ({kind}); refer to it as 'cached:{request.cache_key}'"
        return ok(text, data={"cached": request.cache_key, "type": kind})
    return _reply(request, name, function, result, bound.arguments, exported)


def bound_arguments(
    function: Any, name: str, request: Request, wishes: Mapping[str, wants.Wish], parameters: Mapping[str, Any]
) -> Any:
    """`parameters`, and `inputs` as the first positional argument, bound, made into what is wanted, and judged."""
    positional = [] if request.inputs is None else [values.resolve(request.inputs, "inputs")]
    bound = gate.bind(function, name, positional, values.resolve(parameters))
    gate.check_options(function, name, bound, request.access)
    return gate.each_argument(
        bound,
        lambda each, value: media.coerce(value, each, wishes.get(each) or wants.wish(each), request.access, call=name),
    )


def watch(control: Control) -> Callable[[int, int], None]:
    """What a watched pipeline calls after each step."""
    return lambda done, total: control("denoise", done, total)


def _export(arguments: dict[str, Any], name: str) -> list[str]:
    """Ready the arguments of diffusers' exporters; where they will write, and nothing for any other callee.

    They get 8-bit pictures, for they would wrap the brightness of any others, and a place to write where none is given.
    Raises: `RolloutError` for frames that are not pixels: neither 8-bit nor from 0 to 1.
    """
    found = re.fullmatch(r"(?:diffusers\.)?utils\.(?:export_to_(video|gif|obj|ply)|encode_video)", name)
    if found is None:
        return []
    kind = found[1] or "video"
    if kind in ("video", "gif"):
        from PIL import Image

        first = next(iter(arguments))
        arguments[first] = [Image.fromarray(frame_HWC) for frame_HWC in contents.clips(_frames(arguments[first]))[0]]
    output = f"output_{kind}_path" if found[1] else "output_path"
    if arguments.get(output) is None:
        ending = "mp4" if kind == "video" else kind
        arguments[output] = str(artifacts_folder(create=True) / f"{kind}_{files.stamp()}.{ending}")
    return [str(arguments[output])]


def _frames(value: Any) -> Any:
    """Nested lists of whole numbers are 8-bit pixels, of fractions pixels from 0 to 1; anything else is handed on."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
            return array.astype(np.uint8)
        return array
    return value


def _reply(
    request: Request, name: str, function: Any, result: Any, arguments: dict[str, Any], exported: list[str]
) -> Reply:
    writer = Writer(request.save_artifacts, contents.fps(function, arguments, request.fps) or DEFAULT_FPS)
    if hasattr(result, "__dataclass_fields__") and type(result).__name__.endswith("PipelineOutput"):
        data = writer.output(function, result)
    elif name.endswith("load_video") and isinstance(result, list) and result:
        [data] = writer.media("video", contents.clips(result)[0])
    else:
        data = writer.value(result)
    writer.artifacts += exported
    lines = [f"{name}() gave a {type(result).__name__}", *(f"  {path}" for path in writer.artifacts), preview(data)]
    return ok("\n".join(lines), data=data, artifacts=writer.artifacts)


@contextlib.contextmanager
def _alone(function: Any, control: Control) -> Iterator[None]:
    """No gradients; and where a kept pipeline is called, nobody else uses it meanwhile, and its steps are watched."""
    import torch
    from diffusers import DiffusionPipeline, ModularPipeline

    owner = getattr(function, "__self__", function)
    with contextlib.ExitStack() as stack, torch.no_grad():
        for model in loader.warm_models():
            if model.pipe is owner:
                stack.enter_context(model.held(control))
        control("call", 0, 1)
        if isinstance(owner, DiffusionPipeline | ModularPipeline):
            stack.enter_context(steps.watched(owner, watch(control)))
        yield
