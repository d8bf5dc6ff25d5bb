"""The model under test, called as a user calls it: through `strands_diffusers.rollout`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from strands_diffusers import Observation, Rollout, rollout

FORWARD = ("condition=forward_dynamics", "output=[video]")
INVERSE = ("condition=inverse_dynamics", "output=[action]")
POLICY = ("condition=policy", "output=[video,action]")


class World:
    """A pipeline folder, in bfloat16, one thread: the policy in as many steps as said, the dynamics in two.

    `seconds` keeps what encode, text, denoise and decode took per call.
    """

    def __init__(
        self, directory: Path, num_inference_steps: int, guidance_scale: float, flow_shift: float = 1.0
    ) -> None:
        torch.set_num_threads(1)
        self.directory, self.guidance_scale = directory.absolute(), guidance_scale
        self.num_inference_steps, self.dynamics_steps = num_inference_steps, min(2, num_inference_steps)
        self.overrides = [
            "model=custom",
            f"model.repo={self.directory}",
            "domain=pusht",
            "model.dtype=bfloat16",
            "visualizer=[]",
            "metric=[]",
            "tracker=none",
            f"sampler.flow_shift={flow_shift}",
        ]
        self.vae = AutoencoderKLWan.from_pretrained(directory, subfolder="vae", dtype=torch.bfloat16)
        self.seconds: list[float] = []

    def _call(self, mode: tuple[str, ...], seen: Observation, prompt: str, seed: int, guidance_scale: float) -> Rollout:
        with tempfile.TemporaryDirectory() as scratch:
            result = rollout(
                *self.overrides,
                *mode,
                f'prompt="{prompt}"',
                f"seed={seed}",
                f"sampler.guidance_scale={guidance_scale}",
                f"sampler.num_inference_steps={self.num_inference_steps if mode == POLICY else self.dynamics_steps}",
                observation=seen,
                output_dir=Path(scratch) / "rollout",
            )
        self.seconds.append(sum(result.seconds.get(k, 0.0) for k in ("encode", "text", "denoise", "decode")))
        return result

    def forward_dynamics(self, frame: np.ndarray, actions: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """First frame and actions [T, 2] -> video uint8 [T + 1, 96, 96, 3]; over 16 actions in chunks of 16."""
        seen = Observation(frames=frame[None], fps=10.0, actions=actions, domain="pusht")
        size = min(16, len(actions))
        chunks = (f"condition.chunk_size={size}", f"condition.num_chunks={len(actions) // size}")
        video = self._call((*FORWARD, *chunks), seen, prompt, seed, 1.0).video
        assert video is not None
        return video

    def inverse_dynamics(self, frames: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        """Video [17, 96, 96, 3] -> actions [16, 2]."""
        seen = Observation(frames=frames, fps=10.0, domain="pusht")
        action = self._call(INVERSE, seen, prompt, seed, 1.0).action
        assert action is not None
        return action[0]

    def policy(self, frame: np.ndarray, prompt: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame and task -> video [17, 96, 96, 3] and the actions [16, 2] in it."""
        seen = Observation(frames=frame[None], fps=10.0, domain="pusht")
        result = self._call(POLICY, seen, prompt, seed, self.guidance_scale)
        assert result.video is not None
        assert result.action is not None
        return result.video, result.action[0]

    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        """Video -> the autoencoder's rendering of it: what no video of this model can beat."""
        video = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        canvas = torch.nn.functional.pad(video, (0, 160, 0, 160), mode="replicate")
        canvas = canvas.transpose(0, 1)[None].to(self.vae.dtype)
        with torch.no_grad():
            latent = self.vae.encode(canvas).latent_dist.mode()[..., :6, :6]
            again = self.vae.decode(latent).sample[0].float().permute(1, 2, 3, 0)
        return ((again + 1) * 127.5).clamp(0, 255).round().byte().numpy()
