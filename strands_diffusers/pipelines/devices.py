"""Where a model computes, in which precision, and how much memory there is."""

import os
import sys
from pathlib import Path

from strands_diffusers.errors import ModelError


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


def names() -> str:
    """The devices of this machine, for people."""
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return "mps" if torch.backends.mps.is_available() else f"cpu ({torch.get_num_threads()} threads)"


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
