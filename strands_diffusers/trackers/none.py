"""The tracker for people who want none: `tracker=none`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Rollout, RunInfo

if TYPE_CHECKING:
    from strands_diffusers.records import Record


class NoTracker(Tracker):
    """Log nowhere. Files, metrics and the manifest are written all the same; this class does nothing."""

    name = "none"

    def start(self, run: RunInfo) -> None:
        """Do nothing."""

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Do nothing."""

    def finish(self, record: Record) -> None:
        """Do nothing."""


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [NoTracker]
