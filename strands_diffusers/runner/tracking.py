"""A tracker that cannot spoil a rollout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strands_diffusers.errors import one_line
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.results import Artifact, Rollout, RunInfo

log = logging.getLogger(__name__)


class SafeTracker:
    """A tracker at arm's length: whatever it raises is noted and the rollout goes on."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._open = False
        self._notes: list[str] = []

    def _guard(self, what: str, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the rollout goes on
            line = f"tracker {self._tracker.name} could not {what}: {type(error).__name__}: {one_line(error, 200)}"
            log.warning(line)
            self._notes.append(line)
            return False
        return True

    def start(self, run: RunInfo) -> None:
        """Open the tracker's run; where that fails, nothing more is asked of it."""
        self._open = self._guard("start", lambda: self._tracker.start(run))

    def log(self, rollout: Rollout, artifacts: Sequence[Artifact], metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Log one rollout."""
        if self._open:
            self._guard("log", lambda: self._tracker.log(rollout, artifacts, metrics))

    def finish(self, status: str, error: str | None, details: Mapping[str, Any]) -> None:
        """Close the run, once."""
        if self._open:
            self._open = False
            self._guard("finish", lambda: self._tracker.finish(status, error, details))

    def notes(self) -> list[str]:
        """Lines for the person at the terminal: what went wrong, then the tracker's own."""
        found: list[str] = []
        self._guard("say how it went", lambda: found.extend(self._tracker.notes()))
        return [*self._notes, *found]
