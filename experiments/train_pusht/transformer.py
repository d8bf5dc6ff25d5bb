"""Stage `transformer`: the world model itself, in all its modes at once.

x = (1 - s) data + s noise; the network predicts noise - data. What is given stays clean.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from .latents import files, load
from .model import FPS, LATENT_SHAPE, Batch, build, positions, predict, trained_parameters
from .optim import Optimizer, Schedule, Training
from .parallel import Progress, Ranks
from .prompts import Captions, build_tokenizer

MODES = ("forward_dynamics", "inverse_dynamics", "policy", "image", "text")
"""Order of `mode_weights`. The last two are text-conditioned video, from a first frame and from nothing."""

DYNAMICS, VIDEO = 2, 3
"""The first two of MODES are decided by what is given; from the fourth on there are no actions."""

PURE = 0.9995
"""Noise level of a sampler's first step."""

assert FPS == 10.0


@dataclass
class TransformerConfig:
    """The transformer, by flow matching."""

    steps: int = 6000
    """Optimiser steps in all."""

    cooldown: int = 4500
    """Steps of linear decay to zero at the end. Much of what a run reaches it reaches there."""

    batch: int = 32
    """Samples per process and step."""

    mode_weights: tuple[float, ...] = (0.34, 0.12, 0.45, 0.05, 0.04)
    """Chance of each of MODES, of a sample that is drawn anew."""

    shifts: tuple[float, ...] = (10.0, 10.0, 2.5, 2.5, 2.5)
    """By mode. Noise levels are shift u / (1 + (shift - 1) u) with u uniform: over 1 favours high noise. Where the given
    frames and actions leave little open, what a sampler makes of pure noise is nearly what it ends with. The first two
    count only where nothing is `carried`."""

    carried: int = 10
    """Of a process' samples of forward and inverse dynamics, how many per step are kept and go on, in the next one, from
    where the model's own answer led them, towards the truth: to mend what it did. The others begin in pure noise:
    frames and actions decide what happens, and later steps are not to choose among what the model holds possible (which
    errs twice as much as the mean of it). 0: the truth with noise, as in the other modes."""

    lowest: float = 0.02
    """Least u. A sampler of 8 steps never asks below 0.1."""

    prompt_dropout: float = 0.1
    """Chance that a prompt is replaced by the empty one, for guidance."""

    still: float = 0.2
    """Chance of a window in which nothing changes, against the average one: what moves is what is hard. 1: all alike."""

    floor: float = 0.1
    """Share of the video loss in which all latent channels count alike; the rest weighs an error by what it changes in
    the decoded picture. 1: plain."""

    action_weight: float = 0.3
    """Weight of the actions' loss beside the video's, each in units of its usual size (`Levels`)."""

    muon_lr: float = 0.02
    """Learning rate of the matrices in the layers."""

    adam_lr: float = 2e-3
    """Learning rate of everything else."""

    average: float = 0.999
    """Decay of the weight average that is evaluated and exported."""

    init: str = ""
    """A pipeline folder whose transformer to start from; empty: from nothing."""

    warmup: int = 60
    """Steps of linear rise at the start."""

    report_s: float = 180.0
    """Seconds between validations, which take the time of some six steps."""

    compile: bool = True
    """`torch.compile` the forward pass: 30 % less time per step on a CPU, for one or two minutes at the start."""


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
        self.latents, self.actions, self.tasks = load(self.work, self.name)
        self.count = count
        self.chance = self._chance() if self.config.still < 1 else None
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
        told = np.where(modes == 2, tasks, rng.integers(0, len(captions.action), size)) + 2
        told = np.where(video, np.where(tasks == video_task, len(rows) - 1, 1), told)
        dropped = rng.random(size) < self.config.prompt_dropout
        return np.array(rows), np.where(dropped, np.where(video, 1, 0), told)

    def draw(self, size: int, mode: int | None = None) -> Examples:
        """Of one mode or of the mixture."""
        config, rng = self.config, self.rng
        pick = rng.choice(len(self.latents), size=size, p=self.chance)
        latent, action = self.latents[pick].float(), self.actions[pick]
        modes = np.full(size, mode) if mode is not None else rng.choice(len(MODES), p=config.mode_weights, size=size)
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


def errors(
    batch: Batch,
    predicted: Pair,
    targets: Pair,
    weight_BTHW: torch.Tensor | None = None,
    root_CC: torch.Tensor | None = None,
) -> Pair:
    """Mean squared error [B] over a sample's noisy latents, and over its noisy actions; 0 where it has none.

    `root`: see `channel_root`.
    """
    error = predicted[0].float() - targets[0]
    if root_CC is not None:
        error = torch.einsum("dc,bcthw->bdthw", root_CC, error)
    error = error.pow(2).mean(1)
    mask = batch.noisy_frame_BT[:, :, None, None].expand_as(error).float()
    mask = mask if weight_BTHW is None else mask * weight_BTHW
    action_error = (predicted[1].float() - targets[1]).pow(2).mean(-1)
    action_mask = batch.noisy_action_BA.float()
    vision = (error * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
    return vision, (action_error * action_mask).sum(1) / action_mask.sum(1).clamp(min=1)


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


class Levels:
    """The usual error of each mode at each of ten noise levels, to divide by: they count alike.

    The error of a velocity is that of the data over the noise level, so that one and the same error of an action costs
    a hundred times as much at a level of 0.1 as at 1; and where a policy has yet to decide, its error says nothing.
    """

    def __init__(self, device: str) -> None:
        self.total, self.count = torch.zeros(2, 10 * len(MODES), device=device)

    def relative(self, error_B: torch.Tensor, mode_B: torch.Tensor, sigma_B: torch.Tensor) -> torch.Tensor:
        """The mean of the errors over the usual ones, samples with none (0) included."""
        bin_B = mode_B * 10 + (sigma_B * 10).long()
        known = (error_B.detach() > 0).float()
        self.total.mul_(0.995).index_add_(0, bin_B, error_B.detach())
        self.count.mul_(0.995).index_add_(0, bin_B, known)
        usual_B = (self.total / self.count.clamp(min=1e-9))[bin_B]
        return (error_B / usual_B.clamp(min=1e-9)).mean()


def channel_root(work: Path, floor: float) -> torch.Tensor:
    """R [32, 32] with R^T R = floor I + (1 - floor) S, S the decoder's sensitivity.

    Normalised latents have unit variance in every channel, also in those that the decoder hardly reads (9 of 32
    directions change nothing). The best prediction is the same under any such weighting; a small network that cannot
    reach it everywhere gets close where it shows.
    """
    identity = torch.eye(LATENT_SHAPE[0])
    if floor == 1:
        return identity
    path = work / "latents" / "sensitivity.npy"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the stage `latents` again (it keeps what there is), or --floor 1")
    return torch.linalg.cholesky(floor * identity + (1 - floor) * torch.from_numpy(np.load(path))).mT


def _compile_in_turn(
    network: Callable[[Batch], Pair],
    sampler: Sampler,
    model: torch.nn.Module,
    size: int,
    ranks: Ranks,
) -> None:
    """Run one step for its compilation: the first rank fills the cache that the others then read."""
    for turn in range(ranks.world):
        if turn == ranks.rank:
            latent, action = network(sampler.draw(size).batch.to(ranks.device))
            (latent.float().sum() + action.float().sum()).backward()
            model.zero_grad(set_to_none=True)
        ranks.agree(0.0)


@torch.no_grad()
def validate(
    network: Callable[[Batch], Pair], batches: dict[str, list[Examples]], root: torch.Tensor
) -> dict[str, float]:
    """Losses of fixed validation batches, by mode: `shown` as the decoder sees them, `video` with all channels alike.

    Of the dynamics from pure noise too: the error of the film (as shown) and of the actions after one and two steps.
    """
    result = {}
    for mode, examples in zip(MODES, batches["noised"], strict=True):
        batch, targets, predicted = examples.batch, examples.targets, network(examples.batch)
        vision, act = errors(batch, predicted, targets)
        if mode != "inverse_dynamics":
            result[f"{mode}/shown"] = float(errors(batch, predicted, targets, None, root)[0].mean())
            result[f"{mode}/video"] = float(vision.mean())
        if mode in ("inverse_dynamics", "policy"):
            result[f"{mode}/action"] = float(act.mean())
    for mode, examples in zip(MODES, batches["pure"], strict=False):
        for step in 1, 2:
            batch, predicted = examples.batch, network(examples.batch)
            error = errors(batch, predicted, examples.targets, None, root)[mode == "inverse_dynamics"]
            result[f"{mode}/step{step}"] = float((error * batch.sigma_B**2).mean())
            examples = euler(examples, predicted, torch.full_like(batch.sigma_B, 0.667))
    return result


def run(config: TransformerConfig, work: Path, ranks: Ranks) -> None:
    """Train; go on from `transformer.pt` where there is one."""
    if ranks.first and not (work / "tokenizer").exists():
        build_tokenizer(work / "tokenizer")
    ranks.agree(0.0)
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    captions = Captions(tokenizer)
    model = build(config.init, tokenizer).to(ranks.device)
    matrices, others = trained_parameters(model)
    optimizer = Optimizer(matrices, others, config.muon_lr, config.adam_lr, ranks=ranks)
    schedule = Schedule(config.steps, config.warmup, config.cooldown)
    training = Training(model, optimizer, schedule, work / "transformer.pt", config.average)
    training.resume()
    first_step = training.step
    sampler = Sampler(config, work, "shard_", captions, [ranks.rank, first_step])
    position = positions().to(ranks.device)
    usual, root = sampler.latents[:2000].float().mean(0).to(ranks.device), channel_root(work, config.floor)
    device_root = root.to(ranks.device)
    batches: dict[str, list[Examples]] = {}
    if ranks.first:
        # Noise levels and windows as in every earlier run, so that curves compare.
        noised = replace(config, shifts=(2.5,) * 5, carried=0, still=1.0)
        held_out = Sampler(noised, work, "validation", captions, [3, 3])
        batches["noised"] = [held_out.draw(32, mode) for mode in range(len(MODES))]
        held_out.config = replace(noised, carried=1)
        batches["pure"] = [held_out.draw(64, mode) for mode in range(DYNAMICS)]
        print(
            f"{len(sampler.latents)} windows, {len(held_out.latents)} for validation, from step {first_step}",
            flush=True,
        )
    compiled = torch.compile(predict, dynamic=False) if config.compile else predict

    def network(batch: Batch) -> Pair:
        with torch.autocast(ranks.device, dtype=torch.bfloat16):
            return compiled(model, batch, position, torch.bfloat16)

    def averaged(batch: Batch) -> Pair:
        with torch.autocast(ranks.device, dtype=torch.bfloat16):
            latent, action = predict(training.average, batch.to(ranks.device), position, torch.bfloat16)
        return latent.float().cpu(), action.float().cpu()

    progress = Progress(
        "transformer", config.steps - first_step, ranks, every_s=config.report_s, log=work / "transformer.log"
    )
    _compile_in_turn(network, sampler, model, config.batch, ranks)
    frame_levels, action_levels = Levels(ranks.device), Levels(ranks.device)
    carried: Examples | None = None
    recent, saved, begin = [], time.monotonic(), time.monotonic()
    while training.step < config.steps:
        if training.step % 100 == 0 and sampler.refresh() and ranks.first:
            print(f"{len(sampler.latents)} windows", flush=True)
        examples = sampler.draw(config.batch - (config.carried if carried else 0)).to(ranks.device)
        examples = examples + carried if carried else examples
        # What deviates from the usual picture (block, pusher) counts up to six times as much as the empty table.
        weight = (0.5 + (examples.clean - usual).pow(2).mean(1)).clamp(max=3)
        predicted = network(examples.batch)
        error, action_error = errors(examples.batch, predicted, examples.targets, weight, device_root)
        vision = frame_levels.relative(error, examples.modes, examples.batch.sigma_B)
        act = action_levels.relative(action_error, examples.modes, examples.batch.sigma_B)
        carried = carry(examples, predicted, config.carried)
        optimizer.zero_grad()
        (vision + config.action_weight * act).backward()
        ranks.mean_gradients(optimizer.parameters)
        training.advance()
        recent.append((float(error.detach().mean()), float(action_error.detach().mean())))
        if progress.due() and training.step > first_step + 5:
            values = validate(averaged, batches, root)
            rate = (training.step - first_step) * config.batch * ranks.world / (time.monotonic() - begin)
            with (work / "transformer_curve.jsonl").open("a") as file:
                point = {
                    "step": training.step,
                    "train": np.mean(recent[-60:], 0).tolist(),
                    "time": time.time(),
                    **values,
                }
                file.write(json.dumps(point) + "\n")
            text = " ".join(f"{name} {value:.4f}" for name, value in values.items() if not name.endswith("video"))
            progress.line(training.step - first_step, f"step {training.step}, {rate:.1f} samples/s, {text}")
        if ranks.first and (time.monotonic() - saved > 180 or training.step == config.steps):
            training.save()
            saved = time.monotonic()
