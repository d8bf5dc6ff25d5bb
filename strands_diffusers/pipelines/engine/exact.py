"""`engine=exact`: the rollout of diffusers' own Cosmos 3 call, with far less work.

The whole story: read the prompt once, encode the frames that condition, denoise generated tokens alone, decode what
somebody wants. Nothing is stored on the pipeline; what is worth keeping lies in its `Memory`.
"""

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

from strands_diffusers.pipelines.engine.base import Call, Engine, Progress, Sample, generator
from strands_diffusers.pipelines.engine.memory import memory_of

TOKENS_PER_BATCH = 16_384
"""On an accelerator, samples are denoised together up to this many tokens: enough to fill a card, little beside the
weights. A CPU gains nothing from larger matrices, so there they are denoised one after the other."""


class ExactEngine(Engine):
    """Same weights, inputs and seeds, same outputs: bit-identical on CPU in float32, within bf16 rounding on CUDA."""

    name: ClassVar[str] = "exact"

    def __init__(self, cache_bytes: int = 1024**3, samples_per_batch: int | None = None) -> None:
        self.cache_bytes = cache_bytes
        self.samples_per_batch = samples_per_batch
        """Samples denoised together; None: one on a CPU, else what `TOKENS_PER_BATCH` allows."""

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return what about this pipeline or call the engine does not reproduce, or None."""
        from strands_diffusers.pipelines.engine.refusals import refuse_exact

        return refuse_exact(pipe, call)

    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Draw one sample per seed; `Sample.seconds` holds text, encode, denoise and decode, shared out evenly.

        Raises: what diffusers' call raises for the same arguments.
        """
        import torch

        from strands_diffusers.pipelines.engine.samebits import warm_pages

        with torch.no_grad(), warm_pages(pipe._get_execution_device()):
            return self._run(pipe, call, progress)

    def _run(self, pipe: Any, call: Call, progress: Progress | None) -> list[Sample]:
        from strands_diffusers.pipelines.engine import conditioning, output
        from strands_diffusers.pipelines.engine.hooks import awake

        request = read_request(pipe, call)
        device, clock = pipe._get_execution_device(), Clock(pipe._get_execution_device())
        memory = memory_of(pipe, self.cache_bytes)
        if request.guarded:
            output.check_prompt(pipe, request.prompt, device)
        with clock("encode"):
            condition = conditioning.prepare(pipe, request, device, memory)
        with awake(pipe.transformer):
            with clock("text"):
                texts = self._texts(pipe, request, condition, memory)
            with clock("denoise"):
                generators = [generator(seed) for seed in call.seeds]
                needs_video = bool(call.wanted & {"video", "image"})
                states = self._denoise(pipe, request, condition, texts, generators, memory, progress, needs_video)
        samples: list[Sample] = []
        with clock("decode"):
            for state in states:
                samples += self._samples(pipe, request, condition, state, call.wanted, device)
        if getattr(pipe, "_all_hooks", None):
            pipe.maybe_free_model_hooks()  # give back what model offloading put on the device
        for sample in samples:
            sample.seconds = {stage: seconds / len(samples) for stage, seconds in clock.seconds.items()}
        return samples

    def _texts(self, pipe: Any, request: Any, condition: Any, memory: Any) -> list[Any]:
        """The prompt as understood, and the negative one where guidance needs it."""
        from strands_diffusers.pipelines.engine.text import read_prompt

        action = request.action
        token_ids = pipe.tokenize_prompt(
            request.prompt,
            request.negative_prompt,
            num_frames=condition.num_frames,
            height=condition.frames.height,
            width=condition.frames.width,
            fps=request.fps,
            use_system_prompt=request.use_system_prompt,
            add_resolution_template=request.add_resolution_template,
            add_duration_template=request.add_duration_template,
            action_mode=None if action is None else action.mode,
            action_view_point=None if action is None else action.view_point,
        )
        needed = token_ids if request.guidance_scale != 1.0 else token_ids[:1]
        return [read_prompt(pipe.transformer, ids, condition.device, memory) for ids in needed]

    def _denoise(
        self,
        pipe: Any,
        request: Any,
        condition: Any,
        texts: list[Any],
        generators: list[Any],
        memory: Any,
        progress: Progress | None,
        needs_video: bool,
    ) -> list[Any]:
        """Denoise the samples, batch by batch; returns one state per batch."""
        from strands_diffusers.pipelines.engine import conditioning
        from strands_diffusers.pipelines.engine.loop import Loop

        loop = Loop(pipe, request, condition, texts, memory, self._denoiser(pipe, condition))
        size = self.samples_per_batch or batch_size(condition)
        batches = [generators[i : i + size] for i in range(0, len(generators), size)]
        total, states = len(batches) * loop.steps, []
        for index, batch in enumerate(batches):
            done = index * loop.steps
            report = None if progress is None else lambda step, done=done: progress(done + step, total)
            latents = conditioning.draw_latents(pipe, condition, batch)
            states.append(loop.run(latents, report, needs_video=needs_video))
        return states

    def _denoiser(self, pipe: Any, condition: Any) -> Any:
        """The transformer for this layout; faster gears override this."""
        from strands_diffusers.pipelines.engine.denoiser import Denoiser

        return Denoiser(pipe.transformer, condition.layout, condition.domain, condition.action_width, condition.device)

    def _decoder(self, pipe: Any) -> Any:
        """The VAE's decoder, or None for the module itself; faster gears override this."""
        return None

    def _samples(
        self, pipe: Any, request: Any, condition: Any, state: Any, wanted: frozenset[str], device: Any
    ) -> Iterator[Sample]:
        """Turn the last latents of a batch into what is wanted, sample by sample."""
        from strands_diffusers.pipelines.engine import output

        draws_actions = state.action is not None and not condition.layout.actions_given
        for index in range(state.vision.shape[0]):
            sample = Sample()
            if draws_actions:
                sample.action = state.action[index, :, : condition.action_width].cpu().numpy()
            if state.sound is not None and "sound" in wanted:
                sample.sound = output.sound(pipe, state.sound[index])
            if wanted & {"video", "image"}:
                sample.video = output.video(pipe, state.vision[index : index + 1], self._decoder(pipe))
                if request.guarded:
                    sample.video = output.check_video(pipe, sample.video, device)
            yield sample


def read_request(pipe: Any, call: Call) -> Any:
    """Return the call's arguments with the pipeline's defaults, checked by the pipeline's own `check_inputs`."""
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosSafetyChecker

    bound = inspect.signature(type(pipe).__call__).bind(pipe, **call.arguments)
    bound.apply_defaults()
    request = SimpleNamespace(**bound.arguments)
    if request.action is None:
        request.num_frames = 189 if request.num_frames is None else request.num_frames
        request.height = 720 if request.height is None else request.height
        request.width = 1280 if request.width is None else request.width
    names = ("prompt", "negative_prompt", "image", "height", "width", "num_frames", "guidance_scale", "enable_sound")
    pipe.check_inputs(
        *(getattr(request, name) for name in names),
        ["latents"],
        request.action,
        video=request.video,
        condition_frame_indexes_vision=request.condition_frame_indexes_vision,
    )
    for name in ("prompt", "negative_prompt"):  # one sample per call: diffusers takes the first of a list
        value = getattr(request, name)
        setattr(request, name, value[0] if isinstance(value, list) else value)
    request.guarded = request.enable_safety_check and isinstance(pipe.safety_checker, CosmosSafetyChecker)
    return request


def batch_size(condition: Any) -> int:
    """Samples to denoise together on this device."""
    if condition.device.type == "cpu":
        return 1
    return max(1, TOKENS_PER_BATCH // int(condition.layout.tokens))


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
