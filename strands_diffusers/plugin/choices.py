"""Tell Hydra what the plugins bring: every class's `Config` becomes a typed choice."""

from strands_diffusers.config import compose
from strands_diffusers.plugin.manager import plugins

GROUPS = ("output", "visualizer", "metric", "tracker", "source", "engine", "policy", "world", "score")


def prepare() -> None:
    """Make Hydra know our choices in this process; launchers' workers call it before their first job."""
    index = plugins()
    choices = {group: {name: cls.Config for name, cls in index.classes(group).items()} for group in GROUPS}
    compose.register(choices, index.config_paths)
