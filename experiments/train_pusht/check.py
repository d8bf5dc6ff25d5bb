"""Stage `check`: a quick look at the newest weights, on validation episodes, to compare runs and settings by.

What is published is measured on held-out episodes through the product, by `experiments/pusht_quality`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from strands_diffusers_training.parallel import Ranks

from .data import ALL_TASKS, VALIDATION_SEED
from .model import LATENT_SHAPE, NUM_ACTIONS
from .world import World

NUM_CHUNKS = 6


@dataclass
class CheckConfig:
    """Measures to `check.jsonl`: overlaps of the T in last frames, errors in simulator pixels."""

    init: str = ""
    """The `--init` of the run."""

    clips: int = 28
    """Clips for forward dynamics, and episodes of six chunks: half as many."""

    starts: int = 16
    """Starts for the policy, four directions each."""

    guidances: tuple[float, ...] = (1.0, 4.0)
    """Guidance scales of the policy to try."""


def run(config: CheckConfig, work: Path, ranks: Ranks) -> None:
    """Measure, print and append."""
    if not ranks.first:
        return
    world = World(work, Ranks(device=ranks.device), config.init)  # the other ranks have returned
    values = {"time": time.time(), "step": world.step, **_dynamics(world, config.clips)}
    for guidance in config.guidances:
        found = _policy(world, config.starts, guidance)
        values |= {f"policy_{guidance:g}/{name}": value for name, value in found.items()}
    with (work / "check.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\n")
    print(" ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "time"), flush=True)


def _noise(count: int) -> torch.Tensor:
    return torch.randn(count, *LATENT_SHAPE, generator=torch.Generator().manual_seed(0))


def _dynamics(world: World, clips: int) -> dict[str, float]:
    """One chunk and six, all tasks, walls included."""
    from strands_diffusers_pusht import tracking
    from strands_diffusers_pusht.expert import play
    from strands_diffusers_pusht.simulator import PushT, to_model_space

    sim, frames, actions, values = PushT(), [], [], {}
    for i in range(clips):
        seed = VALIDATION_SEED + 50_000 + i
        sim.start(seed)
        video, acted, _ = play(sim, ALL_TASKS[i % len(ALL_TASKS)], seed, NUM_CHUNKS * NUM_ACTIONS)
        frames.append(video[::NUM_ACTIONS])
        actions.append(to_model_space(acted).reshape(NUM_CHUNKS, NUM_ACTIONS, 2))
    true, action = np.stack(frames), torch.from_numpy(np.stack(actions))
    # One chunk: of each episode another one, so that the block is met in every state.
    which = np.arange(clips) % NUM_CHUNKS
    every = np.arange(clips)
    last = world.last_frames(
        world.dynamics(world.encode(true[every, which][:, None]), action[every, which], _noise(clips))
    )
    truth = tracking.block_mask(true[every, which + 1])
    values["one/overlap"] = float(tracking.overlap(tracking.block_mask(last), truth).mean())
    gap = tracking.block_px(last) - tracking.block_px(true[every, which + 1])
    values["one/block_px"] = float(np.nanmean(np.linalg.norm(gap, axis=1)))

    count = clips // 2
    last = true[:count, 0]
    for chunk in range(NUM_CHUNKS):
        last = world.last_frames(world.dynamics(world.encode(last[:, None]), action[:count, chunk], _noise(count)))
        seen = tracking.overlap(tracking.block_mask(last), tracking.block_mask(true[:count, chunk + 1]))
        values[f"chunk{chunk + 1}/overlap"] = float(seen.mean())
    gap = np.linalg.norm(tracking.block_px(last) - tracking.block_px(true[:count, -1]), axis=1)
    values["six/block_px"], values["six/block_px_median"] = float(np.nanmean(gap)), float(np.nanmedian(gap))
    return values


def _policy(world: World, starts: int, guidance: float) -> dict[str, float]:
    """The policy's video against the simulator under its actions, from starts of four directions."""
    from strands_diffusers_pusht import tracking
    from strands_diffusers_pusht.expert import DIRECTIONS, progress_px
    from strands_diffusers_pusht.simulator import PushT, to_pixels

    sim, states, tasks = PushT(), [], np.tile(np.arange(len(DIRECTIONS)), starts)
    frames = []
    for i in range(starts):
        states += [sim.start(VALIDATION_SEED + 60_000 + i)] * len(DIRECTIONS)
        frames += [sim.render()] * len(DIRECTIONS)
    noise = _noise(len(states))
    latent, action = world.policy(
        world.encode(np.stack(frames)[:, None]), noise, noise[:, :2, 0, :4, :4].flatten(2).mT, tasks, 8, guidance
    )
    video, moves, simulated = world.last_frames(latent), [], []
    for state, acted, task in zip(states, action.cpu().numpy(), tasks, strict=True):
        sim.state = state
        seen, passed = sim.run(to_pixels(acted))
        simulated.append(seen[-1])
        moves.append(progress_px(passed, ALL_TASKS[task]))
    true = np.stack(simulated)
    blocks, pushers = (
        np.linalg.norm(place(video) - place(true), axis=1) for place in (tracking.block_px, tracking.pusher_px)
    )
    return {
        "overlap": float(tracking.overlap(tracking.block_mask(video), tracking.block_mask(true)).mean()),
        "block_px": float(np.nanmean(blocks)),
        "pusher_px": float(np.nanmedian(pushers)),
        "pusher_seen": float(np.isfinite(pushers).mean()),
        "move_px": float(np.mean(moves)),
        "wrong": float((np.array(moves) < -10).mean()),
    }
