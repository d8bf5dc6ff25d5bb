"""Stage `data`: scripted episodes from the simulator, in shards; and the reader of those shards.

A shard is a folder `shard_0012/` with `frames.npy` uint8 [N, 96, 96, 3] and `episodes.npz`: `action` float32 [N, 2]
(simulator pixels, row i moves frame i to frame i + 1; the last row of an episode repeats the one before), `state`
float32 [N, 5], and `start`, `length` [frames], `task` (index in ALL_TASKS), `seed`, `errs` (bool), one per episode.
An episode is a function of its seed and the settings. A shard that exists is complete, whatever the settings.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from strands_diffusers_training.parallel import Progress, Ranks

if TYPE_CHECKING:
    from strands_diffusers_pusht.simulator import PushT

ALL_TASKS = ("left", "right", "up", "down", "goal", "free", "poke")
"""Order of the task index. The last two are motions without a task in words."""

VALIDATION_SEED = 400_000
"""Seeds from here on make the validation shard; training seeds count up from 0, held-out ones from 500000."""


@dataclass
class DataConfig:
    """Scripted episodes. About 5 minutes on two cores for the defaults."""

    num_shards: int = 32
    """Training shards."""

    episodes_per_shard: int = 200
    """Episodes in a shard; shard i holds seeds i * 200 up to (i + 1) * 200."""

    num_steps: int = 48
    """Actions per episode: three chunks of 16. Walls hold (`PushT.solid_walls`), so that none has to end at one."""

    task_weights: tuple[float, ...] = (0.14, 0.14, 0.14, 0.14, 0.14, 0.13, 0.17)
    """Chance of each of ALL_TASKS."""

    in_the_way: float = 0.25
    """Share of the episodes with a task that begin with the block between the pusher and the place to push from. Which way
    round it to go is the hardest choice of a policy; of the other starts 19 % are like that (400 starts, four directions)."""

    errors: float = 0.2
    """Share of the episodes in which every action carries a random error, its standard deviation of one of ERRORS_PX: of
    smooth strokes alone a model learns nothing about a policy that trembles, and takes it for one that fails."""


ERRORS_PX = (20.0, 60.0, 120.0, 200.0)
"""Standard deviations of such an error [simulator pixels]."""

IN_THE_WAY_DEG = 35.0
"""The pusher is beyond the block where it is seen from there within this angle of the way that the block is to go."""


def way_of(task: str, block_px: np.ndarray) -> np.ndarray:
    """Unit vector [2] along which a task pushes the block from there; zero for what is not a task."""
    from strands_diffusers_pusht.expert import DIRECTIONS, GOAL_PX, TASKS

    if task not in TASKS:
        return np.zeros(2)
    way = np.array(DIRECTIONS[task], float) if task in DIRECTIONS else GOAL_PX - block_px
    return way / np.linalg.norm(way)


def in_the_way(state: np.ndarray, task: int) -> bool:
    """Whether the block is between the pusher and where ALL_TASKS[task] is to push it from; `state` [5]."""
    from_block = state[:2] - state[2:4]
    along = from_block @ way_of(ALL_TASKS[task], state[2:4])
    return bool(along > np.cos(np.radians(IN_THE_WAY_DEG)) * np.linalg.norm(from_block))


def put_in_the_way(sim: PushT, task: str, rng: np.random.Generator) -> None:
    """Move the pusher to where the task will push the block to, mostly within 17 degrees; left where there is no room."""
    direction = way_of(task, sim.block_px)
    for _ in range(20):
        away_px = rng.uniform(60, 220)
        across_px = away_px * rng.normal(0, 0.15)
        pusher = sim.block_px + away_px * direction + across_px * np.array([-direction[1], direction[0]])
        if sim.has_room(pusher):
            sim.state = np.array([*pusher, *sim.state[2:]])
            return


def record_shard(config: DataConfig, first_seed: int, directory: Path) -> int:
    """Play `episodes_per_shard` episodes and write the shard. -> number of frames."""
    from strands_diffusers_pusht.expert import TASKS, Expert
    from strands_diffusers_pusht.simulator import HELD_OUT_SEED, PushT

    sim = PushT()
    frames, actions, states, episodes = [], [], [], []
    for seed in range(first_seed, first_seed + config.episodes_per_shard):
        assert seed < HELD_OUT_SEED
        rng = np.random.default_rng([seed, 0])
        task = int(rng.choice(len(ALL_TASKS), p=config.task_weights))
        sim.start(seed)
        if ALL_TASKS[task] in TASKS and rng.random() < config.in_the_way:
            put_in_the_way(sim, ALL_TASKS[task], rng)
        expert = Expert(ALL_TASKS[task], sim, seed)
        shaky = np.random.default_rng([seed, 3])  # of its own, so that the other episodes stay as they were
        error_px = float(shaky.choice(ERRORS_PX)) if shaky.random() < config.errors else 0.0
        start = len(frames)
        frames.append(sim.render())
        states.append(sim.state)
        for _ in range(config.num_steps):
            actions.append(expert.act() + shaky.normal(0, error_px, 2))
            states.append(sim.step(actions[-1]))
            frames.append(sim.render())
        actions.append(actions[-1])
        episodes.append((start, len(frames) - start, task, seed, error_px > 0))
    partial = directory.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "frames.npy", np.stack(frames))
    start, length, task, seed, errs = np.array(episodes).T
    np.savez(
        partial / "episodes.npz",
        action=np.array(actions, np.float32),
        state=np.array(states, np.float32),
        start=start,
        length=length,
        task=task,
        seed=seed,
        errs=errs.astype(bool),
    )
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    return len(frames)


def run(config: DataConfig, work: Path, ranks: Ranks) -> None:
    """Write the validation shard and every training shard that is not there yet; ranks share them out."""
    jobs = [(work / "data" / "validation", VALIDATION_SEED)]
    jobs += [(work / "data" / f"shard_{i:04d}", i * config.episodes_per_shard) for i in range(config.num_shards)]
    mine = [job for i, job in enumerate(jobs) if i % ranks.world == ranks.rank and not job[0].exists()]
    progress = Progress("data", len(mine), ranks)
    num_frames = 0
    for done, (directory, seed) in enumerate(mine, 1):
        num_frames += record_shard(config, seed, directory)
        progress.line(done, f"{num_frames} frames on this rank")


class Frames:
    """Read access to shards; frames stay on disk (memory-mapped)."""

    def __init__(self, directories: list[Path]) -> None:
        self.shards = []
        for directory in directories:
            with np.load(directory / "episodes.npz") as episodes:
                self.shards.append((np.load(directory / "frames.npy", mmap_mode="r"), dict(episodes)))
        if not self.shards:
            raise SystemExit("No data yet. Run the stage `data` first.")

    @classmethod
    def training(cls, work: Path) -> Frames:
        """Every complete training shard that is there now."""
        return cls(sorted(p for p in (work / "data").glob("shard_*") if p.suffix != ".partial"))

    @classmethod
    def validation(cls, work: Path) -> Frames:
        """The validation shard."""
        return cls([work / "data" / "validation"])

    def windows(self, num_frames: int) -> np.ndarray:
        """Every window of `num_frames` in an episode: int [M, 4] = shard, first frame, task, step in the episode."""
        rows = []
        for i, (_, e) in enumerate(self.shards):
            for start, length, task in zip(e["start"], e["length"], e["task"], strict=True):
                rows += [(i, start + k, task, k) for k in range(length - num_frames + 1)]
        return np.array(rows)

    def clip(self, shard: int, first: int, num_frames: int) -> np.ndarray:
        """Frames, uint8 [num_frames, 96, 96, 3]."""
        return np.asarray(self.shards[shard][0][first : first + num_frames])

    def actions(self, shard: int, first: int, num_steps: int) -> np.ndarray:
        """Actions in simulator pixels, float32 [num_steps, 2]."""
        return self.shards[shard][1]["action"][first : first + num_steps]

    def errs(self, shard: int, index: int) -> bool:
        """Whether the actions of the episode that this frame is of carry errors: nothing for a policy to learn."""
        episodes = self.shards[shard][1]
        which = np.searchsorted(episodes["start"], index, side="right") - 1
        return bool(episodes["errs"][which]) if "errs" in episodes else False

    def state(self, shard: int, index: int) -> np.ndarray:
        """The simulator's state at one frame, float32 [5]."""
        return self.shards[shard][1]["state"][index]
