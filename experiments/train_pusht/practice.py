"""Stage `practice`: the policy's own actions, and what the simulator makes of them.

The policy acts from starts of the training data, and the simulator gives the true video under its actions. Trained on both
together, from the very noise that the actions were made from, a policy keeps its choice, shows what would really happen, and
needs no guidance: that was used here. `latents/practice_NNNN.npz` is as `latents` writes it, with `noise` float16
[M, 32, 5, 6, 6] and `action_noise` float32 [M, 16, 2]. Rollouts that moved the block the wrong way are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from strands_diffusers_training.parallel import Progress, Ranks

from .data import ALL_TASKS, Frames, in_the_way
from .model import LATENT_SHAPE, NUM_ACTIONS
from .world import World

if TYPE_CHECKING:
    from strands_diffusers_pusht.simulator import PushT


@dataclass
class PracticeConfig:
    """The policy's own rollouts."""

    init: str = ""
    """The `--init` of the run."""

    num_shards: int = 60
    """Files to write."""

    rollouts: int = 128
    """Rollouts per file."""

    batch: int = 32
    """Rollouts made at once."""

    guidance: float = 4.0
    """Guidance scale, which the policy that learns from this no longer needs."""

    num_steps: int = 8
    """Denoising steps."""

    worst_px: float = -5.0
    """Least move of the block along its task that is kept [simulator pixels]."""


def draw_starts(data: Frames, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """States [count, 5] and tasks [count]: half are how an episode with a task began, half any frame and any task."""
    from strands_diffusers_pusht.expert import TASKS

    states: list[np.ndarray] = []
    tasks: list[int] = []
    while len(states) < count:
        shard = int(rng.integers(len(data.shards)))
        episodes = data.shards[shard][1]
        i = int(rng.integers(len(episodes["start"])))
        task, step = int(episodes["task"][i]), 0
        if len(states) % 2:
            task, step = int(rng.integers(len(TASKS))), int(rng.integers(episodes["length"][i]))
        if ALL_TASKS[task] in TASKS:
            states.append(data.state(shard, episodes["start"][i] + step))
            tasks.append(task)
    return np.stack(states).astype(float), np.array(tasks)


def run(config: PracticeConfig, work: Path, ranks: Ranks) -> None:
    """Write every file that is not there yet, with the newest weights; ranks share them out."""
    from strands_diffusers_pusht.expert import progress_px
    from strands_diffusers_pusht.simulator import PushT, to_pixels

    paths = [work / "latents" / f"practice_{i:04d}.npz" for i in range(config.num_shards)]
    mine = [(i, path) for i, path in enumerate(paths) if i % ranks.world == ranks.rank and not path.exists()]
    data, world, sim = Frames.training(work), World(work, ranks, config.init), PushT()
    progress = Progress("practice", len(mine), ranks)
    for done, (number, path) in enumerate(mine, 1):
        rng, generator = np.random.default_rng([number, 5]), torch.Generator().manual_seed(number)
        starts, tasks = draw_starts(data, config.rollouts, rng)
        noise = torch.randn(len(starts), *LATENT_SHAPE, generator=generator).half()
        action_noise = torch.randn(len(starts), NUM_ACTIONS, 2, generator=generator)
        latents, actions, moves = [], [], []
        for rows in np.array_split(np.arange(len(starts)), -(-len(starts) // config.batch)):
            clips = []
            first = np.stack([_frame(sim, state) for state in starts[rows]])
            _, acted = world.policy(
                world.encode(first[:, None]),
                noise[rows].float(),
                action_noise[rows],
                tasks[rows],
                config.num_steps,
                config.guidance,
                rng,
            )
            for row, action in zip(rows, acted.cpu().numpy(), strict=True):
                sim.state = starts[row]
                frames, states = sim.run(to_pixels(action))
                clips.append(frames)
                moves.append(progress_px(states, ALL_TASKS[tasks[row]]))
            latents.append(world.encode(np.stack(clips)).cpu())
            actions.append(acted.cpu())
        kept = np.array(moves) > config.worst_px
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            latent=(torch.cat(latents) * world.std.cpu() + world.mean.cpu()).half().numpy()[kept],
            action=torch.cat(actions).numpy()[kept],
            task=tasks[kept],
            step=np.zeros(kept.sum(), int),
            in_the_way=np.array([in_the_way(s, t) for s, t in zip(starts, tasks, strict=True)])[kept],
            noise=noise.numpy()[kept],
            action_noise=action_noise.numpy()[kept],
        )
        partial.rename(path)
        progress.line(done, f"kept {kept.mean():.0%}, moved {np.mean(moves):.0f} px")


def _frame(sim: PushT, state: np.ndarray) -> np.ndarray:
    sim.state = state
    return sim.render()
