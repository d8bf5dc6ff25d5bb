"""Stage `vae`: the video autoencoder, an `AutoencoderKLWan` of 2.8 million parameters.

Clips are float [B, 3, T, H, W] in [-1, 1]; latents are [B, 32, (T - 1) / 4 + 1, H / 16, W / 16].
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from strands_diffusers_training.optim import Optimizer, Schedule, Training
from strands_diffusers_training.parallel import Progress, Ranks
from torch.nn import functional

from .data import Frames

NUM_FRAMES = 17
LATENT_DIM = 32

ARCHITECTURE: dict[str, Any] = {
    "base_dim": 32,
    "decoder_base_dim": 32,
    "z_dim": LATENT_DIM,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "is_residual": True,
    "in_channels": 48,
    "out_channels": 48,
    "patch_size": 4,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * LATENT_DIM,
    "latents_std": [1.0] * LATENT_DIM,
}

CANVAS_PX = 16
"""Replicated border given to the encoder. The pipeline pads 96 to 256 and keeps the latents of the content; with the
encoder's attention shut off, 16 pixels of border give the same latents to 0.04 of their 0.4."""


@dataclass
class VaeConfig:
    """Autoencoder: L1 + L2 on 17-frame clips, weighted towards what is not white, with a little KL."""

    steps: int = 5000
    """Optimiser steps in all."""

    cooldown: int = 1200
    """Steps of linear decay to zero at the end."""

    batch: int = 4
    """Crops per process and step; whole frames come as many at a time as have about as many pixels."""

    crop: int = 64
    """Side of a crop [px], a multiple of 16. Smaller ones show more of what is drawn for the same work."""

    bf16: bool = True
    """Compute in bfloat16. On a CPU without AMX float32 may be faster: 1.4 times on a Xeon."""

    muon_lr: float = 0.012
    """Learning rate of the convolution matrices."""

    adam_lr: float = 1.2e-3
    """Learning rate of everything else."""

    squared: float = 3.0
    """Weight of the squared error beside the absolute one: more of it for PSNR, less for sharp edges."""

    emphasis: float = 5.0
    """How much more than white a pixel near anything drawn counts, and twice that near the pusher; 0: all alike, as in PSNR."""

    kl: float = 2e-4
    """Weight of the mean KL divergence per latent value."""

    average: float = 0.995
    """Decay of the weight average that is evaluated and exported."""

    train_encoder: bool = True
    """False: only the decoder learns, so that latents, and a transformer trained on them, stay valid."""

    anchor: float = 0.0
    """Weight of the mean squared distance of the latents from those of `init`, in its `latents_std`: lets the encoder learn
    on while a transformer that knows the latents stays valid."""

    init: str = ""
    """A `save_pretrained` pipeline folder whose `vae` to start from; empty: from nothing."""

    decoder_base_dim: int = 0
    """Width of the decoder's last stage; 0: that of `init`. A wider one begins by decoding just as `init` does."""


def build(init: str = "", decoder_base_dim: int = 0) -> AutoencoderKLWan:
    """The autoencoder, its encoder's attention held at zero so that the canvas' border cannot reach the content."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan.from_pretrained(init, subfolder="vae") if init else AutoencoderKLWan(**ARCHITECTURE)
    vae = vae.float()
    if decoder_base_dim not in (0, vae.config.decoder_base_dim):
        vae = widened(vae, decoder_base_dim)
    for attention in vae.encoder.mid_block.attentions:
        torch.nn.init.zeros_(attention.proj.weight)
        torch.nn.init.zeros_(attention.proj.bias)
        attention.requires_grad_(False)
    return vae


@torch.no_grad()
def widened(vae: AutoencoderKLWan, decoder_base_dim: int) -> AutoencoderKLWan:
    """The same autoencoder with more channels in its decoder, which decodes as before.

    The old channels come first. What makes a new channel is zero and what reads one keeps its random beginning, so that
    nothing changes yet and gradients reach both. The norms divide by the root mean square over channels: their gains
    make up for the zeros.
    """
    wide = AutoencoderKLWan.from_config({**vae.config, "decoder_base_dim": decoder_base_dim})
    wide.load_state_dict({k: v for k, v in vae.state_dict().items() if not k.startswith("decoder.")}, strict=False)
    new = wide.decoder.state_dict()
    for name, old in vae.decoder.state_dict().items():
        value = new[name]
        if value.shape == old.shape:
            value.copy_(old)
        elif name.endswith("gamma"):
            value.fill_(1.0)
            value[: len(old)] = old * (len(old) / len(value)) ** 0.5
        else:
            # Queries, keys and values, and the two frames of `time_conv`, lie behind each other in one tensor.
            parts = 3 if "to_qkv" in name else 2 if "time_conv" in name else 1
            for into, part in zip(value.chunk(parts), old.chunk(parts), strict=True):
                fresh = into[: len(part)].clone()
                into.zero_()
                into[: len(part)] = fresh if part.ndim > 1 else 0
                into[(slice(len(part)), slice(part.shape[1]) if part.ndim > 1 else ...)] = part
        if "to_qkv" in name:  # attention divides by the root of the width
            value[: len(value) // 3] *= (value.shape[0] / old.shape[0]) ** 0.5
    return wide


def encode(vae: AutoencoderKLWan, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip -> mean and log-variance of its latents, seen as the pipeline sees it (on a larger canvas)."""
    b, c, t, h, w = clip.shape
    canvas = functional.pad(
        clip.transpose(1, 2).reshape(b * t, c, h, w), (0, CANVAS_PX, 0, CANVAS_PX), mode="replicate"
    )
    canvas = canvas.reshape(b, t, c, h + CANVAS_PX, w + CANVAS_PX).transpose(1, 2)
    mean, logvar = vae._encode(canvas)[..., : h // 16, : w // 16].float().chunk(2, dim=1)
    return mean, logvar.clamp(-20, 4)


def decode(vae: AutoencoderKLWan, latent: torch.Tensor) -> torch.Tensor:
    """Latents -> clip, as `AutoencoderKLWan._decode` but without its clamp, which would cut gradients."""
    vae.clear_cache()
    x = vae.post_quant_conv(latent)
    frames = []
    for i in range(x.shape[2]):
        vae._conv_idx = [0]
        first = {"first_chunk": True} if i == 0 else {}
        frames.append(vae.decoder(x[:, :, i : i + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first))
    vae.clear_cache()
    return unpatchify(torch.cat(frames, 2), vae.config.patch_size).float()


def importance(clip: torch.Tensor, emphasis: float) -> torch.Tensor:
    """Weight of each pixel, [B, 1, T, H, W]: 0.5 on white, (1 + emphasis) times that by anything drawn, (1 + 2 emphasis) by the pusher."""
    drawn = (clip.amin(1, keepdim=True) < 0.7).float()
    pusher = (clip[:, 2:3] - clip[:, 0:1] > 0.6).float()
    mask = torch.maximum(drawn, 2 * pusher)
    b, _, t, h, w = mask.shape
    mask = functional.max_pool2d(mask.reshape(b * t, 1, h, w), 3, 1, 1).reshape(b, 1, t, h, w)
    return 0.5 * (1 + emphasis * mask)


def to_clip(frames: np.ndarray) -> torch.Tensor:
    """uint8 [B, T, H, W, 3] -> float [B, 3, T, H, W] in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def draw_batch(data: Frames, windows: np.ndarray, rng: np.random.Generator, batch: int, crop: int) -> torch.Tensor:
    """Random clips: three in four times crops around the pusher or the block, else whole frames."""
    whole = rng.random() < 0.25
    clips = []
    count = max(1, round(batch * crop**2 / 96**2)) if whole else batch
    for shard, first, _, _ in windows[rng.integers(len(windows), size=count)]:
        frames = data.clip(shard, first, NUM_FRAMES)
        if not whole:
            state = data.state(shard, first + NUM_FRAMES // 2) / 512 * 96
            centre = (state[:2] if rng.random() < 0.5 else state[2:4]) + rng.normal(0, 8, 2)
            x, y = np.clip(centre - crop // 2, 0, 96 - crop).astype(int)
            frames = frames[:, y : y + crop, x : x + crop]
        clips.append(frames)
    return to_clip(np.stack(clips))


@torch.no_grad()
def psnr(vae: AutoencoderKLWan, clips: torch.Tensor, device: str) -> float:
    """Mean over clips of the PSNR of decode(mean latent) [dB]."""
    total = 0.0
    for clip in clips.split(4):
        with torch.autocast(device, dtype=torch.bfloat16):
            again = decode(vae, encode(vae, clip.to(device))[0])
        error = ((again.clamp(-1, 1).cpu() - clip) / 2).pow(2).mean((1, 2, 3, 4))
        total += float((-10 * error.log10()).sum())
    return total / len(clips)


def run(config: VaeConfig, work: Path, ranks: Ranks) -> None:
    """Train; go on from `vae.pt` where there is one."""
    data, held_out = Frames.training(work), Frames.validation(work)
    windows, pick = data.windows(NUM_FRAMES), np.random.default_rng(1)
    validation = held_out.windows(NUM_FRAMES)
    validation = validation[pick.choice(len(validation), 12, replace=False)]
    clips = to_clip(np.stack([held_out.clip(s, f, NUM_FRAMES) for s, f, _, _ in validation]))

    model = build(config.init, config.decoder_base_dim).to(ranks.device)
    if config.crop % 16 or not 16 <= config.crop <= 96:
        raise SystemExit(f"--crop {config.crop} is no multiple of 16 up to 96, the side of a frame. Use 48 or 64.")
    if config.anchor and not (config.init and config.train_encoder):
        raise SystemExit(
            "--anchor holds a learning encoder near that of --init FOLDER: it wants one, and no --no-train_encoder"
        )
    anchor = None
    if config.anchor:
        anchor = build(config.init).to(ranks.device).requires_grad_(False)
    if not config.train_encoder:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 4 and min(p.shape[0], p[0].numel()) >= 16]
    known = set(map(id, matrices))
    others = [p for p in trained if id(p) not in known]
    optimizer = Optimizer(matrices, others, config.muon_lr, config.adam_lr, ranks=ranks)
    training = Training(model, optimizer, Schedule(config.steps, 30, config.cooldown), work / "vae.pt", config.average)
    training.resume()
    first_step = training.step
    rng = np.random.default_rng([ranks.rank, training.step])
    torch.manual_seed(1000 * training.step + ranks.rank)
    step_network = torch.compile(lambda m, x: _loss(m, x, config, anchor)) if ranks.device != "cpu" else None
    progress = Progress("vae", config.steps - first_step, ranks, every_s=120, log=work / "vae.log")
    losses, saved = [], time.monotonic()
    while training.goes_on():
        clip = draw_batch(data, windows, rng, config.batch, config.crop).to(ranks.device)
        with torch.autocast(ranks.device, dtype=torch.bfloat16, enabled=config.bf16):
            loss, rec = step_network(model, clip) if step_network else _loss(model, clip, config, anchor)
        optimizer.zero_grad()
        loss.backward()
        ranks.mean_gradients(optimizer.parameters)
        training.advance()
        losses.append(float(rec.detach()))
        if progress.due() and training.step > 5:
            with training.averaged() as average:
                quality = psnr(average, clips, ranks.device)
                moved = f", latents moved {_moved(average, anchor, clips[:4]):.3f} std" if anchor else ""
            with (work / "vae_curve.jsonl").open("a") as file:
                point = {"step": training.step, "loss": np.mean(losses[-60:]), "psnr_db": quality, "time": time.time()}
                file.write(json.dumps(point) + "\n")
            progress.line(
                training.step - first_step,
                f"step {training.step} loss {np.mean(losses[-60:]):.4f} {quality:.2f} dB{moved}",
            )
        if ranks.first and time.monotonic() - saved > 120:
            training.save()
            saved = time.monotonic()
    if ranks.first:
        training.save()


def _loss(
    model: AutoencoderKLWan, clip: torch.Tensor, config: VaeConfig, anchor: AutoencoderKLWan | None
) -> tuple[torch.Tensor, torch.Tensor]:
    mean, logvar = encode(model, clip)
    latent = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
    error = decode(model, latent) - clip
    rec = (importance(clip, config.emphasis) * (error.abs() + config.squared * error * error)).mean()
    loss = rec + config.kl * 0.5 * (mean * mean + logvar.exp() - 1 - logvar).mean()
    if anchor is not None:
        loss = loss + config.anchor * drift(mean, encode(anchor, clip)[0], anchor)
    return loss, rec


def drift(latent: torch.Tensor, former: torch.Tensor, vae: AutoencoderKLWan) -> torch.Tensor:
    """Mean squared distance of latents from what they were, in the autoencoder's `latents_std`."""
    std = torch.tensor(vae.config.latents_std, device=latent.device).view(1, -1, 1, 1, 1)
    return ((latent - former) / std).pow(2).mean()


@torch.no_grad()
def _moved(vae: torch.nn.Module, anchor: AutoencoderKLWan, clips: torch.Tensor) -> float:
    """Root mean square drift of the averaged weights' latents."""
    clips = clips.to(next(anchor.parameters()).device)
    return float(drift(encode(vae, clips)[0], encode(anchor, clips)[0], anchor).sqrt())
