"""The built-in worlds."""

from strands_diffusers.plugin.acting import World
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.worlds.model import ModelWorld
from strands_diffusers.worlds.server import ServerWorld


@hookimpl
def register_worlds() -> list[type[World]]:
    """The built-in worlds."""
    return [ModelWorld, ServerWorld]
