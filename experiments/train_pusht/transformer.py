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
from strands_diffusers_training.flow import FORWARD, MODES, POLICY, Examples, Levels, Pair, carry, errors, euler
from strands_diffusers_training.network import Batch, predict
from strands_diffusers_training.optim import Optimizer, Schedule, Training
from strands_diffusers_training.parallel import Progress, Ranks
from strands_diffusers_training.parameters import everything

from .latents import channel_root, load_vae, scale_of
from .model import FPS, build, layout
from .prompts import CHUNKS, Captions, load_tokenizer
from .sampling import Mixture, Sampler
from .shape import ShapeLoss

assert FPS == 10.0


@dataclass
class TransformerConfig(Mixture):
    """The transformer, by flow matching."""

    steps: int = 6000
    """Optimiser steps in all."""

    cooldown: int = 4500
    """Steps of linear decay to zero at the end. Much of what a run reaches it reaches there."""

    minutes: float = 0.0
    """End after so many minutes, at whatever pace the machine allows: `cooldown` of `steps` is then a share of the time. 0:
    after `steps`."""

    batch: int = 32
    """Samples per process and step."""

    action_weight: float = 0.3
    """Weight of the actions' loss beside the video's, each in units of its usual size (`Levels`)."""

    shape: int = 0
    """Of a process' samples, how many per step are decoded for a loss on the T's silhouette (module `shape`). Each costs as
    much as two samples."""

    shape_weight: float = 0.3
    """Weight of that loss."""

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

    Of the dynamics from pure noise too: the error of the video (as shown) and of the actions after one and two steps.
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
    for chunk, examples in zip(CHUNKS, batches["short"], strict=True):
        error = errors(examples.batch, network(examples.batch), examples.targets, None, root)[0]
        result[f"forward_dynamics/chunk{chunk}"] = float((error * examples.batch.sigma_B**2).mean())
    return result


def run(config: TransformerConfig, work: Path, ranks: Ranks) -> None:
    """Train; go on from `transformer.pt` where there is one."""
    tokenizer = load_tokenizer(work, ranks)
    captions = Captions(tokenizer)
    model = build(config.init, tokenizer).to(ranks.device)
    matrices, others = everything(model)
    optimizer = Optimizer(matrices, others, config.muon_lr, config.adam_lr, ranks=ranks)
    schedule = Schedule(config.steps, config.warmup, config.cooldown, config.minutes)
    training = Training(model, optimizer, schedule, work / "transformer.pt", config.average)
    training.resume()
    first_step = training.step
    sampler = Sampler(config, work, "shard_", captions, [ranks.rank, first_step])
    position = layout().to(ranks.device)
    usual, root = sampler.windows.latent[:2000].float().mean(0).to(ranks.device), channel_root(work, config.floor)
    device_root = root.to(ranks.device)
    batches: dict[str, list[Examples]] = {}
    if ranks.first:
        # Noise levels and windows as in every earlier run, so that curves compare.
        noised = replace(
            config, shifts=(2.5,) * 5, carried=0, still=1.0, in_the_way=1.0, practice=0.0, own_first=0.0, mended=0.0
        )
        held_out = Sampler(noised, work, "validation", captions, [3, 3])
        batches["noised"] = [held_out.draw(32, mode, 0) for mode in range(len(MODES))]
        held_out.config = replace(noised, carried=1)
        batches["pure"] = [held_out.draw(64, mode, 0) for mode in range(POLICY)]
        batches["short"] = [held_out.draw(64, FORWARD, chunk) for chunk in range(len(CHUNKS))]
        print(
            f"{len(sampler.windows)} windows, {len(held_out.windows)} for validation, from step {first_step}",
            flush=True,
        )
    compiled = torch.compile(predict, dynamic=False) if config.compile else predict

    def network(batch: Batch) -> Pair:
        with torch.autocast(ranks.device, dtype=torch.bfloat16):
            return compiled(model, batch, position, torch.bfloat16)

    def averaged(batch: Batch) -> Pair:
        with training.averaged(), torch.autocast(ranks.device, dtype=torch.bfloat16):
            latent, action = predict(model, batch.to(ranks.device), position, torch.bfloat16)
        return latent.float().cpu(), action.float().cpu()

    progress = Progress(
        "transformer", config.steps - first_step, ranks, every_s=config.report_s, log=work / "transformer.log"
    )
    _compile_in_turn(network, sampler, model, config.batch, ranks)
    shape_loss = None
    if config.shape:
        scale = (x.to(ranks.device) for x in scale_of(work))
        shape_loss = ShapeLoss(load_vae(work, ranks.device, config.init), *scale, count=config.shape)
    frame_levels, action_levels = Levels(ranks.device), Levels(ranks.device)
    carried: Examples | None = None
    recent, saved, begin = [], time.monotonic(), time.monotonic()
    while training.goes_on():
        if training.step % 100 == 0 and sampler.refresh() and ranks.first:
            print(
                f"{len(sampler.windows)} windows, {len(sampler.windows) - sampler.first_practice} of practice",
                flush=True,
            )
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
        loss = vision + config.action_weight * act
        if shape_loss:
            with torch.autocast(ranks.device, dtype=torch.bfloat16):
                loss = loss + config.shape_weight * shape_loss(examples, predicted[0], usual)
        loss.backward()
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
        if ranks.first and time.monotonic() - saved > 180:
            training.save()
            saved = time.monotonic()
    if ranks.first:
        training.save()
