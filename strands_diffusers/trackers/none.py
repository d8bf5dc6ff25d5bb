"""The tracker for people who want none: `tracker=none`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strands_diffusers.config import schema
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout, RunInfo


class NoTracker(Tracker):
    """Log nowhere. Files, metrics and the manifest are written all the same; this class does nothing."""

    name = "none"

    @dataclass
    class Config(schema.TrackerConfig):
        """Has no options."""

    def start(self, run: RunInfo) -> None:
        """Do nothing."""

    def log(self, rollout: Rollout, artifacts: Sequence[Artifact], metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Do nothing."""

    def finish(self, status: str, error: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        """Do nothing."""


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [NoTracker]
