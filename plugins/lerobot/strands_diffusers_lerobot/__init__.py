"""LeRobot datasets: their episodes as observations, and rollouts as datasets that LeRobot reads. Without `lerobot`."""

from strands_diffusers import Serializer, Source, hookimpl
from strands_diffusers_lerobot.serializer import LeRobotSerializer
from strands_diffusers_lerobot.source import LeRobotSource


@hookimpl
def register_sources() -> list[type[Source]]:
    return [LeRobotSource]


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [LeRobotSerializer]


@hookimpl
def register_configs() -> list[str]:
    return ["pkg://strands_diffusers_lerobot.conf"]
