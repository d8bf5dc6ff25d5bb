"""The live line of a sweep, and the row that each job ends as."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

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


class SweepProgress:
    """The live line of a sweep: done, failed, running, rate, time left. On a pipe it only speaks of failures."""

    def __init__(self, total: int | None = None, stream: TextIO | None = None) -> None:
        self.total = total
        self.rows: list[Row] = []
        self._stream = stream or sys.stderr
        self._live = bool(self._stream) and self._stream.isatty()
        self._started: float | None = None
        self._stage = ""

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
        self._stage = f"{what} {done}/{total}"
        self._show()

    def ended(self, row: Row, line: str | None = None) -> None:
        """A job ended; `line` is shown at once."""
        self._started = self._started or time.monotonic()
        self.rows.append(row)
        self._stage = ""
        if line:
            self._write(f"{line}\n")
        if self.total is not None and len(self.rows) >= self.total:
            self._show(last=True)
        else:
            self.clear()

    def clear(self) -> None:
        """Take the live line away, so that others can print; the next stage of a job shows it again."""
        if self._live:
            self._write("")

    def text(self) -> str:
        """The line: `6/24 jobs: 5 done, 1 failed, 12.3 jobs/min, 1:28 left  denoise 3/8`."""
        counts, ended = self.counts, len(self.rows)
        words = [f"{n} {status}" for status, n in counts.items() if n]
        ran = counts["done"] + counts["failed"]
        if ran and self._started is not None:
            per_job = (time.monotonic() - self._started) / ran
            words.append(f"{60 / max(per_job, 1e-9):.1f} jobs/min")
            if self.total is not None and (left := int(per_job * (self.total - ended))):
                words.append(f"{left // 60}:{left % 60:02d} left")
        total = "?" if self.total is None else self.total
        return f"{ended}/{total} jobs: {', '.join(words) or 'starting'}" + (f"  {self._stage}" if self._stage else "")

    def _show(self, *, last: bool = False) -> None:
        if self._live:
            self._stream.write(f"\r\x1b[K{self.text()}" + ("\n" if last else ""))
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._stream:
            self._stream.write(f"\r\x1b[K{text}" if self._live else text)
            self._stream.flush()


def row_of(record: Record, status: str | None = None) -> Row:
    """The row of a job's record."""
    return Row(record.name, status or record.status, record.overrides, record.error, record.stage)
