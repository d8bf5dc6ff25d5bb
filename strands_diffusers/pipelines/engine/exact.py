"""`engine=exact`: the rollout of diffusers' own Cosmos 3 call, with far less work.

The whole story: read the prompt once, encode the frames that condition, denoise generated tokens alone, decode what
is wanted. Nothing is stored on the pipeline; what is worth keeping lies in its `Memory`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from strands_diffusers.config.engines import ExactEngineConfig
from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine import refusals
from strands_diffusers.pipelines.engine.eager import generator
from strands_diffusers.pipelines.engine.memory import memory_of
from strands_diffusers.plugin.engine import Call, Engine, Progress, Sample

if TYPE_CHECKING:
    from strands_diffusers.pipelines.engine.conditioning import Arguments, Conditioning
    from strands_diffusers.pipelines.engine.denoiser import Denoiser, State
    from strands_diffusers.pipelines.engine.loop import Loop
    from strands_diffusers.pipelines.engine.text import Text

TOKENS_PER_BATCH = 16_384
"""On an accelerator, samples are denoised together up to this many tokens: enough to fill a card, little beside the
weights."""

TOKENS_PER_CPU_BATCH = 2_048
"""On a CPU small samples share the work around each product; larger matrices gain nothing there. Only where every bit is
that of a sample by itself."""


class ExactEngine(Engine):
    """Same weights, inputs and seeds, same outputs: bit-identical on CPU in float32, within bf16 rounding on CUDA."""

    name: ClassVar[str] = "exact"
    Config: TypeAlias = ExactEngineConfig
    takes_actions: ClassVar[bool] = True

    def __init__(self, config: Any = None, samples_per_batch: int | None = None) -> None:
        super().__init__(config)
        self.samples_per_batch = samples_per_batch
        """Samples denoised together; None: as many as give the same bits on a CPU, else what `TOKENS_PER_BATCH` allows."""

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return what about this pipeline or call the engine does not reproduce, or None."""
        return refusals.refuse_exact(pipe, call)

    def refuse_before_load(self, pipeline: str, mode: str, device: str, dtype: str, offload: str) -> str | None:
        """Return why this model or this way of offloading cannot be served, or None."""
        group = "group offloading hooks run inside diffusers' own call alone (model.offload=none, model or sequential work)."
        return refusals.refuse_pipeline(pipeline) or (group if offload == "group" else None)

    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Draw one sample per seed; `Sample.seconds` holds text, encode, denoise and decode, shared out evenly.

        Raises: what diffusers' call raises for the same arguments.
        """
        import torch

        from strands_diffusers.pipelines.engine.samebits import warm_pages

        with torch.no_grad(), warm_pages(pipe._get_execution_device()):
            try:
                return self._run(pipe, call, progress)
            finally:
                if getattr(pipe, "_all_hooks", None):
                    pipe.maybe_free_model_hooks()  # give back what model offloading put on the device

    def _run(self, pipe: Any, call: Call, progress: Progress | None) -> list[Sample]:
        from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosSafetyChecker

        from strands_diffusers.pipelines.engine import output
        from strands_diffusers.pipelines.engine.conditioning import make_conditioning, read_arguments
        from strands_diffusers.pipelines.engine.hooks import awake
        from strands_diffusers.pipelines.engine.loop import Loop

        arguments = read_arguments(pipe, call)
        device, clock = pipe._get_execution_device(), Clock(pipe._get_execution_device())
        memory = memory_of(pipe, self.config.cache_mb * 1024**2)
        guarded = arguments.enable_safety_check and isinstance(pipe.safety_checker, CosmosSafetyChecker)
        if guarded:
            output.check_prompt(pipe, arguments.prompt, device)
        with clock("encode"):
            conditioning = make_conditioning(pipe, arguments, device, memory, call.actions)
        with awake(pipe.transformer):
            with clock("text"):
                texts = self._texts(pipe, arguments, conditioning, memory)
            with clock("denoise"):
                loop = Loop(pipe, arguments, conditioning, texts, memory, self.denoiser(pipe, conditioning))
                states = self._denoise(pipe, loop, conditioning, call, progress)
        samples: list[Sample] = []
        with clock("decode"):
            for state in states:
                samples += _samples(pipe, conditioning, state, call, device if guarded else None)
        for sample in samples:
            sample.seconds = {stage: seconds / len(samples) for stage, seconds in clock.seconds.items()}
        return samples

    def _texts(self, pipe: Any, arguments: Arguments, conditioning: Conditioning, memory: Memory) -> list[Text]:
        """The prompt as understood, and the negative one where guidance needs it."""
        from strands_diffusers.pipelines.engine.text import read_prompt

        action = arguments.action
        token_ids = pipe.tokenize_prompt(
            arguments.prompt,
            arguments.negative_prompt,
            num_frames=conditioning.num_frames,
            height=conditioning.frames.height,
            width=conditioning.frames.width,
            fps=arguments.fps,
            use_system_prompt=arguments.use_system_prompt,
            add_resolution_template=arguments.add_resolution_template,
            add_duration_template=arguments.add_duration_template,
            action_mode=None if action is None else action.mode,
            action_view_point=None if action is None else action.view_point,
        )
        needed = token_ids if arguments.guidance_scale != 1.0 else token_ids[:1]
        return [read_prompt(pipe.transformer, ids, conditioning.device, memory) for ids in needed]

    def _denoise(
        self, pipe: Any, loop: Loop, conditioning: Conditioning, call: Call, progress: Progress | None
    ) -> list[State]:
        """Denoise the samples, batch by batch; returns one state per batch."""
        from strands_diffusers.pipelines.engine.conditioning import draw_latents
        from strands_diffusers.pipelines.engine.denoiser import rows

        generators = [generator(seed) for seed in call.seeds]
        size = self.samples_per_batch or batch_size(conditioning)
        count, steps = -(-len(generators) // size), loop.steps
        size = -(-len(generators) // count)  # batches of one size, where that can be
        proves = conditioning.device.type == "cpu" and not self.samples_per_batch

        def report(batch: int, part: int, parts: int, step: int) -> None:
            assert progress is not None
            progress(batch * steps + (part * steps + step) // parts, count * steps)

        states = []
        for index in range(count):
            batch = generators[index * size : (index + 1) * size]
            state = draw_latents(pipe, conditioning, batch, index * size)
            alone = proves and len(batch) > 1 and not loop.same_alone(state)
            parts = [rows(state, i, i + 1) for i in range(len(batch))] if alone else [state]
            for i, part in enumerate(parts):
                watch = partial(report, index, i, len(parts)) if progress else None
                states.append(loop.run(part, watch, needs_video=bool(call.wanted & {"video", "image"})))
        return states

    def denoiser(self, pipe: Any, conditioning: Conditioning) -> Denoiser:
        """The transformer for this layout. Engines that compute it in another way override this."""
        from strands_diffusers.pipelines.engine.denoiser import Denoiser

        c = conditioning
        return Denoiser(pipe.transformer, c.layout, c.domain, c.action_width, c.device)


def _samples(pipe: Any, conditioning: Conditioning, state: State, call: Call, guarded_on: Any) -> Iterator[Sample]:
    """Turn the last latents of a batch into what is wanted, sample by sample; past the guardrail on a device, or None."""
    from strands_diffusers.pipelines.engine import output

    seen = call.wanted & {"video", "image"}
    videos = output.videos(pipe, state.vision, call.num_frames) if seen else itertools.repeat(None)
    for index, video in zip(range(state.vision.shape[0]), videos, strict=False):
        sample = Sample(video)
        if state.action is not None and not conditioning.layout.actions_given:
            sample.action = state.action[index, :, : conditioning.action_width].cpu().numpy()
        if state.sound is not None and "sound" in call.wanted:
            sample.sound = output.sound(pipe, state.sound[index])
        if video is not None and guarded_on is not None:
            sample.video = output.check_video(pipe, video, guarded_on)
        yield sample


def batch_size(conditioning: Conditioning) -> int:
    """Samples to denoise together on this device."""
    tokens = TOKENS_PER_CPU_BATCH if conditioning.device.type == "cpu" else TOKENS_PER_BATCH
    return max(1, tokens // int(conditioning.layout.tokens))


class Clock:
    """Wall time per stage; on an accelerator each stage is waited for at its end, never inside."""

    def __init__(self, device: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the body to `stage`."""
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
