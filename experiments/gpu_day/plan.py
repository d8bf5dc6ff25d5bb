"""What the day does, in order of value. Standard library alone: the machine may lack everything else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = "results.json"
PACKAGE = ("diffusers", "hydra", "imageio_ffmpeg", "omegaconf", "soundfile", "torch", "transformers", "wandb")
"""Modules that the package imports and that a machine may lack."""

Save = Callable[[dict[str, Any]], None]
"""Writes what a part knows so far: a part that is cut off leaves what it had."""


@dataclass(frozen=True)
class Part:
    """One part of the day, which runs in a process of its own."""

    name: str
    limit_s: float
    """Seconds after which it is ended, whatever it has."""

    shows: str
    """What its result says."""

    needs: tuple[str, ...] = ()
    """Modules without which it is skipped."""


PARTS = (
    Part("environment", 60, "the machine: card, driver, versions, what is missing, measured matrix and copy rates"),
    Part("jobs", 120, "the main job and a sweep of four on CUDA with W&B offline, against the CPU's actions", PACKAGE),
    Part("tests", 150, "tests/gpu: rounding, host waits, offloading, graphs, fp8", (*PACKAGE, "pytest")),
    Part("nano", 300, "seconds of every engine at Nano's size, random weights, beside the aims", PACKAGE),
    Part("profile", 90, "one step of Nano: kernels, gaps, share of the matrix rate", (*PACKAGE, "matplotlib")),
    Part(
        "training",
        600,
        "how fast the embedded model trains, for the time that is left",
        (*PACKAGE, "gym_pusht", "strands_diffusers_training"),
    ),
)
"""In order of value."""


def code() -> str:
    """What is measured, as a digest: the same for every checkout whose program and experiments are the same."""
    digest = hashlib.sha256()
    for folder in (
        "strands_diffusers",
        "plugins/engines",
        "experiments/gpu_day",
        "experiments/engine_speed",
        "tests/gpu",
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def commit() -> str:
    """The commit of the checkout, or what the environment says it is where git is not there."""
    given = os.environ.get("GPU_DAY_COMMIT", "unknown")
    try:
        found = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return given
    return found.stdout.strip() or given


def read(folder: Path) -> dict[str, Any]:
    """The results in a folder: `{"device | code": {"commit": ..., "parts": {name: result}}}`; empty where there are none."""
    path = folder / RESULTS
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def child(part: str, folder: Path, seconds: float, *, dry_run: bool) -> list[str]:
    """The command of one part."""
    command = [
        sys.executable,
        "-m",
        "experiments.gpu_day.part",
        part,
        "--out",
        str(folder),
        "--seconds",
        f"{seconds:.0f}",
    ]
    return [*command, "--dry-run"] if dry_run else command
