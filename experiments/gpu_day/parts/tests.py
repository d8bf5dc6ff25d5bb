"""The tests marked `gpu`, of the core and of the engines, test by test: what a cut-off run had found stays."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from experiments.gpu_day.part import Task
from experiments.gpu_day.plan import ROOT

VERDICT = re.compile(r"^(\S+::\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")

PLACES = ("tests/gpu", "plugins/engines/tests/test_on_cuda.py")


def run(task: Task) -> None:
    """Run the tests that have not passed yet. Any that fails, or none that ran, ends the part as failed."""
    found: dict[str, str] = dict(task.known.get("tests", {}))
    passed = [arg for name, verdict in found.items() if verdict == "PASSED" for arg in ("--deselect", name)]
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", "--color=no", *PLACES]
    result: dict[str, Any] = {"tests": found, "unfinished": True}
    process = subprocess.Popen([*command, *passed], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := VERDICT.match(line):
            found[match[1]] = match[2]
            result["line"] = _line(found)
            task.save(result)
    status = process.wait()
    counts = set(found.values())
    result["unfinished"] = False
    result["line"] = _line(found)
    task.save(result)
    wanted = "SKIPPED" if task.dry_run else "PASSED"  # in a dry run there is no device: they are collected and skip
    if status not in (0, 5) or wanted not in counts or not counts <= {"PASSED", "SKIPPED"}:
        raise SystemExit(f"pytest ended with status {status}: {result['line']}")


def _line(found: dict[str, str]) -> str:
    counts = {verdict: list(found.values()).count(verdict) for verdict in sorted(set(found.values()))}
    failed = [name.rpartition("::")[2] for name, verdict in found.items() if verdict in ("FAILED", "ERROR")]
    text = ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items()) or "no test ran"
    return f"{text}: {', '.join(failed)}" if failed else text
