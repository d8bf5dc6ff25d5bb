"""A saved view of a W&B project with panels for rollouts: `strands-diffusers wandb-workspace`."""

from strands_diffusers import Command, hookimpl


@hookimpl
def register_commands() -> list[Command]:
    return [Command("wandb-workspace", "Save a view of a W&B project with panels for rollouts.", _run)]


def _run(arguments: list[str]) -> int:
    from strands_diffusers_workspace.workspace import main  # it imports argparse, which no other command needs here

    return main(arguments)
