"""Time a case under one engine: wall and processor time, stages, peak memory, and what came out."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers.pipelines.engine import Call, Sample, forget, get_engine

STAGES = ("encode", "text", "denoise", "decode")


def run(name: str, pipe: Any, calls: list[Call]) -> tuple[dict[str, Any], list[Sample]]:
    """Run the calls from nothing kept; returns seconds and memory per rollout, and the samples."""
    forget(pipe)
    engine = get_engine(name)
    rollouts = sum(len(call.seeds) for call in calls)
    _reset_peak(pipe)
    stages: dict[str, float] = {}
    watch = watched(pipe, stages) if name in ("eager", "cached") else contextlib.nullcontext()
    with watch:
        wall, processor = time.perf_counter(), time.process_time()
        samples = [sample for call in calls for sample in engine.run(pipe, call)]
        _wait(pipe)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if not stages:
        for sample in samples:
            for stage, seconds in sample.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + seconds
    row = {"wall_s": wall / rollouts, "processor_s": processor / rollouts, "peak_memory_mb": _peak(pipe)}
    row |= {f"{stage}_s": stages.get(stage, 0.0) / rollouts for stage in STAGES}
    row["else_s"] = row["wall_s"] - sum(row[f"{stage}_s"] for stage in STAGES)
    return row, samples


@contextlib.contextmanager
def watched(pipe: Any, stages: dict[str, float]) -> Iterator[None]:
    """Time the stages of diffusers' own call from outside, by wrapping three methods for the body's time."""
    owners = {
        "encode": (pipe, "_encode_video"),
        "denoise": (pipe.transformer, "forward"),
        "decode": (pipe.vae, "decode"),
    }
    for stage, (owner, method) in owners.items():
        original = getattr(owner, method)

        def timed(*args: Any, original: Any = original, stage: str = stage, **kwargs: Any) -> Any:
            _wait(pipe)
            started = time.perf_counter()
            result = original(*args, **kwargs)
            _wait(pipe)
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - started
            return result

        setattr(owner, method, timed)
    try:
        yield
    finally:
        for owner, method in owners.values():
            delattr(owner, method)


def distance(samples: list[Sample], reference: list[Sample]) -> dict[str, float]:
    """The largest differences to another engine's samples; PSNR and mean error for the lossy ones."""
    found: dict[str, float] = {}
    for one, other in zip(samples, reference, strict=True):
        if one.video is not None and other.video is not None:
            error = one.video.astype(np.float64) - other.video
            found["video_levels"] = max(found.get("video_levels", 0.0), float(np.abs(error).max()))
            psnr = 10 * float(np.log10(255**2 / max(np.mean(error**2), 1e-12)))
            found["video_psnr_db"] = min(found.get("video_psnr_db", 999.0), psnr)
        if one.action is not None and other.action is not None:
            error = np.abs(one.action.astype(np.float64) - other.action)
            found["action_largest"] = max(found.get("action_largest", 0.0), float(error.max()))
            found["action_mean"] = max(found.get("action_mean", 0.0), float(error.mean()))
    return found


def _cuda(pipe: Any) -> bool:
    return bool(pipe.transformer.device.type == "cuda")


def _wait(pipe: Any) -> None:
    if _cuda(pipe):
        import torch

        torch.cuda.synchronize()


def _reset_peak(pipe: Any) -> None:
    if _cuda(pipe):
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak of resident memory anew


def _peak(pipe: Any) -> float:
    """Peak memory [MB] since the reset: of the card, or of the process."""
    if _cuda(pipe):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 1024**2
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
