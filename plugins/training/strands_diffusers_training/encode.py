"""Stage `encode`: every window of the dataset through the autoencoder, once, as the pipeline itself encodes it.

`latents/NNNNNN/` per episode, or part of a long one: `latent.npy` float16 [M, C, T, h, w], normalised, and `action.npy` float32
[M, A, D], model space.
float16 holds the pipeline's bfloat16 exactly. They are read from disk as they are drawn.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strands_diffusers import errors
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.pipelines import canvas, loader
from strands_diffusers.records import write_json, writing
from strands_diffusers_training.parallel import Progress, Ranks
from strands_diffusers_training.plan import EpisodePlan, Plan, segments, trainable

RENDERING = "autoencoder.json"
"""How well the autoencoder, which is not trained, renders the first window."""

POOR_DB = 20.0
"""Below it little of a frame survives."""

NO_ROOM = "Free some space and type the same command: it goes on here. Or choose another disk with out=DIR."


def folder(out: Path, number: int) -> Path:
    """Of an episode's latents."""
    return out / "latents" / f"{number:06d}"


def left(plan: Plan, out: Path) -> list[int]:
    """Episodes that have no latents yet."""
    return [number for number in range(len(plan.episodes)) if not folder(out, number).exists()]


def encode(plan: Plan, run: RunConfig, out: Path, ranks: Ranks) -> None:
    """Write the latents of every episode that has none; ranks share them out.

    Raises: `OutputError` for a full disk; what was written stays.
    """
    mine = left(plan, out)[ranks.rank :: ranks.world]
    if not mine:
        return
    model, _ = loader.load(trainable(run))
    done, total = 0, sum(len(plan.episodes[number].starts) for number in mine)
    progress = Progress("encode", total, ranks, every_s=10)
    for number in mine:
        episode = plan.episodes[number]
        latents, acted = [], []
        for _, frames, actions_TD in segments(plan, episode, run):
            latents.append(encode_window(model.pipe, plan, frames))
            if number == 0 and len(latents) == 1:
                write_json(out / RENDERING, {"psnr_db": rendering_db(model.pipe, plan, frames, latents[0])})
            acted.append(actions_TD)
            done += 1
            progress.line(done, f"part {number} of {len(plan.episodes)}")
        _write(folder(out, number), np.stack(latents), np.stack(acted), plan, episode)


@torch.no_grad()
def encode_window(pipe: Any, plan: Plan, frames_FHWC: np.ndarray) -> np.ndarray:
    """float16 [C, T, h, w], as `Cosmos3OmniPipeline.prepare_latents` makes them of a clip."""
    clip, size, _, _ = pipe._prepare_action_video_conditioning(
        canvas.to_pil(frames_FHWC), plan.tier, plan.chunk + 1, device=pipe.vae.device, dtype=torch.float32
    )
    latent = pipe._encode_video(clip).contiguous().float()
    latent = pipe._remove_action_video_padding_from_latent(latent, size)
    return np.asarray(latent[0].half().cpu().numpy())


@torch.no_grad()
def rendering_db(pipe: Any, plan: Plan, frames_FHWC: np.ndarray, latent: np.ndarray) -> float:
    """PSNR [dB] of a window as the autoencoder renders it: what no video of the model can beat."""
    mean, std = (
        torch.tensor(getattr(pipe.vae.config, f"latents_{name}")).view(1, -1, 1, 1, 1) for name in ("mean", "std")
    )
    decoded = (torch.from_numpy(latent[None]).float() * std + mean).to(pipe.vae.device, pipe.vae.dtype)
    video = pipe.vae.decode(decoded).sample[0].float().clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 3, 0).cpu().numpy()
    fitted = canvas.canvas_for(*plan.frame, plan.tier, int(pipe.vae_scale_factor_spatial))
    error = np.mean((video - canvas.transform(frames_FHWC, pipe, fitted).astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def _write(place: Path, latent: np.ndarray, acted: np.ndarray, plan: Plan, episode: EpisodePlan) -> None:
    if latent.shape[1:] != plan.latent or not np.isfinite(latent).all():
        raise errors.ModelError(
            f"{episode.address} became latents {list(latent.shape[1:])}; {list(plan.latent)} finite numbers belong there."
        )
    partial = place.with_suffix(".partial")
    with writing(place, NO_ROOM):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.save(partial / "latent.npy", latent)
        np.save(partial / "action.npy", acted)
        partial.rename(place)


class Windows:
    """The windows of the training or the held-out episodes, memory-mapped."""

    def __init__(self, plan: Plan, out: Path, held_out: bool) -> None:
        self.plan, self.places = plan, plan.windows(held_out)
        numbers = {number for number, _ in self.places}
        self._latent = {n: np.load(folder(out, n) / "latent.npy", mmap_mode="r") for n in numbers}
        self._action = {n: np.load(folder(out, n) / "action.npy", mmap_mode="r") for n in numbers}

    def __len__(self) -> int:
        return len(self.places)

    def take(self, picks: np.ndarray, action_dim: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Latents float32 [B, C, T, h, w], actions float32 [B, A, action_dim] padded with zeros, and tasks."""
        places = [self.places[i] for i in picks]
        latent = np.stack([self._latent[n][row] for n, row in places]).astype(np.float32)
        acted = np.zeros((len(places), self.plan.chunk, action_dim), np.float32)
        acted[..., : self.plan.width] = np.stack([self._action[n][row] for n, row in places])
        return torch.from_numpy(latent), torch.from_numpy(acted), [self.plan.episodes[n].task for n, _ in places]
