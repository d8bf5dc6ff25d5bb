"""The same numbers, bit for bit, from quicker code on a CPU. Found by measuring where the Wan VAE's time goes.

Both apply to the body of a `with` statement and leave no trace: the one in this thread alone, the other in glibc's
allocator, which is set back.
"""

import ctypes
import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

OVER_CHANNELS = {"p": 2.0, "dim": 1, "eps": 1e-12, "out": None}
"""How `functional.normalize` hands on its arguments for a plain norm over dimension 1."""

_proven: dict[tuple[Any, ...], bool] = {}
"""Per layout of a tensor: whether `normalize` gave the bits of PyTorch's own there."""


class QuickNormalize(TorchFunctionMode):
    """Replace `functional.normalize` over channels, a sixth of the time that the Wan VAE takes on a CPU.

    PyTorch reduces over a strided dimension one element at a time. The same sums, in the same order, are made here a
    whole channel at a time. That this gives the same bits depends on how PyTorch was compiled, so the first tensor of
    each layout goes both ways; where a single bit differs, PyTorch's own is used for that layout ever after. (The order
    in which a kernel adds depends on the layout and never on the values.)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, or the quick way where it is `normalize` over the channels of a float32 tensor on a CPU."""
        options = kwargs or {}
        if func is functional.normalize and len(args) == 1 and options == OVER_CHANNELS:
            x = args[0]
            if x.device.type == "cpu" and x.dtype is torch.float32 and not x.requires_grad:
                return self._normalize(x)
        return func(*args, **options)

    @staticmethod
    def _normalize(x: Tensor) -> Tensor:
        layout = (tuple(x.shape), x.stride(), torch.get_num_threads())
        if _proven.get(layout) is False:
            return functional.normalize(x, dim=1)
        quick = normalize(x)
        if layout not in _proven:
            exact = functional.normalize(x, dim=1)
            _proven[layout] = torch.equal(quick, exact)
            return exact
        return quick


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
    """Keep freed pages for the next tensor while the body runs on a CPU, then give them back.

    glibc asks the kernel for each large tensor and returns it when freed; the kernel clears every page anew, a fifth of
    the time that the Wan VAE takes. Elsewhere than on Linux with glibc this does nothing.
    """
    global _users  # noqa: PLW0603
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
