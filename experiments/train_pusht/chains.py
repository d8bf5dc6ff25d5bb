"""Stage `chains`: the model's own last frame as the first frame of the window that follows.

In a rollout of several chunks the model sees its own last frame, not a true one. Here forward dynamics runs an episode's
true actions chunk by chunk, and its decoded last frames are encoded again. `chains/NAME.npz` beside `latents/NAME.npz`: `row`
int [C], which of its windows; `first` float16 [C, 32, 6, 6], the latents of frame 0, normalised. From these, with the true
frames as the target, the model learns to go on from a T that is not quite one and not quite there. A chain ends where the
block is too far off to tell where the true one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from strands_diffusers_training.parallel import Progress, Ranks

from .latents import files, load
from .vae import NUM_FRAMES
from .world import World


@dataclass
class ChainsConfig:
    """First frames as the model leaves them."""

    init: str = ""
    """The `--init` of the run."""

    max_shards: int = 0
    """Shards to take; 0: all there are."""

    batch: int = 32
    """Episodes at once."""

    least_overlap: float = 0.4
    """Overlap of the T with the true one, below which a chain ends."""


def run(config: ChainsConfig, work: Path, ranks: Ranks) -> None:
    """Write `chains/` for every shard of latents that has none yet, with the newest weights; ranks share them out."""
    from strands_diffusers_pusht import tracking

    (work / "chains").mkdir(exist_ok=True)
    shards = files(work, "shard_")[: config.max_shards or None]
    mine = [
        p for i, p in enumerate(shards) if i % ranks.world == ranks.rank and not (work / "chains" / p.name).exists()
    ]
    world, progress = World(work, ranks, config.init), Progress("chains", len(mine), ranks)
    for done, path in enumerate(mine, 1):
        windows = load(work, path.stem)
        with np.load(path) as file:
            step = file["step"]
        rows, generator = np.flatnonzero(step == 0), torch.Generator().manual_seed(done)
        first = windows.latent[rows][:, :, :1].float()
        found: list[tuple[np.ndarray, torch.Tensor]] = []
        while True:
            goes_on = np.append(step, 0)[rows + 1] == step[rows] + NUM_FRAMES - 1
            rows, first = rows[goes_on], first[torch.from_numpy(goes_on)]
            if not len(rows):
                break
            last = []
            for part in np.array_split(np.arange(len(rows)), -(-len(rows) // config.batch)):
                noise = torch.randn(len(part), *windows.latent.shape[1:], generator=generator)
                last.append(world.last_frames(world.dynamics(first[part], windows.action[rows[part]], noise)))
            frames, rows = np.concatenate(last), rows + 1
            true = tracking.block_mask(world.last_frames(windows.latent[rows][:, :, :1].float()))
            near = tracking.overlap(tracking.block_mask(frames), true) >= config.least_overlap
            if not near.any():
                break
            rows, first = rows[near], world.encode(frames[near][:, None]).cpu()
            found.append((rows, first[:, :, 0].half()))
        partial = work / "chains" / f"{path.stem}.partial.npz"
        np.savez(
            partial,
            row=np.concatenate([row for row, _ in found]),
            first=torch.cat([latent for _, latent in found]).numpy(),
        )
        partial.rename(work / "chains" / path.name)
        progress.line(done, f"{sum(len(row) for row, _ in found)} first frames")
