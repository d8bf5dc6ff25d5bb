"""The denoising loop: for each step, one velocity per prompt, guidance, one step along the schedule. Nothing else."""

from collections.abc import Callable
from typing import Any

import torch

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine.conditioning import Arguments, Conditioning
from strands_diffusers.pipelines.engine.denoiser import Denoiser, State, rows
from strands_diffusers.pipelines.engine.layout import generation_rotary
from strands_diffusers.pipelines.engine.samebits import proven
from strands_diffusers.pipelines.engine.solver import Schedule
from strands_diffusers.pipelines.engine.text import Text
from strands_diffusers.pipelines.engine.timesteps import timestep_embeddings


class Loop:
    """All that the steps of a call share, worked out before the first one. `run` may be called once per batch."""

    def __init__(
        self,
        pipe: Any,
        arguments: Arguments,
        conditioning: Conditioning,
        texts: list[Text],
        memory: Memory,
        denoiser: Denoiser,
    ) -> None:
        transformer, layout, device = pipe.transformer, conditioning.layout, conditioning.device
        dtype = transformer.embed_tokens.weight.dtype
        self.schedule = Schedule(pipe, arguments.num_inference_steps, device)
        self.steps = len(self.schedule.timesteps)
        self.embeds = timestep_embeddings(
            transformer, self.schedule.timesteps, layout.noisy_counts, device, dtype, memory
        )
        self.rotaries = [generation_rotary(pipe, layout, text.length, arguments.fps, device, dtype) for text in texts]
        self.texts, self.denoiser, self.guidance_scale = texts, denoiser, arguments.guidance_scale

    def run(self, state: State, progress: Callable[[int], None] | None = None, *, needs_video: bool = True) -> State:
        """Denoise one batch; on a CUDA device without waiting for it once.

        Without `needs_video` the last step leaves the vision latents as they are: nothing reads them after it.
        """
        solvers = [self.schedule.solver() for _ in state]
        for step, embeds in enumerate(self.embeds):
            velocities = [
                self.denoiser.velocity(state, embeds, text, rotary, not needs_video and step == self.steps - 1)
                for text, rotary in zip(self.texts, self.rotaries, strict=True)
            ]
            moved = [
                latents if latents is None or velocity is None else solver.step(velocity, latents)
                for solver, velocity, latents in zip(solvers, self._guide(velocities), state, strict=True)
            ]
            state = self.denoiser.keep_padding(State(*moved))
            if progress is not None:
                progress(step + 1)
        return state

    def same_alone(self, state: State) -> bool:
        """Whether each sample of the batch gets the very bits that it gets alone: found out once per layout, by one step."""
        denoiser, count = self.denoiser, len(state.vision)
        shapes = tuple(weight.shape for weight in denoiser.transformer.parameters())
        texts = tuple(text.length for text in self.texts)
        layout = ("batch", count, denoiser.layout, denoiser.dtype, texts, denoiser.layer_function, shapes)

        def agree() -> bool:
            alone = [rows(state, i, i + 1) for i in range(count)]
            for text, rotary in zip(self.texts, self.rotaries, strict=True):
                together = self.denoiser.velocity(state, self.embeds[0], text, rotary)
                for i, one in enumerate(alone):
                    other = self.denoiser.velocity(one, self.embeds[0], text, rotary)
                    pairs = zip(rows(together, i, i + 1), other, strict=True)
                    if not all(a is None or b is None or torch.equal(a, b) for a, b in pairs):
                        return False
            return True

        return proven(layout, agree)

    def _guide(self, velocities: list[State]) -> State:
        """Push the conditional velocity away from the unconditional one, where there is one."""
        if len(velocities) == 1:
            return velocities[0]
        conditional, unconditional = velocities
        return State(
            *(
                c if c is None or u is None else u + self.guidance_scale * (c - u)
                for c, u in zip(conditional, unconditional, strict=True)
            )
        )
