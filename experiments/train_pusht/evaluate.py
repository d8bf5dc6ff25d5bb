"""Stage `evaluate`: the exported folder through `experiments/pusht_quality`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers_training.parallel import Ranks


@dataclass
class EvaluateConfig:
    """Writes WORK/quality: the table, the contact sheet, every measured value, the videos."""

    clips: int = 64
    """Held-out clips for forward and inverse dynamics."""

    starts: int = 64
    """Held-out starts for the policy, each asked for five tasks."""

    steps: int = 8
    """Denoising steps."""

    guidance: float = 6.0
    """Guidance scale of the policy."""


def run(config: EvaluateConfig, work: Path, ranks: Ranks) -> None:
    """Evaluate WORK/export with as many processes as this stage was given."""
    if not ranks.first:
        return
    command = [sys.executable, "-m", "experiments.pusht_quality", str(work / "export"), "--out", str(work / "quality")]
    for name in ("clips", "starts", "steps", "guidance"):
        command += [f"--{name}", str(getattr(config, name))]
    subprocess.run([*command, "--procs", str(ranks.world)], check=True)
