"""Options of `strands-diffusers play`. Needs no web package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strands_diffusers.config.fields import positive
from strands_diffusers.serve.options import WebConfig


@dataclass
class PlayConfig(WebConfig):
    """Where the page is, and how large a session may become."""

    node: ClassVar[str] = "play"

    port: int = 8765
    """Port to listen on, 0 to 65535; 0 takes a free one."""

    memory_mb: float = 512.0
    """Memory that the frames of a session may take [MB]."""

    idle_minutes: float = 60.0
    """The command ends when the page has asked for nothing for so long [min]; what was not saved is lost."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("play.memory_mb", self.memory_mb)
        positive("play.idle_minutes", self.idle_minutes, "minutes")
