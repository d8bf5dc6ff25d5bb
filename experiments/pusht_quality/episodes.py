"""The held-out episodes: simulator seeds 500000 and up, which no training stage reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from strands_diffusers_pusht.expert import MOTIONS, TASKS, play
from strands_diffusers_pusht.simulator import HELD_OUT_SEED, PushT, to_model_space

NUM_STEPS = 16

NUM_CHUNKS = 6
"""Of a long episode."""


@dataclass(frozen=True, eq=False)
class Clip:
    """True frames uint8 [T + 1, 96, 96, 3], the actions between them [T, 2] (model space), states [T + 1, 5]."""

    seed: int
    task: str
    frames: np.ndarray
    actions: np.ndarray
    states: np.ndarray


def clip(simulator: PushT, index: int) -> Clip:
    """Clip number `index`: part of an expert's episode, the five tasks twice, then free motion and pokes, in turn.

    Seeds in which next to nothing moves are passed over, and those in which the block reaches a wall: of walls the long
    episodes have enough, and measures compare with those of models that never saw one.
    """
    task = (*TASKS, *TASKS, *MOTIONS)[index % 12]
    seed = HELD_OUT_SEED + 1000 * index
    while True:
        first = int(np.random.default_rng([seed, 2]).integers(0, 20))
        simulator.start(seed)
        frames, actions, states = play(simulator, task, seed, first + NUM_STEPS)
        frames, states = frames[first:], states[first:]
        if np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.3 and not _reaches_wall(simulator, states):
            return Clip(seed, task, frames, to_model_space(actions[first:]), states)
        seed += 1


def long_episode(simulator: PushT, index: int) -> Clip:
    """Long episode number `index`: six chunks of an expert's, the five tasks and both motions in turn, walls included."""
    task = (*TASKS, *MOTIONS)[index % 7]
    seed = HELD_OUT_SEED + 100_000 + index
    simulator.start(seed)
    frames, actions, states = play(simulator, task, seed, NUM_CHUNKS * NUM_STEPS)
    return Clip(seed, task, frames, to_model_space(actions), states)


def _reaches_wall(simulator: PushT, states: np.ndarray) -> bool:
    for state in states:
        simulator.state = state
        if simulator.block_at_wall:
            return True
    return False


def start(simulator: PushT, index: int) -> np.ndarray:
    """Put the table into start number `index` for a policy. -> its state [5]."""
    return simulator.start(HELD_OUT_SEED + 200_000 + index)
