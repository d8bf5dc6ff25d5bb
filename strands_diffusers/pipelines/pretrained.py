"""From a located checkpoint to a placed diffusers pipeline; what this machine cannot load is refused before a weight is read."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands_diffusers.config.fields import Offload
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import MissingPackageError, ModelError, near_miss, one_line
from strands_diffusers.pipelines import catalog, devices, modular
from strands_diffusers.pipelines import guardrail as guardrails
from strands_diffusers.pipelines.checkpoint import HEADS, Checkpoint
from strands_diffusers.pipelines.steps import owners

TWIN = "The embedded model does the same job anywhere: strands-diffusers experiment=pusht_action_policy."
"""What to type where large weights or a GPU are missing."""


def check(found: Checkpoint) -> None:
    """Refuse what this machine cannot load: a device it lacks, an option whose package is missing. Loads no weights."""
    config = found.model
    if config.device not in ("auto", "cpu") or config.offload is not Offload.none:
        device = devices.resolve_device(config.device)
        if config.offload is not Offload.none and device == "cpu":
            raise ModelError(
                f"model.offload={config.offload.value} needs an accelerator and this machine has none. "
                "Use model.offload=none."
            )
    if config.weights_gb and config.device == "auto" and devices.resolve_device("auto") == "cpu":
        raise ModelError(
            f"model={config.name} has {config.weights_gb:g} GB of weights and this machine has no accelerator. {TWIN} "
            "(model.device=cpu tries it here all the same.)"
        )
    lora = config.lora.repo
    if lora and lora.startswith(("/", "./", "../", "~")) and not Path(lora).expanduser().exists():
        raise ModelError(f"model.lora.repo={lora} does not exist. Give a folder, a file or a Hub id.")
    if lora and importlib.util.find_spec("peft") is None:
        raise MissingPackageError("model.lora needs the package peft: pip install 'peft>=0.17'")
    if config.guardrail and "Cosmos" in (config.pipeline or "") and not guardrails.installed():
        raise MissingPackageError(
            "model.guardrail=true needs NVIDIA's safety checker (gated weights): pip install cosmos_guardrail, "
            "or switch it off with model.guardrail=false."
        )
    if importlib.util.find_spec("modelopt") is None and found.in_8_bits:
        raise MissingPackageError("these 8-bit weights need NVIDIA's Model Optimizer: pip install nvidia-modelopt")
    if config.scheduler is not None:
        names = catalog.schedulers()
        if config.scheduler not in names:
            raise ModelError(
                f"model.scheduler={config.scheduler!r} is no diffusers scheduler.{near_miss(config.scheduler, names)}"
            )


def load(found: Checkpoint, device: str, dtype: str, extra: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The pipeline on its device, and the state of its guardrail. `extra` are further arguments of `from_pretrained`.

    Raises: `ModelError` or `MissingPackageError`, one line, where the model cannot be had as asked.
    """
    import diffusers
    import torch

    config, location = found.model, found.place
    name = config.pipeline or found.saved_class()
    cls: Any = getattr(diffusers, str(name), None) if name and not str(name).startswith("_") else None
    loads = (diffusers.DiffusionPipeline, diffusers.ModularPipeline)
    if not isinstance(cls, type) or not (issubclass(cls, loads) or str(name).startswith("AutoPipelineFor")):
        raise ModelError(
            f"model.pipeline={name!r} is no diffusers pipeline class. See strands-diffusers pipelines for those there are."
        )
    arguments: dict[str, Any] = {"low_cpu_mem_usage": config.low_cpu_mem_usage, "dtype": getattr(torch, dtype)}
    if isinstance(location, str):
        arguments.update({k: v for k in ("revision", "variant") if (v := getattr(config, k))})
    elif config.variant:
        arguments["variant"] = config.variant
    arguments |= guardrails.arguments(cls, config.guardrail) | extra
    try:
        with _without_bars():
            if modular.is_modular(cls):
                pipe = modular.load(cls, location, arguments)
            else:
                pipe = getattr(diffusers, str(name)).from_pretrained(str(location), **arguments)
            guardrail = guardrails.switch(pipe, config.guardrail)
    except ModelError:
        raise
    except Exception as error:
        twin = f" {TWIN}" if config.weights_gb else ""
        raise ModelError(f"cannot load {location}: {type(error).__name__}: {one_line(error, 300)}{twin}") from error
    for owner in owners(pipe):
        owner.set_progress_bar_config(disable=True)
    if config.scheduler:
        pipe.scheduler = getattr(diffusers, config.scheduler).from_config(pipe.scheduler.config)
    _load_lora(pipe, config)
    full = ""
    try:
        _place(pipe, config.offload, device)
    except torch.OutOfMemoryError as error:
        full = one_line(error, 200)
    if full:  # the card is large enough, but others use it; past the except, whose traceback holds the weights
        pipe = owner = None
        devices.release_memory()
        raise ModelError(
            f"no memory is left on {device} for {location}: {full} Use model.offload=model or sequential, or end what else "
            "runs there (nvidia-smi shows it)."
        )
    return pipe, guardrail


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Their bars count components and tensors; our progress line is the one people see."""
    import diffusers
    import transformers

    shown = [each for each in (diffusers.utils.logging, transformers.utils.logging) if each.is_progress_bar_enabled()]
    for each in shown:
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each in shown:
            each.enable_progress_bar()


def _load_lora(pipe: Any, config: ModelConfig) -> None:
    if not config.lora.repo:
        return
    target: Any = getattr(pipe, "transformer", None)
    if not hasattr(target, "load_lora_adapter"):
        raise ModelError(f"model.lora: {type(pipe).__name__} has no transformer that takes a LoRA.")
    options = {"weight_name": config.lora.weight_name} if config.lora.weight_name else {}
    try:
        target.load_lora_adapter(config.lora.repo, prefix=None, adapter_name="strands", **options)
        target.set_adapters(["strands"], weights=[config.lora.scale])
        if (heads := Path(config.lora.repo).expanduser() / HEADS).is_file():
            _replace_heads(target, heads)
    except Exception as error:
        raise ModelError(f"cannot load model.lora.repo={config.lora.repo}: {one_line(error, 300)}") from error


def _replace_heads(transformer: Any, path: Path) -> None:
    """Put the action projections of the one domain that a LoRA was trained with in the place of the checkpoint's."""
    import torch
    from safetensors import safe_open

    with safe_open(path, "pt") as tensors, torch.no_grad():
        row = int((tensors.metadata() or {})["domain_id"])
        for name in tensors.keys():  # noqa: SIM118 - it is no mapping
            transformer.get_submodule(name).weight[row : row + 1].copy_(tensors.get_tensor(name))


def _place(pipe: Any, offload: Offload, device: str) -> None:
    import torch

    if offload is Offload.none:
        pipe.to(device)
    elif offload is Offload.model:
        pipe.enable_model_cpu_offload(device=device)
    elif offload is Offload.sequential:
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_group_offload(
            onload_device=torch.device(device),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=True,
        )
