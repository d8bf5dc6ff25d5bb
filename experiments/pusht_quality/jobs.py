"""One job: one held-out episode through the model in one mode, measured. Runs in a pool of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from strands_diffusers_pusht.expert import DIRECTIONS, TASKS, play
from strands_diffusers_pusht.simulator import PushT, to_pixels

from . import measure
from .episodes import NUM_STEPS, clip, long_episode, start
from .world import World

WORDING = {
    task: f"Push the T block {way}."
    for task, way in {
        "left": "to the left",
        "right": "to the right",
        "up": "up",
        "down": "down",
        "goal": "to the goal",
    }.items()
}
"""What a user would type."""

UNSEEN = {
    "left": ("Drag the T block over to the left side.", "Get the block to go left.", "T block: left!"),
    "right": ("Drag the T block over to the right side.", "Get the block to go right.", "T block: right!"),
    "up": ("Drag the T block up to the upper side.", "Get the block to go up.", "T block: up!"),
    "down": ("Drag the T block down to the lower side.", "Get the block to go down.", "T block: down!"),
    "goal": ("Drag the T block over to the target.", "Get the block to the goal.", "T block: goal!"),
}
"""Sentences that were kept out of training."""

MEAN_ACTION = np.zeros(2)
"""The middle of the table: within 0.02 of the mean of the training actions."""

process: dict[str, Any] = {}
"""Of this process: `world`, `sim` and `videos`, see `set_up`."""


def set_up(directory: Path, steps: int, guidance: float, videos: Path | None) -> None:
    """Load the model and the simulator, once per process."""
    process["world"], process["sim"], process["videos"] = World(directory, steps, guidance), PushT(), videos


def run(job: tuple[str, int, str]) -> dict[str, Any]:
    """`(kind, index, task)` -> `{kind, index, task, seconds, measure: value...}`; keeps the videos where asked to."""
    kind, index, task = job
    world: World = process["world"]
    kinds = {"video": _video, "inverse": _inverse, "short": _short, "long": _long}
    result, videos = kinds.get(kind, _policy)(world, process["sim"], kind, index, task)
    if process["videos"]:
        np.savez_compressed(process["videos"] / f"{kind}_{index:04d}_{task}.npz", **videos)
    return {"kind": kind, "index": index, "task": task, "seconds": world.seconds[-1], **result}


def _video(world: World, sim: PushT, kind: str, index: int, task: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    truth = clip(sim, index)
    video = world.forward_dynamics(truth.frames[0], truth.actions, "Push the T block.", seed=index)
    again = world.reconstruct(truth.frames)
    return measure.forward_dynamics(video, again, truth), {"truth": truth.frames, "video": video}


def _short(world: World, sim: PushT, kind: str, index: int, task: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A chunk of `task` actions: the last ones of the clip, so that as much happens as may."""
    truth, steps = clip(sim, index), int(task)
    frames = truth.frames[-steps - 1 :]
    video = world.forward_dynamics(frames[0], truth.actions[-steps:], "Push the T block.", seed=index)
    return measure.last_frame(video, frames), {"truth": frames, "video": video}


def _long(world: World, sim: PushT, kind: str, index: int, task: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    truth = long_episode(sim, index)
    video = world.forward_dynamics(truth.frames[0], truth.actions, "Push the T block.", seed=index)
    return measure.last_frame(video, truth.frames), {"truth": truth.frames, "video": video}


def _inverse(
    world: World, sim: PushT, kind: str, index: int, task: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    truth = clip(sim, index)
    actions = world.inverse_dynamics(truth.frames, "Push the T block.", seed=index)
    return measure.inverse_dynamics(actions, truth, MEAN_ACTION), {"truth": truth.actions, "actions": actions}


def _policy(world: World, sim: PushT, kind: str, index: int, task: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    prompt = WORDING[task] if kind == "policy" else UNSEEN[task][index % 3]
    state = start(sim, index)
    video, actions = world.policy(sim.render(), prompt, seed=index)
    simulated, states = sim.run(to_pixels(actions))
    sim.state = state
    expert_video, _, expert_states = play(sim, task, index, NUM_STEPS)
    values = measure.policy(video, simulated, states, expert_states, task)
    return values, {"video": video, "simulated": simulated, "expert": expert_video}


def plan(clips: int, starts: int, unseen: int, longs: int = 0) -> list[tuple[str, int, str]]:
    """Every job of an evaluation, in an order in which any part of it is a fair sample.

    `longs` long episodes; where there are any, all clips are asked for in chunks of 8 and 4 actions too.
    """
    jobs: list[tuple[int, tuple[str, int, str]]] = []
    for i in range(clips):
        jobs += [(i, ("video", i, "")), (i, ("inverse", i, ""))]
        jobs += [(i, ("short", i, steps)) for steps in ("8", "4") if longs]
    jobs += [(i, ("long", i, "")) for i in range(longs)]
    for i in range(starts):
        jobs += [(i, ("policy", i, task)) for task in (*DIRECTIONS, *TASKS[4:])]
    for i in range(unseen):
        jobs += [(i, ("unseen", i, task)) for task in TASKS]
    return [job for _, job in sorted(jobs, key=lambda pair: pair[0])]
