"""Load a world model once and keep it warm.

The cache keys on everything that changes the weights or where they lie; a second rollout with the same settings gets
the very same pipeline. Everything that can be known without weights (the folder's files, the device, packages that an
option needs) is checked first.
"""

import contextlib
import contextvars
import dataclasses
import importlib.util
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.config.fields import Dtype, Offload
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import MissingPackageError, ModelError, near_miss, one_line
from strands_diffusers.lazy import without_collector
from strands_diffusers.pipelines import checkpoint, modular
from strands_diffusers.pipelines import guardrail as guardrails
from strands_diffusers.pipelines.steps import owners

TWIN = "The embedded model does the same job anywhere: strands-diffusers experiment=pusht_action_policy."
"""What to type where large weights or a GPU are missing."""

WARM_SHARE, WARM_SHARE_HOST = 0.85, 0.5
"""Share of a CUDA device's memory, and elsewhere of this machine's, that warm models may fill together: a policy and a
world stay side by side where they fit."""


@dataclass
class WorldModel:
    """A loaded pipeline with what the loader decided."""

    pipe: Any
    """The diffusers pipeline."""

    pipeline: str
    """Its class name."""

    device: str
    """`cpu`, `mps`, `cuda:0`, ...: where it computes."""

    dtype: str
    """`float32`, `bfloat16` or `float16`."""

    location: str
    """Local folder or Hub id that the weights came from."""

    guardrail: dict[str, Any]
    """`requested` and `effective` state of the safety checker, and `reason` where they differ."""

    load_seconds: float
    """Wall time of the load [s]."""

    bytes: int = 0
    """Of its weights."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    """One rollout at a time: a diffusers pipeline keeps state on itself while it runs."""


_NOT_IN_THE_KEY = (
    "name",
    "repo",
    "device",
    "dtype",
    "weights_gb",
    "pixel_map",
    "domains",
    "chunk_sizes",
    "tiers",
    "sound",
    "scene",
    "recommended",
)
"""Fields of the config that change nothing about the loaded object, or are in the key as what they resolved to."""

_warm: OrderedDict[tuple[Any, ...], WorldModel] = OrderedDict()
_lock = threading.RLock()


@without_collector()
def load(config: ModelConfig, extra: Mapping[str, Any] | None = None) -> tuple[WorldModel, bool]:
    """Return the warm model for `config`, loading it if need be, and whether it was warm already.

    `extra` are further keyword arguments of `from_pretrained`: components, `custom` options of a pipeline class.
    Raises: `ModelError` or `MissingPackageError`, one line, where the model cannot be had as asked.
    """
    check(config)
    location = checkpoint.locate(config)
    device = resolve_device(config.device)
    dtype = resolve_dtype(config, device)
    key = (*_key(config, location, device, dtype), *_extra_key(extra or {}))
    with _lock:
        if key in _warm:
            _warm.move_to_end(key)
            return _noted(_warm[key], warm=True)
        _make_room(config, location, device, dtype)
        started = time.perf_counter()
        pipe, guardrail = _load(config, location, device, dtype, dict(extra or {}))
        model = WorldModel(
            pipe, type(pipe).__name__, device, dtype, str(location), guardrail, time.perf_counter() - started
        )
        parts = getattr(pipe, "components", {}).values()
        model.bytes = sum(p.nbytes for part in parts if hasattr(part, "parameters") for p in part.parameters())
        _warm[key] = model
        return _noted(model, warm=False)


@dataclass
class Used:
    """What a job loaded and which engine ran, of the calls that it made one by one."""

    models: list[dict[str, Any]] = field(default_factory=list)
    """What `describe` says of each model, and whether it was warm."""

    engine: dict[str, Any] = field(default_factory=dict)

    device: str = "cpu"
    """Of the last model."""


_used: contextvars.ContextVar[Used | None] = contextvars.ContextVar("used", default=None)


@contextlib.contextmanager
def noting() -> Iterator[Used]:
    """Note what is loaded and run inside."""
    token = _used.set(used := Used())
    try:
        yield used
    finally:
        _used.reset(token)


def note_engine(facts: dict[str, Any]) -> None:
    """Say which engine runs a call."""
    if used := _used.get():
        used.engine = facts


def _noted(model: WorldModel, *, warm: bool) -> tuple[WorldModel, bool]:
    used = _used.get()
    if used is not None and model.location not in [facts["location"] for facts in used.models]:
        used.models.append({**describe(model), "warm": warm})
        used.device = model.device
    return model, warm


def _make_room(config: ModelConfig, location: Path | str, device: str, dtype: str) -> None:
    """Let go of the models used least recently, until this one fits beside the rest; of all where its size is unknown."""
    numbers = sum(checkpoint.parameters(location, config.variant).values()) if isinstance(location, Path) else 0
    needed = numbers * (4 if dtype == "float32" else 2) or int((config.weights_gb or 0) * 1e9)
    limit = memory_bytes(device) * (WARM_SHARE if device.startswith("cuda") else WARM_SHARE_HOST)
    for key in [key for key, model in _warm.items() if model.device == device]:
        held = sum(model.bytes for model in _warm.values() if model.device == device)
        if needed and held + needed <= limit:
            return
        del _warm[key]
        release_memory()


def memory_bytes(device: str) -> float:
    """Memory of a CUDA device; elsewhere what this process may use: the machine's, or what a container or limit says."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(device)[1])
    limits = [float("inf")]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text().strip() if Path(path).is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    if sys.platform != "win32":
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [] if soft == resource.RLIM_INFINITY else [soft]
    return min(limits)


def check(config: ModelConfig) -> None:
    """Refuse what this machine cannot load: a device it lacks, an option whose package is missing. Loads no weights."""
    if config.device not in ("auto", "cpu") or config.offload is not Offload.none:
        device = resolve_device(config.device)
        if config.offload is not Offload.none and device == "cpu":
            raise ModelError(
                f"model.offload={config.offload.value} needs an accelerator and this machine has none. "
                "Use model.offload=none."
            )
    if config.weights_gb and config.device == "auto" and resolve_device("auto") == "cpu":
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
    if importlib.util.find_spec("modelopt") is None and checkpoint.in_8_bits(config, checkpoint.locate(config)):
        raise MissingPackageError("these 8-bit weights need NVIDIA's Model Optimizer: pip install nvidia-modelopt")
    if config.scheduler is not None:
        from strands_diffusers.pipelines import catalog

        names = catalog.schedulers()
        if config.scheduler not in names:
            raise ModelError(
                f"model.scheduler={config.scheduler!r} is no diffusers scheduler.{near_miss(config.scheduler, names)}"
            )


def clear() -> int:
    """Forget every warm model and return how many there were."""
    with _lock:
        count = len(_warm)
        _warm.clear()
    release_memory()
    return count


def warm_models() -> list[WorldModel]:
    """The warm models, least recently used first."""
    with _lock:
        return list(_warm.values())


def release_memory(error: BaseException | None = None) -> None:
    """Give freed accelerator memory back; with that which the frames of a failed call still hold, where its error is given."""
    import gc
    import traceback

    import torch

    seen: set[BaseException] = set()
    while error is not None and error not in seen:  # an error raised `from` a later one ends where it began
        seen.add(error)
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def resolve_device(device: str) -> str:
    """`auto` becomes CUDA, else mps, else cpu; a device that this machine lacks is a `ModelError`."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(device[5:]) if device.startswith("cuda:") else 0
        if index >= count:
            there = f"{count} CUDA device{'s' if count != 1 else ''}" if count else "no CUDA device"
            raise ModelError(f"model.device={device}, but this machine has {there}. Use model.device=auto or cpu.")
        return f"cuda:{index}"
    if device == "mps" and not torch.backends.mps.is_available():
        raise ModelError("model.device=mps, but this machine has no Apple GPU. Use model.device=auto or cpu.")
    return device


def devices() -> str:
    """The devices of this machine, for people."""
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return "mps" if torch.backends.mps.is_available() else f"cpu ({torch.get_num_threads()} threads)"


def resolve_dtype(config: ModelConfig, device: str) -> str:
    """`auto` is bfloat16 on CUDA and for the embedded model, else float32."""
    if config.dtype is not Dtype.auto:
        return str(config.dtype.value)
    return "bfloat16" if device.startswith("cuda") or config.repo.startswith(checkpoint.ASSET) else "float32"


def _key(config: ModelConfig, location: Path | str, device: str, dtype: str) -> tuple[Any, ...]:
    """Everything that changes the loaded object: every field but a few, and local files by their sizes and times."""
    lora = Path(config.lora.repo or "").expanduser()
    stamps = [checkpoint.stamp(path) for path in (location, lora) if isinstance(path, Path) and path != Path()]
    fields = ((name, repr(value)) for name, value in vars(config).items() if name not in _NOT_IN_THE_KEY)
    return (str(location), device, dtype, *stamps, *fields)


def _extra_key(extra: Mapping[str, Any]) -> tuple[Any, ...]:
    """Plain values by what they are, objects by identity: the warm pipeline holds them, so that no other takes theirs."""
    plain = (str, int, float, bool, type(None))
    return tuple((k, v if isinstance(v, plain) else (type(v).__name__, id(v))) for k, v in sorted(extra.items()))


def _load(
    config: ModelConfig, location: Path | str, device: str, dtype: str, extra: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    import diffusers
    import torch

    torch_dtype = getattr(torch, dtype)
    index = checkpoint.model_index(config, location)
    name = config.pipeline or index.get("_class_name")
    cls: Any = getattr(diffusers, str(name), None) if name and not str(name).startswith("_") else None
    loads = (diffusers.DiffusionPipeline, diffusers.ModularPipeline)
    if not isinstance(cls, type) or not (issubclass(cls, loads) or str(name).startswith("AutoPipelineFor")):
        raise ModelError(
            f"model.pipeline={name!r} is no diffusers pipeline class. See strands-diffusers pipelines for those there are."
        )
    arguments: dict[str, Any] = {"low_cpu_mem_usage": config.low_cpu_mem_usage, "dtype": torch_dtype}
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
        release_memory()
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
    except Exception as error:
        raise ModelError(f"cannot load model.lora.repo={config.lora.repo}: {one_line(error, 300)}") from error


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


def describe(model: WorldModel) -> dict[str, Any]:
    """What the manifest records of a model."""
    return {
        f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("pipe", "lock", "bytes")
    }
