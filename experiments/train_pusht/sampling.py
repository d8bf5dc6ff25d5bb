"""What the transformer is trained on: which windows, modes and noise levels, and samples carried along their own path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .latents import channel_root, files, load
from .model import LATENT_SHAPE, Batch
from .prompts import Captions

if TYPE_CHECKING:
    from .transformer import TransformerConfig

MODES = ("forward_dynamics", "inverse_dynamics", "policy", "image", "text")
"""Order of `mode_weights`. The last two are text-conditioned video, from a first frame and from nothing."""

POLICY, DYNAMICS, VIDEO = MODES.index("policy"), 2, 3
"""The first two (DYNAMICS) of MODES are decided by what is given; from the fourth (VIDEO) on there are no actions."""

PURE = 0.9995
"""Noise level of a sampler's first step."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""For latents [B, 32, 5, 6, 6] and for actions [B, 16, 2]."""


@dataclass
class Examples:
    """Samples for the model, and what it is to say of them."""

    batch: Batch
    targets: Pair
    """Velocities."""
    clean: torch.Tensor
    """The true latents [B, 32, 5, 6, 6]."""
    modes: torch.Tensor
    """[B], numbers into MODES."""

    def to(self, device: str) -> Examples:
        """The same on a device."""
        latent, action = (x.to(device) for x in self.targets)
        return Examples(self.batch.to(device), (latent, action), self.clean.to(device), self.modes.to(device))

    def __getitem__(self, rows: torch.Tensor) -> Examples:
        """Some of the samples, in that order."""
        parts = {name: getattr(self.batch, name)[rows] for name in self._of_samples}
        latent, action = (x[rows] for x in self.targets)
        return Examples(replace(self.batch, **parts), (latent, action), self.clean[rows], self.modes[rows])

    def __add__(self, others: Examples) -> Examples:
        """Both, with the wordings of the first: a prompt's row means the same task in every batch with actions."""
        parts = {name: torch.cat([getattr(x.batch, name) for x in (self, others)]) for name in self._of_samples}
        latent, action = (torch.cat(pair) for pair in zip(self.targets, others.targets, strict=True))
        clean, modes = torch.cat([self.clean, others.clean]), torch.cat([self.modes, others.modes])
        return Examples(replace(self.batch, **parts), (latent, action), clean, modes)

    @property
    def _of_samples(self) -> list[str]:
        return [name for name in self.batch.__dataclass_fields__ if name not in ("ids_PL", "length_P")]


class Sampler:
    """Draws training batches from latents in memory."""

    def __init__(self, config: TransformerConfig, work: Path, name: str, captions: Captions, seed: list[int]) -> None:
        self.config, self.captions, self.work, self.name, self.count = config, captions, work, name, 0
        self.refresh()
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed[0] * 7919 + seed[-1])

    def refresh(self) -> bool:
        """Read the latents again where more have been written since. -> whether there were."""
        count = len(files(self.work, self.name))
        if count == self.count:
            return False
        self.latents, self.actions, self.tasks, blocked = load(self.work, self.name)
        self.count = count
        self.chance = self._chance() if self.config.still < 1 else None
        chance = np.where(blocked, self.config.in_the_way, 1.0) * (1 if self.chance is None else self.chance)
        self.policy_chance = chance / chance.sum()
        return True

    def _chance(self) -> np.ndarray:
        """Of each window to be drawn: it grows with how far the later frames are from frames 1 to 4, as decoded."""
        root, change = channel_root(self.work, self.config.floor), []
        for latent in self.latents.split(1024):
            away = (latent[:, :, 2:] - latent[:, :, 1:2]).float().flatten(2)
            change.append((root @ away).pow(2).mean((1, 2)))
        relative = torch.cat(change).double().numpy()
        chance = self.config.still + (1 - self.config.still) * relative / relative.mean()
        return chance / chance.sum()

    def prompts(self, modes: np.ndarray, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Caption rows used by a batch, and for each sample which of them. A batch shares one wording per task."""
        rng, captions, size = self.rng, self.captions, len(modes)
        rows = [0, 1, *(int(rng.choice(group)) for group in captions.action)]
        video_task = int(rng.integers(len(captions.video)))
        video = modes >= VIDEO
        if video.any():
            video_task = int(rng.choice(tasks[video]))
        rows.append(int(rng.choice(captions.video[video_task])))
        # Forward and inverse dynamics are to follow frames and actions, whatever the words say.
        told = np.where(modes == POLICY, tasks, rng.integers(0, len(captions.action), size)) + 2
        told = np.where(video, np.where(tasks == video_task, len(rows) - 1, 1), told)
        dropped = rng.random(size) < self.config.prompt_dropout
        return np.array(rows), np.where(dropped, np.where(video, 1, 0), told)

    def draw(self, size: int, mode: int | None = None) -> Examples:
        """Of one mode or of the mixture."""
        config, rng = self.config, self.rng
        pick = rng.choice(len(self.latents), size=size, p=self.chance)
        modes = np.full(size, mode) if mode is not None else rng.choice(len(MODES), p=config.mode_weights, size=size)
        if config.in_the_way != 1:
            policy = np.flatnonzero(modes == POLICY)
            pick[policy] = rng.choice(len(self.latents), size=len(policy), p=self.policy_chance)
        latent, action = self.latents[pick].float(), self.actions[pick]
        rows, told = self.prompts(modes, self.tasks[pick])
        length = self.captions.lengths[rows]
        u = config.lowest + (1 - config.lowest) * torch.rand(size, generator=self.generator)
        m = torch.from_numpy(modes)
        shift = torch.tensor(config.shifts)[m]
        sigma = (shift * u / (1 + (shift - 1) * u)).clamp(max=PURE)
        if config.carried:
            sigma[m < DYNAMICS] = PURE
        noisy_frame = torch.ones(size, LATENT_SHAPE[1], dtype=torch.bool)
        noisy_frame[m != 4, 0] = False
        noisy_frame[m == 1] = False
        noisy_action = ((m == 1) | (m == 2))[:, None].expand(size, action.shape[1]).clone()
        noise = torch.randn(latent.shape, generator=self.generator)
        action_noise = torch.randn(action.shape, generator=self.generator)
        s5, s3 = sigma.view(-1, 1, 1, 1, 1), sigma.view(-1, 1, 1)
        batch = Batch(
            ids_PL=self.captions.ids[rows],  # always as wide, so that a compiled step fits every batch
            length_P=length,
            prompt_B=torch.from_numpy(told),
            latent_BCTHW=torch.where(noisy_frame[:, None, :, None, None], latent.lerp(noise, s5), latent),
            action_BAD=torch.where(noisy_action[..., None], action.lerp(action_noise, s3), action),
            noisy_frame_BT=noisy_frame,
            noisy_action_BA=noisy_action,
            has_action_B=m < VIDEO,
            sigma_B=sigma,
        )
        return Examples(batch, (noise - latent, action_noise - action), latent, m)


@torch.no_grad()
def euler(examples: Examples, predicted: Pair, sigma_B: torch.Tensor) -> Examples:
    """One Euler step along `predicted`, to the noise levels `sigma` (over 0); the targets lead from there to the truth."""
    batch, moved, wanted = examples.batch, [], []
    for x, target, velocity, noisy in (
        (batch.latent_BCTHW, examples.targets[0], predicted[0], batch.noisy_frame_BT[:, None, :, None, None]),
        (batch.action_BAD, examples.targets[1], predicted[1], batch.noisy_action_BA[..., None]),
    ):
        before, after = (s.view(-1, *[1] * (x.ndim - 1)) for s in (batch.sigma_B, sigma_B))
        moved.append(torch.where(noisy, x + (after - before) * velocity.float(), x))
        wanted.append((moved[-1] - (x - before * target)) / after)
    batch = replace(batch, latent_BCTHW=moved[0], action_BAD=moved[1], sigma_B=sigma_B)
    return replace(examples, batch=batch, targets=(wanted[0], wanted[1]))


@torch.no_grad()
def carry(examples: Examples, predicted: Pair, count: int) -> Examples | None:
    """`count` samples of the dynamics, at random, where the model's own step to some lower noise level leads them.

    None where there are fewer above a noise level of 0.1.
    """
    sigma = examples.batch.sigma_B
    chance = torch.rand(len(sigma), device=sigma.device) * ((examples.modes < DYNAMICS) & (sigma > 0.1))
    rows = chance.argsort(descending=True)[:count]
    if count == 0 or chance[rows[-1]] == 0:
        return None
    lower = (sigma[rows] * torch.rand(count, device=sigma.device)).clamp(min=0.05)
    return euler(examples[rows], (predicted[0].detach()[rows], predicted[1].detach()[rows]), lower)
