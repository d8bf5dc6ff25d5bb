"""Lets a policy act in the simulator: its chunk of actions runs, and the new frame is what it sees next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .expert import DIRECTIONS, GOAL_PX
from .simulator import PushT, to_pixels

Policy = Callable[[np.ndarray], np.ndarray]
"""Frame uint8 [96, 96, 3] -> actions [T, 2] in model space."""


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened: frames uint8 [F, 96, 96, 3], states [F, 5], actions float32 [F - 1, 2] in simulator pixels."""

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray

    def progress_px(self, task: str) -> float:
        """How far the block came along the task's direction, or nearer to the goal [simulator pixels]."""
        return progress_px(self.states, task)


def progress_px(states: np.ndarray, task: str) -> float:
    """Block's move from the first to the last of `states` [F, 5], along a direction or towards the goal."""
    first, last = states[0, 2:4], states[-1, 2:4]
    if task == "goal":
        return float(np.linalg.norm(GOAL_PX - first) - np.linalg.norm(GOAL_PX - last))
    return float((last - first) @ np.array(DIRECTIONS[task]))


def drive(simulator: PushT, policy: Policy, num_chunks: int = 1, num_steps: int | None = None) -> Episode:
    """Ask `policy` for a chunk, run it (or its first `num_steps` actions), ask again, `num_chunks` times.

    Raises: ValueError where the policy's answer is not [T, 2] or not finite.
    """
    frames, states = [simulator.render()], [simulator.state]
    actions: list[np.ndarray] = []
    for _ in range(num_chunks):
        chunk = np.asarray(policy(frames[-1]))
        if chunk.ndim != 2 or chunk.shape[1] != 2 or not np.isfinite(chunk).all():
            raise ValueError(f"a policy returns finite actions [T, 2] in model space, got shape {chunk.shape}.")
        pixels = to_pixels(chunk[:num_steps])
        new_frames, new_states = simulator.run(pixels)
        frames.extend(new_frames[1:])
        states.extend(new_states[1:])
        actions.extend(pixels)
    return Episode(np.stack(frames), np.stack(states), np.asarray(actions, np.float32))
