"""Load a pipeline, call it with the caller's parameters, and write every output by its type."""

from __future__ import annotations

from typing import Any

from strands_diffusers.api import gate, media, values, wants
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, ok, preview, require
from strands_diffusers.api.serialize import Writer
from strands_diffusers.api.store import STORE
from strands_diffusers.api.verbs.call import bound_arguments, watch
from strands_diffusers.config.fields import Dtype
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import StrandsDiffusersError
from strands_diffusers.pipelines import catalog, contents, guardrail, loader, steps

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
    with model.held(request.control), steps.watched(pipe, watch(request.control)):
        request.control("call", 0, 1)
        output = _call(model, bound, has_inputs=request.inputs is not None)
    request.control("write", 0, 1)
    fps = contents.fps(pipe, arguments, request.fps) or DEFAULT_FPS
    writer = Writer(request.save_artifacts, fps, domain=getattr(arguments.get("action"), "domain_name", None))
    if arguments.get("output_type") == "latent":
        data = {name: writer.value(value) for name, value in contents.fields(output).items()}
    else:
        data = writer.output(pipe, output)
    lines = [f"{name} from {model.location}", *_lines(data), *(f"note: {note}" for note in notes), preview(data)]
    return ok("\n".join(lines), data=data, artifacts=writer.artifacts, notes=notes)


def _model(request: Request, loading: dict[str, Any]) -> tuple[loader.WorldModel, list[str]]:
    """The loaded pipeline; one kept under `cache_key` where no model is named."""
    if request.model is None and request.cache_key is not None and (kept := STORE.get(request.cache_key)) is not None:
        if warm := [model for model in loader.warm_models() if model.pipe is kept]:
            return warm[0], []
        if (name := type(kept).__name__) in catalog.pipelines():
            return loader.WorldModel(
                kept, name, str(getattr(kept, "device", "cpu")), "", request.cache_key, {}, 0.0
            ), []
    name = require(request.pipeline, "pipeline", "run", "Cosmos3OmniPipeline")
    repo = require(request.model, "model", "run", "nvidia/Cosmos3-Nano")
    if not name.startswith("AutoPipelineFor"):
        catalog.find(name)
    loading = {
        each: media.coerce(value, f"{_KWARGS}.{each}", wants.wish(each), request.access)
        for each, value in loading.items()
    }
    if not request.access.is_open:
        import diffusers

        repo = gate.model(repo, "model", request.access)
        gate.check_loading(loading, _KWARGS, getattr(diffusers, name))
    guarded, notes = _guardrail(name, repo, loading)
    dtypes = [request.dtype, loading.pop("torch_dtype", None), loading.pop("dtype", None)]
    dtype = next((each for each in dtypes if each and each != "auto"), None)
    config = ModelConfig(
        name="custom",
        repo=repo,
        pipeline=name,
        revision=loading.pop("revision", None),
        variant=loading.pop("variant", None),
        dtype=Dtype(media.precision(dtype, "dtype")) if dtype else Dtype.auto,
        device=request.device or "auto",
        guardrail=guarded,
    )
    model, _ = loader.load(config, extra=loading)
    return model, notes


def _guardrail(name: str, repo: str, loading: dict[str, Any]) -> tuple[bool, list[str]]:
    """NVIDIA's safety checker: as asked; else on for NVIDIA's own checkpoints where its package is installed."""
    if "Cosmos" not in name:
        return False, []
    if _GUARDRAIL in loading:
        return bool(loading.pop(_GUARDRAIL)), []
    wanted = repo.startswith("nvidia/")
    if wanted and not guardrail.installed():
        return False, ["the guardrail is off: its package cosmos_guardrail is not installed"]
    return wanted, []


def _call(model: loader.WorldModel, bound: Any, *, has_inputs: bool) -> Any:
    from strands_diffusers.pipelines import generate, modular

    pipe = model.pipe
    try:
        if modular.is_modular(pipe):
            return modular.call(pipe, list(bound.args) if has_inputs else [], dict(gate.named(bound)))
        return pipe(*bound.args, **bound.kwargs)
    except StrandsDiffusersError:
        raise
    except Exception as error:
        raise generate.failure(error, model, "Use fewer frames or a smaller size.") from error


def _prompt_notes(pipe: Any, arguments: dict[str, Any]) -> list[str]:
    """Action models were trained without the system prompt, and the pipeline has it on by default."""
    if not hasattr(arguments.get("action"), "domain_name"):
        return []
    if (on := arguments.get("use_system_prompt")) is None:
        on = getattr(pipe, "config", {}).get("default_use_system_prompt", True)
    words = (
        "the system prompt is on in this action call; action models were trained without: add use_system_prompt=false"
    )
    return [words] if on else []


def _lines(data: dict[str, Any]) -> list[str]:
    """One line per output: what it is, and where."""
    lines = []
    for name, entry in data.items():
        for each in entry if isinstance(entry, list) else [entry]:
            if isinstance(each, dict) and each.get("path"):
                shape = each.get("shape") or each.get("size") or each.get("chunk_shape")
                lines.append(f"  {name}: {each['type']} {f'{shape} ' if shape else ''}{each['path']}")
    return lines
