"""Gymnasium environments for strands_diffusers: as worlds, as observations, their reward as a score."""

from strands_diffusers import Score, Source, World, hookimpl
from strands_diffusers_gymnasium.adapter import Adapter
from strands_diffusers_gymnasium.score import GymnasiumReward
from strands_diffusers_gymnasium.source import GymnasiumSource
from strands_diffusers_gymnasium.world import GymnasiumWorld

__all__ = ["Adapter", "GymnasiumReward", "GymnasiumSource", "GymnasiumWorld"]


@hookimpl
def register_worlds() -> list[type[World]]:
    return [GymnasiumWorld]


@hookimpl
def register_sources() -> list[type[Source]]:
    return [GymnasiumSource]


@hookimpl
def register_scores() -> list[type[Score]]:
    return [GymnasiumReward]
