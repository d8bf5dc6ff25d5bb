"""How fast the pipeline runs."""

from dataclasses import dataclass

from omegaconf import MISSING

from strands_diffusers.config.fields import in_range


@dataclass
class EngineConfig:
    """How fast the pipeline runs, and whether its numbers are diffusers' own."""

    name: str = MISSING
    """auto, exact, eager, compiled, fp8 or cached; choose it with `engine=`."""


@dataclass
class ReusingEngineConfig(EngineConfig):
    """Common to the engines that keep conditioning from one rollout to the next."""

    cache_mb: int = 1024
    """Memory for reused conditioning [MB], on the model's device; 0: none is kept."""

    def __post_init__(self) -> None:
        in_range("engine.cache_mb", self.cache_mb, 0, 1_000_000, "MB")


@dataclass
class AutoEngineConfig(ReusingEngineConfig):
    """`exact` where it can hold, else `eager` with one line saying why; the manifest records which ran."""

    name: str = "auto"


@dataclass
class ExactEngineConfig(ReusingEngineConfig):
    """The numbers of diffusers' own call with less work; refused where that cannot hold."""

    name: str = "exact"


@dataclass
class EagerEngineConfig(EngineConfig):
    """diffusers' own call, untouched: the yardstick."""

    name: str = "eager"


@dataclass
class CompiledEngineConfig(ReusingEngineConfig):
    """`exact` with regional `torch.compile`: slow first rollout, then faster; rounding may differ. CUDA only."""

    name: str = "compiled"


@dataclass
class Fp8EngineConfig(ReusingEngineConfig):
    """`exact` with 8-bit matrix products (torchao): less memory and time, not the same numbers. CUDA only."""

    name: str = "fp8"


@dataclass
class CachedEngineConfig(EngineConfig):
    """diffusers' step cache: skips steps that change little. Not the same numbers; not for inverse dynamics."""

    name: str = "cached"


ENGINES: dict[str, type[EngineConfig]] = {
    engine.name: engine
    for engine in (
        AutoEngineConfig, ExactEngineConfig, EagerEngineConfig, CompiledEngineConfig, Fp8EngineConfig, CachedEngineConfig,
    )
}  # fmt: skip
"""The choices of the group `engine`."""
