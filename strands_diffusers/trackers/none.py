"""The tracker for people who want none: `tracker=none`."""

from collections.abc import Sequence
from dataclasses import dataclass

from strands_diffusers.config import schema
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.records import Record
from strands_diffusers.results import Rollout, RunInfo


class NoTracker(Tracker):
    """Log nowhere. Files, metrics and the manifest are written all the same; this class does nothing."""

    name = "none"

    @dataclass
    class Config(schema.TrackerConfig):
        """Has no options."""

    def start(self, run: RunInfo) -> None:
        """Do nothing."""

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Do nothing."""

    def finish(self, record: Record) -> None:
        """Do nothing."""


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [NoTracker]
