"""Load a pipeline, call it with the caller's parameters, and write every output by its type."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from strands_diffusers.api import gate, media, values, wants
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, ok, preview, require
from strands_diffusers.api.serialize import Writer
from strands_diffusers.api.store import STORE
from strands_diffusers.api.verbs.call import bound_arguments, watch
from strands_diffusers.config.fields import Dtype
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import MissingPackageError, RolloutError, StrandsDiffusersError, one_line
from strands_diffusers.pipelines import catalog, contents, loader, steps

_KWARGS = "from_pretrained_kwargs"
_GUARDRAIL = "enable_safety_checker"


def run(request: Request) -> Reply:
    """Load `pipeline` from `model` (or take it warm), call it with `parameters`, serialize every output."""
    parameters = dict(request.parameters)
    loading = values.resolve(parameters.pop(_KWARGS, None) or {}, _KWARGS)
    request.control("load", 0, 1)
    model, notes = _model(request, loading)
    pipe, name = model.pipe, type(model.pipe).__name__
    bound = bound_arguments(pipe.__call__, name, request, wants.of_pipeline(name), parameters)
    arguments = dict(gate.named(bound))
    if request.cache_key is not None:
        STORE[request.cache_key] = pipe
    notes += _prompt_notes(pipe, arguments)
    request.control("call", 0, 1)
    with model.lock, steps.watched(pipe, watch(request.control)):
        request.control("call", 0, 1)  # it may have waited for another call
        output = _call(pipe, bound, has_inputs=request.inputs is not None)
    request.control("write", 0, 1)
    if arguments.get("output_type") == "latent":
        writer = Writer(request.save_artifacts)
        data = {name: writer.value(value) for name, value in contents.fields(output).items()}
    else:
        fps = _fps(pipe, arguments, request)
        writer = Writer(request.save_artifacts, fps=fps, domain=_domain(arguments))
        data = writer.output(pipe, output)
    lines = [f"{name} from {model.location}", *_lines(data), *(f"note: {note}" for note in notes), preview(data)]
    return ok("\n".join(lines), data=data, artifacts=writer.artifacts, notes=notes)


def _model(request: Request, loading: dict[str, Any]) -> tuple[loader.WorldModel, list[str]]:
    """The loaded pipeline; one kept under `cache_key` where no model is named."""
    if request.model is None and request.cache_key is not None and (kept := STORE.get(request.cache_key)) is not None:
        warm = [model for model in loader.warm_models() if model.pipe is kept]
        if warm:
            return warm[0], []
        if type(kept).__name__ in catalog.pipelines():
            return loader.WorldModel(
                kept, type(kept).__name__, str(getattr(kept, "device", "cpu")), "", request.cache_key, {}, 0.0
            ), []
    name = require(request.pipeline, "pipeline", "run", "Cosmos3OmniPipeline")
    repo = require(request.model, "model", "run", "nvidia/Cosmos3-Nano")
    if not name.startswith("AutoPipelineFor"):
        catalog.find(name)
    repo = gate.model(repo, "model", request.access) if not request.access.is_open else repo
    loading = {
        each: media.coerce(value, f"{_KWARGS}.{each}", wants.wish(each), request.access)
        for each, value in loading.items()
    }
    if not request.access.is_open:
        import diffusers

        gate.check_loading(loading, _KWARGS, getattr(diffusers, name), request.access)
    guardrail, notes = _guardrail(name, repo, loading)
    config = ModelConfig(
        name="custom",
        repo=repo,
        pipeline=name,
        revision=loading.pop("revision", None),
        variant=loading.pop("variant", None),
        dtype=_dtype(request, loading),
        device=request.device or "auto",
        guardrail=guardrail,
    )
    model, _ = loader.load(config, extra=loading)
    return model, notes


def _dtype(request: Request, loading: dict[str, Any]) -> Dtype:
    given = [request.dtype, loading.pop("torch_dtype", None), loading.pop("dtype", None)]
    name = next((each for each in given if each), "auto")
    return Dtype.auto if name == "auto" else Dtype(media.precision(name, "dtype"))


def _guardrail(name: str, repo: str, loading: dict[str, Any]) -> tuple[bool, list[str]]:
    """NVIDIA's safety checker: as asked; else on for NVIDIA's own checkpoints where its package is installed."""
    if "Cosmos" not in name:
        return False, []
    if _GUARDRAIL in loading:
        return bool(loading.pop(_GUARDRAIL)), []
    if not repo.startswith("nvidia/"):
        return False, []
    if importlib.util.find_spec("cosmos_guardrail") is not None:
        return True, []
    return False, ["the guardrail is off: its package cosmos_guardrail is not installed"]


def _call(pipe: Any, bound: Any, *, has_inputs: bool) -> Any:
    from strands_diffusers.pipelines import modular

    try:
        if modular.is_modular(pipe):
            return modular.call(pipe, list(bound.args) if has_inputs else [], dict(gate.named(bound)))
        return pipe(*bound.args, **bound.kwargs)
    except StrandsDiffusersError:
        raise
    except Exception as error:
        name = type(pipe).__name__
        if isinstance(error, NameError) and error.name:  # diffusers imports optional packages only where they are
            package = {"transforms": "torchvision"}.get(error.name, error.name)
            raise MissingPackageError(
                f"{name} needs the package {package}, in a build that fits this torch."
            ) from error
        if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
            raise RolloutError(
                f"{name} ran out of memory: {one_line(error, 200)} Use fewer frames or a smaller size."
            ) from error
        raise RolloutError(f"{name} failed: {type(error).__name__}: {one_line(error, 300)}") from error


def _prompt_notes(pipe: Any, arguments: dict[str, Any]) -> list[str]:
    """Action models were trained without the system prompt, and the pipeline has it on by default."""
    if arguments.get("action") is None or not hasattr(arguments["action"], "domain_name"):
        return []
    on = arguments.get("use_system_prompt")
    if on is None:
        config = getattr(pipe, "config", {})
        on = config.get("default_use_system_prompt", True)
    if not on:
        return []
    return [
        "the system prompt is on in this action call; action models were trained without: add use_system_prompt=false"
    ]


def _domain(arguments: dict[str, Any]) -> str | None:
    name = getattr(arguments.get("action"), "domain_name", None)
    return name if isinstance(name, str) else None


def _fps(pipe: Any, arguments: dict[str, Any], request: Request) -> float:
    """The call's own rate, else the one that the caller gave, else what the pipeline states of itself."""
    for name in ("fps", "frame_rate"):
        if isinstance(arguments.get(name), int | float):
            return float(arguments[name])
    return float(request.fps or contents.fps(pipe, arguments) or DEFAULT_FPS)


def _lines(data: dict[str, Any]) -> list[str]:
    """One line per output: what it is, and where."""
    lines = []
    for name, entry in data.items():
        entries = entry if isinstance(entry, list) else [entry]
        for each in entries:
            if isinstance(each, dict) and each.get("path"):
                shape = each.get("shape") or each.get("size") or each.get("chunk_shape") or ""
                lines.append(f"  {name}: {each['type']} {shape} {Path(each['path'])}".replace("  /", " /"))
    return lines
