"""How long the stages of a job take, and who is told when one begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Is told the stage, how many of its steps are done, and of how many."""


class Clock:
    """Wall seconds per named stage."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = "start"
        self._progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage; its name is also what a failure record calls the place where it happened."""
        self.stage, started = stage, time.perf_counter()
        if self._progress:
            self._progress(stage, 0, 1)
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
