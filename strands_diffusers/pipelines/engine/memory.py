"""Conditioning kept over rollouts: bounded in bytes, keyed by content and by the weights that made it, per pipeline.

N prompts on one observation encode it once; N seeds on one prompt read it once. An entry is found again only while
the weights are the very same, bit for bit as far as PyTorch can tell: the same parameters, never written since, with
the same LoRA adapters at the same strength.
"""

import hashlib
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from strands_diffusers.memory import Memory

T = TypeVar("T")

PROBED, PROBED_VALUES = 8, 64
"""Parameters, and values of each, that are read to notice a write that PyTorch does not count."""

_memories: "weakref.WeakKeyDictionary[Any, Memory]" = weakref.WeakKeyDictionary()
_memories_lock = threading.Lock()


def memory_of(pipe: Any, capacity: int) -> Memory:
    """Return the pipeline's memory, which lives as long as the pipeline does, holding `capacity` bytes at most."""
    with _memories_lock:
        memory = _memories.setdefault(pipe, Memory(capacity))
    memory.resize(capacity)
    return memory


def forget(pipe: Any) -> None:
    """Drop all that is kept for `pipe`: after its weights were written in a way that PyTorch does not record."""
    with _memories_lock:
        _memories.pop(pipe, None)


def weights_key(*modules: Any) -> Hashable | None:
    """Identify the weights of `modules` as they are now, or None where they cannot be identified (they are offloaded).

    Compared are: which parameters these are and how often each was written to in place; the adapters and their
    strengths; and a few values of some of them, which catches a wholesale write through `.data` (as an exponential
    moving average is often swapped in), which PyTorch does not count.
    """
    import torch

    parameters = [parameter for module in modules for parameter in module.parameters()]
    if any(parameter.is_meta for parameter in parameters):
        return None  # sequential offloading: other parameters at each call
    return (
        tuple((id(p), p._version) for p in parameters),
        tuple(adapter for module in modules for part in module.modules() for adapter in _adapters(part)),
        digest(p.detach().flatten()[:PROBED_VALUES] for p in parameters[:: len(parameters) // PROBED + 1]),
        str(parameters[0].dtype),
        str(parameters[0].device),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),  # CPU kernels may add in another order with another number of threads
    )


def kept(memory: Memory, modules: Sequence[Any], key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
    """What `make` makes, kept in `memory` while the weights of `modules` are the same; made anew where nobody can tell."""
    weights = weights_key(*modules)
    return make() if weights is None else memory.get_or_make((*key, weights), make)


def _adapters(part: Any) -> Iterable[Hashable]:
    """The active LoRA adapters of one peft layer with their strengths; nothing for any other module."""
    scaling = vars(part).get("scaling")  # not getattr, which is slow where a module has no such attribute
    if isinstance(scaling, dict) and hasattr(part, "active_adapters"):
        yield (
            tuple(part.active_adapters),
            tuple(sorted(scaling.items())),
            bool(part.disable_adapters),
            bool(part.merged),
        )


def digest(parts: Iterable[Any]) -> bytes:
    """Hash the content of tensors, arrays, PIL images and plain values, with their shapes and types."""
    import numpy as np
    import torch

    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous()
            state.update(repr((tuple(part.shape), part.dtype)).encode())
            state.update(part.flatten().view(torch.uint8).numpy())
        elif isinstance(part, np.ndarray):
            state.update(repr((part.shape, part.dtype)).encode())
            state.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, list | tuple):
            state.update(digest(part))
        elif hasattr(part, "tobytes") and hasattr(part, "mode"):  # a PIL image
            state.update(repr((part.size, part.mode, part.getpalette())).encode())
            state.update(part.tobytes())
        else:
            state.update(repr(part).encode())
    return state.digest()
