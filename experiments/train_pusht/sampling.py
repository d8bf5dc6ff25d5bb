"""What the transformer is trained on: which windows, modes and noise levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from strands_diffusers_training.flow import FORWARD, IMAGE, INVERSE, MODES, POLICY, PURE, Examples, noise_levels, noised

from .latents import channel_root, files, load
from .prompts import CHUNKS, Captions


@dataclass
class Mixture:
    """What a batch is made of."""

    mode_weights: tuple[float, ...] = (0.34, 0.12, 0.45, 0.05, 0.04)
    """Chance of each of MODES, of a sample that is drawn anew."""

    chunk_weights: tuple[float, ...] = (0.6, 0.2, 0.2)
    """Chance of each of CHUNKS, in the modes with actions: the first 16, 8 or 4 actions of a window."""

    shifts: tuple[float, ...] = (10.0, 10.0, 2.5, 2.5, 2.5)
    """By mode. Noise levels are shift u / (1 + (shift - 1) u) with u uniform: over 1 favours high noise. Where the given
    frames and actions leave little open, what a sampler makes of pure noise is nearly what it ends with. The first two
    count only where nothing is `carried`."""

    carried: int = 12
    """Of a process' samples whose answer is decided, how many per step are kept and go on, in the next one, from where the
    model's own answer led them, towards the truth: to mend what it did. The others begin in pure noise. Decided are those
    of forward and inverse dynamics, by frames and actions, and those of `practice`, by their noise. 0: the truth with
    noise, as in the other modes."""

    practice: float = 0.85
    """Share of the policy's samples that are the policy's own actions and what the simulator made of them (stage
    `practice`), where there are any; each begins in the very noise that it was made from. The others are the expert's."""

    held: float = 0.0
    """Share of `practice` that is carried with its actions on the way to the true ones, and only its video where the model
    leads it: late in sampling the video has to agree with the actions, whatever it began as. Over 0 the expert's samples
    of the policy are carried too, all of them so: their actions leave one answer."""

    own_first: float = 0.35
    """Of the windows that follow another, how often forward dynamics and policy begin at the model's own last frame of the
    one before (stage `chains`), where there is one."""

    mended: float = 0.0
    """Share of forward dynamics that begins at the model's own last frame with a truth that begins there too (stage `mended`),
    where there is any."""

    lowest: float = 0.02
    """Least u. A sampler of 8 steps never asks below 0.1."""

    prompt_dropout: float = 0.1
    """Chance that a prompt is replaced by the empty one, for guidance; never in `practice`."""

    still: float = 0.2
    """Chance of a window in which nothing changes, against the average one: what moves is what is hard. 1: all alike."""

    in_the_way: float = 3.0
    """How many times as often policy is asked of a window that begins with the block between the pusher and the place
    to push from: the way round it is the one thing that the policy has to choose."""

    floor: float = 0.1
    """Share of the video loss in which all latent channels count alike; the rest weighs an error by what it changes in
    the decoded picture. 1: plain."""


class Sampler:
    """Draws training batches from latents in memory."""

    def __init__(self, config: Mixture, work: Path, name: str, captions: Captions, seed: list[int]) -> None:
        self.config, self.captions, self.work, self.name, self.count = config, captions, work, name, -1
        self.refresh()
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed[0] * 7919 + seed[-1])

    def refresh(self) -> bool:
        """Read the latents again where more have been written since. -> whether there were."""
        own = files(self.work, "practice_") if self.config.practice else []
        mended = files(self.work, "mended_") if self.config.mended else []
        chains = list((self.work / "chains").glob("*.npz"))
        count = len(files(self.work, self.name)) + len(own) + len(mended) + len(chains)
        if count == self.count:
            return False
        self.count, self.windows = count, load(self.work, self.name)
        # The policy's own windows come after the others; forward and inverse dynamics take them like any.
        self.first_practice = len(self.windows)
        if own:
            self.windows = self.windows + load(self.work, "practice_")
        self.first_mended = len(self.windows)
        if mended:
            self.windows = self.windows + load(self.work, "mended_")
        self.chance = self._chance() if self.config.still < 1 else np.full(len(self.windows), 1 / len(self.windows))
        # What a shaking pusher was drawn to cannot be read off its frames: such windows would teach inverse dynamics to guess.
        smooth = np.where(self.windows.errs, 0, self.chance)
        self.inverse_chance = smooth / smooth.sum()
        chance = np.where(self.windows.in_the_way, self.config.in_the_way, 1.0) * smooth
        chance[self.first_practice :] = 0
        self.policy_chance = chance / chance.sum()
        return True

    def _chance(self) -> np.ndarray:
        """Of each window to be drawn: it grows with how far the later frames are from frames 1 to 4, as decoded."""
        root, change = channel_root(self.work, self.config.floor), []
        for latent in self.windows.latent.split(1024):
            away = (latent[:, :, 2:] - latent[:, :, 1:2]).float().flatten(2)
            change.append((root @ away).pow(2).mean((1, 2)))
        relative = torch.cat(change).double().numpy()
        chance = self.config.still + (1 - self.config.still) * relative / relative.mean()
        return np.asarray(chance / chance.sum())

    def prompts(self, modes: np.ndarray, tasks: np.ndarray, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Caption rows used by a batch, and for each sample which of them. A batch shares one wording per task.

        `chunks` are numbers into CHUNKS.
        """
        rng, captions, size = self.rng, self.captions, len(modes)
        wordings = [int(rng.integers(len(group))) for group in captions.action[0]]
        rows = [0, 1, *(group[i] for chunk in captions.action for group, i in zip(chunk, wordings, strict=True))]
        video_task = int(rng.integers(len(captions.video)))
        video = modes >= IMAGE
        if video.any():
            video_task = int(rng.choice(tasks[video]))
        rows.append(int(rng.choice(captions.video[video_task])))
        # Forward and inverse dynamics are to follow frames and actions, whatever the words say.
        named = np.where(modes == POLICY, tasks, rng.integers(0, len(wordings), size)) + 2 + chunks * len(wordings)
        return np.array(rows), np.where(video, np.where(tasks == video_task, len(rows) - 1, 1), named)

    def draw(self, size: int, mode: int | None = None, chunk: int | None = None) -> Examples:
        """Of one mode, or of the mixture; of one of CHUNKS (by its number), or of their mixture."""
        config, rng, windows = self.config, self.rng, self.windows
        modes = np.full(size, mode) if mode is not None else rng.choice(len(MODES), p=config.mode_weights, size=size)
        chunks = rng.choice(len(CHUNKS), p=config.chunk_weights, size=size) if chunk is None else np.full(size, chunk)
        chunks = np.where(modes < IMAGE, chunks, 0)
        pick = rng.choice(len(windows), size=size, p=self.chance)
        policy, inverse = modes == POLICY, modes == INVERSE
        own = policy & (rng.random(size) < config.practice) & (self.first_practice < self.first_mended)
        pick[inverse] = rng.choice(len(windows), size=inverse.sum(), p=self.inverse_chance)
        pick[policy] = rng.choice(len(windows), size=policy.sum(), p=self.policy_chance)
        pick[own] = rng.integers(self.first_practice, self.first_mended, own.sum())
        mended = (modes == FORWARD) & (rng.random(size) < config.mended) & (self.first_mended < len(windows))
        pick[mended] = rng.integers(self.first_mended, len(windows), mended.sum())
        rows, prompt = self.prompts(modes, windows.task[pick], chunks)
        dropped = (rng.random(size) < config.prompt_dropout) & ~own
        prompt = np.where(dropped, np.where(modes < IMAGE, 0, 1), prompt)

        latent, action = windows.latent[pick].float(), windows.action[pick]
        chained = windows.has_first[pick] & ((modes == FORWARD) | policy) & (rng.random(size) < config.own_first)
        latent[torch.from_numpy(chained), :, 0] = windows.first[pick[chained]].float()
        m, drawn = torch.from_numpy(modes), torch.from_numpy(own)
        u = torch.rand(size, generator=self.generator)
        sigma = noise_levels(u, torch.tensor(config.shifts)[m], config.lowest)
        decided = (m < POLICY) | drawn
        if config.carried:
            sigma[decided] = PURE
        held = torch.zeros_like(decided)
        if config.held:
            held = torch.from_numpy(policy & (~own | (rng.random(size) < config.held)))
            decided = decided | held
        noise = torch.randn(latent.shape, generator=self.generator)
        action_noise = torch.randn(action.shape, generator=self.generator)
        if own.any():
            rows_own = torch.from_numpy(pick[own] - self.first_practice)
            noise[drawn] = windows.noise[rows_own].float()
            action_noise[drawn] = windows.action_noise[rows_own]
        return noised(
            m,
            latent,
            action,
            (noise, action_noise),
            sigma,
            torch.tensor(CHUNKS)[torch.from_numpy(chunks)],
            torch.from_numpy(prompt),
            self.captions.ids[rows],  # always as wide, so that a compiled step fits every batch
            self.captions.lengths[rows],
            decided,
            held,
        )
