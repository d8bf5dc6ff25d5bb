"""Adapt a Cosmos 3 world model to one's own robot: `strands-diffusers adapt`. Flow matching, optimisers and checkpoints beside it."""

from strands_diffusers import Command, hookimpl


def _adapt(arguments: list[str]) -> int:
    from strands_diffusers_training.command import adapt

    return adapt(arguments)


@hookimpl
def register_commands() -> list[Command]:
    return [Command("adapt", "adapt a world model to a dataset of one's own: adapt data=DATASET name=my_robot", _adapt)]
