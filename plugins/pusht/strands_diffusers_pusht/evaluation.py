"""Closed-loop evaluation: how far a world model's policy gets with the block, beside simple policies and the expert.

Every policy starts from the same tables and acts for the same number of steps. The model sees the simulator's frame, acts
on the first part of its chunk, and looks again. Its videos are kept beside what the simulator showed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import Observation, rollout
from strands_diffusers.evaluation import interval

from .closed_loop import Episode, Policy, drive
from .expert import Expert
from .simulator import FPS, SUCCESS, PushT, to_model_space
from .source import WORDS

POLICIES = ("model", "random", "still", "expert")
"""The world model; a uniformly drawn target at every step; the pusher held where it is; the scripted expert, which sees
the simulator's state and aims at the target's position, not at its angle."""

EMBEDDED_SAMPLER = (
    "sampler.num_inference_steps=8",
    "sampler.guidance_scale=4",
    "sampler.flow_shift=1",
)
"""What the embedded model's preset recommends for a policy, for checkpoints like it."""


def model_overrides(overrides: Sequence[str]) -> list[str]:
    """What a policy rollout is started with: the caller's overrides over quiet defaults.

    `model.repo=FOLDER` without a `model=` is a checkpoint like the embedded one: its conventions and sampler are taken.
    """
    given = {override.partition("=")[0] for override in overrides}
    quiet = ["domain=pusht", "condition=policy", "output=[video,action]", "visualizer=[]", "metric=[]", "tracker=none"]
    if "model.repo" in given and "model" not in given:
        alike = ["model=custom", "model.pixel_map=true", "model.scene=pusht", "model.dtype=bfloat16", *EMBEDDED_SAMPLER]
        quiet += alike
    return [*(o for o in quiet if o.partition("=")[0] not in given), *overrides]


@dataclass
class WorldModel:
    """A policy: asks the world model for a chunk, and keeps as much of its video as is acted on."""

    overrides: Sequence[str]
    task: str
    num_steps: int
    seed: int = 0
    generated: list[np.ndarray] = field(default_factory=list)
    """Frames uint8 `[num_steps, 96, 96, 3]` of each chunk, without the one it saw."""

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The actions `[T, 2]` for what is seen now."""
        seen = Observation(frames=frame[None], fps=float(FPS), domain="pusht", task=WORDS[self.task])
        with tempfile.TemporaryDirectory() as scratch:
            seed = f"seed={self.seed + len(self.generated)}"
            result = rollout(*self.overrides, seed, observation=seen, output_dir=Path(scratch) / "rollout")
        assert result.video is not None
        assert result.action is not None
        self.generated.append(result.video[1 : self.num_steps + 1])
        return np.asarray(result.action[0])

    def video(self, first: np.ndarray) -> np.ndarray:
        """All that it generated, after what it saw first: uint8 `[F, 96, 96, 3]`."""
        return np.concatenate([first[None], *self.generated])


@dataclass(frozen=True)
class Setting:
    """What one evaluation is."""

    overrides: tuple[str, ...] = ()
    """Of the model's rollouts, see `model_overrides`."""
    task: str = "goal"
    num_chunks: int = 12
    num_steps: int = 8
    """Actions of each chunk that are acted on before the model looks again."""


def run(simulator: PushT, name: str, seed: int, setting: Setting) -> tuple[dict[str, Any], Episode, np.ndarray | None]:
    """One episode of the policy `name` on table `seed`: its measures, what happened, and a model's video."""
    simulator.start(seed)
    chunks, steps = setting.num_chunks, setting.num_steps
    model = WorldModel(setting.overrides, setting.task, steps, seed=1000 * seed)
    if name == "model":
        episode = drive(simulator, model, chunks, steps)
    else:
        episode = drive(simulator, _simple(name, simulator, setting.task, seed), chunks * steps, 1)
    coverage = coverages(simulator, episode.states)
    values = {
        "policy": name,
        "seed": seed,
        "coverage_start": float(coverage[0]),
        "coverage_final": float(coverage[-1]),
        "coverage_max": float(coverage.max()),
        "reward": float(np.clip(coverage[1:] / SUCCESS, 0, 1).mean()),
        "solved": float(coverage.max() > SUCCESS),
        "progress_px": episode.progress_px(setting.task),
    }
    return values, episode, model.video(episode.frames[0]) if name == "model" else None


def _simple(name: str, simulator: PushT, task: str, seed: int) -> Policy:
    """A policy of one action at a time."""
    rng, still = np.random.default_rng([seed, 3]), simulator.pusher_px
    if name == "expert":
        expert = Expert(task, simulator, seed)
    acts: dict[str, Callable[[], np.ndarray]] = {
        "random": lambda: rng.uniform(0, 512, 2),
        "still": lambda: still,
        "expert": lambda: expert.act(),
    }
    return lambda frame: to_model_space(acts[name]()[None])


def coverages(simulator: PushT, states: np.ndarray) -> np.ndarray:
    """The coverage of the target at each of `states` [F, 5]: float64 [F]. The simulator is left in the last."""
    found = []
    for state in states:
        simulator.state = state
        found.append(simulator.coverage)
    return np.array(found)


def side_by_side(episode: Episode, generated: np.ndarray, setting: Setting, coverage: np.ndarray) -> np.ndarray:
    """The video simulator | model, four times as large, with a headline: uint8 [F, 416, 776, 3].

    The headline marks the frames at which the model looked at the simulator again.
    """
    from PIL import Image, ImageDraw, ImageFont

    scale, head, gap = 4, 32, 8
    side = scale * episode.frames.shape[1]
    font = ImageFont.load_default(16)
    video = []
    for t, (true, made) in enumerate(zip(episode.frames, generated, strict=True)):
        sheet = Image.new("RGB", (2 * side + gap, side + head), "white")
        pen = ImageDraw.Draw(sheet)
        looked = t % setting.num_steps == 0
        pen.text((6, 6), f"simulator   {t / FPS:4.1f} s   coverage {coverage[t]:.2f}", "black", font)
        pen.text((side + gap + 6, 6), "model" + ("   (then it looks)" if looked else ""), "black", font)
        for x, frame in ((0, true), (side + gap, made)):
            sheet.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.NEAREST), (x, head))
        video.append(np.asarray(sheet))
    return np.stack(video)


# ------------------------------------------------------------------------------------------------------- the table

MEASURES = {
    "coverage_final": ("coverage, final", ".3f"),
    "coverage_max": ("coverage, max", ".3f"),
    "reward": ("mean reward", ".3f"),
    "progress_px": ("block along the task [px]", ".1f"),
    "solved": ("solved (over 0.95)", ".2f"),
}


def table(results: Sequence[dict[str, Any]], setting: Setting) -> str:
    """Markdown: a row a policy, then the model against each other policy, episode by episode."""
    by_policy = {name: {r["seed"]: r for r in results if r["policy"] == name} for name in POLICIES}
    by_policy = {name: found for name, found in by_policy.items() if found}
    seeds = sorted(set.intersection(*(set(found) for found in by_policy.values())))
    if not seeds:
        return "No episode was run by every policy yet.\n"
    head = ["policy", *(text for text, _ in MEASURES.values())]
    rows = [
        [name, *(_cell([found[s][key] for s in seeds], form) for key, (_, form) in MEASURES.items())]
        for name, found in by_policy.items()
    ]
    if model := by_policy.get("model"):
        for name in [name for name in by_policy if name != "model"]:
            differences = {key: [model[s][key] - by_policy[name][s][key] for s in seeds] for key in MEASURES}
            rows.append(
                [f"model − {name}", *(_cell(differences[key], f"+{form}") for key, (_, form) in MEASURES.items())]
            )
    start = np.mean([r["coverage_start"] for r in results if r["seed"] in seeds])
    steps = setting.num_chunks * setting.num_steps
    note = (
        f"{len(seeds)} episodes (tables {seeds[0]} to {seeds[-1]}), task {WORDS[setting.task]!r}, {steps} steps of 0.1 s; the "
        f"model acts on {setting.num_steps} actions of each chunk. Mean coverage at the start: {start:.3f}. Means with 95 % "
        "bootstrap intervals over episodes (none below 5); differences are paired."
    )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", note]) + "\n"


def _cell(values: Sequence[float], form: str) -> str:
    bounds = interval(values)
    return f"{np.mean(values):{form}}" + (f" ({bounds[0]:{form}} to {bounds[1]:{form}})" if bounds else "")
