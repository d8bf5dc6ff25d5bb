"""The same numbers, bit for bit, from quicker code on a CPU. Found by measuring where the time goes.

Whether two ways to the same sum agree in the last bit depends on the order in which kernels add: on how PyTorch was
compiled, the machine, the number of threads, the layout of the tensors and the place of a row in them, but never on the
values. So the first tensors of a layout go both ways, and the quick way is taken from then on only if every bit agreed.
Tensors that could agree by chance (a black frame is all zeros) are replaced by drawn ones for that.
"""

import ctypes
import functools
import platform
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_proven: dict[Hashable, bool] = {}
"""Per layout: whether the quick way gave the bits of the exact one."""


def same_bits(
    layout: Hashable,
    quick: Callable[[], Tensor],
    exact: Callable[[], Tensor],
    agree: Callable[[], bool] | None = None,
) -> Tensor:
    """Return `exact()`, by way of `quick()` where that is known to give the same bits for this `layout`.

    `agree` finds that out on values of its own; without it these very tensors do, which then must not be constant.
    """
    known = _proven.get(_key(layout))
    if known:
        return quick()
    result = exact()
    if known is None:
        proven(layout, agree or (lambda: torch.equal(quick(), result)))
    return result


def proven(layout: Hashable, agree: Callable[[], bool]) -> bool:
    """Whether the quick way of this `layout` gives the bits of the exact one; `agree` finds it out the first time."""
    key = _key(layout)
    if key not in _proven:
        _proven[key] = agree()
    return _proven[key]


def _key(layout: Hashable) -> Hashable:
    return layout, torch.get_num_threads(), torch.get_float32_matmul_precision()


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
