"""What the machine is, what it lacks, and how fast it multiplies and copies."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import time
from typing import Any

from experiments.gpu_day.part import Task
from experiments.gpu_day.plan import PARTS

VERSIONS = ("torch", "diffusers", "transformers", "accelerate", "torchao", "triton", "numpy", "wandb", "hydra-core")


def run(task: Task) -> None:
    """Report; without torch, or without CUDA on the day itself, the report says so."""
    needed = sorted(
        {name for part in PARTS for name in part.needs}
        | {"accelerate", "strands_diffusers_engines", "torchao", "triton"}
    )
    result: dict[str, Any] = {
        "device": "no PyTorch",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "versions": dict(filter(None, map(_version, VERSIONS))),
        "missing": [name for name in needed if importlib.util.find_spec(name) is None],
        "nvidia_smi": _nvidia_smi(),
    }
    task.save(result)
    if "torch" not in result["missing"]:
        result |= _device(task)
    missing = f"; not installed: {', '.join(result['missing'])}" if result["missing"] else ""
    rate = f", bf16 matrices {result['matrix_rate'] / 1e12:.3g} TFLOP/s" if "matrix_rate" in result else ""
    result["line"] = f"{result['device']}, torch {result['versions'].get('torch', '-')}{rate}{missing}"
    task.save(result)


def _version(package: str) -> tuple[str, str] | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return package, importlib.metadata.version(package)
    return None


def _nvidia_smi() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,power.limit,clocks.max.sm", "--format=csv"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


def _device(task: Task) -> dict[str, Any]:
    """Name, memory and rates of the device."""
    import torch

    from experiments.engine_speed.roofline import matrix_throughput

    if task.device == "cpu":
        found: dict[str, Any] = {"device": f"cpu ({platform.machine()})"}
    elif not torch.cuda.is_available():
        raise SystemExit(
            "torch.cuda.is_available() is false: no CUDA device, or a PyTorch that was built without CUDA."
        )
    else:
        card = torch.cuda.get_device_properties(0)
        found = {
            "device": card.name,
            "memory_gb": card.total_memory / 1e9,
            "capability": [card.major, card.minor],
            "cuda": torch.version.cuda,
        }
    size = 64 if task.dry_run else 8192
    found["matrix_rate"] = matrix_throughput(task.device, torch.bfloat16, size)
    found["copy_rate"] = _copy_rate(task.device, 2**20 if task.dry_run else 2**32)
    return found


def _copy_rate(device: str, size: int) -> float:
    """Bytes read and written a second by a copy on the device."""
    import torch

    source = torch.empty(size, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), 0.0
    for _ in range(4):
        started = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size / (time.perf_counter() - started))
    return best
