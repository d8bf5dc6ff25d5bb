"""Engines that are faster than `exact` and do not give diffusers' own numbers to the last bit."""

from strands_diffusers import Engine, hookimpl
from strands_diffusers_engines.engines import CachedEngine, CompiledEngine, Fp8Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    return [CompiledEngine, Fp8Engine, CachedEngine]
