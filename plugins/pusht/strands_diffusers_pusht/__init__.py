"""PushT for strands_diffusers: simulator, scripted expert, closed loop, and a source of observations."""

from strands_diffusers import Source, hookimpl
from strands_diffusers_pusht.source import PushTSource


@hookimpl
def register_sources() -> list[type[Source]]:
    """The source `pusht:`."""
    return [PushTSource]
