"""The model as it is now, in batches: what it answers to frames, actions and tasks, and those answers as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from strands_diffusers_training.network import Batch, predict
from strands_diffusers_training.optim import newest
from strands_diffusers_training.parallel import Ranks

from .latents import load_vae, scale_of
from .model import LATENT_SHAPE, NUM_ACTIONS, build, layout
from .prompts import CHUNKS, Captions, load_tokenizer
from .vae import decode, encode, to_clip


def scheduler(flow_shift: float = 1.0) -> UniPCMultistepScheduler:
    """The sampler that the pipeline is exported with."""
    return UniPCMultistepScheduler(
        num_train_timesteps=1000,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=flow_shift,
        solver_order=2,
    )


class World:
    """The newest averaged weights in WORK (`init`'s where there are none), in bfloat16.

    Latents are normalised, float32 [B, 32, T, 6, 6]; frames uint8 [B, 96, 96, 3]; actions float32 [B, 16, 2], model space.
    """

    def __init__(self, work: Path, ranks: Ranks, init: str) -> None:
        tokenizer, device = load_tokenizer(work, ranks), ranks.device
        self.captions, self.device, self.position = Captions(tokenizer), device, layout().to(device)
        self.model = build(init, tokenizer)
        state = newest(work / "transformer.pt")
        self.step = state["step"] if state else 0
        if state:
            self.model.load_state_dict(state["average"])
        self.model = self.model.to(device).requires_grad_(False)
        self.vae = load_vae(work, device, init).bfloat16()
        self.mean, self.std = (x.to(device) for x in scale_of(work))

    @torch.no_grad()
    def encode(self, frames_BFHWC: np.ndarray) -> torch.Tensor:
        """Latents of clips of 17 frames, or of one."""
        clips = to_clip(frames_BFHWC).to(self.device).bfloat16()
        return torch.cat([(encode(self.vae, part)[0] - self.mean) / self.std for part in clips.split(8)])

    @torch.no_grad()
    def last_frames(self, latent: torch.Tensor) -> np.ndarray:
        """The last frame of each decoded video."""
        parts = ((latent * self.std + self.mean).bfloat16()).split(8)
        video = torch.cat([decode(self.vae, part)[:, :, -1] for part in parts])
        return np.asarray(((video + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu())

    def dynamics(self, first: torch.Tensor, action: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What follows frame 0 (`first` [B, 32, 1, 6, 6]) under the actions, in two steps: latents, frame 0 among them."""
        prompt = torch.zeros(len(first), dtype=torch.long)
        latent, _ = self._sample(first, action, noise, None, prompt, num_steps=2, guidance=1.0)
        return latent

    def policy(
        self,
        first: torch.Tensor,
        noise: torch.Tensor,
        action_noise: torch.Tensor,
        tasks: np.ndarray,
        num_steps: int,
        guidance: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The policy's video and actions for each of `tasks` (numbers into ALL_TASKS), in the first wording or any."""
        rows = [self.captions.action[0][task] for task in tasks]
        prompt = torch.tensor([row[0] if rng is None else int(rng.choice(row)) for row in rows])
        return self._sample(first, action_noise, noise, action_noise, prompt, num_steps, guidance)

    @torch.no_grad()
    def _sample(
        self,
        first: torch.Tensor,
        action: torch.Tensor,
        noise: torch.Tensor,
        action_noise: torch.Tensor | None,
        prompt: torch.Tensor,
        num_steps: int,
        guidance: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        b, device = len(first), self.device
        rows, prompt_B = torch.cat([torch.zeros(1, dtype=torch.long), prompt]).unique(return_inverse=True)
        noisy_frame = torch.ones(b, LATENT_SHAPE[1], dtype=torch.bool, device=device)
        noisy_frame[:, 0] = False
        latent = torch.cat([first.to(device), noise.to(device)[:, :, 1:]], 2)
        action = action.to(device)
        samplers = scheduler(), scheduler()
        for sampler in samplers:
            sampler.set_timesteps(num_steps)
        for t in samplers[0].timesteps:
            velocities = []
            for which in [prompt_B[1:], prompt_B[:1].expand(b)][: 1 if guidance == 1 else 2]:
                batch = Batch(
                    ids_PL=self.captions.ids[rows].to(device),
                    length_P=self.captions.lengths[rows].to(device),
                    prompt_B=which.to(device),
                    latent_BCTHW=latent,
                    action_BAD=action,
                    noisy_frame_BT=noisy_frame,
                    noisy_action_BA=torch.full((b, NUM_ACTIONS), action_noise is not None, device=device),
                    has_action_B=torch.ones(b, dtype=torch.bool, device=device),
                    sigma_B=torch.full((b,), float(t) / 1000, device=device),
                    chunk_B=torch.full((b,), CHUNKS[0], device=device),
                )
                with torch.autocast(device, dtype=torch.bfloat16):
                    velocities.append([x.float() for x in predict(self.model, batch, self.position, torch.bfloat16)])
            moves = [v[0] if len(v) == 1 else v[1].lerp(v[0], guidance) for v in zip(*velocities, strict=True)]
            later = samplers[0].step(moves[0][:, :, 1:], t, latent[:, :, 1:]).prev_sample
            latent = torch.cat([latent[:, :, :1], later], 2)
            if action_noise is not None:
                action = samplers[1].step(moves[1], t, action).prev_sample
        return latent, action
