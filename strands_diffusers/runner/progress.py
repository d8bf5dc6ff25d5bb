"""The live line of a job or a sweep, and the row that each job ends as."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from strands_diffusers.errors import clean

if TYPE_CHECKING:
    from strands_diffusers.records import Record


@dataclass(frozen=True)
class Row:
    """How one job of a sweep ended, as `sweep.json` lists it."""

    name: str
    """Its folder's name."""

    status: str
    """`done`, `skipped` (done before this command), `earlier` (of another sweep), `failed`, `damaged` or `not begun`."""

    overrides: tuple[str, ...] = ()
    error: str = ""
    stage: str = ""
    same_as: str | None = None
    """Name of the job that has the same rollouts, where this one has no folder of its own."""

    problems: bool = False
    """Whether it is done with problems."""


class Live:
    """One line that rewrites itself: the running stage, and how long it has taken once that is a second.

    Nothing is shown where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = bool(self._stream) and self._stream.isatty()
        self._what = self._count = ""
        self._since = 0.0
        self._over: threading.Event | None = None

    def stage(self, what: str, done: int, total: int) -> None:
        """The running job's stage; a `control.Progress`."""
        if what != self._what:
            self._what, self._since = what, time.monotonic()
        self._count = f" {done}/{total}" if total > 1 else ""
        self._show()
        if self._live and self._over is None:
            self._over = threading.Event()
            threading.Thread(target=self._tick, args=(self._over,), daemon=True).start()

    def text(self) -> str:
        """The line: `denoise 3/8`, `load  4 s`."""
        spent = time.monotonic() - self._since
        return f"{self._what}{self._count}" + (f"  {spent:.0f} s" if self._what and spent >= 1 else "")

    def clear(self) -> None:
        """Take the live line away, so that others can print; the next stage of a job shows it again."""
        self._what = self._count = ""
        if self._over:
            self._over.set()
            self._over = None
        if self._live:
            self._write("")

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(1.0):
            self._show()

    def _show(self, *, last: bool = False) -> None:
        if self._live:
            self._write(self.text() + ("\n" if last else ""))

    def _write(self, text: str) -> None:
        if self._stream:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(f"\r\x1b[K{clean(text)}" if self._live else clean(text))
                self._stream.flush()


class SweepProgress(Live):
    """The live line of a sweep: done, failed, running, rate, time left. On a pipe it only speaks of failures."""

    def __init__(self, total: int | None = None, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.total = total
        self.rows: list[Row] = []
        self._started: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs ended in which way."""
        return {status: sum(row.status == status for row in self.rows) for status in ("done", "skipped", "failed")}

    def begins(self, directory: Path) -> None:
        """The job writes to this folder: launchers' workers pass it on."""

    def say(self, line: str) -> None:
        """Show one line, above the live one."""
        self._write(f"{line}\n")
        self._show()

    def stage(self, what: str, done: int, total: int) -> None:
        """The running job's stage; a `control.Progress`."""
        self._started = self._started or time.monotonic()
        super().stage(what, done, total)

    def ended(self, row: Row, line: str | None = None) -> None:
        """A job ended; `line` is shown at once."""
        self._started = self._started or time.monotonic()
        self.rows.append(row)
        self.clear()
        if line:
            self._write(f"{line}\n")
        if self.total is not None and len(self.rows) >= self.total:
            self._show(last=True)

    def text(self) -> str:
        """The line: `6/24 jobs: 5 done, 1 failed, 12.3 jobs/min, 1:28 left  denoise 3/8`."""
        counts, ended, stage = self.counts, len(self.rows), super().text()
        words = [f"{n} {status}" for status, n in counts.items() if n]
        ran = counts["done"] + counts["failed"]
        if ran and self._started is not None:
            per_job = (time.monotonic() - self._started) / ran
            words.append(f"{60 / max(per_job, 1e-9):.1f} jobs/min")
            if self.total is not None and (left := int(per_job * (self.total - ended))):
                words.append(f"{left // 60}:{left % 60:02d} left")
        total = "?" if self.total is None else self.total
        return f"{ended}/{total} jobs: {', '.join(words) or 'starting'}" + (f"  {stage}" if stage else "")


def row_of(record: Record, status: str | None = None) -> Row:
    """The row of a job's record."""
    return Row(record.name, status or record.status, record.overrides, record.error, record.stage)
