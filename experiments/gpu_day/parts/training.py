"""How fast the embedded model trains here: `experiments.train_pusht` from its present weights, for the time that is left.

Leaves kept.npz, from which the run can go on elsewhere (`keep --restore`). Nothing of the repository is changed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from experiments.gpu_day.part import Task

CPU_RATE = 28.0
"""Samples a second and core, on the CPUs that the model was trained on (experiments/train_pusht/LOG.md)."""


def run(task: Task) -> None:
    """Make a little data, train in rounds of as many steps as fit, keep what came of it."""
    import torch
    from strands_diffusers_training.parallel import Ranks

    import strands_diffusers
    from experiments.train_pusht import data, keep, latents, transformer

    if not task.dry_run:
        torch.backends.cuda.matmul.allow_tf32 = True
    init = str(Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht")
    work, ranks = task.folder / "work", Ranks(device=task.device)
    work.mkdir()
    episodes = 4 if task.dry_run else 64
    data.run(data.DataConfig(num_shards=1, episodes_per_shard=episodes, in_the_way=0), work, Ranks())
    latents.run(latents.LatentsConfig(windows_between=0, init=init), work, ranks)
    result: dict[str, Any] = {"rounds": [], "episodes": episodes}
    rates: list[float] = []
    batch, steps, total = (8, 1, 0) if task.dry_run else (256, 100, 0)
    seconds = 0.0
    while not rates or (task.left_s > 30 + 1.5 * seconds and not task.dry_run):
        total += steps
        config = transformer.TransformerConfig(
            steps=total, cooldown=0, warmup=30, batch=batch, init=init, compile=False, report_s=1e9, muon_lr=0.01, adam_lr=0.001
        )  # fmt: skip
        started = time.monotonic()
        transformer.run(config, work, ranks)
        seconds = time.monotonic() - started
        rates.append(steps * batch / seconds)
        result["rounds"].append({"steps": total, "seconds": seconds, "samples_per_s": rates[-1]})
        result["line"] = (
            f"{total} steps of {batch}, {max(rates):.0f} samples/s with start-up, {max(rates) / CPU_RATE:.1f} CPU cores' worth"
        )
        task.save(result)
    curve = work / "transformer_curve.jsonl"
    result["curve"] = [json.loads(line) for line in curve.read_text().splitlines()] if curve.is_file() else []
    keep.run(keep.KeepConfig(init=init, file=str(task.folder / "kept.npz")), work, ranks)
    task.save(result)
