"""Watching, limiting and cancelling a job, and how long its stages take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from strands_diffusers.errors import CancelledError, RolloutError
from strands_diffusers.plugin.acting import Progress as Progress

PACE_AFTER_S, LONG_S = 15.0, 600.0
"""Denoising is timed for so long before its pace is believed, and so much of it must be ahead for a line about it [s]."""


class Control:
    """A `Progress` that looks at cancellation and time limits on each call, before it passes the call on.

    Cooperative: it is called between denoising steps and between stages, so a job ends within one step.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        *,
        cancel: Callable[[], bool] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._progress, self._cancel = progress, cancel
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self.stage = "check"
        """Where the job is, for a failure that could leave no record."""
        self._job_limit_s: float | None = None
        self._job_deadline: float | None = None
        self._say: Callable[[str], None] | None = None
        self._first: tuple[float, int] | None = None

    def begin(self, limit_s: float | None, say: Callable[[str], None] | None = None) -> None:
        """A job begins, with its own limit [s]; loading the model is not counted: whichever job comes first would pay.

        `say` gets a line, once, where its first steps show that more than ten minutes are ahead.
        """
        self._job_limit_s, self._job_deadline = limit_s, None
        self._say, self._first = say, None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Raises: `CancelledError`; `RolloutError` past a time limit."""
        self.stage = what
        now, at = time.monotonic(), f"{what} {done}/{total}"
        if self._cancel is not None and self._cancel():
            raise CancelledError(f"cancelled at {at}.")
        if self._deadline is not None and now > self._deadline:
            raise RolloutError(f"the call exceeded timeout_s={self._timeout_s:g} at {at}.")
        if what == "load":
            self._job_deadline = None
        elif self._job_deadline is None and self._job_limit_s is not None:
            self._job_deadline = now + self._job_limit_s
        elif self._job_deadline is not None and now > self._job_deadline:
            raise RolloutError(f"the job exceeded sweep.timeout_s={self._job_limit_s:g} at {at}.")
        if what in ("denoise", "look") and self._say is not None:
            self._tell_pace(now, what, done, total)
        if self._progress is not None:
            self._progress(what, done, total)

    def _tell_pace(self, now: float, what: str, done: int, total: int) -> None:
        begun, before = self._first = self._first or (now, done)
        if self._say is None or now - begun < PACE_AFTER_S or done <= before:
            return
        if (left := (now - begun) / (done - before) * (total - done)) > LONG_S:
            unit = "looks" if what == "look" else "denoising steps"
            self._say(f"at this pace some {left / 60:.0f} minutes are ahead ({done} of {total} {unit} are done)")
        self._say = None


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
