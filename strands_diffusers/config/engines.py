"""How fast the pipeline runs."""

from dataclasses import dataclass

from omegaconf import MISSING

from strands_diffusers.config.fields import in_range


@dataclass
class EngineConfig:
    """How fast the pipeline runs, and whether its numbers are diffusers' own."""

    name: str = MISSING
    """auto, exact, eager, or what plugins bring; choose it with `engine=`."""


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


ENGINES: dict[str, type[EngineConfig]] = {
    engine.name: engine for engine in (AutoEngineConfig, ExactEngineConfig, EagerEngineConfig)
}
"""The choices of the group `engine`."""
