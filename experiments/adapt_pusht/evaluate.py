"""Stage `evaluate`: an adapted model, or the one that ships, on tables of a variant that no stage has seen.

The model is called as a user calls it, by `strands_diffusers.rollout`, as a choice of the folder that `adapt` wrote.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strands_diffusers_pusht.expert import DIRECTIONS, TASKS, play, progress_px
from strands_diffusers_pusht.source import WORDS

from experiments.pusht_quality import work
from experiments.pusht_quality.measure import compare_videos
from strands_diffusers import ActionSpace, Observation, Rollout, actions, rollout

from .variants import VARIANTS, Variant, at_rest

FIRST_SEED = 900_000
CHUNK, LOOKS, ACT_STEPS = 16, 8, 8
"""Steps of a chunk; looks of a closed loop, and the steps acted on at each."""

WRONG_PX = -10.0


class Model:
    """A model, by the overrides that choose it; `space`: what its actions mean."""

    def __init__(self, overrides: list[str], space: ActionSpace) -> None:
        self.overrides, self.space = [*overrides, "visualizer=[]", "metric=[]", "tracker=none"], space

    def _call(self, condition: str, seen: Observation, prompt: str, seed: int) -> Rollout:
        with tempfile.TemporaryDirectory() as folder:
            words = [*self.overrides, f"condition={condition}", f"condition.chunk_size={CHUNK}", f"seed={seed}"]
            return rollout(*words, values={"prompt": prompt}, observation=seen, output_dir=Path(folder) / "rollout")

    def encode(self, physical: np.ndarray) -> np.ndarray:
        """Actions of the variant [T, 2] [px] in model space."""
        return np.asarray(actions.to_model(physical, self.space), np.float32)

    def video(self, frame: np.ndarray, physical: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """Forward dynamics: uint8 [T + 1, 96, 96, 3]."""
        seen = Observation(frame[None], 10.0, self.encode(physical), domain="pusht")
        video = self._call("forward_dynamics", seen, prompt, seed).video
        assert video is not None
        return video

    def inverse(self, frames: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """Inverse dynamics: actions of the variant [T, 2] [px]."""
        found = self._call("inverse_dynamics", Observation(frames, 10.0, domain="pusht"), prompt, seed).action
        assert found is not None
        return np.asarray(actions.to_physical(found[0], self.space))

    def policy(self, frame: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """Actions of the variant [T, 2] [px]."""
        found = self._call("policy", Observation(frame[None], 10.0, domain="pusht"), prompt, seed).action
        assert found is not None
        return np.asarray(actions.to_physical(found[0], self.space))


def measure(model: Model, table: Variant, index: int) -> dict[str, float]:
    """One table of the variant: every measure that it gives."""
    seed, task = FIRST_SEED + index, TASKS[index % len(TASKS)]
    start = table.start(seed).copy()
    first = int(np.random.default_rng([seed, 2]).integers(0, 20))
    frames, targets, states = play(table, task, seed, first + CHUNK)
    if table.slides:  # no model that sees one frame could know the speed that the block has
        first = at_rest(states, first)
    acted, prompt = table.recorded(targets, states)[first : first + CHUNK], WORDS[task]
    frames = frames[first : first + CHUNK + 1]
    video = model.video(frames[0], acted, prompt, index)
    found = {name: value for name, value in compare_videos(video, frames).items() if name != "pusher_seen"}
    other = model.video(frames[0], acted[np.random.default_rng(seed).permutation(CHUNK)], prompt, index)
    again = model.video(frames[0], acted, prompt, index + 1000)
    noise = max(1e-6, float(np.abs(again[1:].astype(float) - video[1:]).mean()))
    found["sensitivity"] = float(np.abs(other[1:].astype(float) - video[1:]).mean()) / noise
    found["inverse_px"] = float(np.abs(model.inverse(frames, prompt, index) - acted).mean())

    direction = list(DIRECTIONS)[index % len(DIRECTIONS)]
    table.state = start
    _, reached = _act(table, model.policy(table.render(), WORDS[direction], index))
    found["move_px"] = progress_px(np.stack([start, *reached]), direction)
    found["wrong"] = float(found["move_px"] < WRONG_PX)

    table.state, covered = start, table.coverage
    for look in range(LOOKS):
        _act(table, model.policy(table.render(), WORDS["goal"], 100 * index + look)[:ACT_STEPS])
        covered = table.coverage
    found["coverage"] = covered
    return found


def _act(table: Variant, acted: np.ndarray) -> tuple[Variant, list[np.ndarray]]:
    return table, [table.act(action) for action in acted]


_at_work: tuple[Model, Variant] | None = None


def _set_up(model: Model, variant: str) -> None:
    """Prepare a process of the pool."""
    global _at_work
    torch.set_num_threads(1)  # two processes of one thread are faster than two threads of one
    _at_work = model, VARIANTS[variant]()


def _row(index: int) -> dict[str, Any]:
    assert _at_work is not None
    return {"index": index, **measure(*_at_work, index)}


def evaluate(name: str, model: Model, variant: str, tables: int, out: Path, procs: int) -> Path:
    """Append the measures of each table that `out/NAME.jsonl` does not hold yet, as they come. -> the file."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jsonl"
    done = {row["index"] for row in work.read(path)}
    todo = [index for index in range(tables) if index not in done]
    print(f"{name}: {len(todo)} tables", flush=True)
    work.run(todo, (model, variant), path, procs, _row, _set_up)
    return path
