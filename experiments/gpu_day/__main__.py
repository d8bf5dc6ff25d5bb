"""`python -m experiments.gpu_day --minutes 12 --out DIR`: run what only a GPU can answer, the most valuable first.

Each part runs in a process of its own under its own limit, and its result is written as it comes. Parts that are done
for this device and this code, in DIR or in the repository's results, are not run again: the same command goes on another
day. DIR gets results.json, summary.md, log.txt, profile.txt, profile.png, jobs.tar.gz and, after training, kept.npz.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import plan, summary

SPARE_S = 5.0
"""A part is asked to end this long before it is ended."""

LEAST_S = 20.0
"""A part that has less than this is left for another day."""


def main(argv: list[str] | None = None) -> int:
    """Run the parts that are not done yet; 1 where one failed, and in a dry run where one was not done."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu_day", description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0, help="for everything")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--parts", default=",".join(part.name for part in plan.PARTS), help="comma-separated")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at tiny sizes: is everything ready?")
    options = parser.parse_args(argv)
    chosen = options.parts.split(",")
    if unknown := set(chosen) - {part.name for part in plan.PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in plan.PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    day = Day(options.out, time.monotonic() + options.minutes * 60, dry_run=options.dry_run)
    for part in plan.PARTS:
        if part.name in chosen or part.name == "environment":  # which says what the device is
            day.run(part)
    bad = {"failed", "cut off", "skipped"} if options.dry_run else {"failed"}
    return int(any(day.parts.get(name, {}).get("status") in bad for name in chosen))


class Day:
    """The results so far, and the time that is left."""

    def __init__(self, out: Path, until: float, *, dry_run: bool) -> None:
        self.out, self.until, self.dry_run = out, until, dry_run
        self.runs = plan.read(out)
        self.code, self.commit = plan.code(), plan.commit()
        self.missing: list[str] = []
        self.parts: dict[str, Any] = {}

    def run(self, part: plan.Part) -> None:
        """Run one part unless it is done, cannot run here or has no time left; write and say what came of it."""
        known = self.parts.get(part.name, {})
        left = self.until - time.monotonic()
        lacking = [name for name in part.needs if name in self.missing]
        if part.name != "environment" and known.get("status") == "done":
            self._say(part.name, "done before", known.get("line", ""))
            return
        if lacking:
            self._end(part.name, known | {"status": "skipped", "line": f"not installed here: {', '.join(lacking)}"})
            return
        if left < LEAST_S:
            self._end(part.name, known | {"status": "skipped", "line": "no time left"}) if not known else None
            return
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "result.json").write_text(json.dumps(known))  # a part that was cut off goes on
            result = self._child(part, folder, min(part.limit_s, left))
            for path in folder.iterdir():
                if path.is_file() and path.name.lstrip(".") != "result.json":
                    shutil.copy(path, self.out)
        if part.name == "environment":
            self._identify(result)
        self._end(part.name, result)

    def _child(self, part: plan.Part, folder: Path, seconds: float) -> dict[str, Any]:
        """Run the part's process; its result, with how it ended."""
        started = time.monotonic()
        with (self.out / "log.txt").open("a") as log:
            log.write(f"\n== {part.name}\n")
            log.flush()
            process = subprocess.Popen(
                plan.child(part.name, folder, seconds - SPARE_S, dry_run=self.dry_run),
                cwd=plan.ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = "done" if process.wait(seconds) == 0 else "failed"
            except subprocess.TimeoutExpired:
                status = "cut off"
            finally:
                _end_group(process)
        try:
            result = dict(json.loads((folder / "result.json").read_text()))
        except ValueError:
            result = {}
        if status == "failed":
            last = [line for line in (self.out / "log.txt").read_text().splitlines() if line.strip()][-1]
            result["line"] = f"exit status {process.returncode}: {last[:200]}"
        elif status == "done" and result.get("unfinished"):
            status = "cut off"
        return result | {"status": status, "seconds": round(time.monotonic() - started, 1)}

    def _identify(self, environment: dict[str, Any]) -> None:
        """Now that the device is known: what is done for it already, here or in the repository."""
        self.missing = list(environment.get("missing", []))
        key = f"{environment.get('device', 'unknown device')} | {self.code}"
        kept = {} if self.dry_run else plan.read(Path(__file__).parent / "results").get(key, {})
        run = self.runs.setdefault(key, kept or {"parts": {}})
        run |= {"commit": self.commit, "dry_run": self.dry_run, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self.parts = run["parts"]

    def _end(self, name: str, result: dict[str, Any]) -> None:
        self.parts[name] = result
        partial = self.out / f".{plan.RESULTS}"
        partial.write_text(json.dumps(self.runs, indent=1))
        partial.replace(self.out / plan.RESULTS)
        (self.out / "summary.md").write_text(summary.markdown(self.runs))
        self._say(name, result["status"], result.get("line", ""), result.get("seconds"))

    def _say(self, name: str, status: str, line: str, seconds: float | None = None) -> None:
        spent = "" if seconds is None else f" ({seconds:.0f} s)"
        print(f"{name}: {status}{spent}: {line}", flush=True)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a part left running."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            if number == signal.SIGKILL:
                return


if __name__ == "__main__":
    sys.exit(main())
