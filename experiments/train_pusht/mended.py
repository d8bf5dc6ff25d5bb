"""Stage `mended`: what the simulator makes of the T that the model's own last frame shows.

Under actions that shake, the T melts from chunk to chunk, and the model goes on from the melted one. `chains` cannot teach it
better: where the model's T has moved off the true one, nothing in the frame says where the truth is. Here the target begins
where the model's frame does: the rigid T that covers the decoded one best is put into the simulator, and the episode's next
actions are acted out from there. `latents/mended_NNNN.npz` is as `latents` writes it, with `first` float16 [M, 32, 6, 6],
the latents of the model's own frame, normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from strands_diffusers_training.parallel import Progress, Ranks

from .data import Frames
from .model import LATENT_SHAPE, NUM_ACTIONS
from .pose import fit, rectangles
from .world import World


@dataclass
class MendedConfig:
    """Windows that begin at the model's own last frame, and a truth that begins there too."""

    init: str = ""
    """The `--init` of the run."""

    num_shards: int = 20
    """Files to write."""

    episodes: int = 64
    """Episodes per file; each gives a window after one chunk and one after two."""

    batch: int = 32
    """Episodes at once."""

    errs: float = 0.7
    """Share of the episodes whose actions carry errors, where there are any: there the T melts."""

    least_overlap: float = 0.1
    """How well the rigid T must cover what is seen: else there is too little of a T to say where it is."""


def episodes_of(data: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Episodes of three chunks or more, [N, 3] = shard, first frame, task: those without errors, and those with."""
    found: tuple[list[tuple[int, int, int]], ...] = [], []
    for shard, (_, e) in enumerate(data.shards):
        for i in np.flatnonzero(e["length"] > 3 * NUM_ACTIONS):
            start = int(e["start"][i])
            found[data.errs(shard, start)].append((shard, start, int(e["task"][i])))
    if not any(found):
        raise SystemExit(
            f"No episode in the data has {3 * NUM_ACTIONS} actions. Run the stage `data` with --num_steps 48."
        )
    smooth, shaky = (np.array(rows or found[not which]) for which, rows in enumerate(found))
    return smooth, shaky


def run(config: MendedConfig, work: Path, ranks: Ranks) -> None:
    """Write every file that is not there yet, with the newest weights; ranks share them out."""
    from strands_diffusers_pusht import tracking
    from strands_diffusers_pusht.simulator import PushT

    paths = [work / "latents" / f"mended_{i:04d}.npz" for i in range(config.num_shards)]
    mine = [(i, path) for i, path in enumerate(paths) if i % ranks.world == ranks.rank and not path.exists()]
    data, world, sim = Frames.training(work), World(work, ranks, config.init), PushT()
    smooth, shaky = episodes_of(data)
    bars, mean, std = rectangles(sim), world.mean.cpu(), world.std.cpu()
    progress = Progress("mended", len(mine), ranks)
    for done, (number, path) in enumerate(mine, 1):
        rng, generator = np.random.default_rng([number, 7]), torch.Generator().manual_seed(number)
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("latent", "action", "first", "task")}
        for begin in range(0, config.episodes, config.batch):
            count = min(config.batch, config.episodes - begin)
            groups = [shaky if rng.random() < config.errs else smooth for _ in range(count)]
            drawn = np.stack([group[rng.integers(len(group))] for group in groups])
            chosen, task = drawn[:, :2].tolist(), drawn[:, 2]
            first = world.encode(np.stack([data.clip(s, f, 1) for s, f in chosen]))
            state = np.stack([data.state(s, f + NUM_ACTIONS) for s, f in chosen]).astype(float)
            alive = np.ones(len(chosen), bool)
            for chunk in (1, 2):
                action = np.stack([data.actions(s, f + (chunk - 1) * NUM_ACTIONS, NUM_ACTIONS) for s, f in chosen])
                noise = torch.randn(len(chosen), *LATENT_SHAPE, generator=generator)
                seen = world.last_frames(world.dynamics(first, torch.from_numpy(action / 256 - 1).float(), noise))
                first = world.encode(seen[:, None])
                pose, score = fit(seen, state[:, 2:], bars)
                pusher = tracking.pusher_px(seen)
                pusher = np.where(np.isfinite(pusher), pusher, state[:, :2])
                alive &= score >= config.least_overlap
                clips, acted = [], []
                for row, (s, f) in enumerate(chosen):
                    sim.state = np.concatenate([pusher[row], pose[row]])
                    acted.append(data.actions(s, f + chunk * NUM_ACTIONS, NUM_ACTIONS))
                    frames, states = sim.run(acted[-1])
                    clips.append(frames)
                    state[row] = states[-1]
                kept = np.flatnonzero(alive)
                if len(kept):
                    latent = world.encode(np.stack([clips[i] for i in kept])).cpu()
                    found["latent"].append((latent * std + mean).half().numpy())
                    found["action"].append(np.stack([acted[i] for i in kept]) / 256 - 1)
                    found["first"].append(first[torch.from_numpy(kept), :, 0].cpu().half().numpy())
                    found["task"].append(task[kept])
        made = {name: np.concatenate(parts) for name, parts in found.items()}
        count = len(made["latent"])
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            **made,
            step=np.zeros(count, int),
            in_the_way=np.zeros(count, bool),
            errs=np.ones(count, bool),
        )
        partial.rename(path)
        progress.line(done, f"kept {count / 2 / config.episodes:.0%}")
