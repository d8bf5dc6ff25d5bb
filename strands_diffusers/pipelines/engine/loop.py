"""The denoising loop: for each step, one velocity per prompt, guidance, one step along the schedule. Nothing else."""

from collections.abc import Callable
from typing import Any

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine.conditioning import Arguments, Conditioning
from strands_diffusers.pipelines.engine.denoiser import Denoiser, State
from strands_diffusers.pipelines.engine.layout import generation_rotary
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
