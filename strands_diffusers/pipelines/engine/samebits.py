"""The same numbers, bit for bit, from quicker code on a CPU. Found by measuring where the time goes.

Whether two ways to the same sum agree in the last bit depends on the order in which kernels add: on how PyTorch was
compiled, the machine, the number of threads, the layout of the tensors and the place of a row in them, but never on the
values. So the first tensors of a layout go both ways, and the quick way is taken from then on only if every bit agreed.
"""

import ctypes
import functools
import platform
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

OVER_CHANNELS = {"p": 2.0, "dim": 1, "eps": 1e-12, "out": None}
"""How `functional.normalize` hands on its arguments for a plain norm over dimension 1."""

_proven: dict[Hashable, bool] = {}
"""Per layout: whether the quick way gave the bits of the exact one."""


def same_bits(layout: Hashable, quick: Callable[[], Tensor], exact: Callable[[], Tensor]) -> Tensor:
    """Return `exact()`, by way of `quick()` where that is known to give the same bits for this `layout`."""
    key = (layout, torch.get_num_threads(), torch.get_float32_matmul_precision())
    known = _proven.get(key)
    if known:
        return quick()
    result = exact()
    if known is None:
        _proven[key] = torch.equal(quick(), result)
    return result


class QuickNormalize(TorchFunctionMode):  # type: ignore[misc]
    """Replace `functional.normalize` over channels, a sixth of the time that the Wan VAE takes on a CPU.

    PyTorch reduces over a strided dimension one element at a time. The same sums, in the same order, are made here a
    whole channel at a time. Acts inside a `with` statement, in this thread alone.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, or the quick way of it where there is one for these arguments."""
        options = kwargs or {}
        if func is functional.normalize and len(args) == 1 and options == OVER_CHANNELS:
            x = args[0]
            if x.device.type == "cpu" and x.dtype is torch.float32 and not x.requires_grad:
                return same_bits(("norm", x.shape, x.stride()), partial(normalize, x), partial(func, x, dim=1))
        return func(*args, **options)


def normalize(x: Tensor) -> Tensor:
    """`functional.normalize(x, dim=1)` for float32 on a CPU: squares added channel by channel, then the IEEE root."""
    channels = x.split(1, dim=1)
    total = channels[0] * channels[0]
    square = torch.empty_like(total)
    for channel in channels[1:]:
        total += torch.mul(channel, channel, out=square)
    norm = torch.from_numpy(np.sqrt(total.numpy()))  # torch's own vectorised root may be off by the last bit
    return x / norm.clamp_min(1e-12)


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""glibc's names for the size from which memory is asked of the kernel, and for the free size at which it is returned."""

RESTING = {MMAP_THRESHOLD: 32 * 1024**2, TRIM_THRESHOLD: 64 * 1024**2}
"""Where glibc's own rule settles after one large tensor was freed."""

_users, _users_lock = 0, threading.Lock()


@contextmanager
def warm_pages(device: Any) -> Iterator[None]:
    """Keep freed pages for the next tensor while the body runs on a CPU, then give them back and set glibc back.

    glibc asks the kernel for each large tensor and returns it when freed; the kernel clears every page anew, a fifth of
    the time that the Wan VAE takes. Elsewhere than on Linux with glibc this does nothing.
    """
    global _users
    libc = _glibc() if torch.device(device).type == "cpu" else None
    if libc is None:
        yield
        return
    with _users_lock:
        _users += 1
        for name in RESTING:
            libc.mallopt(name, 2**31 - 1)
    try:
        yield
    finally:
        with _users_lock:
            _users -= 1
            if _users == 0:
                for name, size in RESTING.items():
                    libc.mallopt(name, size)
                libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library where it is glibc, else None."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
