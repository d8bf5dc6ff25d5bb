"""What a pass of training is made of: which windows, modes, prompts and noise levels.

Whatever is drawn is a function of the seed and of a key: of the rank and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strands_diffusers.config.schema import RunConfig
from strands_diffusers_training import flow
from strands_diffusers_training.config import LORA_FROM, AdaptConfig, What
from strands_diffusers_training.encode import Windows
from strands_diffusers_training.flow import POLICY, PURE, Examples
from strands_diffusers_training.plan import Plan

FEW_STEPS = 4
"""A sampler of so few steps leads far with each; such a model learns on its own path (`train.carried`)."""


@dataclass(frozen=True)
class Setting:
    """The choices that `auto` and null stand for."""

    lora: bool
    lr: float
    weights: tuple[float, ...]
    """Chance of each of the three modes."""
    carried: int
    """Samples of a pass."""


class Captions:
    """The prompts as the pipeline tokenises them; row 0 is the empty one."""

    def __init__(self, pipe: Any, plan: Plan) -> None:
        tasks = dict.fromkeys(episode.task for episode in plan.episodes)
        self.row = {task: i for i, task in enumerate(tasks, 1)}
        self.tokens: list[list[int]] = [[]]
        for task in tasks:
            given, empty = pipe.tokenize_prompt(
                task,
                None,
                num_frames=plan.chunk + 1,
                height=plan.canvas[0],
                width=plan.canvas[1],
                fps=plan.fps,
                use_system_prompt=False,
                action_mode="policy",
                action_view_point=plan.view_point,
            )
            self.tokens[0] = list(empty)
            self.tokens.append(list(given))

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ids [P, L] of the different prompts, right-padded; their lengths [P]; which one each sample has [B]."""
        used, which = np.unique(rows, return_inverse=True)
        length = torch.tensor([len(self.tokens[row]) for row in used])
        ids = torch.zeros(len(used), int(length.max()), dtype=torch.long)
        for i, row in enumerate(used):
            ids[i, : length[i]] = torch.tensor(self.tokens[row])
        return ids, length, torch.from_numpy(which.astype(np.int64))


class Sampler:
    """Draws the samples of a pass."""

    def __init__(
        self, config: AdaptConfig, setting: Setting, windows: Windows, captions: Captions, action_dim: int
    ) -> None:
        self.config, self.setting, self.windows, self.captions = config, setting, windows, captions
        self.action_dim = action_dim

    def draw(self, size: int, key: list[int], mode: int | None = None, pure: bool = False) -> Examples:
        """`size` samples, which `key` determines; of one mode, or of the mixture. `pure`: all from pure noise."""
        train, rng = self.config.train, np.random.default_rng([self.config.seed, *key])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        weights = self.setting.weights
        modes = np.full(size, mode) if mode is not None else rng.choice(len(weights), p=weights, size=size)
        picks = rng.integers(0, len(self.windows), size)
        latent, acted, tasks = self.windows.take(picks, self.action_dim)
        rows = np.array([self.captions.row[task] for task in tasks])
        rows[(rng.random(size) < train.prompt_dropout) & (mode is None)] = 0
        ids, length, prompt = self.captions.batch(rows)
        m = torch.from_numpy(modes)
        sigma = flow.noise_levels(torch.rand(size, generator=generator), torch.tensor(train.shifts)[m], lowest=0.02)
        decided = m != POLICY  # frames and actions leave one answer; a policy has yet to choose
        if self.setting.carried:
            sigma[decided] = PURE
        if pure:
            sigma[:] = PURE
        noise = torch.randn(latent.shape, generator=generator)
        action_noise = torch.randn(acted.shape, generator=generator)
        action_noise[..., self.windows.plan.width :] = 0
        chunk = torch.full((size,), acted.shape[1])
        return flow.noised(m, latent, acted, (noise, action_noise), sigma, chunk, prompt, ids, length, decided)


def setting_of(config: AdaptConfig, run: RunConfig, numbers: float) -> Setting:
    """What the config means for a transformer of so many numbers."""
    train = config.train
    lora = train.what is What.lora or (train.what is What.auto and numbers >= LORA_FROM)
    usual = {"forward_dynamics": 0.4, "inverse_dynamics": 0.15, "policy": 0.45}
    given = dict(zip(train.modes, train.weights or [usual[mode] for mode in train.modes], strict=True))
    weights = np.array([given.get(mode, 0.0) for mode in flow.MODES[:3]])
    preset = run.model.recommended.get("forward_dynamics")
    few = preset is not None and (preset.num_inference_steps or FEW_STEPS + 1) <= FEW_STEPS
    share = train.carried if train.carried is not None else 0.375 if few else 0.0
    return Setting(lora, train.lr or 3e-4, tuple((weights / weights.sum()).tolist()), int(share * train.batch))
