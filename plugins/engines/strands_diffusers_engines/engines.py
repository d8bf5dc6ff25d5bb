"""The engines, and when each cannot serve. What they do is imported when one runs: plugins are loaded at every start."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strands_diffusers import Call, Engine, Sample, errors
from strands_diffusers.pipelines.devices import resolve_device
from strands_diffusers.pipelines.engine.eager import EagerEngine
from strands_diffusers.pipelines.engine.exact import ExactEngine
from strands_diffusers.pipelines.engine.refusals import refuse_pipeline
from strands_diffusers.plugin.engine import Progress

if TYPE_CHECKING:
    from strands_diffusers.pipelines.engine.conditioning import Conditioning
    from strands_diffusers.pipelines.engine.denoiser import Denoiser

CAPABILITY = (8, 9)
"""The first CUDA compute capability that multiplies in 8 bits: Ada and Hopper."""


class CompiledEngine(ExactEngine):
    """`exact` with its layers compiled: slow first rollout, then faster per step; the rounding may differ."""

    name: ClassVar[str] = "compiled"

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return what `exact` refuses, a machine that cannot compile, or weights that move while a layer runs."""
        if reason := super().refuse(pipe, call) or refuse_to_compile(pipe._get_execution_device().type):
            return reason
        moving = any("_hf_hook" in vars(module) for module in pipe.transformer.modules())
        return "weights that are offloaded or spread over devices move while a compiled layer runs." if moving else None

    def refuse_before_load(self, pipeline: str, mode: str, device: str, dtype: str, offload: str) -> str | None:
        """Return what `exact` refuses, or that this machine cannot compile."""
        reason = super().refuse_before_load(pipeline, mode, device, dtype, offload)
        return reason or refuse_to_compile(resolve_device(device), offload)

    def denoiser(self, pipe: Any, conditioning: Conditioning) -> Denoiser:
        """The transformer with compiled layers; on CUDA its small canvases are recorded and replayed."""
        from strands_diffusers.pipelines.engine.denoiser import Denoiser
        from strands_diffusers_engines.compiled import GraphedDenoiser, compiled_layer

        c = conditioning
        kind = GraphedDenoiser if c.device.type == "cuda" else Denoiser
        layers, function = self.layers(pipe), compiled_layer()
        return kind(pipe.transformer, c.layout, c.domain, c.action_width, c.device, function, layers)

    def layers(self, pipe: Any) -> Any:
        """The layers to run: the transformer's own."""
        return pipe.transformer.layers


class Fp8Engine(CompiledEngine):
    """`compiled` with 8-bit matrices, on recent NVIDIA cards: faster, for a small error in every velocity."""

    name: ClassVar[str] = "fp8"

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return why this pipeline cannot be quantised here, or None."""
        if refuse_pipeline(type(pipe).__name__) is None:
            dtype = str(pipe.transformer.dtype).removeprefix("torch.")
            if reason := refuse_8_bits(str(pipe._get_execution_device()), dtype):
                return reason
        return super().refuse(pipe, call)

    def refuse_before_load(self, pipeline: str, mode: str, device: str, dtype: str, offload: str) -> str | None:
        """Return what `exact` refuses, or that this machine cannot multiply in 8 bits."""
        reason = ExactEngine.refuse_before_load(self, pipeline, mode, device, dtype, offload)
        return reason or refuse_8_bits(resolve_device(device), dtype, offload)

    def layers(self, pipe: Any) -> Any:
        """Copies of the layers with 8-bit matrices."""
        from strands_diffusers_engines.fp8 import quantised_layers

        return quantised_layers(pipe.transformer)


class CachedEngine(Engine):
    """diffusers' step cache: fewer full steps for almost the same video; not for inverse dynamics, whose video never changes."""

    name: ClassVar[str] = "cached"

    @dataclass
    class Config(Engine.Config):
        """Options of `engine=cached`."""

        threshold: float = 0.25
        """Accumulated relative change of the latents below which a step is skipped, > 0; 0.25 is diffusers' default."""

        def __post_init__(self) -> None:
            if not 0 < self.threshold < float("inf"):
                raise errors.ConfigError(f"engine.threshold={self.threshold} must be > 0. Use engine.threshold=0.25.")

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return why no step cache can be put on this pipeline, or None."""
        if reason := refuse_pipeline(type(pipe).__name__):
            return reason
        if pipe.transformer.is_cache_enabled:
            return "a step cache is already enabled on the transformer: disable_cache() switches it off."
        return refuse_mode(getattr(call.arguments.get("action"), "mode", ""))

    def refuse_before_load(self, pipeline: str, mode: str, device: str, dtype: str, offload: str) -> str | None:
        """Return why no step cache serves this model or condition, or None."""
        return refuse_pipeline(pipeline) or refuse_mode(mode)

    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Call the pipeline once per seed under the cache; without the decode where no video is wanted."""
        from strands_diffusers_engines.cached import sea_cache

        eager = EagerEngine()
        eager.output_type = "pil" if call.wanted & {"video", "image"} else "latent"
        with sea_cache(pipe.transformer, self.config.threshold):
            return eager.run(pipe, call, progress)


def refuse_to_compile(device: str, offload: str = "none") -> str | None:
    """Return why this machine cannot compile for `device`, or None."""
    if offload != "none":
        return f"weights that are offloaded (model.offload={offload}) move while a compiled layer runs."
    if device.startswith("cuda"):
        if importlib.util.find_spec("triton") is None:
            return "compiling for CUDA needs triton: pip install triton"
        return None
    if device != "cpu":
        return f"compiling for {device} is untested: cpu and cuda are."
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        return f"compiling for the CPU needs a C++ compiler, and {compiler} is not installed."
    return None


def refuse_8_bits(device: str, dtype: str = "auto", offload: str = "none") -> str | None:
    """Return why this machine cannot multiply in 8 bits, or None."""
    if not device.startswith("cuda"):
        return f"8-bit matrices need a CUDA device, and the model computes on {device}."
    if importlib.util.find_spec("torchao") is None:
        return "8-bit matrices need torchao: pip install torchao"
    if dtype not in ("auto", "bfloat16"):
        return f"8-bit matrices need model.dtype=bfloat16, and it is {dtype}."
    if offload != "none":
        return f"copies of offloaded weights (model.offload={offload}) would have to stay on the device."
    import torch

    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < CAPABILITY:
        name = torch.cuda.get_device_name(device)
        return f"8-bit matrices need compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or newer, and {name} is older."
    return None


def refuse_mode(mode: str) -> str | None:
    """Return why a condition cannot be cached, or None."""
    if mode == "inverse_dynamics":
        return "in inverse dynamics the latents of the video never change, so every step would be skipped."
    return None
