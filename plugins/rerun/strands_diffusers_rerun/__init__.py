"""Rollouts as Rerun recordings: `output=[rerun]`."""

from strands_diffusers import Serializer, hookimpl
from strands_diffusers_rerun.serializer import RerunSerializer


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [RerunSerializer]
