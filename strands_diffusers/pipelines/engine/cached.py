"""`engine=cached`: diffusers' own call with its SeaCache, which skips steps that would change little. Lossy.

The cache compares successive latents and, while they move little, adds the last residual of the layer stack instead of
running it. It lives in hooks on the transformer, so it is put there for one run and taken away after it.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from strands_diffusers.pipelines.engine.base import Call, Engine, Progress, Sample
from strands_diffusers.pipelines.engine.eager import EagerEngine

THRESHOLD = 0.25
"""Accumulated relative change of the latents below which a step is skipped: diffusers' default."""


class CachedEngine(Engine):
    """Fewer full steps for almost the same video; not for inverse dynamics, whose video never changes at all."""

    name: ClassVar[str] = "cached"

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return why no step cache can be put on this pipeline, or None."""
        action = call.arguments.get("action")
        if type(pipe).__name__ != "Cosmos3OmniPipeline":
            return f"it knows Cosmos3OmniPipeline alone, and this model is a {type(pipe).__name__}."
        if pipe.transformer.is_cache_enabled:
            return "a step cache is already enabled on the transformer: disable_cache() switches it off."
        return refuse_mode(getattr(action, "mode", ""))

    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Call the pipeline once per seed under the cache; without the decode where no video is wanted."""
        output_type = "pil" if call.wanted & {"video", "image"} else "latent"
        with sea_cache(pipe.transformer, self.threshold):
            return EagerEngine(output_type).run(pipe, call, progress)


def refuse_mode(mode: str) -> str | None:
    """Return why a condition cannot be cached, or None."""
    if mode == "inverse_dynamics":
        return "in inverse dynamics the latents of the video never change, so every step would be skipped."
    return None


_locks: "weakref.WeakKeyDictionary[Any, threading.RLock]" = weakref.WeakKeyDictionary()


@contextmanager
def sea_cache(transformer: Any, threshold: float) -> Iterator[None]:
    """Enable SeaCache for the body, and leave the transformer's modules with the attributes that they had."""
    from diffusers import SeaCacheConfig

    with _locks.setdefault(transformer, threading.RLock()):
        before = {module: set(vars(module)) for module in transformer.modules()}
        transformer.enable_cache(SeaCacheConfig(threshold=threshold))
        try:
            yield
        finally:
            transformer.disable_cache()
            for module, names in before.items():
                for name in set(vars(module)) - names:
                    delattr(module, name)
