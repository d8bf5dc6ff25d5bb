"""Write `strands_diffusers/assets/samples/`: six episodes of the PushT simulator that nothing was trained on.

Each sample is the first held-out episode (simulator seeds from 500000 up) in which the block moves as the task says in
both of its two chunks of 16 steps and never touches a wall. See README.md beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from strands_diffusers_pusht.expert import DIRECTIONS, GOAL_PX, Expert, play
from strands_diffusers_pusht.simulator import FPS, HELD_OUT_SEED, TABLE_PX, PushT, to_model_space

NUM_STEPS = 32
"""Two chunks of 16 steps; 33 frames."""

COLUMNS = 11
"""Frames per row of the video strip `frames.png`."""

MOST_SEEDS = 3000
"""Held-out seeds to look through before giving up."""

EDGE_PX = 18
"""The block's corners and the pusher's targets stay this far from the picture's edges [simulator pixels]."""

ROOT = Path(__file__).resolve().parents[2] / "strands_diffusers" / "assets" / "samples"


@dataclass(frozen=True)
class Wish:
    """One sample: name, the expert's task, the prompt, and what the block's path [33, 2] [simulator px] must show."""

    name: str
    task: str
    prompt: str
    shows: Callable[[np.ndarray], bool]


def moves_along(direction: tuple[float, float]) -> Callable[[np.ndarray], bool]:
    """In each chunk the block goes at least 65 px along `direction`, and at most half of that across it."""

    def shows(block_F2: np.ndarray) -> bool:
        steps = np.diff(block_F2[[0, 16, 32]], axis=0)
        along, across = steps @ direction, np.abs(steps @ (-direction[1], direction[0]))
        return bool((along >= 65).all() and (across <= along / 2).all())

    return shows


def nears_goal(block_F2: np.ndarray) -> bool:
    """The block starts over 110 px from the target, comes 40 px nearer in the first chunk, and ends within 15 px."""
    gap = np.linalg.norm(block_F2 - GOAL_PX, axis=1)
    return bool(gap[0] > 110 and gap[0] - gap[16] > 40 and gap[32] < 15)


def is_brushed(block_F2: np.ndarray) -> bool:
    """The wandering pusher shifts the block by 20 to 80 px in the first chunk: motion with one contact to predict."""
    return bool(20 < np.linalg.norm(block_F2[16] - block_F2[0]) < 80)


WISHES = (
    Wish("push_left", "left", "Push the T block to the left.", moves_along(DIRECTIONS["left"])),
    Wish("push_right", "right", "Push the T block to the right.", moves_along(DIRECTIONS["right"])),
    Wish("push_up", "up", "Push the T block up.", moves_along(DIRECTIONS["up"])),
    Wish("push_down", "down", "Push the T block down.", moves_along(DIRECTIONS["down"])),
    Wish("to_goal", "goal", "Push the T to the goal.", nears_goal),
    Wish("free_motion", "free", "Move the pusher around freely.", is_brushed),
)


def exact(values: np.ndarray) -> list[list[float]]:
    """Nested lists with the fewest digits that read back as the very same numbers."""
    return [[float(str(value)) for value in row] for row in values]


def stays_clear(simulator: PushT, wish: Wish, seed: int) -> bool:
    """Play without drawing: does the episode grant the wish, with the block well inside the picture throughout?"""
    simulator.start(seed)
    expert = Expert(wish.task, simulator, seed)
    block_F2 = [simulator.block_px]
    for _ in range(NUM_STEPS):
        target = expert.act()
        simulator.step(target)
        block_F2.append(simulator.block_px)
        points = np.vstack([simulator.corners_px, target])
        if points.min() < EDGE_PX or points.max() > TABLE_PX - EDGE_PX:
            return False
    return wish.shows(np.stack(block_F2))


def find(simulator: PushT, wish: Wish) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The first held-out seed that grants the wish. -> seed, frames, actions (simulator pixels), states."""
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + MOST_SEEDS):
        if stays_clear(simulator, wish, seed):
            simulator.start(seed)
            return seed, *play(simulator, wish.task, seed, NUM_STEPS)
    raise SystemExit(f"No seed for {wish.name} among {MOST_SEEDS}.")


def write(wish: Wish, seed: int, frames_FHWC: np.ndarray, actions_px: np.ndarray, states: np.ndarray) -> Path:
    """Write the strip and its facts. -> the sample's folder."""
    directory = ROOT / wish.name
    directory.mkdir(parents=True, exist_ok=True)
    num_frames, height, width, _ = frames_FHWC.shape
    rows = -(-num_frames // COLUMNS)
    strip = np.full((rows * height, COLUMNS * width, 3), 255, np.uint8)
    for i, frame in enumerate(frames_FHWC):
        row, column = divmod(i, COLUMNS)
        strip[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame
    Image.fromarray(strip).save(directory / "frames.png", optimize=True)
    facts = {
        "task": wish.prompt,
        "domain": "pusht",
        "fps": FPS,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "columns": COLUMNS,
        "simulator": {"expert": wish.task, "seed": seed},
        "actions": exact(to_model_space(actions_px)),
        "states": exact(np.round(states, 4)),
    }
    text = json.dumps(facts, indent=1)
    for row in [*facts["actions"], *facts["states"]]:  # one row of numbers on one line
        text = text.replace(json.dumps(row, indent=1).replace("\n", "\n  "), json.dumps(row))
    (directory / "sample.json").write_text(text + "\n")
    return directory


def main() -> None:
    """Make all six."""
    simulator = PushT()
    for wish in WISHES:
        seed, frames_FHWC, actions_px, states = find(simulator, wish)
        directory = write(wish, seed, frames_FHWC, actions_px, states)
        size = sum(file.stat().st_size for file in directory.iterdir())
        moved = states[[16, 32], 2:4] - states[0, 2:4]
        print(f"{wish.name:12} seed {seed}  {size / 1000:5.1f} kB  block moved {np.round(moved).tolist()} px")


if __name__ == "__main__":
    main()
