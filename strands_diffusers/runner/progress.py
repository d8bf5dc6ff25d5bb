"""Seeing it run: one line that rewrites itself on a terminal, single lines in a log, and time limits kept on the way."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from strands_diffusers.errors import RolloutError
from strands_diffusers.runner.clock import Progress


@dataclass(frozen=True)
class Failed:
    """A failed job, as it was told: the record of one whose disk is full may not be in its folder."""

    number: str
    """Its folder's name."""

    overrides: list[str]
    stage: str
    error: str
    """`OutputError: the disk is full`."""


class SweepProgress:
    """The live line of a sweep: done, failed, running, rate, time left. On a pipe it only speaks of failures."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self.failed: list[Failed] = []
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started: float | None = None
        self._stage = ""

    def begins(self, directory: Path) -> None:
        """A resumed job writes to this folder, which may not be Hydra's own: launchers' workers pass it on."""

    def say(self, line: str) -> None:
        """Show one line, above the live one."""
        self._write(f"{line}\n")
        self._show()

    def stage(self, what: str, done: int, total: int) -> None:
        """The running job's stage; a `clock.Progress`."""
        self._started = self._started or time.monotonic()
        self._stage = f"{what} {done}/{total}"
        self._show()

    def finished(self, status: str, line: str | None = None, failed: Failed | None = None) -> None:
        """A job ended as `done`, `skipped` or `failed`; `line` is said at once."""
        self._started = self._started or time.monotonic()
        self.counts[status] += 1
        if failed:
            self.failed.append(failed)
        self._stage = ""
        if line:
            self._write(f"{line}\n")
        if sum(self.counts.values()) >= self.total:
            self._show(last=True)
        else:
            self.clear()  # Hydra announces the next job on this line

    def clear(self) -> None:
        """Take the live line away, so that others can print; the next stage of a job shows it again."""
        if self._live:
            self._write("")

    def text(self) -> str:
        """The line: `6/24 jobs: 5 done, 1 failed, 12.3 jobs/min, 1:28 left  denoise 3/8`."""
        ended = sum(self.counts.values())
        parts = [f"{n} {status}" for status, n in self.counts.items() if n]
        ran = self.counts["done"] + self.counts["failed"]
        if ran and self._started is not None:
            per_job = (time.monotonic() - self._started) / ran
            left = int(per_job * (self.total - ended))
            parts.append(f"{60 / max(per_job, 1e-9):.1f} jobs/min")
            if left:
                parts.append(f"{left // 60}:{left % 60:02d} left")
        return f"{ended}/{self.total} jobs: {', '.join(parts) or 'starting'}" + (
            f"  {self._stage}" if self._stage else ""
        )

    def _show(self, *, last: bool = False) -> None:
        if self._live:
            self._stream.write(f"\r\x1b[K{self.text()}" + ("\n" if last else ""))
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}" if self._live else text)
        self._stream.flush()


def limited(progress: Progress | None, seconds: float | None) -> Progress | None:
    """A progress callback that also keeps a job's time limit: it raises `RolloutError` at the first step beyond it.

    Loading the model is not counted: whichever job comes first would pay for all that follow. Cooperative: the clock is
    looked at between denoising steps and stages. A launcher's watchdog handles code that hangs.
    """
    if seconds is None:
        return progress
    deadline: float | None = None

    def step(what: str, done: int, total: int) -> None:
        nonlocal deadline
        if what == "load":
            deadline = None
        elif deadline is None:
            deadline = time.monotonic() + seconds
        elif time.monotonic() > deadline:
            raise RolloutError(f"the job exceeded sweep.timeout_s={seconds:g} at {what} {done}/{total}.")
        if progress:
            progress(what, done, total)

    return step
