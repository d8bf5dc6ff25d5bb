"""What is asked: each case is a list of calls, timed together and reported per rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from strands_diffusers.pipelines.engine import Call

from .sizes import Size

PROMPT = "Put the pot to the left of the purple item."


@dataclass(frozen=True)
class Case:
    """One question that users ask."""

    mode: str
    wanted: frozenset[str]
    prompts: int = 1
    samples: int = 1

    @property
    def rollouts(self) -> int:
        """Rollouts that the case draws in all."""
        return self.prompts * self.samples


CASES = {
    "policy, video and actions": Case("policy", frozenset({"video", "action"})),
    "forward dynamics, video": Case("forward_dynamics", frozenset({"video"})),
    "policy, actions only": Case("policy", frozenset({"action"})),
    "inverse dynamics, actions only": Case("inverse_dynamics", frozenset({"action"})),
    "8 prompts on one observation, video and actions": Case("policy", frozenset({"video", "action"}), prompts=8),
    "8 prompts on one observation, actions only": Case("policy", frozenset({"action"}), prompts=8),
    "8 samples of one prompt, actions only": Case("policy", frozenset({"action"}), samples=8),
}


def calls(case: Case, size: Size, frame_size: tuple[int, int]) -> list[Call]:
    """Return the calls of a case on one observation."""
    return [
        Call(
            arguments(case.mode, size, frame_size, f"{PROMPT} Variant {index}." if index else PROMPT),
            case.wanted,
            tuple(range(case.samples)),
        )
        for index in range(case.prompts)
    ]


def arguments(mode: str, size: Size, frame_size: tuple[int, int], prompt: str) -> dict[str, Any]:
    """Keyword arguments of diffusers' own call."""
    import torch
    from diffusers import CosmosActionCondition
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size.chunk_size + 1, 12, 16, 3), dtype=np.uint8)
    height, width = frame_size
    clip = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in coarse]
    given = torch.randn(size.chunk_size, 10, generator=torch.Generator().manual_seed(0)) * 0.3
    action = CosmosActionCondition(
        mode=mode,
        chunk_size=size.chunk_size,
        domain_name="bridge_orig_lerobot",
        resolution_tier=size.tier,
        video=clip,
        raw_actions=given if mode == "forward_dynamics" else None,
    )
    return {
        "prompt": prompt,
        "action": action,
        "fps": 5.0,
        "num_inference_steps": size.num_inference_steps,
        "guidance_scale": 1.0,
        "use_system_prompt": False,
    }
