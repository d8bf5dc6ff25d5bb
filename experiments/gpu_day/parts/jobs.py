"""The main job and a sweep of four seeds on CUDA, as a user types them, with W&B offline; then the same on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

from experiments.gpu_day.part import Task

CUT = ["sampler.num_inference_steps=1", "output=[action]", "visualizer=[]", "metric=[]"]
"""What a dry run adds."""


def run(task: Task) -> None:
    """Run three commands; problems of a job, and what should be on disk and is not, end the part as failed."""
    os.environ["WANDB_MODE"] = "offline"
    cut, work = CUT if task.dry_run else [], task.folder / "jobs"
    on_device = f"model.device={task.device}"
    result: dict[str, Any] = {"jobs": {}}
    for name, words in {
        "main": [on_device],
        "sweep": ["-m", "seed=0,1,2,3", on_device],
        "cpu": ["model.device=cpu", "tracker=none", "visualizer=[]"],
    }.items():
        _command([*words, *cut, f"output_dir={work / name}"])
        result["jobs"][name] = [_job(record, task, name) for record in _records(work / name)]
        task.save(result)
    result["from_the_cpu"] = _distance(work)
    seconds = [job["seconds"] for job in result["jobs"]["sweep"]]
    largest, mean = (result["from_the_cpu"][key] for key in ("largest", "mean"))
    result["line"] = (
        f"main job and {len(seconds)} sweep jobs done on {task.device}, each further job {min(seconds):.2f} s; "
        f"actions {mean:.1e} from the CPU's on average, {largest:.1e} at most"
    )
    with tarfile.open(task.folder / "jobs.tar.gz", "w:gz") as tar:
        tar.add(work, arcname="jobs")
    shutil.rmtree(work)
    task.save(result)


def _command(words: list[str]) -> None:
    """`strands-diffusers WORDS` in this process, which stays warm."""
    from strands_diffusers.cli import main

    print("$ strands-diffusers", *words, flush=True)
    try:
        main(words)
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"strands-diffusers {' '.join(words)} ended with status {end.code}") from end


def _records(folder: Path) -> list[Any]:
    from strands_diffusers import records

    return [record for record in records.jobs(folder) if record.done]


def _job(record: Any, task: Task, name: str) -> dict[str, Any]:
    """What a record says of a job. Raises: `RuntimeError` where the job was not what it should have been."""
    if record.problems:
        raise RuntimeError(f"{record.directory}: {record.problems[0]}")
    computed_on = str(record.model.get("device"))
    if not computed_on.startswith("cpu" if name == "cpu" else task.device):
        raise RuntimeError(f"{record.directory} was computed on {computed_on}")
    if not task.dry_run and name != "cpu" and record.file("video") is None:
        raise RuntimeError(f"{record.directory} has no video")
    if name != "cpu" and not list((record.directory / "wandb").glob("offline-run-*/*.wandb")):
        raise RuntimeError(f"{record.directory} has no offline W&B run")
    return {
        "device": computed_on,
        "dtype": record.model.get("dtype"),
        "engine": dict(record.engine),
        "seconds": record.total_seconds,
        "stages": dict(record.seconds),
        "peak_memory_mb": dict(record.peak_memory_mb),
    }


def _distance(work: Path) -> dict[str, float]:
    """How far the actions of the main job are from those that the CPU gave for the same seed, in model space."""
    import numpy as np

    one, other = (np.array(json.loads((work / name / "action.json").read_text())) for name in ("main", "cpu"))
    if one.shape != other.shape or not np.isfinite(one).all():
        raise RuntimeError(f"actions of shape {one.shape} on the device, {other.shape} on the CPU")
    error = np.abs(one - other)
    return {"largest": float(error.max()), "mean": float(error.mean()), "size": float(np.abs(other).mean())}
