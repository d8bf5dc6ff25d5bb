"""The model under test, called as a user calls it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from diffusers import Cosmos3OmniPipeline, CosmosActionCondition
from PIL import Image


class World:
    """A pipeline folder, in bfloat16 on a CPU, one thread. `seconds` sums what the calls took."""

    def __init__(
        self, directory: Path, num_inference_steps: int, guidance_scale: float, flow_shift: float = 2.0
    ) -> None:
        torch.set_num_threads(1)
        self.pipeline = Cosmos3OmniPipeline.from_pretrained(
            directory, enable_safety_checker=False, dtype=torch.bfloat16
        )
        self.pipeline.set_progress_bar_config(disable=True)
        scheduler = self.pipeline.scheduler
        self.pipeline.scheduler = type(scheduler).from_config(scheduler.config, flow_shift=flow_shift)
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.seconds: list[float] = []

    def _call(
        self, condition: CosmosActionCondition, prompt: str, seed: int, guidance_scale: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        begin = time.perf_counter()
        result = self.pipeline(
            prompt=prompt,
            action=condition,
            fps=10.0,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        )
        self.seconds.append(time.perf_counter() - begin)
        film = (np.asarray(result.video) * 255).round().astype(np.uint8)
        return film, None if result.action is None else result.action[0].float().numpy()

    def forward_dynamics(self, frame: np.ndarray, actions: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """First frame and actions [16, 2] -> film uint8 [17, 96, 96, 3]."""
        condition = CosmosActionCondition(
            mode="forward_dynamics",
            chunk_size=len(actions),
            domain_name="pusht",
            resolution_tier=256,
            image=Image.fromarray(frame),
            raw_actions=torch.from_numpy(actions).float(),
        )
        return self._call(condition, prompt, seed, 1.0)[0]

    def inverse_dynamics(self, frames: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """Film [17, 96, 96, 3] -> actions [16, 2]."""
        condition = CosmosActionCondition(
            mode="inverse_dynamics",
            chunk_size=len(frames) - 1,
            domain_name="pusht",
            resolution_tier=256,
            video=[Image.fromarray(f) for f in frames],
        )
        actions = self._call(condition, prompt, seed, 1.0)[1]
        assert actions is not None
        return actions

    def policy(self, frame: np.ndarray, prompt: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame and task -> film [17, 96, 96, 3] and the actions [16, 2] in it."""
        condition = CosmosActionCondition(
            mode="policy", chunk_size=16, domain_name="pusht", resolution_tier=256, image=Image.fromarray(frame)
        )
        film, actions = self._call(condition, prompt, seed, self.guidance_scale)
        assert actions is not None
        return film, actions

    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        """Film -> the autoencoder's rendering of it: what no film of this model can beat."""
        vae = self.pipeline.vae
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].to(vae.dtype) / 127.5 - 1
        canvas = torch.nn.functional.pad(video[0].transpose(0, 1).float(), (0, 160, 0, 160), mode="replicate")
        with torch.no_grad():
            latent = vae.encode(canvas.transpose(0, 1)[None].to(vae.dtype)).latent_dist.mode()[..., :6, :6]
            again = vae.decode(latent).sample[0].float().permute(1, 2, 3, 0)
        return ((again + 1) * 127.5).clamp(0, 255).round().byte().numpy()
