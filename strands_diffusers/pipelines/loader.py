"""Load a world model once and keep it warm.

The cache keys on everything that changes the weights or where they lie; a second rollout with the same settings gets
the very same pipeline.
"""

import contextlib
import contextvars
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.config.models import ModelConfig
from strands_diffusers.lazy import without_collector
from strands_diffusers.pipelines import checkpoint, devices, pretrained
from strands_diffusers.pipelines.checkpoint import Checkpoint
from strands_diffusers.plugin.acting import Progress

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

    @contextlib.contextmanager
    def held(self, progress: Progress | None = None) -> Iterator[None]:
        """Have the model to oneself. While another call has it, `progress` is called as `wait`, and may end the waiting."""
        while not self.lock.acquire(timeout=0.5):
            if progress is not None:
                progress("wait", 0, 1)
        try:
            yield
        finally:
            self.lock.release()


_NOT_IN_THE_KEY = ("name", "repo", "device", "dtype", "weights_gb", "pixel_map", "domains", "chunk_sizes", "tiers", "sound",
                   "scene", "recommended")  # fmt: skip
"""Fields of the config that change nothing about the loaded object, or are in the key as what they resolved to."""

_warm: OrderedDict[tuple[Any, ...], WorldModel] = OrderedDict()
_lock = threading.RLock()


@without_collector()
def load(config: ModelConfig, extra: Mapping[str, Any] | None = None) -> tuple[WorldModel, bool]:
    """Return the warm model for `config`, loading it if need be, and whether it was warm already.

    `extra` are further keyword arguments of `from_pretrained`: components, `custom` options of a pipeline class.
    Raises: `ModelError` or `MissingPackageError`, one line, where the model cannot be had as asked.
    """
    found = checkpoint.locate(config)
    pretrained.check(found)
    device = devices.resolve_device(config.device)
    dtype = found.dtype_on(device)
    key = _key(found, device, dtype, extra or {})
    with _lock:
        if key in _warm:
            _warm.move_to_end(key)
            return _noted(_warm[key], warm=True)
        _make_room(found, device, dtype)
        started = time.perf_counter()
        pipe, guardrail = pretrained.load(found, device, dtype, dict(extra or {}))
        seconds = time.perf_counter() - started
        model = WorldModel(pipe, type(pipe).__name__, device, dtype, str(found.place), guardrail, seconds)
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
    return model, warm


def _make_room(found: Checkpoint, device: str, dtype: str) -> None:
    """Let go of the models used least recently, until this one fits beside the rest; of all where its size is unknown."""
    needed = sum(found.numbers.values()) * (4 if dtype == "float32" else 2) or int((found.model.weights_gb or 0) * 1e9)
    limit = devices.memory_bytes(device) * (WARM_SHARE if device.startswith("cuda") else WARM_SHARE_HOST)
    for key in [key for key, model in _warm.items() if model.device == device]:
        held = sum(model.bytes for model in _warm.values() if model.device == device)
        if needed and held + needed <= limit:
            return
        del _warm[key]
        devices.release_memory()


def clear() -> int:
    """Forget every warm model and return how many there were."""
    with _lock:
        count = len(_warm)
        _warm.clear()
    devices.release_memory()
    return count


def warm_models() -> list[WorldModel]:
    """The warm models, least recently used first."""
    with _lock:
        return list(_warm.values())


def _key(found: Checkpoint, device: str, dtype: str, extra: Mapping[str, Any]) -> tuple[Any, ...]:
    """Everything that changes the loaded object: every field but a few, and local files by their sizes and times.

    Of `extra`, plain values by what they are, objects by identity: the warm pipeline holds them, so that no other takes theirs.
    """
    plain = (str, int, float, bool, type(None))
    own = ((name, v if isinstance(v, plain) else (type(v).__name__, id(v))) for name, v in sorted(extra.items()))
    lora = checkpoint.stamp(Path(found.model.lora.repo).expanduser()) if found.model.lora.repo else ()
    fields = ((name, repr(value)) for name, value in vars(found.model).items() if name not in _NOT_IN_THE_KEY)
    return (str(found.place), device, dtype, found.stamp, lora, *fields, *own)


def describe(model: WorldModel) -> dict[str, Any]:
    """What the manifest records of a model."""
    return {
        f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("pipe", "lock", "bytes")
    }
